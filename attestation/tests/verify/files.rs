//! A bag of files becomes endorsements, and findings are told to people.

use data_encoding::BASE64;
use neo_secrets_attestation::endorsements::{Endorsements, EndorsementsError, VekKind};
use neo_secrets_attestation::error::{Finding, Step, VerifyError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::ReportError;
use neo_secrets_attestation::roots::{RootError, Roots};

use crate::support::report::{self as field, ReportBuilder};
use crate::support::vendor::Vendor;

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = BASE64.encode(der);
    let lines: Vec<_> =
        base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn genoa() -> Endorsements {
    Endorsements { crl: None, ..Vendor::new(Product::Genoa, VekKind::Vcek).endorsements() }
}

fn missing(name: &str) -> Result<Endorsements, EndorsementsError> {
    Err(EndorsementsError::Missing { name: name.to_owned() })
}

#[test]
fn order_and_form_do_not_matter() {
    let genoa = genoa();
    let Endorsements { vek, ask, ark, .. } = &genoa;
    for files in [[vek, ask, ark], [ark, ask, vek], [ask, vek, ark]] {
        let files = files.map(|der| &der[..]);
        assert_eq!(Endorsements::from_files(&files), Ok(genoa.clone()));
    }
    // AMD's answer to `cert_chain` is one PEM file; with other text and line ends, it stays one.
    let chain = format!("the chain:\n{}{}", pem("CERTIFICATE", ask), pem("CERTIFICATE", ark));
    let chain = chain.replace('\n', "\r\n");
    let files = [chain.as_bytes(), vek];
    assert_eq!(Endorsements::from_files(&files), Ok(genoa.clone()));
    // Certificates twice, the ASVK beside the ASK, and those of another product.
    let asvk = Vendor::new(Product::Genoa, VekKind::Vlek).endorsements().ask;
    let turin = Vendor::new(Product::Turin, VekKind::Vcek).endorsements();
    let files = [chain.as_bytes(), &asvk, &turin.ark, vek, ark, &turin.ask];
    assert_eq!(Endorsements::from_files(&files), Ok(genoa.clone()));

    let crl = Vendor::new(Product::Genoa, VekKind::Vcek).crl.sign();
    let with_crl = Endorsements { crl: Some(crl.clone()), ..genoa.clone() };
    assert_eq!(genoa.clone().with_crl_file(&crl), Ok(with_crl.clone()));
    let text = pem("X509 CRL", &crl);
    assert_eq!(genoa.clone().with_crl_file(text.as_bytes()), Ok(with_crl));
    let two = text.repeat(2);
    let several = Err(EndorsementsError::SeveralCrls { file: 0 });
    assert_eq!(genoa.with_crl_file(two.as_bytes()), several);
}

#[test]
fn what_is_missing_or_twice_is_named() {
    let genoa = genoa();
    let Endorsements { vek, ask, ark, .. } = &genoa;
    let from = |files: &[&[u8]]| Endorsements::from_files(files);
    assert_eq!(from(&[]), missing("SEV-VCEK or SEV-VLEK"));
    assert_eq!(from(&[ask, ark]), missing("SEV-VCEK or SEV-VLEK"));
    assert_eq!(from(&[vek, ark]), missing("SEV-Genoa"));
    assert_eq!(from(&[vek, ask]), missing("ARK-Genoa"));
    let other = Vendor::new(Product::Turin, VekKind::Vcek).endorsements().vek;
    let name = "SEV-VCEK or SEV-VLEK".to_owned();
    assert_eq!(from(&[vek, ask, ark, &other]), Err(EndorsementsError::Several { name }));
    let mut again = Vendor::new(Product::Genoa, VekKind::Vcek);
    again.ask.serial = vec![9];
    let name = "SEV-Genoa".to_owned();
    assert_eq!(from(&[vek, ask, &again.ask.sign(), ark]), Err(EndorsementsError::Several { name }));

    let wanted = "CERTIFICATE";
    assert_eq!(from(&[vek, b""]), Err(EndorsementsError::Nothing { file: 1, wanted }));
    assert_eq!(from(&[b"text"]), Err(EndorsementsError::Nothing { file: 0, wanted }));
    let open = pem("CERTIFICATE", vek).replace("END", "AND");
    assert_eq!(from(&[open.as_bytes()]), Err(EndorsementsError::Pem { file: 0 }));
    let noise = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----";
    assert_eq!(from(&[noise.as_bytes()]), Err(EndorsementsError::Pem { file: 0 }));
    let large = vec![b' '; 262_145];
    let too_long = EndorsementsError::FileTooLong { file: 1, got: 262_145 };
    assert_eq!(from(&[vek, &large]), Err(too_long));
    let cut = from(&[&vek[..99]]).unwrap_err();
    assert!(matches!(cut, EndorsementsError::Certificate { file: 0, .. }));
    let many: String = (0..65u8).map(|byte| pem("CERTIFICATE", &[byte])).collect();
    assert_eq!(from(&[many.as_bytes()]), Err(EndorsementsError::TooMany));
}

#[test]
fn a_simulated_root_is_named_as_one() {
    let genoa = genoa();
    assert!(Roots::simulated(&genoa.ark).is_ok());
    let got = "SEV-Genoa".to_owned();
    assert_eq!(Roots::simulated(&genoa.ask), Err(RootError::Name { got }));
    assert!(matches!(Roots::simulated(b"0"), Err(RootError::Certificate(_))));
    assert!(matches!(Roots::simulated(&[0; 8193]), Err(RootError::Certificate(_))));
}

#[test]
fn findings_name_step_field_and_both_values() {
    let finding = |report: ReportBuilder| {
        let vendor = Vendor::new(Product::Genoa, VekKind::Vcek);
        vendor.verify(&report).unwrap_err().finding()
    };
    let genoa = || ReportBuilder::new(Product::Genoa);
    let expect = |step, field: &str, got: &str, expected: &str| Finding {
        step,
        field: field.to_owned(),
        got: got.to_owned(),
        expected: expected.to_owned(),
    };
    assert_eq!(
        finding(genoa().with(field::VERSION, 4u32.to_le_bytes())),
        expect(Step::Report, "VERSION", "4", "2, 3 or 5")
    );
    assert_eq!(
        finding(genoa().flip(field::RESERVED_208, 0, 7)),
        expect(Step::Report, "byte 0x208", "0x07", "0x00")
    );
    assert_eq!(
        finding(genoa().flip(field::REPORTED_TCB, 6, 1)),
        expect(Step::Identity, "REPORTED_TCB.snp", "26", "27")
    );
    assert_eq!(
        finding(genoa().flip(field::COMMITTED_TCB, 3, 1)),
        expect(Step::Identity, "COMMITTED_TCB byte 3", "0x01", "0x00")
    );
    assert_eq!(
        finding(genoa().with(field::CPUID, [0x1A, 0x11, 1])),
        expect(Step::Identity, "CPUID", "family 0x1a, model 0x11, stepping 1", "one of Genoa")
    );
    let next_update = "2026-11-01T00:00:00Z".parse().unwrap();
    let now = "2026-11-23T12:00:00Z".parse().unwrap();
    let stale = VerifyError::CrlStale { next_update, now }.finding();
    let expected =
        expect(Step::Chain, "CRL nextUpdate", "2026-11-01T00:00:00Z", ">= 2026-11-23T12:00:00Z");
    assert_eq!(stale, expected);
    assert_eq!(
        stale.to_string(),
        "step 3, CRL nextUpdate: got 2026-11-01T00:00:00Z, expected >= 2026-11-23T12:00:00Z"
    );
    assert_eq!(ReportError::Size { got: 3 }.finding(), expect(Step::Report, "size", "3", "1184"));
}

#[test]
fn steps_are_numbered_as_in_the_specification() {
    let numbers: Vec<_> = Step::ALL.into_iter().map(Step::number).collect();
    assert_eq!(numbers, (0..12).collect::<Vec<_>>());
}
