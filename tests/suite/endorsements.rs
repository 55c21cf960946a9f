//! Certificates and CRLs that are brought to a machine: only what verifies is kept, and what is
//! kept goes with the next evidence.

use std::os::unix::fs::MetadataExt;
use std::thread;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::Answer;
use openssl::x509::X509;
use serde_json::{Value, json};
use snp_simulator::settings::{ReportVersion, Signer};
use snp_simulator::vendor::{Vendor, VendorKeys};
use snp_simulator::x509::CrlDraft;
use snp_simulator::{Chip, Product, Tcb};
use time::{Duration, OffsetDateTime};

/// A chip's certificates, and what can be forged with its vendor's keys.
struct Pki {
    chip: Chip,
    now: OffsetDateTime,
}

impl Pki {
    fn of(home: &Home) -> Pki {
        let now = OffsetDateTime::now_utc();
        Pki { chip: Chip::open(&home.path("chip"), now).unwrap(), now }
    }

    fn vendor(&self) -> &Vendor {
        self.chip.vendor()
    }

    /// A leaf of this chip for a TCB, by the key of another.
    fn vek(&self, certified: Tcb, key_of: Tcb, now: OffsetDateTime) -> Vec<u8> {
        let (kind, vendor) = (self.chip.leaf_kind(), self.vendor());
        let key = self.chip.signing_key(key_of).unwrap();
        let draft = vendor.leaf_draft(&kind, &key, certified, now).unwrap();
        draft.sign(vendor.issuer_key(&kind)).unwrap()
    }

    fn good_vek(&self) -> Vec<u8> {
        let reported = self.chip.settings.tcb.reported;
        self.vek(reported, reported, self.now)
    }

    fn chain(&self, vek: &[u8]) -> Value {
        let (ask, ark) = (self.vendor().ask(), self.vendor().ark());
        json!({"vek": b64(vek), "ask": b64(ask), "ark": b64(ark)})
    }

    /// A CRL that was made so many minutes ago.
    fn crl(&self, minutes: i64, change: impl FnOnce(&mut CrlDraft)) -> Vec<u8> {
        let mut draft = self.vendor().crl_draft(self.now).unwrap();
        draft.this_update = self.now - Duration::minutes(minutes);
        change(&mut draft);
        draft.sign(self.vendor().ark_key()).unwrap()
    }
}

fn b64(der: &[u8]) -> String {
    BASE64.encode(der)
}

fn put(appliance: &Appliance<'_>, what: &str, body: &Value) -> Answer {
    appliance.connect().call("PUT", &format!("/v1/attestation/{what}"), "", Some(body))
}

fn put_crl(appliance: &Appliance<'_>, der: &[u8]) -> Answer {
    put(appliance, "crl", &json!({"crl": b64(der)}))
}

fn evidence(appliance: &Appliance<'_>) -> Answer {
    let target = format!("/v1/attestation?nonce={}", BASE64URL_NOPAD.encode(&[7; 32]));
    appliance.connect().call("GET", &target, "", None)
}

#[track_caller]
fn accepted(answer: &Answer, message: &str) {
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    assert_eq!((&body["success"], &body["message"]), (&json!(true), &json!(message)));
}

/// The upload is refused for this field and with these words.
#[track_caller]
fn refused(answer: &Answer, field: &str, words: &str) {
    let error = answer.invalid(field);
    assert!(error["details"]["issue"].as_str().unwrap().contains(words), "{error}");
}

/// A machine whose host hands over no certificates.
fn bare(config: &str) -> Home {
    let home = Home::new(&chip(Product::Genoa), config);
    home.relaunch(|settings| settings.host_certificates = false);
    home
}

