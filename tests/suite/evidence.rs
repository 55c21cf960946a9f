//! Evidence as a client meets it: what is accepted, and each thing that is refused, by step and by
//! name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use neo_secrets_attestation::appraise::{Channel, EvidenceError, Freshness, verify};
use neo_secrets_attestation::binding::{Exporter, Nonce, Role};
use neo_secrets_attestation::evidence::Document;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{CrlRule, CspIdRule, Rules};
use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::Connection;
use openssl::pkey::PKey;
use serde_json::json;
use snp_simulator::Product;

fn unix_now() -> UnixTime {
    let seconds = time::OffsetDateTime::now_utc().unix_timestamp();
    UnixTime::from_seconds(seconds.try_into().unwrap()).unwrap()
}

fn home() -> Home {
    let home = Home::usual();
    home.write_client_files();
    home
}

#[test]
fn genuine_evidence_is_accepted_and_called_simulated() {
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let home = Home::new(&chip(product), CONFIG);
        home.write_client_files();
        let appliance = home.start();
        let outcome = home.verify(&appliance.url(), &[]);
        outcome.says(0, &["SIMULATED"]);
        let outcome = home.verify(&appliance.url(), &["--json"]);
        assert_eq!(outcome.says(0, &[]).json()["simulated"], true);
        let explained = home.verify(&appliance.url(), &["--explain"]);
        explained.says(0, &["SIMULATED"]);
        for step in 1..=11 {
            explained.says(0, &[&format!("step {step:>2}  holds")]);
        }
    }
}

#[test]
fn amds_roots_are_refused_beside_a_simulated_one_and_the_other_way_round() {
    let home = home();
    let appliance = home.start();
    let files = ["--reference", "client/reference.json", "--policy", "client/policy.json"];
    let url = appliance.url();
    home.cli(&[&["verify", url.as_str()], &files[..]].concat(), "").says(3, &["step 2"]);
    let vectors = std::env::var("NEO_SECRETS_VECTORS")
        .map_or_else(|_| std::path::Path::new("../../shared/vectors").to_owned(), Into::into);
    let amd = vectors.join("amd-ca/genoa/ark.der");
    if !amd.exists() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: AMD's own root as a simulated one: no vectors at {}",
            vectors.display()
        );
        return;
    }
    std::fs::copy(amd, home.path("client/simulated-root.der")).unwrap();
    home.verify(&url, &[]).says(1, &["AMD's own root"]);
}

