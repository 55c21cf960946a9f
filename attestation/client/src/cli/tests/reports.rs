//! `report` on real and on simulated reports.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::*;

/// The real vectors lie outside the repository.
fn vectors() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let named = std::env::var_os("NEO_SECRETS_VECTORS").map(PathBuf::from);
    let found = named.or(Some(beside)).filter(|folder| folder.join("amd-ca").is_dir());
    if found.is_none() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no real vectors; NEO_SECRETS_VECTORS names their folder"
        );
    }
    found
}

fn examine(line: &str) -> Done {
    super::run(&parsed(line), &Environment::default())
        .unwrap_or_else(|failure| panic!("{}", failure.to_text()))
}

#[test]
fn real_reports_hold_with_their_certificates_in_any_order_and_form() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new();
    let pem = |path: &Path| {
        let certificate = openssl::x509::X509::from_der(&fs::read(path).unwrap()).unwrap();
        certificate.to_pem().unwrap()
    };
    for (name, product, asked, warnings) in [
        ("milan-v2-vcek", "milan", "ask", 0),
        ("milan-v2-vcek-debug-policy", "milan", "ask", 1),
        ("milan-v3-vcek", "milan", "ask", 0),
        ("milan-v3-vlek", "milan", "asvk", 1),
        ("genoa-v3-vcek", "genoa", "ask", 0),
        ("genoa-v5-vcek", "genoa", "ask", 0),
        ("turin-v5-vcek", "turin", "ask", 0),
    ] {
        let report = vectors.join(name).join("report.bin");
        let report = report.display();
        let vek = vectors.join(name).join("vek.der");
        let [ark, ask] =
            ["ark", asked].map(|ca| vectors.join("amd-ca").join(product).join(format!("{ca}.der")));
        let bundle = folder.join("bundle.pem");
        fs::write(&bundle, [pem(&ask), pem(&vek), pem(&ark)].concat()).unwrap();
        let (vek, ark, ask) = (vek.display(), ark.display(), ask.display());
        // The VLEK has expired since; one of the VCEKs was not made yet.
        let vlek = name.ends_with("vlek");
        let at = if vlek { "--at 2025-12-01T00:00:00Z" } else { "--at 2026-11-01T00:00:00Z" };
        for line in [
            format!("report {report} --vek {vek} --ca {ark} --ca {ask} {at}"),
            format!("report {report} --ca {ask} --ca {ark} --vek {vek} {at}"),
            format!("report {report} --ca {} {at}", bundle.display()),
        ] {
            let done = examine(&line);
            assert!(done.failure.is_none(), "{line}: {}", human(&done));
            let json = json(&done);
            assert_eq!(json["verified"], true);
            assert_eq!(json["simulated"], false);
            assert!(json["product"].as_str().unwrap().eq_ignore_ascii_case(product));
            assert!(json["revocation"].as_str().unwrap().starts_with("NOT CHECKED"));
            assert_eq!(json["warnings"].as_array().unwrap().len(), warnings, "{name}");
            assert!(json["fields"]["REPORTED_TCB"]["parts"]["snp"].is_u64(), "{name}");
            assert!(human(&done).contains("revocation: NOT CHECKED"));
        }
        let alone = examine(&format!("report {report} --vek {vek} {at}"));
        assert_eq!(alone.failure.as_ref().unwrap().exit, Exit::Refused);
        // A report of version 2 has no CPUID: its leaf names the product.
        assert!(json(&alone)["fields"]["REPORTED_TCB"]["parts"]["snp"].is_u64(), "{name}");
    }
}

#[tokio::test]
async fn a_hosts_certificate_table_stands_in_for_the_files() {
    use neo_secrets_attestation::certificate_table::Guid;
    let folder = Folder::new();
    let (report, certificates) = Host::start(vec![Evidence::Genuine], vec![]).await.report();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let crl = certificates.crl.unwrap();
    let whole = [
        (Guid::VCEK, certificates.vek.as_slice()),
        (Guid::ASK, &certificates.ask),
        (Guid::ARK, &certificates.ark),
        (Guid::CRL, &crl),
        // Another machine's key, which did not sign this report.
        (Guid::VLEK, b"not looked at"),
    ];
    let table = |entries: &[(Guid, &[u8])]| {
        let mut offset = 24 * (entries.len() + 1);
        let mut table = Vec::new();
        for (guid, blob) in entries {
            table.extend_from_slice(&guid.0);
            table.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
            table.extend_from_slice(&u32::try_from(blob.len()).unwrap().to_le_bytes());
            offset += blob.len();
        }
        table.extend_from_slice(&[0; 24]);
        entries.iter().for_each(|(_, blob)| table.extend_from_slice(blob));
        table
    };
    let report = write("report", &report);
    let ark = write("ark", &certificates.ark);
    let with = |name: &str, table: &[u8], more: &str| {
        let table = write(name, table);
        let line = format!("report {report} --cert-table {table} --trust-simulated {ark} {more}");
        let done = examine(&line);
        let told = done.failure.as_ref().map(|failure| failure.message.clone());
        (told.unwrap_or_default(), json(&done))
    };
    let (told, shown) = with("whole", &table(&whole), "");
    assert_eq!(told, "");
    assert!(shown["revocation"].as_str().unwrap().starts_with("checked; next"), "{shown}");
    // As clouds give it: the leaf alone.
    let alone = table(&whole[..1]);
    let (told, _) = with("alone", &alone, "");
    assert!(told.contains("no certificate is named SEV-Genoa"), "{told}");
    let ask = write("ask", &certificates.ask);
    let (told, shown) = with("alone", &alone, &format!("--ca {ask} --ca {ark}"));
    assert_eq!((told.as_str(), &shown["verified"]), ("", &Value::Bool(true)));
    // What is wrong with it is told with its name.
    let (told, _) = with("cut", &alone[..30], "");
    assert!(told.contains("/cut: the certificate table has no end"), "{told}");
    let (told, _) = with("spoilt", &table(&[(Guid::VCEK, &[0x30, 0])]), "");
    assert!(told.contains("/spoilt: malformed"), "{told}");
    let (told, _) = with("empty", &[0; 24], "");
    assert!(told.contains("no certificate is given"), "{told}");
}