#[test]
fn a_machine_without_certificates_gets_them_and_is_claimed() {
    let home = bare(CONFIG);
    home.write_client_files();
    let pki = Pki::of(&home);
    let appliance = home.start();
    assert!(appliance.state().contains("unclaimed"));
    let answer = evidence(&appliance).error(503, "SERVICE_UNAVAILABLE");
    assert!(answer["message"].as_str().unwrap().contains("certificates are missing"), "{answer}");
    // The report by itself says which certificates it needs.
    let report = appliance.connect().call("GET", "/v1/attestation/report", "", None).json();
    let report = BASE64.decode(report["report"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(report[0x1A0..0x1E0], pki.chip.settings.chip_id.padded());

    let crl = pki.crl(1, |_| ());
    refused(&put_crl(&appliance, &crl), "crl", "send the certificates first");
    let chain = pki.chain(&pki.good_vek());
    accepted(&put(&appliance, "certificates", &chain), "Certificates accepted");
    home.verify(&appliance.url(), &[]).says(3, &["CRL", "none"]);
    accepted(&put_crl(&appliance, &crl), "CRL accepted");
    home.verify(&appliance.url(), &[]).says(0, &["SIMULATED", "unclaimed"]);
    let claimed = appliance.claim();
    let body = json!({"name": "a", "value": "x"});
    let made = appliance.connect().call("POST", "/v1/secrets", &claimed.admin, Some(&body));
    assert_eq!(made.status, 201);

    // What was answered is on the disk.
    appliance.kill();
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    let certificates = evidence(&appliance).json()["certificates"].clone();
    for name in ["vek", "ask", "ark"] {
        assert_eq!(certificates[name], chain[name]);
    }
    assert_eq!(certificates["crl"], b64(&crl));
    assert!(appliance.terminate().success());
    let folder = std::fs::read_dir(home.path("data/endorsements")).unwrap();
    let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["certificates.pem", "crl.der"]);
}

#[test]
fn a_chain_that_does_not_certify_this_machine_is_refused_by_field() {
    let home = Home::usual();
    let pki = Pki::of(&home);
    let appliance = home.start();
    appliance.claim();
    let put = |body: &Value| put(&appliance, "certificates", body);
    let good = pki.chain(&pki.good_vek());
    accepted(&put(&good), "Certificates accepted");
    let kept = std::fs::read(home.path("data/endorsements/certificates.pem")).unwrap();
    let with = |field: &str, der: &[u8]| {
        let mut body = good.clone();
        body[field] = json!(b64(der));
        body
    };

    for field in ["vek", "ask", "ark"] {
        refused(&put(&with(field, b"")), field, "must be DER in base64");
        let mut body = good.clone();
        body[field] = json!("AA");
        refused(&put(&body), field, "must be DER in base64");
        refused(&put(&with(field, &[0x30; 3_901])), field, "at most 3900 bytes");
    }
    refused(&put(&with("vek", &[0x30; 3_900])), "vek", "malformed");
    refused(&put(&with("ark", pki.vendor().ask())), "ark", "root");
    refused(&put(&with("ask", pki.vendor().asvk())), "vek", "ASK's signature");
    refused(&put(&with("ask", pki.vendor().ark())), "vek", "ASK's signature");
    // The same names and keys, but another certificate of the root.
    let keys = VendorKeys::load(&home.path("chip/vendor")).unwrap();
    let later = pki.now + Duration::hours(1);
    let other = Vendor::certify(keys.into(), Product::Genoa, later).unwrap();
    refused(&put(&with("ark", other.ark())), "ark", "root");

    let reported = pki.chip.settings.tcb.reported;
    let newer = Tcb { snp: reported.snp + 1, ..reported };
    let key_of_another = pki.vek(reported, newer, pki.now);
    refused(&put(&with("vek", &key_of_another)), "vek", "signature of the report");
    let another_tcb = pki.vek(newer, reported, pki.now);
    refused(&put(&with("vek", &another_tcb)), "vek", "REPORTED_TCB");
    let early = pki.vek(reported, reported, pki.now + Duration::days(2));
    refused(&put(&with("vek", &early)), "vek", "valid from");
    let expired = pki.vek(reported, reported, pki.now - Duration::days(8 * 365));
    refused(&put(&with("vek", &expired)), "vek", "valid until");
    let stranger = Pki { chip: chip(Product::Genoa), now: pki.now };
    refused(&put(&with("vek", &stranger.good_vek())), "vek", "signature");

    // A CRL that revokes the ASK is kept, and then the ASK's chain is refused.
    let revoking = pki.crl(1, |draft| draft.revoked.push(pki.vendor().ask_serial()));
    accepted(&put_crl(&appliance, &revoking), "CRL accepted");
    refused(&put(&pki.chain(&pki.good_vek())), "ask", "revoked");
    assert_eq!(std::fs::read(home.path("data/endorsements/certificates.pem")).unwrap(), kept);
}

#[test]
fn a_crl_only_gets_newer() {
    let home = Home::usual();
    let pki = Pki::of(&home);
    let appliance = home.start();
    assert!(appliance.state().contains("unclaimed"));
    let crl_file = home.path("data/endorsements/crl.der");
    let second = pki.crl(10, |_| ());
    let answer = put_crl(&appliance, &second);
    accepted(&answer, "CRL accepted");
    let dates = ["thisUpdate", "nextUpdate"].map(|name| answer.json()[name].to_string());
    assert!(dates.is_sorted(), "{dates:?}");
    // The same again: nothing is written.
    let inode = std::fs::metadata(&crl_file).unwrap().ino();
    accepted(&put_crl(&appliance, &second), "CRL accepted");
    assert_eq!(std::fs::metadata(&crl_file).unwrap().ino(), inode);

    let put = |der: &[u8]| put_crl(&appliance, der);
    refused(&put(&pki.crl(11, |_| ())), "crl", "must be newer");
    refused(&put(&pki.crl(10, |draft| draft.number = 9)), "crl", "must be newer");
    refused(&put(&pki.crl(-10, |_| ())), "crl", "valid from");
    let issuer = snp_simulator::x509::name("ARK-Milan");
    refused(&put(&pki.crl(5, |draft| draft.issuer = issuer)), "crl", "ARK-Milan");
    let draft = pki.vendor().crl_draft(pki.now).unwrap();
    refused(&put(&draft.sign(pki.vendor().ask_key()).unwrap()), "crl", "signature");
    refused(&put(&second[..second.len() - 1]), "crl", "malformed");
    refused(&put(&[0x30; 11_701]), "crl", "at most 11700 bytes");
    assert_eq!(std::fs::read(&crl_file).unwrap(), second);

    // A newer one whose time is over is better than an older one.
    let over = pki.now - Duration::minutes(1);
    let third = pki.crl(9, |draft| draft.next_update = over);
    accepted(&put(&third), "CRL accepted");
    assert_eq!(evidence(&appliance).json()["certificates"]["crl"], b64(&third));
    // What lies there and is no CRL of the root's stands in nobody's way.
    for nonsense in [pki.vendor().ark(), b"nonsense"] {
        std::fs::write(&crl_file, nonsense).unwrap();
        let fourth = pki.crl(8, |_| ());
        accepted(&put(&fourth), "CRL accepted");
        assert_eq!(std::fs::read(&crl_file).unwrap(), fourth);
    }
}

#[test]
fn uploads_race_and_the_newest_stays() {
    let home = Home::usual();
    let pki = Pki::of(&home);
    let appliance = home.start();
    appliance.claim();
    let crls: Vec<_> = (0..16).map(|minutes| pki.crl(minutes, |_| ())).collect();
    thread::scope(|scope| {
        for crl in &crls {
            scope.spawn(|| {
                let status = put_crl(&appliance, crl).status;
                assert!([200, 400].contains(&status), "{status}");
            });
        }
    });
    assert_eq!(evidence(&appliance).json()["certificates"]["crl"], b64(&crls[0]));
}

#[test]
fn killed_between_two_chains_it_has_one_of_them_whole() {
    let home = Home::usual();
    let pki = Pki::of(&home);
    let file = home.path("data/endorsements/certificates.pem");
    // Signatures have random salts: each is another certificate.
    let chains = [pki.chain(&pki.good_vek()), pki.chain(&pki.good_vek())];
    for _ in 0..5 {
        let appliance = home.start();
        appliance.state();
        let (answered, answers) = std::sync::mpsc::channel();
        let mut connection = appliance.connect();
        thread::scope(|scope| {
            scope.spawn(|| {
                let path = "/v1/attestation/certificates";
                for chain in chains.iter().cycle() {
                    let Ok(answer) = connection.try_call("PUT", path, "", Some(chain)) else {
                        break;
                    };
                    if answered.send(answer.status).is_err() {
                        break;
                    }
                }
                drop(answered);
            });
            for _ in 0..20 {
                assert_eq!(answers.recv().unwrap(), 200);
            }
            appliance.kill();
        });
        let pem = std::fs::read(&file).unwrap();
        let kept = X509::stack_from_pem(&pem).unwrap();
        let kept = kept.iter().map(|certificate| json!(b64(&certificate.to_der().unwrap())));
        let kept: Vec<_> = kept.collect();
        let is_one =
            |chain: &Value| ["vek", "ask", "ark"].map(|name| chain[name].clone()) == kept[..];
        assert!(chains.iter().any(is_one), "{kept:?}");
    }
}

#[test]
fn failed_uploads_are_bounded_for_each_peer() {
    let limits = "[limits]\nfailed_authentications_per_minute = 3\n";
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}{limits}"));
    let pki = Pki::of(&home);
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let good = pki.crl(1, |_| ());
    accepted(&put_crl(&appliance, &good), "CRL accepted"); // the disk has worked: that counts
    for _ in 0..5 {
        accepted(&put_crl(&appliance, &good), "CRL accepted"); // this does not
    }
    let chain = json!({"vek": "AAAA", "ask": "AAAA", "ark": "AAAA"});
    for _ in 0..2 {
        refused(&put(&appliance, "certificates", &chain), "ark", "root");
    }
    let limited = put(&appliance, "certificates", &chain);
    limited.error(429, "RATE_LIMIT_EXCEEDED");
    assert!(limited.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    put_crl(&appliance, &good).error(429, "RATE_LIMIT_EXCEEDED");
    let list = appliance.connect().call("GET", "/v1/secrets", &admin, None);
    assert_eq!(list.status, 200, "who has a key is not locked out");
}

#[test]
fn a_sealed_instance_takes_them_too() {
    let home = Home::usual();
    let appliance = home.start();
    appliance.claim();
    assert!(appliance.terminate().success());
    home.relaunch(|settings| {
        settings.guest.measurement.0[0] ^= 1;
        settings.host_certificates = false;
    });
    let pki = Pki::of(&home);
    let appliance = home.start();
    assert!(appliance.state().contains("sealed"));
    let chain = pki.chain(&pki.good_vek());
    accepted(&put(&appliance, "certificates", &chain), "Certificates accepted");
    accepted(&put_crl(&appliance, &pki.crl(1, |_| ())), "CRL accepted");
    assert_eq!(evidence(&appliance).json()["claims"]["phase"], "sealed");
}

#[test]
fn files_that_are_in_the_way_are_told() {
    let home = Home::usual();
    let pki = Pki::of(&home);
    let appliance = home.start();
    appliance.claim();
    // A file where the folder should be.
    std::fs::write(home.path("data/endorsements"), "").unwrap();
    let before = evidence(&appliance);
    put_crl(&appliance, &pki.crl(1, |_| ())).error(503, "SERVICE_UNAVAILABLE");
    assert_eq!(evidence(&appliance).status, before.status);
    assert!(home.log().contains("the endorsements could not be written"));
    std::fs::remove_file(home.path("data/endorsements")).unwrap();
    // Files that are no certificates, or too many bytes, are told, and replaced by an upload.
    std::fs::create_dir(home.path("data/endorsements")).unwrap();
    let certificates = home.path("data/endorsements/certificates.pem");
    for nonsense in [b"nonsense".to_vec(), vec![b' '; 65_537]] {
        std::fs::write(&certificates, nonsense).unwrap();
        evidence(&appliance).error(503, "SERVICE_UNAVAILABLE");
        let chain = pki.chain(&pki.good_vek());
        let answer = put(&appliance, "certificates", &chain);
        accepted(&answer, "Certificates accepted");
        assert_eq!(evidence(&appliance).json()["certificates"]["vek"], chain["vek"]);
    }
    assert!(home.log().contains("no evidence: the chip's certificates are missing"));
    accepted(&put_crl(&appliance, &pki.crl(1, |_| ())), "CRL accepted");
}

/// The files that AMD serves: the leaf in DER, the authorities in PEM in one file, the CRL in DER.
fn write_served(home: &Home, pki: &Pki) {
    let pem = |der: &[u8]| X509::from_der(der).unwrap().to_pem().unwrap();
    let chain = [pem(pki.vendor().ask()), pem(pki.vendor().ark())].concat();
    std::fs::write(home.path("vcek.der"), pki.good_vek()).unwrap();
    std::fs::write(home.path("cert_chain.pem"), chain).unwrap();
    std::fs::write(home.path("crl.der"), pki.crl(1, |_| ())).unwrap();
}

#[test]
fn the_command_line_brings_what_amd_serves() {
    let home = bare(CONFIG);
    home.write_client_files();
    let pki = Pki::of(&home);
    let appliance = home.start();
    assert!(appliance.state().contains("unclaimed"));
    let url = appliance.url();
    home.verify(&url, &[]).says(1, &["certificates are missing", "endorsements update"]);

    // No key, no reference values, no policy: only the address.
    let urls = home.cli(&["endorsements", "urls", "--url", &url], "");
    let chip_id = data_encoding::HEXLOWER.encode(&pki.chip.settings.chip_id.0);
    let vcek = format!(
        "https://kdsintf.amd.com/vcek/v1/Genoa/{chip_id}?blSPL=10&teeSPL=00&snpSPL=27&ucodeSPL=84"
    );
    urls.says(0, &[&format!("curl --proto '=https' -fsS -o vcek.der '{vcek}'\n")]);
    let line = "curl --proto '=https' -fsS -o cert_chain.pem \
        'https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain'\n";
    urls.says(0, &[line, "-o crl.der 'https://kdsintf.amd.com/vcek/v1/Genoa/crl'\n"]);
    // The last line is the one to type when these files are there.
    write_served(&home, &pki);
    let line = urls.out.lines().last().unwrap().replace('\'', "");
    let words: Vec<&str> = line.split(' ').skip(1).collect();
    assert_eq!(words[..2], ["endorsements", "update"]);
    home.cli(&words, "").says(0, &["certificates  accepted", "CRL           accepted, of 20"]);
    home.verify(&url, &[]).says(0, &["SIMULATED"]);

    // Whatever the machine refuses is an error with its reason; a part may have been taken.
    std::fs::write(home.path("crl.der"), pki.crl(2, |_| ())).unwrap();
    let again = home.cli(&words, "");
    again.says(1, &["400 INVALID_REQUEST: crl: must be newer", "the certificates were accepted"]);
    let crl = ["endorsements", "update", "--url", &url, "--crl", "vcek.der"];
    home.cli(&crl, "").says(1, &["crl: the CRL: malformed"]);
    std::fs::write(home.path("nothing"), "nothing").unwrap();
    let crl = ["endorsements", "update", "--url", &url, "--crl", "nothing"];
    home.cli(&crl, "").says(1, &["nothing holds no X509 CRL"]);
    let half = ["endorsements", "update", "--url", &url, "--vek", "vcek.der"];
    home.cli(&half, "").says(2, &["--ask"]);
    home.cli(&["endorsements", "update", "--crl", "crl.der"], "").says(2, &["no instance"]);
}

#[test]
fn urls_are_those_of_the_product_and_of_the_key() {
    let report = |home: &Home| {
        let appliance = home.start();
        appliance.state(); // once it has started
        let body = appliance.connect().call("GET", "/v1/attestation/report", "", None).json();
        let report = BASE64.decode(body["report"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::write(home.path("report.bin"), report).unwrap();
    };
    let urls = |home: &Home, more: &[&str]| {
        home.cli(&[&["endorsements", "urls", "--report", "report.bin"], more].concat(), "")
    };
    let turin = Home::new(&chip(Product::Turin), CONFIG);
    report(&turin);
    let chip_id = data_encoding::HEXLOWER.encode(&Pki::of(&turin).chip.settings.chip_id.0);
    assert_eq!(chip_id.len(), 16);
    let query = "fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81";
    urls(&turin, &[]).says(0, &[&format!("/vcek/v1/Turin/{chip_id}?{query}\n")]);

    let milan = Home::new(&chip(Product::Milan), CONFIG);
    milan.relaunch(|settings| settings.report_version = ReportVersion::V2);
    report(&milan);
    urls(&milan, &[]).says(2, &["--product Milan"]);
    urls(&milan, &["--product", "Milan"]).says(0, &["/vcek/v1/Milan/", "ucodeSPL=219\n"]);
    milan.relaunch(|settings| {
        settings.report_version = ReportVersion::V3;
        settings.signer = Signer::Vlek;
        settings.csp_id = "CN=cc-simulated.example".to_owned();
    });
    report(&milan);
    let vlek = urls(&milan, &["--json"]).json();
    assert_eq!((&vlek["signingKey"], &vlek["vek"]), (&json!("VLEK"), &Value::Null));
    assert_eq!(vlek["certChain"], "https://kdsintf.amd.com/vlek/v1/Milan/cert_chain");
    urls(&milan, &[]).says(0, &["the cloud provider has it", "--vek vlek.der"]);
    milan.relaunch(|settings| settings.mask_chip_key = true);
    report(&milan);
    urls(&milan, &[]).says(1, &["masks the chip's key"]);
    std::fs::write(milan.path("report.bin"), [0; 1_184]).unwrap();
    urls(&milan, &[]).says(1, &["this is no report"]);
}
