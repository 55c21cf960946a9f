//! `neo-secrets proxy`, as programs that know nothing of evidence use it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use neo_secrets_tests::appliance::{Appliance, Claimed, Home};
use neo_secrets_tests::proxy::{Path, Proxy, log_of, parse};
use serde_json::json;

use crate::evidence::relay;

pub(crate) const HOST: &str = "Host: localhost\r\n";

/// Starts an instance in this home, claims it, and leaves what a client needs.
pub(crate) fn start(home: &Home) -> (Appliance<'_>, Claimed) {
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

pub(crate) fn pin(claimed: &Claimed) -> &str {
    claimed.answer["instanceKey"].as_str().unwrap()
}

/// The headers of a call with this key.
pub(crate) fn with_key(key: &str) -> String {
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
fn a_restart_is_verified_anew_and_another_image_or_instance_is_refused() {
    let home = Home::usual();
    let (appliance, claimed) = start(&home);
    let path = Path::to(appliance.addr);
    let proxy = Proxy::start(&home, &path.url(), pin(&claimed), &[]);
    let list = || proxy.call("GET", "/v1/secrets", &with_key(&claimed.admin), "");
    assert_eq!(list().status, 200);
    appliance.kill();
    // The proxy may not have seen yet that its connection is gone: then it does not try another one.
    let first = list();
    assert_eq!(first.status, 502);
    let tried = usize::from(first.json()["error"]["code"] == "UPSTREAM_UNREACHABLE");
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
    assert_eq!((&verifications["done"], &verifications["failed"]), (&json!(3), &json!(4 + tried)));
}

/// How many requests the instance has answered, but for evidence and metrics.
pub(crate) fn answered(appliance: &Appliance<'_>, owner: &str) -> u64 {
    let metrics = appliance.connect().call("GET", "/metrics", owner, None);
    let text = String::from_utf8(metrics.body).unwrap();
    text.lines()
        .filter(|line| line.starts_with("neo_secrets_http_requests_total{"))
        .filter(|line| !line.contains("\"/metrics\"") && !line.contains("\"/v1/attestation\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
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