#[test]
fn whatever_is_wrong_with_a_real_report_is_refused_with_its_step() {
    let Some(vectors) = vectors() else { return };
    let folder = Folder::new();
    let good = vectors.join("genoa-v3-vcek");
    let raw = fs::read(good.join("report.bin")).unwrap();
    let ca = |product: &str, name: &str| {
        vectors.join("amd-ca").join(product).join(name).display().to_string()
    };
    let [ark, ask] = ["ark.der", "ask.der"].map(|name| ca("genoa", name));
    let vek = good.join("vek.der").display().to_string();
    let failure = |raw: &[u8], vek: &str, ark: &str, ask: &str, more: &str| {
        let path = folder.join("report.bin");
        fs::write(&path, raw).unwrap();
        let line = format!("report {} --vek {vek} --ca {ark} --ca {ask} {more}", path.display());
        let done = examine(&line);
        let failure = done.failure.as_ref().unwrap_or_else(|| panic!("{line} holds"));
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(json(&done)["verified"], false);
        assert_eq!(json(&done)["error"]["exitCode"], 3);
        failure.step()
    };
    let flipped = |offset: usize| {
        let mut raw = raw.clone();
        raw[offset] ^= 1;
        raw
    };
    for offset in [0x090, 0x050, 0x1A0, 0x180, 0x2A0, 0x2E8] {
        assert_eq!(failure(&flipped(offset), &vek, &ark, &ask, ""), Some(4), "{offset:#x}");
    }
    for offset in [0x000, 0x034, 0x04C, 0x18B, 0x2D0, 0x49F] {
        assert_eq!(failure(&flipped(offset), &vek, &ark, &ask, ""), Some(1), "{offset:#x}");
    }
    assert_eq!(failure(&raw[..1183], &vek, &ark, &ask, ""), Some(1));
    assert_eq!(failure(&[&raw[..], &[0]].concat(), &vek, &ark, &ask, ""), Some(1));
    let [milan_ark, milan_ask] = ["ark.der", "ask.der"].map(|name| ca("milan", name));
    assert_eq!(
        failure(&raw, &vek, &milan_ark, &milan_ask, ""),
        None,
        "no ASK of the VEK's product"
    );
    let milan_vek = vectors.join("milan-v3-vcek").join("vek.der").display().to_string();
    assert_eq!(failure(&raw, &milan_vek, &milan_ark, &milan_ask, ""), Some(4));
    let stranger = vectors.join("not-amd").join("test-vcek-invalid-new.der").display().to_string();
    assert_eq!(failure(&raw, &stranger, &milan_ark, &milan_ask, ""), Some(3));
    assert_eq!(failure(&raw, &vek, &ark, &ask, "--at 2020-01-01T00:00:00Z"), Some(3));
    assert_eq!(failure(&raw, &vek, &ark, &ask, &format!("--crl {ask}")), Some(3));
}

#[test]
fn reserved_bytes_refuse_a_report_and_its_other_fields_are_still_shown() {
    let folder = Folder::new();
    let mut raw = vec![0; 1184];
    raw[0x000] = 2;
    raw[0x034] = 1;
    raw[0x04C] = 9;
    let path = folder.join("report.bin");
    fs::write(&path, &raw).unwrap();
    let done = examine(&format!("report {}", path.display()));
    assert_eq!(done.failure.as_ref().unwrap().step(), Some(1));
    assert_eq!(json(&done)["fields"]["VERSION"]["value"], "2");
    assert!(human(&done).contains("byte 0x04c is 0x09"), "{}", human(&done));
}

#[tokio::test]
async fn a_simulated_report_says_so_even_where_it_is_refused() {
    let folder = Folder::new();
    let (report, certificates) = Host::start(vec![Evidence::Genuine], vec![]).await.report();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let [vek, ask, ark] = [&certificates.vek, &certificates.ask, &certificates.ark];
    let (vek, ask, ark) = (write("vek", vek), write("ask", ask), write("ark", ark));
    for flip in [0, 1] {
        let mut report = report.clone();
        report[0x090] ^= flip;
        let report = write("report", &report);
        let line = format!("report {report} --vek {vek} --ca {ask} --ca {ark}");
        let done = examine(&format!("{line} --trust-simulated {ark}"));
        assert_eq!(done.failure.is_some(), flip == 1);
        assert!(human(&done).contains("SIMULATED"), "{}", human(&done));
        assert_eq!(
            json(&done)["steps"][1]["facts"]["root"].as_str().map(|root| &root[..9]),
            Some("SIMULATED")
        );
    }
}
