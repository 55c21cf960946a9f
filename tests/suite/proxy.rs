//! `neo-secrets proxy`, as programs that know nothing of evidence use it, and as it is attacked.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use neo_secrets_tests::appliance::{Appliance, Claimed, Home};
use neo_secrets_tests::proxy::{Path, Proxy, log_of, parse};
use serde_json::json;

use crate::evidence::relay;

const HOST: &str = "Host: localhost\r\n";

/// Starts an instance in this home, claims it, and leaves what a client needs.
fn start(home: &Home) -> (Appliance<'_>, Claimed) {
    home.write_client_files();
    let appliance = home.start();
    let claimed = appliance.claim();
    std::fs::write(home.path("admin.key"), format!("{}\n", claimed.admin)).unwrap();
    (appliance, claimed)
}

/// Starts an instance, and waits until it has looked at its store.
fn started(home: &Home) -> Appliance<'_> {
    let appliance = home.start();
    while appliance.state().contains("starting") {}
    appliance
}

fn pin(claimed: &Claimed) -> &str {
    claimed.answer["instanceKey"].as_str().unwrap()
}

/// The headers of a call with this key.
fn with_key(key: &str) -> String {
    format!("{HOST}Authorization: Bearer {key}\r\nContent-Type: application/json\r\n")
}

/// Runs a script in this home; what it printed.
#[track_caller]
fn run(home: &Home, program: &std::path::Path, arguments: &[&str]) -> String {
    let out = Command::new(program).args(arguments).current_dir(home.path(".")).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    text
}

fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what} through the proxy (not on this machine)");
}

#[test]
fn curl_works_through_it_and_so_does_the_printed_command() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    assert!(proxy.hint.starts_with("curl "), "{}", proxy.hint);
    let bash = std::path::Path::new("bash");
    assert!(run(&home, bash, &["-c", &proxy.hint]).contains("\"secrets\":[]"));
    let big = json!({"name": "big", "value": "\u{1}".repeat(65_536)}).to_string();
    std::fs::write(home.path("big.json"), big).unwrap();
    let script = r#"
        set -euo pipefail
        call() { curl -sS --fail-with-body -H "Authorization: Bearer $(cat admin.key)" -H 'Content-Type: application/json' "$@"; }
        call -d @big.json -w '%{http_code}\n' -o made.json "$URL/v1/secrets"
        call -H 'Expect: 100-continue' -d '{"name":"asked","value":"x"}' -w '%{http_code} ' -o made.json "$URL/v1/secrets"
        call -H 'Transfer-Encoding: chunked' -d '{"name":"chunked","value":"x"}' -w '%{http_code}\n' -o made.json "$URL/v1/secrets"
        call --http1.0 -d '{"name":"old","value":"x"}' -w '%{http_code}\n' -o made.json "$URL/v1/secrets"
        call --http2 "$URL/v1/secrets?limit=1" -w '\n%{http_version}\n'
        call -I "$URL/v1/secrets?limit=1"
        call "$URL/v1/secrets?limit=3&offset=0" "$URL/v1/secrets?prefix=old"
        id=$(sed -n 's/.*"id":"\([^"]*\)".*/\1/p' made.json)
        call -X DELETE "$URL/v1/secrets/$id"
    "#;
    let out = run(&home, bash, &["-c", &script.replace("$URL", &proxy.url())]);
    for word in ["201\n", "201 201\n", "1.1\n", "200 OK", "\"total\":4", "deleted success"] {
        assert!(out.contains(word), "{word:?} is not in {out}");
    }
    assert!(!out.contains("\"error\""), "{out}");
    assert_eq!(proxy.status()["verifications"]["failed"], 0);
}

const PYTHON: &str = r#"
import http.client, json, sys
host, port = sys.argv[1].split(':')
key = open('admin.key').read().strip()
headers = {'Authorization': 'Bearer ' + key, 'Content-Type': 'application/json'}
connection = http.client.HTTPConnection(host, int(port))
def call(method, target, body=None, **options):
    connection.request(method, target, body, {**headers, **options.pop('headers', {})}, **options)
    answer = connection.getresponse()
    return answer, answer.read()