/// Relays HTTP over its own TLS, as a man in the middle does who has no key of the appliance's.
pub(crate) fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    use openssl::ssl::{SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
    let key = PKey::from_ec_key(
        openssl::ec::EcKey::generate(
            &openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap(),
        )
        .unwrap(),
    )
    .unwrap();
    let mut certificate = openssl::x509::X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_pubkey(&key).unwrap();
    let days = |n| openssl::asn1::Asn1Time::days_from_now(n).unwrap();
    certificate.set_not_before(&days(0)).unwrap();
    certificate.set_not_after(&days(1)).unwrap();
    certificate.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let mut acceptor = SslAcceptor::mozilla_modern_v5(SslMethod::tls_server()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate.build()).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = acceptor.accept(client.unwrap()) else { continue };
            let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
            connector.set_verify(SslVerifyMode::NONE);
            let server = TcpStream::connect(to).unwrap();
            let mut server = connector.build().connect("localhost", server).unwrap();
            let mut chunk = [0; 65536];
            while let Ok(n @ 1..) = client.read(&mut chunk) {
                log.lock().unwrap().extend_from_slice(&chunk[..n]);
                server.write_all(&chunk[..n]).unwrap();
                let mut answer = Vec::new();
                while !complete(&answer) {
                    let n = server.read(&mut chunk).unwrap();
                    answer.extend_from_slice(&chunk[..n]);
                }
                if client.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (addr, seen)
}

fn complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

#[test]
fn a_relay_of_genuine_evidence_is_refused_and_learns_no_key() {
    let home = home();
    let appliance = home.start();
    let claimed = appliance.claim();
    std::fs::write(home.path("admin.key"), &claimed.admin).unwrap();
    let (relay, seen) = relay(appliance.addr);
    let url = format!("https://localhost:{}", relay.port());
    home.verify(&url, &[]).says(3, &["step 6"]);
    let instance_key = claimed.answer["instanceKey"].as_str().unwrap();
    let outcome = home.cli(
        &[
            "secrets",
            "create",
            "stolen",
            "--url",
            &url,
            "--key-file",
            "admin.key",
            "--pin",
            instance_key,
            "--reference",
            "client/reference.json",
            "--policy",
            "client/policy.json",
            "--trust-simulated",
            "client/simulated-root.der",
        ],
        "the value",
    );
    outcome.says(3, &["step 6"]);
    let seen = String::from_utf8_lossy(&seen.lock().unwrap()).into_owned();
    assert!(seen.contains("GET /v1/attestation?nonce="), "the relay saw nothing: {seen}");
    for needle in [&claimed.admin, "uthorization", "the value", "stolen", "POST"] {
        assert!(!seen.contains(needle), "{needle} reached the relay");
    }
}

/// A document that was made for this nonce and connection, and how it must be looked at.
fn evidence(home: &Home, appliance: &Appliance<'_>) -> (Vec<u8>, Nonce, Channel, Rules) {
    let mut connection = appliance.connect();
    let nonce = Nonce::new(&[9; 32]).unwrap();
    let answer = connection.call("GET", &format!("/v1/attestation?nonce={nonce}"), "", None);
    assert_eq!(answer.status, 200);
    let channel =
        Channel { exporter: Exporter(connection.exporter()), tls_spki_sha256: spki(&connection) };
    let root = std::fs::read(home.path("client/simulated-root.der")).unwrap();
    let rules = Rules {
        roots: Roots::simulated(&root).unwrap(),
        crl: CrlRule::Required,
        csp_ids: CspIdRule::Listed(Vec::new()),
    };
    (answer.body, nonce, channel, rules)
}

fn spki(connection: &Connection) -> [u8; 32] {
    let certificate = openssl::x509::X509::from_pem(&connection.peer_certificate_pem()).unwrap();
    openssl::sha::sha256(&certificate.public_key().unwrap().public_key_to_der().unwrap())
}

#[test]
fn evidence_is_for_its_nonce_connection_and_role_only() {
    let home = home();
    let appliance = home.start();
    let (body, nonce, channel, rules) = evidence(&home, &appliance);
    let now = unix_now();
    let check = |role, nonce: &Nonce, channel: &Channel| {
        let document = Document::parse(&body).unwrap();
        verify(document, &Freshness { role, nonce, channel }, &rules, now).map(|_| ())
    };
    assert_eq!(check(Role::Evidence, &nonce, &channel), Ok(()));
    let refused = |result| matches!(result, Err(EvidenceError::ReportData { .. }));
    for role in [Role::HandoverOld, Role::HandoverSuccessor] {
        assert!(refused(check(role, &nonce, &channel)));
    }
    assert!(refused(check(Role::Evidence, &Nonce::new(&[8; 32]).unwrap(), &channel)));
    let elsewhere = Exporter(appliance.connect().exporter());
    assert!(refused(check(Role::Evidence, &nonce, &Channel { exporter: elsewhere, ..channel })));
    let other = Channel { tls_spki_sha256: [1; 32], ..channel };
    assert!(matches!(check(Role::Evidence, &nonce, &other), Err(EvidenceError::TlsKey { .. })));
}

#[test]
fn one_report_answers_all_who_wait() {
    let mut chip = chip(Product::Genoa);
    chip.settings.rate.requests_per_second = 4;
    chip.settings.rate.burst = 4;
    let home = Home::new(&chip, CONFIG);
    home.write_client_files();
    let appliance = home.start();
    let now = unix_now();
    let reports: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                scope.spawn(|| {
                    let (body, nonce, channel, rules) = evidence(&home, &appliance);
                    let document = Document::parse(&body).unwrap();
                    let report = document.report.clone();
                    let role = Role::Evidence;
                    let freshness = Freshness { role, nonce: &nonce, channel: &channel };
                    verify(document, &freshness, &rules, now).unwrap();
                    report
                })
            })
            .collect();
        tasks.into_iter().map(|task| task.join().unwrap()).collect()
    });
    let mut distinct = reports;
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() < 40, "40 callers took {} reports", distinct.len());
}

#[test]
fn a_bad_nonce_is_named() {
    let home = Home::usual();
    let appliance = home.start();
    let mut c = appliance.connect();
    let long = "A".repeat(87);
    for query in [
        "",
        "?nonce=",
        "?nonce=AAAA",
        "?nonce=a+b/",
        "?nonce=AAAAAAAAAAAAAAAAAAAAAA==",
        &format!("?nonce={long}"),
    ] {
        c.call("GET", &format!("/v1/attestation{query}"), "", None).invalid("nonce");
    }
    let good = data_encoding::BASE64URL_NOPAD.encode(&[1; 16]);
    let odd = format!("/v1/attestation?nonce={good}&report_data=x");
    c.call("GET", &odd, "", None).invalid("report_data");
}

