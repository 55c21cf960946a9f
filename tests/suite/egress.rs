//! What a function's code fetches from a simulated instance, whose network has two hosts.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::{Value, json};
use snp_simulator::Product;

const VALUE: &str = "sk_live_needle_0123456789";

/// What the hosts were sent.
type Seen = Arc<Mutex<Vec<String>>>;

/// An authority that certifies itself and, with the same key, one host.
fn authority() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let certificate = certificate(&key, None);
    (key, certificate)
}

fn certificate(key: &PKey<Private>, host: Option<&str>) -> X509 {
    let name = |text: &str| {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap();
        name.build()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if host.is_some() { 2 } else { 1 }).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&name(host.unwrap_or("authority"))).unwrap();
    builder.set_issuer_name(&name("authority")).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::from_str_x509("20250101000000Z").unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_str_x509("20491231235959Z").unwrap()).unwrap();
    let extension = match host {
        None => BasicConstraints::new().critical().ca().build().unwrap(),
        Some(host) => {
            let context = builder.x509v3_context(None, None);
            SubjectAlternativeName::new().dns(host).build(&context).unwrap()
        }
    };
    builder.append_extension(extension).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// A host that answers with what it was sent, or redirects; it ends with the test's process.
fn echo(key: &PKey<Private>, host: &str) -> (std::net::SocketAddr, Seen) {
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls()).unwrap();
    acceptor.set_private_key(key).unwrap();
    acceptor.set_certificate(&certificate(key, Some(host))).unwrap();
    let (acceptor, listener) = (acceptor.build(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let log = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                request.push(byte[0]);
            }
            if !request.ends_with(b"\r\n\r\n") {
                continue; // a connection on which nothing was sent
            }
            let request = String::from_utf8(request).unwrap();
            let head = match request.starts_with("GET /redirect ") {
                true => "302 Found\r\nLocation: https://evil.example/",
                false => "200 OK",
            };
            let length = request.len();
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{request}");
            log.lock().unwrap().push(request);
            // A client that has gone is that client's affair.
            let _gone = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            let _gone = stream.shutdown();
        }
    });
    (address, seen)
}

const CODE: &str = "async function main({ secrets }) {
  const ref = secrets.ref('api-key');
  const tried = async (url, init) => {
    try { const r = await fetch(url, init); return `${r.status} ${await r.text()}`; }
    catch (error) { return `${error.name}: ${error.message}`; }
  };
  return {
    used: await tried('https://api.example.com/used', { headers: { 'X-Api-Key': ref } }),
    plain: await tried('https://api.example.com/plain'),
    header: await tried('https://api.example.com/', { headers: { Authorization: `Bearer ${ref}` } }),
    host: await tried('https://other.example.com/', { headers: { 'X-Api-Key': ref } }),
    url: await tried(`https://api.example.com/?key=${ref}`),
    body: await tried('https://api.example.com/', { method: 'POST', body: ref }),
    redirect: await tried('https://api.example.com/redirect'),
    secretRedirect: await tried('https://api.example.com/redirect', { headers: { 'X-Api-Key': ref } }),
    unlisted: await tried('https://evil.example/'),
    http: await tried('http://api.example.com/'),
    address: await tried('https://0x7f.1/'),
    port: await tried('https://api.example.com:8443/'),
    get: await secrets.get('api-key').catch((error) => error.name),
  };
}";

#[test]
fn code_fetches_what_it_may_and_sends_a_value_that_it_never_sees() {
    let home = Home::new(&chip(Product::Genoa), CONFIG);
    let (key, root) = authority();
    let (api, seen_by_api) = echo(&key, "api.example.com");
    let (other, seen_by_other) = echo(&key, "other.example.com");
    let network = home.path("chip/network");
    std::fs::create_dir(&network).unwrap();
    let hosts = format!("api.example.com {api}\nother.example.com {other}\n");
    std::fs::write(network.join("hosts"), hosts).unwrap();
    std::fs::write(network.join("roots.pem"), root.to_pem().unwrap()).unwrap();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let mut connection = appliance.connect();
    let mut call = |method: &str, path: &str, body: Option<Value>| {
        let answer = connection.call(method, path, &admin, body.as_ref());
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.json());
        answer.json()
    };
    let secret = json!({"name": "api-key", "value": VALUE, "useOnly": true,
        "allowedHosts": ["api.example.com"], "allowedHeader": "X-Api-Key"});
    call("POST", "/v1/secrets", Some(secret));
    let function = json!({"name": "f", "code": CODE, "secrets": ["api-key"],
        "egress": ["api.example.com", "other.example.com"]});
    let function = call("POST", "/v1/functions", Some(function));
    let path = format!("/v1/functions/{}/invoke", function["id"].as_str().unwrap());
    let invoked = call("POST", &path, Some(json!({})));
    assert!(!invoked.to_string().contains("needle"), "{invoked}");

    let result = |field: &str| invoked["result"][field].as_str().unwrap().to_owned();
    assert!(result("used").starts_with("200 GET /used HTTP/1.1\r\n"), "{invoked}");
    assert!(result("used").contains("x-api-key: ***\r\n"), "{invoked}");
    assert!(result("plain").starts_with("200 GET /plain "), "{invoked}");
    let evil = "evil.example is not in the function's egress list";
    for (field, expected) in [
        ("header", "the secret \"api-key\" may not be sent in this header"),
        ("host", "the secret \"api-key\" may not be sent to this host"),
        ("unlisted", evil),
        ("http", "only https:// URLs can be fetched"),
        ("address", "a URL to fetch has a host's name, no address"),
        ("port", "only port 443 can be reached, not 8443"),
    ] {
        assert_eq!(result(field), format!("TypeError: {expected}"), "{field}");
    }
    for field in ["url", "body"] {
        assert!(
            result(field)
                .ends_with(&format!("not in the {}", if field == "url" { "URL" } else { field }))
        );
    }
    assert!(result("redirect").ends_with(evil), "{invoked}");
    assert!(result("secretRedirect").ends_with("a use-only secret does not follow"), "{invoked}");
    assert_eq!(result("get"), "SecretAccessDenied");

    let seen = seen_by_api.lock().unwrap();
    let with_value = seen.iter().filter(|text| text.contains(&format!("x-api-key: {VALUE}\r\n")));
    assert_eq!((with_value.count(), seen.len()), (2, 4), "{seen:?}");
    assert_eq!(*seen_by_other.lock().unwrap(), [""; 0]);
    drop(seen);

    let events = call("GET", "/v1/audit-log?action=secret.use", None);
    let objects: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|it| &it["object"]).collect();
    assert_eq!(objects.len(), 2, "{events}");
    assert!(objects.iter().all(|it| it["name"] == "api-key" && it["host"] == "api.example.com"));
    assert!(!home.log().contains("needle"));
}