answer, body = call('POST', '/v1/secrets', json.dumps({'name': 'a', 'value': 'x'}))
assert answer.status == 201, body
socket, target = connection.sock, '/v1/secrets/' + json.loads(body)['id']
parts = [b'{"val', b'ue":"', b'y' * 60000, b'"}']
answer, body = call('PUT', target, iter(parts), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
assert answer.status == 200 and json.loads(body)['version'] == 2, body
answer, body = call('HEAD', '/v1/secrets')
assert answer.status == 200 and body == b'' and int(answer.headers['content-length']) > 0
answer, body = call('GET', '/v1/secrets?prefix=%61')
assert answer.status == 200 and json.loads(body)['pagination']['total'] == 1, body
answer, body = call('DELETE', target)
assert answer.status == 200, body
assert connection.sock is socket, 'the connection was not kept'
"#;

const REQUESTS: &str = r#"
import sys, requests
with requests.Session() as session:
    session.headers['Authorization'] = 'Bearer ' + open('admin.key').read().strip()
    url = 'http://' + sys.argv[1] + '/v1/secrets'
    made = session.post(url, json={'name': 'requests', 'value': 'x'})
    assert made.status_code == 201, made.text
    assert session.get(url, params={'prefix': 'req'}).json()['pagination']['total'] == 1
    assert session.head(url).status_code == 200
    stream = (part for part in [b'{"value":', b'"y"}'])
    changed = session.put(url + '/' + made.json()['id'], data=stream, headers={'Content-Type': 'application/json'})
    assert changed.json()['version'] == 2, changed.text
    assert session.delete(url + '/' + made.json()['id']).ok
    assert session.get(url, headers={'Authorization': 'Bearer x'}).status_code == 401
"#;

#[test]
fn python_works_through_it() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let addr = proxy.addr.to_string();
    let python = std::path::Path::new("python3");
    run(&home, python, &["-c", PYTHON, &addr]);
    let has_requests = |python: &std::path::Path| {
        let import = Command::new(python).args(["-c", "import requests"]).output();
        import.is_ok_and(|out| out.status.success())
    };
    if has_requests(python) {
        run(&home, python, &["-c", REQUESTS, &addr]);
        return;
    }
    let venv = home.path("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    let _ = made.and_then(|_| {
        Command::new(venv.join("bin/pip")).args(["install", "--quiet", "requests"]).output()
    });
    let python = venv.join("bin/python3");
    match has_requests(&python) {
        true => drop(run(&home, &python, &["-c", REQUESTS, &addr])),
        false => skipped("Python's requests"),
    }
}

const NODE: &str = r#"
const [url] = process.argv.slice(1);
const key = require('fs').readFileSync('admin.key', 'utf8').trim();
const headers = { authorization: 'Bearer ' + key, 'content-type': 'application/json' };
const check = (holds, what) => { if (!holds) throw new Error(what); };
(async () => {
  const made = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ name: 'node', value: 'x' }) });
  check(made.status === 201, made.status);
  const { id } = await made.json();
  const parts = new ReadableStream({
    start(sink) { for (const part of ['{"value":', '"y"}']) sink.enqueue(new TextEncoder().encode(part)); sink.close(); }
  });
  const changed = await fetch(url + '/' + id, { method: 'PUT', headers, body: parts, duplex: 'half' });
  check((await changed.json()).version === 2, 'version');
  const lists = await Promise.all(Array.from({ length: 50 }, () => fetch(url, { headers })));
  for (const list of lists) check((await list.json()).pagination.total === 1, 'total');
  check((await fetch(url + '/' + id, { method: 'DELETE', headers })).ok, 'delete');
})().catch(error => { console.error(error); process.exit(1); });
"#;

#[test]
fn nodes_fetch_works_through_it() {
    let has_fetch = Command::new("node").args(["-e", "fetch"]).output();
    if !has_fetch.is_ok_and(|out| out.status.success()) {
        return skipped("Node's fetch");
    }
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let url = format!("{}/v1/secrets", proxy.url());
    run(&home, std::path::Path::new("node"), &["-e", NODE, &url]);
}