#[test]
fn what_the_chip_says_is_refused_by_step_and_name() {
    type Change = fn(&mut snp_simulator::Settings);
    let cases: [(&str, &[&str], Change); 9] = [
        ("debug", &["step 7", "DEBUG"], |s| s.guest.policy.0 |= 1 << 19),
        ("migration", &["step 7", "MIGRATE_MA"], |s| s.guest.policy.0 |= 1 << 18),
        ("vmpl", &["step 7", "VMPL"], |s| s.guest.vmpl = 1),
        ("measurement", &["step 8", "MEASUREMENT"], |s| s.guest.measurement.0[0] ^= 1),
        ("reported", &["step 9", "REPORTED_TCB"], |s| s.tcb.reported.snp = 0),
        ("committed", &["step 9", "COMMITTED_TCB"], |s| s.tcb.committed.snp = 0),
        ("launch", &["step 9", "LAUNCH_TCB"], |s| s.tcb.launch.snp = 0),
        ("alias", &["step 9", "ALIAS_CHECK"], |s| s.platform_info.0 &= !(1 << 5)),
        ("vlek", &["step 5", "cspID"], |s| {
            s.signer = snp_simulator::settings::Signer::Vlek;
            s.csp_id = "CN=cc-simulated.example".to_owned();
        }),
    ];
    let home = home();
    let original = std::fs::read(home.path("chip/chip.json")).unwrap();
    for (what, words, change) in cases {
        std::fs::write(home.path("chip/chip.json"), &original).unwrap();
        home.relaunch(change);
        let appliance = home.start();
        println!("{what}");
        home.verify(&appliance.url(), &["--explain"]).says(3, words);
    }
}

#[test]
fn what_the_owner_asks_is_refused_by_step_and_name() {
    let home = home();
    let appliance = home.start();
    appliance.claim();
    let url = appliance.url();
    let file = |name: &str| home.path("client").join(name);
    let (policy, reference) = (
        std::fs::read(file("policy.json")).unwrap(),
        std::fs::read(file("reference.json")).unwrap(),
    );
    let refused = |options: &[&str], words: &[&str]| {
        home.verify(&url, options).says(3, words);
        std::fs::write(file("policy.json"), &policy).unwrap();
        std::fs::write(file("reference.json"), &reference).unwrap();
    };
    home.edit("policy.json", |p| p["expires"] = json!("2020-01-01T00:00:00Z"));
    refused(&[], &["step 10", "2020-01-01T00:00:00Z"]);
    home.edit("policy.json", |p| p["products"][0]["deniedChips"] = json!([chip_id(&home)]));
    refused(&[], &["step 10", &chip_id(&home)]);
    home.edit("policy.json", |p| p["products"][0]["chips"] = json!(["ab".repeat(64)]));
    refused(&[], &["step 10"]);
    home.edit("policy.json", |p| p["products"][0]["product"] = json!("Milan"));
    home.verify(&url, &[]).says(1, &["policy.json", "products[0].chips", "Milan"]);
    std::fs::write(file("policy.json"), &policy).unwrap();
    home.edit("policy.json", |p| p["config"]["reveal"] = json!("by-permission"));
    refused(&[], &["step 8", "reveal", "off", "by-permission"]);
    home.edit("policy.json", |p| p["abiMin"] = json!("9.0"));
    refused(&[], &["step 7", "9.0"]);
    let other = data_encoding::BASE64.encode(&[5; 32]);
    home.edit("policy.json", |p| p["instanceKeys"] = json!([other]));
    refused(&[], &["step 11"]);
    refused(&["--pin", &other], &["step 11", &other]);
    home.edit("reference.json", |r| r["hostData"] = json!("11".repeat(32)));
    refused(&[], &["step 8", "HOST_DATA"]);
    home.edit("reference.json", |r| r["measurements"][0]["covers"] = json!("firmware"));
    refused(&[], &["FIRMWARE ONLY, IMAGE NOT PROVEN"]);
    home.edit("reference.json", |r| r["measurements"][0]["covers"] = json!("firmware"));
    home.verify(&url, &["--accept-firmware-only"]).says(0, &["FIRMWARE ONLY, IMAGE NOT PROVEN"]);
}

fn chip_id(home: &Home) -> String {
    let settings = std::fs::read(home.path("chip/chip.json")).unwrap();
    let settings = snp_simulator::Settings::parse(&settings).unwrap();
    data_encoding::HEXLOWER.encode(&settings.chip_id.0)
}