#[test]
fn https_on_its_own_port_works_with_a_made_certificate_and_with_a_given_one() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let bash = std::path::Path::new("bash");
    let made = ["--tls", "--write-cert", "proxy.pem"];
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &made);
    assert!(proxy.hint.contains("--cacert") && proxy.hint.contains("https://"), "{}", proxy.hint);
    assert!(run(&home, bash, &["-c", &proxy.hint]).contains("\"secrets\":[]"));
    let certificate = std::fs::read_to_string(home.path("proxy.pem")).unwrap();
    assert!(!certificate.contains("PRIVATE KEY"));
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout tls.key -out tls.pem -days 1 \
                -subj /CN=proxy -addext subjectAltName=DNS:vault.internal 2>/dev/null";
    run(&home, bash, &["-c", make]);
    let given = ["--tls-cert", "tls.pem", "--tls-key", "tls.key", "--host", "vault.internal"];
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &given);
    let port = proxy.addr.port();
    let call = format!(
        "curl -sS --cacert tls.pem --resolve vault.internal:{port}:127.0.0.1 \
         -w '%{{http_code}}' https://vault.internal:{port}/readyz"
    );
    assert!(run(&home, bash, &["-c", &call]).ends_with("200"));
}

#[test]
fn a_relay_of_genuine_evidence_gets_nothing_and_the_way_back_works_by_itself() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let path = Path::to(appliance.addr);
    let proxy = Proxy::start(&home, &path.url(), pin(&claimed), &[]);
    let call = || {
        let body = json!({"name": "stolen", "value": "the value"}).to_string();
        proxy.call("POST", "/v1/secrets", &with_key(&claimed.admin), &body)
    };
    let (man_in_the_middle, seen) = relay(appliance.addr);
    path.lead_to(man_in_the_middle);
    let error = call().error(502, "EVIDENCE_REFUSED");
    assert_eq!(error["details"]["step"], 6, "{error}");
    let text = |field: &str| error["details"][field].as_str().unwrap().to_owned();
    assert!(!text("field").is_empty() && text("got") != text("expected"), "{error}");
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.contains("GET /v1/attestation?nonce="), "the relay saw nothing: {seen}");
    for needle in [&claimed.admin, "uthorization", "the value", "stolen", "POST"] {
        assert!(!seen.contains(needle), "{needle} reached the relay");
    }
    path.lead_to(appliance.addr);
    assert_eq!(call().status, 201);
    let refusal = &proxy.status()["verifications"]["lastRefusal"];
    assert_eq!(refusal["details"], error["details"]);
}

#[test]
fn a_restart_is_verified_anew_and_another_image_or_instance_is_refused() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let path = Path::to(appliance.addr);
    let proxy = Proxy::start(&home, &path.url(), pin(&claimed), &[]);
    let list = || proxy.call("GET", "/v1/secrets", &with_key(&claimed.admin), "");
    assert_eq!(list().status, 200);
    appliance.kill();
    list().error(502, "UPSTREAM_UNREACHABLE");
    let appliance = started(&home);
    path.lead_to(appliance.addr);
    assert_eq!(list().status, 200, "the same instance again");
    appliance.kill();

    let chip = std::fs::read(home.path("chip/chip.json")).unwrap();
    home.relaunch(|settings| settings.guest.measurement.0[0] ^= 1);
    let appliance = started(&home);
    path.lead_to(appliance.addr);
    let error = list().error(502, "EVIDENCE_REFUSED");
    assert_eq!(
        (&error["details"]["step"], &error["details"]["field"]),
        (&json!(8), &json!("MEASUREMENT"))
    );
    appliance.kill();

    std::fs::write(home.path("chip/chip.json"), chip).unwrap();
    let store = std::fs::read(home.store()).unwrap();
    std::fs::remove_file(home.store()).unwrap();
    let appliance = started(&home);
    path.lead_to(appliance.addr);
    assert_eq!(list().error(502, "EVIDENCE_REFUSED")["details"]["step"], 11, "unclaimed");
    let other = appliance.claim();
    let error = list().error(502, "EVIDENCE_REFUSED");
    assert_eq!(error["details"]["step"], 11);
    let told = |field: &str| error["details"][field].as_str().unwrap().to_owned();
    assert!(told("got").contains(pin(&other)) && told("expected").contains(pin(&claimed)));
    appliance.kill();

    std::fs::write(home.store(), store).unwrap();
    let appliance = started(&home);
    path.lead_to(appliance.addr);
    assert_eq!(list().status, 200, "the first instance again");
    let verifications = &proxy.status()["verifications"];
    assert_eq!((&verifications["done"], &verifications["failed"]), (&json!(3), &json!(4)));
}

/// How many requests the instance has answered, but for evidence and metrics.
fn answered(appliance: &Appliance<'_>, owner: &str) -> u64 {
    let metrics = appliance.connect().call("GET", "/metrics", owner, None);
    let text = String::from_utf8(metrics.body).unwrap();
    text.lines()
        .filter(|line| line.starts_with("neo_secrets_http_requests_total{"))
        .filter(|line| !line.contains("\"/metrics\"") && !line.contains("\"/v1/attestation\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn statuses(answers: &str) -> Vec<&str> {
    let lines = answers.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).unwrap_or_default()).collect()
}

#[test]
fn what_could_be_read_as_two_requests_is_refused() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let many = "X: y\r\n".repeat(101);
    let long = "x".repeat(17_000);
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let post = |lines: &str| format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{lines}\r\nx{next}");
    let get = |lines: &str| format!("GET /healthz HTTP/1.1\r\n{lines}\r\n{next}");
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n{next}");
    let cases = [
        ("two lengths", "400", post("Content-Length: 1\r\nContent-Length: 2\r\n")),
        ("a list of lengths", "400", post("Content-Length: 1, 1\r\n")),
        ("a signed length", "400", post("Content-Length: +1\r\n")),
        ("a negative length", "400", post("Content-Length: -1\r\n")),
        ("a hex length", "400", post("Content-Length: 0x1\r\n")),
        ("a huge length", "400", post("Content-Length: 99999999999999999999\r\n")),
        ("no length in a length", "400", post("Content-Length:\r\n")),
        ("a space before the colon", "400", post("Content-Length : 1\r\n")),
        ("a coding before a space", "400", post("Transfer-Encoding : chunked\r\n")),
        ("another coding", "400", post("Transfer-Encoding: xchunked\r\n")),
        ("chunked not last", "400", post("Transfer-Encoding: chunked, identity\r\n")),
        ("chunked twice", "400", post("Transfer-Encoding: chunked, chunked\r\n")),
        ("two codings", "400", post("Transfer-Encoding: gzip, chunked\r\n")),
        ("a vertical tab", "400", post("Transfer-Encoding: \u{b}chunked\r\n")),
        ("a folded line", "400", post("Content-Length: 1\r\n folded: x\r\n")),
        ("a folded coding", "400", post("Transfer-Encoding:\r\n chunked\r\n")),
        ("a bare CR", "400", get("Host: localhost\rX: y\r\n")),
        ("a NUL in a value", "400", get("Host: localhost\r\nX: a\0b\r\n")),
        ("a NUL in a name", "400", get("Host: localhost\r\nX\0: a\r\n")),
        ("a line without a colon", "400", get("Host: localhost\r\nGET / HTTP/1.1\r\n")),
        ("no Host", "400", get("")),
        ("two Hosts", "400", get("Host: localhost\r\nHost: localhost\r\n")),
        ("an odd Host", "400", get("Host: localhost/x\r\n")),
        ("a user in Host", "400", get("Host: localhost@evil.example\r\n")),
        ("an empty Host", "400", get("Host:\r\n")),
        ("an absolute target", "400", line("GET http://localhost/healthz HTTP/1.1")),
        ("another's absolute target", "400", line("GET https://evil.example/ HTTP/1.1")),
        ("a tunnel", "400", line("CONNECT localhost:443 HTTP/1.1")),
        ("a tunnel to a path", "400", line("CONNECT /healthz HTTP/1.1")),
        ("an asterisk", "400", line("OPTIONS * HTTP/1.1")),
        ("no slash", "400", line("GET healthz HTTP/1.1")),
        ("a space in the target", "400", line("GET /healthz x HTTP/1.1")),
        ("a NUL in the target", "400", line("GET /health\0z HTTP/1.1")),
        ("a tab for a space", "400", line("GET\t/healthz HTTP/1.1")),
        ("another version", "400", line("GET /healthz HTTP/1.2")),
        ("no version", "400", line("GET /healthz")),
        (
            "a coding in HTTP/1.0",
            "400",
            format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{next}"),
        ),
        ("many headers", "431", get(&format!("{HOST}{many}"))),
        ("a long header", "431", get(&format!("{HOST}X: {long}\r\n"))),
        ("a long target", "431", line(&format!("GET /{long} HTTP/1.1"))),
    ];
    let before = answered(&appliance, &claimed.owner);
    let mut behind = 0;
    for (what, status, bytes) in &cases {
        let answers = proxy.raw(bytes.as_bytes());
        let (first, rest) =
            statuses(&answers).split_first().map(|(f, r)| (*f, r.to_vec())).unwrap();
        assert_eq!(first, *status, "{what}: {answers}");
        // Behind a head that is whole, and that we refuse ourselves, comes the next request.
        assert!(rest.is_empty() || rest == ["200"], "{what}: {answers}");
        behind += rest.len();
    }
    let seen = answered(&appliance, &claimed.owner) - before;
    assert_eq!(usize::try_from(seen), Ok(behind), "only those behind reached the instance");
    in_step(&proxy, &claimed);
}

#[test]
fn what_could_be_read_in_two_ways_reaches_the_instance_as_one_request() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let next = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let post = |lines: &str, body: &str| {
        format!("POST /v1/secrets HTTP/1.1\r\n{HOST}{lines}\r\n{body}{next}")
    };
    let get =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\n{HOST}{lines}\r\n{next}");
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    let (length, chunked) = ("Content-Length: 4\r\n", "Transfer-Encoding: chunked\r\n");
    let cases: [(&str, &[&str], String); 16] = [
        // The caller has to be told so by the end of its connection.
        ("length, then chunked", &["401"], post(&[length, chunked].concat(), "0\r\n\r\n")),
        ("chunked, then length", &["401"], post(&[chunked, length].concat(), "0\r\n\r\n")),
        ("the same length twice", &["401", "200"], post(&length.repeat(2), "four")),
        ("a length with zeros", &["401", "200"], post("Content-Length: 004\r\n", "four")),
        ("a chunk's extension", &["401", "200"], post(chunked, "1;a=\"b\"\r\nx\r\n0\r\n\r\n")),
        ("trailers", &["401", "200"], post(chunked, "0\r\nContent-Length: 9\r\n\r\n")),
        (
            "a length that is hidden",
            &["401", "200"],
            post(&format!("{length}Connection: content-length, host\r\n"), "four"),
        ),
        (
            "a coding that is hidden",
            &["401", "200"],
            post(&format!("{chunked}Connection: transfer-encoding\r\n"), "0\r\n\r\n"),
        ),
        ("a body of a GET", &["200", "200"], get("/healthz", "Content-Length: 0\r\n")),
        (
            "lines ended by LF",
            &["200", "200"],
            format!("GET /healthz HTTP/1.1\nHost: localhost\n\n{next}"),
        ),
        ("an empty line before", &["200", "200"], format!("\r\n{}", get("/healthz", ""))),
        (
            "a line end in the query",
            &["404", "200"],
            get("/x?a=%0d%0aX:%20y%0d%0a%0d%0aGET%20/", ""),
        ),
        ("two slashes", &["404", "200"], get("//evil.example/healthz", "")),
        ("a fragment", &["200", "200"], get("/healthz#/v1/secrets", "")),
        ("a websocket", &["200", "200"], get("/healthz", websocket)),
        ("another protocol", &["200", "200"], get("/healthz", h2c)),
    ];
    for (what, expected, bytes) in &cases {
        let before = answered(&appliance, &claimed.owner);
        let answers = proxy.raw(bytes.as_bytes());
        assert_eq!(statuses(&answers), *expected, "{what}: {answers}");
        let seen = answered(&appliance, &claimed.owner) - before;
        assert_eq!(usize::try_from(seen), Ok(expected.len()), "{what}");
    }
    in_step(&proxy, &claimed);
}

#[test]
fn a_body_that_breaks_off_is_no_request() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let secret = json!({"name": "cut", "value": "x"}).to_string();
    let chunk = format!("{:x}\r\n{secret}\r\n", secret.len());
    let chunked = |body: &str| {
        let head = format!("POST /v1/secrets HTTP/1.1\r\n{}", with_key(&claimed.admin));
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}")
    };
    for (what, body) in [
        ("no number", format!("{chunk}zz\r\n")),
        ("a signed number", format!("{chunk}+0\r\n\r\n")),
        ("a number too large", format!("{chunk}fffffffffffffffff\r\n")),
        ("a chunk longer than it says", format!("1\r\n{secret}\r\n0\r\n\r\n")),
        ("a chunk's line ended by LF", format!("{chunk}0\n\n")),
        ("a bare CR after a chunk", format!("{:x}\r\n{secret}\rx0\r\n\r\n", secret.len())),
        ("no colon in a trailer", format!("{chunk}0\r\ntrailer\r\n\r\n")),
    ] {
        let answers = proxy.raw(chunked(&body).as_bytes());
        assert!(matches!(statuses(&answers)[..], [] | ["400"]), "{what}: {answers}");
    }
    // The caller is gone before the end.
    for body in [chunk.as_str(), &chunk[..9]] {
        proxy.connect().write_all(chunked(body).as_bytes()).unwrap();
    }
    let short = format!("Content-Length: {}\r\n", secret.len() + 1);
    let short =
        format!("POST /v1/secrets HTTP/1.1\r\n{}{short}\r\n{secret}", with_key(&claimed.admin));
    proxy.connect().write_all(short.as_bytes()).unwrap();
    in_step(&proxy, &claimed);
    let list = proxy.call("GET", "/v1/secrets", &with_key(&claimed.admin), "").json();
    assert_eq!(list["pagination"]["total"], 0, "{list}");
}

/// Each answer is the one to its own request.
#[track_caller]
fn in_step(proxy: &Proxy, claimed: &Claimed) {
    for number in 0..100 {
        let id = format!("in-step-{number}");
        let headers = format!("{}X-Request-ID: {id}\r\n", with_key(&claimed.admin));
        let answer = proxy.call("GET", "/v1/secrets", &headers, "");
        assert_eq!((answer.status, answer.header("x-request-id")), (200, Some(id.as_str())));
    }
}

#[test]
fn a_web_page_cannot_use_it() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let before = answered(&appliance, &claimed.owner);
    let key = format!("Authorization: Bearer {}\r\n", claimed.admin);
    let port = proxy.addr.port();
    for headers in [
        // After a rebinding, the browser believes that the page's own name leads here.
        format!("Host: evil.example:{port}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"),
        "Host: evil.example\r\n".to_owned(),
        format!("{HOST}Origin: http://evil.example\r\n"),
        format!("{HOST}Origin: http://localhost:3000\r\n"),
        format!("{HOST}Origin: null\r\n"),
        format!("{HOST}Sec-Fetch-Site: cross-site\r\n"),
        format!("{HOST}Sec-Fetch-Site: same-site\r\n"),
    ] {
        for (method, target) in [
            ("GET", "/v1/secrets"),
            ("POST", "/v1/secrets"),
            ("OPTIONS", "/v1/secrets"),
            ("GET", "/_proxy/status"),
        ] {
            let answer = proxy.call(method, target, &format!("{headers}{key}"), "");
            answer.error(403, "FORBIDDEN");
            let cors = answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
            assert!(!cors, "{headers}");
        }
    }
    assert_eq!(answered(&appliance, &claimed.owner), before, "nothing reached the instance");
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n{key}");
    assert_eq!(proxy.call("GET", "/v1/secrets", &own, "").status, 200);
}

#[test]
fn its_own_paths_stay_here_and_the_status_shows_no_key() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &["--verbose"]);
    let body = json!({"name": "seen-name", "value": "seen-value"}).to_string();
    let made = proxy.call("POST", "/v1/secrets", &with_key(&claimed.admin), &body);
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let get = |target: &str| proxy.call("GET", target, &with_key(&claimed.admin), "");
    assert_eq!(get(&format!("/v1/secrets/{id}?x=seen-query")).status, 400);
    assert_eq!(get("/v1/secrets/seen-name").status, 404);
    let before = answered(&appliance, &claimed.owner);
    for path in ["/_proxy", "/_proxy/", "/_proxy/x", "/_proxy/status/"] {
        get(path).error(404, "NOT_FOUND");
    }
    proxy.call("POST", "/_proxy/status", HOST, "").error(405, "METHOD_NOT_ALLOWED");
    assert_eq!(answered(&appliance, &claimed.owner), before);
    let status = proxy.status();
    for (field, expected) in [
        ("url", json!(appliance.url())),
        ("instanceKey", json!(pin(&claimed))),
        ("simulated", json!(true)),
        ("connections", json!({"open": 1, "idle": 1, "max": 64, "requestsWaiting": 0})),
    ] {
        assert_eq!(status[field], expected, "{status}");
    }
    let verified = &status["verifications"];
    assert_eq!((&verified["done"], &verified["failed"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&verified["last"]["product"], &verified["lastRefusal"]),
        (&json!("Genoa"), &json!(null))
    );
    let log = log_of(&home);
    assert!(log.contains("SIMULATED"), "{log}");
    for line in ["POST /v1/secrets 201 ", "GET /v1/secrets/* 404 ", "GET /_proxy/* 404 "] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    for secret in [&claimed.admin[..], &id, "seen-name", "seen-value", "seen-query", "neo_"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
        assert!(!status.to_string().contains(secret), "{secret} is in {status}");
    }
}

#[test]
fn it_listens_to_the_network_only_with_tls_or_by_name_and_starts_only_with_a_pin() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let url = appliance.url();
    let files = ["--reference", "client/reference.json", "--policy", "client/policy.json"];
    let root = ["--trust-simulated", "client/simulated-root.der", "--url", &url];
    let run = |options: &[&str]| {
        home.cli(&[&["proxy", "--listen", "0.0.0.0:0"], &files[..], &root, options].concat(), "")
    };
    let pinned = ["--pin", pin(&claimed)];
    run(&pinned).says(2, &["in the clear", "--plain-http-on-network", "--tls"]);
    run(&[]).says(2, &["no instance key is pinned"]);
    run(&["--tls", "--pin", pin(&claimed)]).says(2, &["--write-cert"]);
    run(&["--tls-cert", "a", "--pin", pin(&claimed)]).says(2, &["--tls-key"]);
    let other = data_encoding::BASE64.encode(&[5; 32]);
    let network = "--plain-http-on-network";
    run(&[network, "--pin", &other]).says(3, &["step 11", &other]);
    let (relay, _) = relay(appliance.addr);
    let relay = format!("https://localhost:{}", relay.port());
    let relayed = ["proxy", "--listen", "127.0.0.1:0", "--url", &relay];
    home.cli(&[&relayed, &files[..], &root[..2], &pinned].concat(), "").says(3, &["step 6"]);
    let proxy = Proxy::start(&home, &url, pin(&claimed), &[]);
    let taken = proxy.addr.to_string();
    let second = ["proxy", "--listen", &taken, "--url", &url];
    home.cli(&[&second, &files[..], &root[..2], &pinned].concat(), "").says(1, &[&taken]);
}

#[test]
fn sigterm_lets_a_running_request_end() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    let body = json!({"name": "late", "value": "x"}).to_string();
    let (mut running, addr) = (proxy.connect(), proxy.addr);
    let length = format!("Content-Length: {}\r\n", body.len());
    let expect = "Expect: 100-continue\r\n";
    let head = format!("POST /v1/secrets HTTP/1.1\r\n{}", with_key(&claimed.admin));
    running.write_all(format!("{head}{length}{expect}\r\n").as_bytes()).unwrap();
    let mut asked = [0; 25];
    running.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    let ended = std::thread::spawn(move || proxy.terminate());
    // It takes no new connections from the signal on.
    while TcpStream::connect(addr).is_ok() {}
    running.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    let answer = parse(&answer);
    assert_eq!((answer.status, answer.header("connection")), (201, Some("close")));
    assert!(ended.join().unwrap().success());
}

#[test]
fn many_callers_lose_no_write_and_none_is_done_twice() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let proxy = Proxy::start(&home, &appliance.url(), pin(&claimed), &[]);
    std::thread::scope(|scope| {
        for caller in 0..80 {
            let (proxy, key) = (&proxy, &claimed.admin);
            scope.spawn(move || {
                for number in 0..10 {
                    let body = json!({"name": format!("n-{caller}-{number}"), "value": "x"});
                    let made = proxy.call("POST", "/v1/secrets", &with_key(key), &body.to_string());
                    assert_eq!(made.status, 201);
                }
            });
        }
    });
    let list = proxy.call("GET", "/v1/secrets", &with_key(&claimed.admin), "").json();
    assert_eq!(list["pagination"]["total"], 800);
    let status = proxy.status();
    assert!(status["connections"]["open"].as_u64().unwrap() <= 64, "{status}");
    assert_eq!(status["verifications"]["failed"], 0);
}
