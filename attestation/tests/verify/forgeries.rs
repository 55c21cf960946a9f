//! Good evidence with one thing changed, and signed again: each change has its own error.

use neo_secrets_attestation::endorsements::{Endorsement, VekKind};
use neo_secrets_attestation::error::{
    CertificateError, DerError, ExtensionError, KeyKind, VerifyError,
};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{Report, ReportError, SigningKey};
use neo_secrets_attestation::roots::Provenance;
use neo_secrets_attestation::tcb::{TcbReserved, TcbVersion};
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{
    CrlRule, CrlStatus, CspIdRule, Rules, Signer, verify_report,
};
use openssl::nid::Nid;

use crate::support::der::{self, Hash};
use crate::support::now;
use crate::support::report::{self as field, FIELDS, Field, ReportBuilder};
use crate::support::vendor::{
    CSP_ID, CertificateDraft, ExtensionDraft, Vendor, amd, ec, keys, rsa, rules_for,
};

fn time(text: &str) -> UnixTime {
    text.parse().unwrap()
}

fn vcek() -> Vendor {
    Vendor::new(Product::Genoa, VekKind::Vcek)
}

fn genoa() -> ReportBuilder {
    ReportBuilder::new(Product::Genoa)
}

#[test]
fn good_evidence_verifies() {
    for product in Product::ALL {
        for version in [2, 3, 5] {
            let report = ReportBuilder::new(product).version(version);
            let verified = Vendor::new(product, VekKind::Vcek).verify(&report).unwrap();
            assert_eq!(verified.product(), product);
            assert_eq!(verified.provenance(), Provenance::Simulated);
            let next_update = time("2026-12-15T00:00:00Z");
            assert_eq!(verified.crl(), CrlStatus::Current { next_update });
            assert_eq!(verified.signer().kind(), VekKind::Vcek);
            let version = TcbVersion(report.get(field::REPORTED_TCB).try_into().unwrap());
            assert_eq!(verified.tcbs().reported.to_version(), version);

            let verified = Vendor::new(product, VekKind::Vlek).verify(&report.vlek()).unwrap();
            assert_eq!(verified.signer(), &Signer::Vlek { csp_id: CSP_ID.to_owned() });
        }
    }
}

/// What steps 1 to 5 say to the lowest bit of one byte turned over in a report that is then signed.
/// Nothing: the field is left to later steps, or to nobody.
fn expected(
    product: Product,
    field: Field,
    byte: usize,
    spoilt: &ReportBuilder,
) -> Option<VerifyError> {
    let offset = field.start + byte;
    let number = || u32::from_le_bytes(spoilt.get(field).try_into().unwrap());
    let tcb = || TcbVersion(spoilt.get(field).try_into().unwrap()).of(product);
    let report = |error| Some(VerifyError::Report(error));
    match field {
        field::VERSION => report(ReportError::Version { got: number() }),
        field::SIGNATURE_ALGO => report(ReportError::SignatureAlgorithm { got: number() }),
        // Bit 0 says whether AUTHOR_KEY_DIGEST is filled in.
        field::KEY_INFO if byte == 0 => None,
        field::KEY_INFO
        | field::RESERVED_04C
        | field::RESERVED_18B
        | field::RESERVED_1EB
        | field::RESERVED_1EF
        | field::RESERVED_208
        | field::RESERVED_330 => report(ReportError::Reserved { offset, got: 1 }),
        field::PADDING_R | field::PADDING_S => {
            report(ReportError::SignaturePadding { offset, got: 1 })
        }
        field::CURRENT_TCB | field::COMMITTED_TCB | field::LAUNCH_TCB => tcb().err().map(|error| {
            assert_eq!(error, TcbReserved { index: byte, got: 1 });
            VerifyError::TcbReserved { field: field.name, error }
        }),
        field::REPORTED_TCB => Some(match tcb() {
            Err(error) => VerifyError::TcbReserved { field: field.name, error },
            Ok(tcb) => {
                let genuine = ReportBuilder::new(product);
                let genuine = TcbVersion(genuine.get(field).try_into().unwrap());
                let pairs =
                    tcb.components().into_iter().zip(genuine.of(product).unwrap().components());
                let differing: Vec<_> = pairs.filter(|(got, expected)| got != expected).collect();
                let [((component, got), (_, expected))] = differing[..] else { panic!() };
                VerifyError::TcbExtension { component, got, expected }
            }
        }),
        // The lowest bit of family 0x19 or 0x1A leads out of it; that of model or stepping does
        // not.
        field::CPUID if byte == 0 => {
            let cpuid = Report::try_from(&spoilt.bytes[..]).unwrap().cpuid.unwrap();
            Some(VerifyError::Cpuid { got: cpuid, expected: product })
        }
        field::CHIP_ID => Some(VerifyError::HwId {
            got: Report::try_from(&spoilt.bytes[..]).unwrap().chip_id,
            expected: ReportBuilder::new(product).get(field)[..product.chip_id_bytes()].to_vec(),
        }),
        field::SIGNATURE_R | field::SIGNATURE_S => Some(VerifyError::ReportSignature),
        field::GUEST_SVN
        | field::POLICY
        | field::FAMILY_ID
        | field::IMAGE_ID
        | field::VMPL
        | field::PLATFORM_INFO
        | field::REPORT_DATA
        | field::MEASUREMENT
        | field::HOST_DATA
        | field::ID_KEY_DIGEST
        | field::AUTHOR_KEY_DIGEST
        | field::REPORT_ID
        | field::REPORT_ID_MA
        | field::CPUID
        | field::CURRENT_VERSION
        | field::COMMITTED_VERSION
        | field::LAUNCH_MIT_VECTOR
        | field::CURRENT_MIT_VECTOR => None,
        unknown => panic!("nobody decided about {unknown:?}"),
    }
}

#[test]
fn every_byte_of_the_report_is_decided_about() {
    let end = FIELDS.iter().fold(0, |end, field| {
        assert_eq!(field.start, end, "a gap before {}", field.name);
        field.range().end
    });
    assert_eq!(end, 1184);
    for product in Product::ALL {
        let endorsements = Vendor::new(product, VekKind::Vcek).endorsements();
        let rules = rules_for(&endorsements);
        let verify = |raw: &[u8]| verify_report(raw, &endorsements, &rules, now());
        let good = ReportBuilder { bytes: ReportBuilder::new(product).sign() };
        for &field in FIELDS {
            for byte in 0..field.len {
                let spoilt = good.clone().flip(field, byte, 1);
                let expected = expected(product, field, byte, &spoilt);
                // Not signed again: it does not come to steps behind the signature's.
                let unsigned = match &expected {
                    Some(error @ VerifyError::Report(_)) => error.clone(),
                    _ => VerifyError::ReportSignature,
                };
                let at = format!("{product} {} byte {byte}", field.name);
                assert_eq!(verify(&spoilt.bytes), Err(unsigned), "{at}, not signed");
                if field.start < 0x2A0 {
                    assert_eq!(verify(&spoilt.sign()).err(), expected, "{at}, signed");
                }
            }
        }
    }
}

#[test]
fn size_and_version() {
    let good = genoa().sign();
    for len in [0, 1, 672, 1183] {
        let refused = Report::try_from(&good[..len]);
        assert_eq!(refused, Err(ReportError::Size { got: len }));
    }
    let longer = [&good[..], &[0]].concat();
    assert_eq!(Report::try_from(&longer[..]), Err(ReportError::Size { got: 1185 }));
    for got in [0, 1, 4, 6, 7, u32::MAX] {
        let refused = vcek().verify(&genoa().with(field::VERSION, got.to_le_bytes()));
        assert_eq!(refused, Err(ReportError::Version { got }.into()));
    }
    // What a later version fills in is reserved in an earlier one.
    let cpuid_in_2 = genoa().version(3).with(field::VERSION, 2u32.to_le_bytes());
    let reserved = ReportError::Reserved { offset: 0x188, got: 0x19 };
    assert_eq!(vcek().verify(&cpuid_in_2), Err(reserved.into()));
    let vectors_in_3 = genoa().with(field::VERSION, 3u32.to_le_bytes());
    let reserved = ReportError::Reserved { offset: 0x1F8, got: 11 };
    assert_eq!(vcek().verify(&vectors_in_3), Err(reserved.into()));
}

#[test]
fn signing_keys() {
    let key_info = |bits: u32| genoa().with(field::KEY_INFO, bits.to_le_bytes());
    for got in 2..=6 {
        let refused = vcek().verify(&key_info(u32::from(got) << 2));
        assert_eq!(refused, Err(ReportError::SigningKeyUndefined { got }.into()));
    }
    let wrong = |got, expected| Err(VerifyError::SigningKey { got, expected });
    assert_eq!(vcek().verify(&key_info(7 << 2)), wrong(SigningKey::None, SigningKey::Vcek));
    assert_eq!(vcek().verify(&key_info(1 << 2)), wrong(SigningKey::Vlek, SigningKey::Vcek));
    let vlek = Vendor::new(Product::Genoa, VekKind::Vlek);
    assert_eq!(vlek.verify(&genoa()), wrong(SigningKey::Vcek, SigningKey::Vlek));
    for (bit, got) in [(5, 0x20), (6, 0x40), (7, 0x80)] {
        let reserved = ReportError::Reserved { offset: 0x48, got };
        assert_eq!(vcek().verify(&key_info(1 << bit)), Err(reserved.into()));
    }
}

#[test]
fn numbers_of_the_signature_stay_in_range() {
    // The order of P-384, little-endian: as R or S it stands for zero.
    let order = "7329c5cc6a19ecec7aa7b048b20d1a58df2d37f4814d63c7";
    let low = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
    let order = [&low[..], &[0xFF; 24]].concat();
    for number in [[0; 48].to_vec(), order, [0xFF; 48].to_vec()] {
        for field in [field::SIGNATURE_R, field::SIGNATURE_S] {
            let signed = ReportBuilder { bytes: genoa().sign() };
            let endorsements = vcek().endorsements();
            let spoilt = signed.with(field, &number).bytes;
            let refused = verify_report(&spoilt, &endorsements, &rules_for(&endorsements), now());
            assert_eq!(refused, Err(VerifyError::ReportSignature));
        }
    }
    // Signed by another key.
    let endorsements = vcek().endorsements();
    let report = genoa().sign_with(&ec(Nid::SECP384R1));
    let refused = verify_report(&report, &endorsements, &rules_for(&endorsements), now());
    assert_eq!(refused, Err(VerifyError::ReportSignature));
}

#[test]
fn chips_and_products() {
    let masked = genoa().with(field::CHIP_ID, [0; 64]);
    assert_eq!(vcek().verify(&masked), Err(VerifyError::ChipIdMasked));
    // A product's report under another product's root.
    for (root, report) in [
        (Product::Milan, Product::Genoa),
        (Product::Genoa, Product::Turin),
        (Product::Turin, Product::Milan),
    ] {
        let report = ReportBuilder::new(report);
        let got = Report::try_from(&report.bytes[..]).unwrap().cpuid.unwrap();
        let refused = Vendor::new(root, VekKind::Vcek).verify(&report);
        assert_eq!(refused, Err(VerifyError::Cpuid { got, expected: root }));
    }
    for cpuid in [[0x19, 0x21, 1], [0x19, 0xB0, 1], [0x1A, 0x20, 1], [0x17, 0x11, 1]] {
        let refused = vcek().verify(&genoa().with(field::CPUID, cpuid)).unwrap_err();
        assert!(matches!(refused, VerifyError::Cpuid { expected: Product::Genoa, .. }));
    }
}

/// Changes the VEK's certificate and verifies.
fn with_vek(
    vendor: &Vendor,
    change: impl FnOnce(&mut CertificateDraft),
) -> Result<(), VerifyError> {
    let mut vendor = vendor.clone();
    change(&mut vendor.vek);
    let report = ReportBuilder::new(vendor.product);
    let vlek = vendor.vek.subjects == ["SEV-VLEK"];
    vendor.verify(&if vlek { report.vlek() } else { report }).map(drop)
}

#[test]
fn every_component_of_the_certified_tcb() {
    const NAMES: [&str; 9] =
        ["blSPL", "teeSPL", "snpSPL", "spl4", "spl5", "spl6", "spl7", "ucodeSPL", "fmcSPL"];
    for product in Product::ALL {
        let vendor = Vendor::new(product, VekKind::Vcek);
        let genuine =
            TcbVersion(ReportBuilder::new(product).get(field::REPORTED_TCB).try_into().unwrap());
        let components = genuine.of(product).unwrap().components();
        let mut components = components.into_iter();
        for number in [9, 1, 2, 3, 8] {
            let (component, got) = components.next().unwrap();
            let suffix = [3, number];
            let name = NAMES[usize::from(number) - 1];
            let Some(value) = got else {
                // A component that this product has no byte for may be there as zero only.
                let add = |value: u8| {
                    with_vek(&vendor, |vek| {
                        vek.extensions.push(amd(&suffix, der::integer(&[value])));
                    })
                };
                assert_eq!(add(0), Ok(()));
                assert_eq!(add(1), extension(name, ExtensionError::Unexpected));
                continue;
            };
            for other in [value - 1, value + 1] {
                let refused = with_vek(&vendor, |vek| vek.set(&suffix, der::integer(&[other])));
                let expected = Some(other);
                assert_eq!(refused, Err(VerifyError::TcbExtension { component, got, expected }));
            }
            let missing = with_vek(&vendor, |vek| vek.remove(&suffix));
            assert_eq!(missing, extension(name, ExtensionError::Missing));
        }
        for number in 4..=7 {
            if product == Product::Turin && number == 4 {
                continue;
            }
            let name = NAMES[number - 1];
            let suffix = [3, u8::try_from(number).unwrap()];
            assert_eq!(with_vek(&vendor, |vek| vek.remove(&suffix)), Ok(()));
            let set = with_vek(&vendor, |vek| vek.set(&suffix, der::integer(&[9])));
            assert_eq!(set, extension(name, ExtensionError::Number { got: 9 }));
        }
        let unknown = with_vek(&vendor, |vek| vek.extensions.push(amd(&[3, 10], vec![2, 1, 0])));
        assert_eq!(unknown, extension("a TCB component", ExtensionError::Unexpected));
    }
}

fn extension(name: &'static str, error: ExtensionError) -> Result<(), VerifyError> {
    Err(VerifyError::Extension { name, error })
}

#[test]
fn integers_of_extensions_are_canonical() {
    let malformed = |position| ExtensionError::Malformed(DerError::Value { position });
    for (value, error) in [
        (vec![2, 1, 0x80], malformed(3)),
        (vec![2, 2, 0, 10], malformed(4)),
        (vec![2, 2, 1, 10], malformed(4)),
        (vec![2, 0], malformed(2)),
        (
            vec![4, 1, 10],
            ExtensionError::Malformed(DerError::Tag { position: 0, got: 4, expected: 2 }),
        ),
    ] {
        for (suffix, name) in [(&[3, 1][..], "blSPL"), (&[1], "structVersion")] {
            let refused = with_vek(&vcek(), |vek| vek.set(suffix, value.clone()));
            assert_eq!(refused, extension(name, error));
        }
    }
    for value in [vec![], vec![2], vec![2, 2, 10], vec![2, 1, 10, 0]] {
        let refused = with_vek(&vcek(), |vek| vek.set(&[3, 1], value.clone())).unwrap_err();
        assert!(matches!(
            refused,
            VerifyError::Extension {
                name: "blSPL",
                error: ExtensionError::Malformed(DerError::Read(_))
            }
        ));
    }
}

#[test]
fn structure_version_and_product_name() {
    let vendor = vcek();
    for version in [0, 1] {
        let set = with_vek(&vendor, |vek| vek.set(&[1], der::integer(&[version])));
        assert_eq!(set, Ok(()));
    }
    let set = with_vek(&vendor, |vek| vek.set(&[1], der::integer(&[2])));
    assert_eq!(set, extension("structVersion", ExtensionError::Number { got: 2 }));
    let missing = with_vek(&vendor, |vek| vek.remove(&[1]));
    assert_eq!(missing, extension("structVersion", ExtensionError::Missing));

    let name = |text: &str| {
        let value = der::element(0x16, text.as_bytes());
        with_vek(&vendor, |vek| vek.set(&[2], value))
    };
    for good in ["Genoa", "Genoa-B1", "Genoa-A0"] {
        assert_eq!(name(good), Ok(()));
    }
    for got in
        ["Milan-B0", "Turin", "genoa", "Genoa-", "Genoa-B", "Genoa-B00", "GenoaX", "Genoa B1"]
    {
        let wrong = VerifyError::ProductExtension { got: got.to_owned(), expected: Product::Genoa };
        assert_eq!(name(got), Err(wrong));
    }
    let missing = with_vek(&vendor, |vek| vek.remove(&[2]));
    assert_eq!(missing, extension("productName", ExtensionError::Missing));
    let got = "Genoa".repeat(60);
    assert_eq!(name(&got), extension("productName", ExtensionError::Length { got: 300 }));
}

#[test]
fn hardware_ids() {
    for product in Product::ALL {
        let vendor = Vendor::new(product, VekKind::Vcek);
        let len = product.chip_id_bytes();
        let report = ReportBuilder::new(product);
        let chip_id = report.get(field::CHIP_ID);
        let wrapped = der::element(4, &chip_id[..len]);
        assert_eq!(with_vek(&vendor, |vek| vek.set(&[4], wrapped.clone())), Ok(()));

        let got = Report::try_from(&report.bytes[..]).unwrap().chip_id;
        let mut other = chip_id[..len].to_vec();
        other[len - 1] ^= 1;
        let refused = with_vek(&vendor, |vek| vek.set(&[4], other.clone()));
        assert_eq!(refused, Err(VerifyError::HwId { got, expected: other }));
        // The other products' length.
        let other = chip_id[..72 - len].to_vec();
        let refused = with_vek(&vendor, |vek| vek.set(&[4], other.clone()));
        assert_eq!(refused, Err(VerifyError::HwId { got, expected: other }));

        let wrong_tag = der::element(3, &chip_id[..len]);
        for value in [&chip_id[..len - 1], &wrapped[1..], &[], &wrong_tag] {
            let refused = with_vek(&vendor, |vek| vek.set(&[4], value.to_vec()));
            assert_eq!(refused, extension("hwID", ExtensionError::Length { got: value.len() }));
        }
        let missing = with_vek(&vendor, |vek| vek.remove(&[4]));
        assert_eq!(missing, extension("hwID", ExtensionError::Missing));
        let provider = amd(&[5], der::element(0x16, CSP_ID.as_bytes()));
        let both = with_vek(&vendor, |vek| vek.extensions.push(provider));
        assert_eq!(both, extension("cspID", ExtensionError::Unexpected));
    }
}

#[test]
fn providers() {
    let vendor = Vendor::new(Product::Genoa, VekKind::Vlek);
    let name = |text: &str| {
        let value = der::element(0x16, text.as_bytes());
        with_vek(&vendor, |vek| vek.set(&[5], value))
    };
    let got = "CN=cc-test-2.provider.example";
    let listed = vec![CSP_ID.to_owned()];
    assert_eq!(name(got), Err(VerifyError::CspId { got: got.to_owned(), listed }));
    assert!(matches!(
        name("CN=\n"),
        Err(VerifyError::Extension { name: "cspID", error: ExtensionError::Malformed(_) })
    ));
    let missing = with_vek(&vendor, |vek| vek.remove(&[5]));
    assert_eq!(missing, extension("cspID", ExtensionError::Missing));
    let both = with_vek(&vendor, |vek| vek.extensions.push(amd(&[4], vec![1; 64])));
    assert_eq!(both, extension("hwID", ExtensionError::Unexpected));

    let endorsements = vendor.endorsements();
    let none = Rules { csp_ids: CspIdRule::Listed(vec![]), ..rules_for(&endorsements) };
    let refused = verify_report(&genoa().vlek().sign(), &endorsements, &none, now());
    assert_eq!(refused, Err(VerifyError::CspId { got: CSP_ID.to_owned(), listed: vec![] }));
}

/// Changes one of the three certificates and verifies.
fn with(
    endorsement: Endorsement,
    change: impl FnOnce(&mut CertificateDraft),
) -> Result<(), VerifyError> {
    let mut vendor = vcek();
    change(match endorsement {
        Endorsement::Ark => &mut vendor.ark,
        Endorsement::Ask => &mut vendor.ask,
        Endorsement::Vek => &mut vendor.vek,
        Endorsement::Crl => panic!("not a certificate"),
    });
    vendor.verify(&genoa()).map(drop)
}

const CERTIFICATES: [Endorsement; 3] = [Endorsement::Ark, Endorsement::Ask, Endorsement::Vek];

#[test]
fn the_root_is_the_pinned_one() {
    let vendor = vcek();
    let rules = vendor.rules();
    // The same names and the same key: but not the same bytes.
    let mut other = vendor.clone();
    other.ark.serial = vec![7];
    let endorsements = other.endorsements();
    let refused = verify_report(&genoa().sign(), &endorsements, &rules, now());
    let sha256 = openssl::sha::sha256(&endorsements.ark);
    assert_eq!(refused, Err(VerifyError::Root { sha256, trusted: Provenance::Simulated }));
}

#[test]
fn signatures_and_keys_of_the_chain() {
    // Each certificate signed by a key that is not its issuer's.
    for (endorsement, error) in [
        (Endorsement::Ark, VerifyError::ArkSignature),
        (Endorsement::Ask, VerifyError::AskSignature),
        (Endorsement::Vek, VerifyError::VekSignature),
    ] {
        let other = if endorsement == Endorsement::Vek { &keys().ark } else { &keys().ask };
        let refused = with(endorsement, |draft| draft.signer = other.clone());
        assert_eq!(refused, Err(error.clone()));
        // Another salt and another hash than the certificate says.
        assert_eq!(with(endorsement, |draft| draft.salt_bytes = 32), Err(error.clone()));
        assert_eq!(with(endorsement, |draft| draft.hash = Hash::Sha256), Err(error));
    }
    // Other algorithms than AMD's, said and done.
    for algorithm in [der::pss(Hash::Sha384, 32), der::pss(Hash::Sha256, 48)] {
        for endorsement in [Endorsement::Ask, Endorsement::Vek] {
            let error = CertificateError::SignatureAlgorithm;
            let refused = VerifyError::Certificate { endorsement, error };
            let inner = with(endorsement, |draft| draft.algorithm = algorithm.clone());
            assert_eq!(inner, Err(refused.clone()));
            let outer = with(endorsement, |draft| draft.outer_algorithm = algorithm.clone());
            assert_eq!(outer, Err(refused));
        }
    }
    // An ASK with a short key, and a VEK on another curve or with an RSA key.
    let short = rsa(2048);
    let mut vendor = vcek();
    vendor.ask.key = short.public_key_to_der().unwrap();
    vendor.vek.signer = short.clone();
    let kind = |endorsement, got, expected| VerifyError::KeyKind { endorsement, got, expected };
    let got = KeyKind::Rsa { bits: 2048 };
    assert_eq!(vendor.verify(&genoa()), Err(kind(Endorsement::Ask, got, "RSA-4096")));
    for (key, got) in [(short, got), (ec(Nid::X9_62_PRIME256V1), KeyKind::Other)] {
        let key = key.public_key_to_der().unwrap();
        let refused = with(Endorsement::Vek, |draft| draft.key = key);
        assert_eq!(refused, Err(kind(Endorsement::Vek, got, "P-384")));
    }
    // Any exponent but 65537.
    let refused = with(Endorsement::Ask, |draft| *draft.key.last_mut().unwrap() = 3);
    assert_eq!(refused, Err(kind(Endorsement::Ask, KeyKind::RsaExponent, "RSA-4096")));
    // A point that is not on the curve.
    let refused = with(Endorsement::Vek, |draft| *draft.key.last_mut().unwrap() ^= 1);
    assert_eq!(refused, Err(kind(Endorsement::Vek, KeyKind::P384, "P-384")));
}

#[test]
fn names_of_the_chain() {
    let wrong = |endorsement, part, got: &str, expected: &str| {
        let (got, expected) = (got.to_owned(), expected.to_owned());
        Err(VerifyError::CommonName { endorsement, part, got, expected })
    };
    let subject = |endorsement, name| with(endorsement, |draft| draft.subjects = vec![name]);
    let issuer = |endorsement, name| with(endorsement, |draft| draft.issuers = vec![name]);
    use Endorsement::{Ark, Ask, Vek};
    let either = "SEV-VCEK or SEV-VLEK";
    for name in ["SEV-VCEK ", "sev-vcek", "SEV-Genoa", "VCEK"] {
        assert_eq!(subject(Vek, name), wrong(Vek, "subject", name, either));
    }
    // A VLEK's name under an ASK, and an ASVK over a VCEK: kinds don't mix.
    assert_eq!(subject(Vek, "SEV-VLEK"), wrong(Ask, "subject", "SEV-Genoa", "SEV-VLEK-Genoa"));
    assert_eq!(
        subject(Ask, "SEV-VLEK-Genoa"),
        wrong(Ask, "subject", "SEV-VLEK-Genoa", "SEV-Genoa")
    );
    assert_eq!(subject(Ask, "SEV-Milan"), wrong(Ask, "subject", "SEV-Milan", "SEV-Genoa"));
    // The pinned root fixes the product, so that its name does too.
    assert_eq!(issuer(Ark, "ARK-Milan"), wrong(Ark, "issuer", "ARK-Milan", "ARK-Genoa"));
    assert_eq!(issuer(Ask, "ARK-Milan"), wrong(Ask, "issuer", "ARK-Milan", "ARK-Genoa"));
    assert_eq!(issuer(Vek, "SEV-Milan"), wrong(Vek, "issuer", "SEV-Milan", "SEV-Genoa"));
    assert_eq!(subject(Ark, "ARK-Milan"), wrong(Ark, "issuer", "ARK-Genoa", "ARK-Milan"));

    for endorsement in [Ask, Vek] {
        let many = with(endorsement, |draft| draft.subjects = vec!["x"; 12]);
        let error = CertificateError::TooManyAttributes;
        assert_eq!(many, Err(VerifyError::Certificate { endorsement, error }));
        let long: &'static str = "x".repeat(65).leak();
        let long = with(endorsement, |draft| draft.subjects = vec![long]);
        let error = CertificateError::CommonNameTooLong { got: 65 };
        assert_eq!(long, Err(VerifyError::Certificate { endorsement, error }));
        for names in [vec![], vec!["SEV-VCEK", "SEV-VCEK"], vec!["SEV-Genoa", "x"]] {
            let error = CertificateError::CommonNames { got: names.len() };
            let refused = Err(VerifyError::Certificate { endorsement, error });
            assert_eq!(with(endorsement, |draft| draft.subjects = names.clone()), refused);
            assert_eq!(with(endorsement, |draft| draft.issuers = names), refused);
        }
    }
}

#[test]
fn dates_of_the_chain() {
    let past = time("2026-11-23T11:59:59Z");
    let future = time("2026-11-23T12:00:01Z");
    for endorsement in CERTIFICATES {
        let now = now();
        let refused = with(endorsement, |draft| draft.not_after = past);
        assert_eq!(refused, Err(VerifyError::Expired { endorsement, not_after: past, now }));
        let refused = with(endorsement, |draft| draft.not_before = future);
        assert_eq!(refused, Err(VerifyError::NotYetValid { endorsement, not_before: future, now }));
        let edge = with(endorsement, |draft| (draft.not_before, draft.not_after) = (now, now));
        assert_eq!(edge, Ok(()));
        // GeneralizedTime, as for AMD's dates from 2050 on.
        let late = with(endorsement, |draft| draft.not_after = time("2051-01-01T00:00:00Z"));
        assert_eq!(late, Ok(()));
    }
}

#[test]
fn shape_of_certificates() {
    for endorsement in [Endorsement::Ask, Endorsement::Vek] {
        let refused = |error| Err(VerifyError::Certificate { endorsement, error });
        for version in [0, 1, 3] {
            let version = with(endorsement, |draft| draft.version = version);
            assert_eq!(version, refused(CertificateError::Version));
        }
        let oid = || "1.3.6.1.4.1.3704.1.99".to_owned();
        let unknown = |critical| ExtensionDraft { critical, ..amd(&[99], vec![5, 0]) };
        let add = |extensions: Vec<ExtensionDraft>| {
            with(endorsement, |draft| draft.extensions.extend(extensions))
        };
        assert_eq!(add(vec![unknown(false)]), Ok(()));
        let critical = CertificateError::ExtensionCritical { oid: oid() };
        assert_eq!(add(vec![unknown(true)]), refused(critical));
        let repeated = CertificateError::ExtensionRepeated { oid: oid() };
        assert_eq!(add(vec![unknown(false), unknown(false)]), refused(repeated));
        let many = (0..33).map(|number| amd(&[100, number], vec![5, 0])).collect();
        assert_eq!(add(many), refused(CertificateError::TooManyExtensions));
        let large = add(vec![amd(&[99], vec![0; 8192])]);
        let Err(VerifyError::Certificate { error: CertificateError::TooLong { got }, .. }) = large
        else {
            panic!("{large:?}");
        };
        assert!(got > 8192);
    }
    // Every extension of the VEK, twice.
    for index in 0..vcek().vek.extensions.len() {
        let refused = with(Endorsement::Vek, |vek| {
            let again = vek.extensions[index].clone();
            vek.extensions.push(again);
        });
        assert!(matches!(
            refused,
            Err(VerifyError::Certificate {
                endorsement: Endorsement::Vek,
                error: CertificateError::ExtensionRepeated { .. }
            })
        ));
    }
}

/// Changes the vendor's CRL and verifies under a rule.
fn with_crl(rule: CrlRule, change: impl FnOnce(&mut Vendor)) -> Result<CrlStatus, VerifyError> {
    let mut vendor = vcek();
    change(&mut vendor);
    let endorsements = vendor.endorsements();
    let rules = Rules { crl: rule, ..rules_for(&endorsements) };
    verify_report(&genoa().sign(), &endorsements, &rules, now()).map(|verified| verified.crl())
}

const CRL_RULES: [CrlRule; 3] = [CrlRule::Required, CrlRule::MayBeStale, CrlRule::MayBeAbsent];

#[test]
fn a_crl_that_is_there_is_obeyed_under_every_rule() {
    let crl = Endorsement::Crl;
    for rule in CRL_RULES {
        let forged = with_crl(rule, |vendor| vendor.crl.signer = keys().ask.clone());
        assert_eq!(forged, Err(VerifyError::CrlSignature));
        let refused = |error| Err(VerifyError::Certificate { endorsement: crl, error });
        for version in [0, 2] {
            let other = with_crl(rule, |vendor| vendor.crl.version = Some(version));
            assert_eq!(other, refused(CertificateError::Version));
        }
        let first = with_crl(rule, |vendor| vendor.crl.version = None);
        assert!(matches!(first, Ok(CrlStatus::Current { .. })), "{first:?}");
        let weak = with_crl(rule, |vendor| vendor.crl.algorithm = der::pss(Hash::Sha384, 20));
        assert_eq!(weak, refused(CertificateError::SignatureAlgorithm));
        let (got, expected) = ("ARK-Milan".to_owned(), "ARK-Genoa".to_owned());
        let other = with_crl(rule, |vendor| vendor.crl.issuers = vec!["ARK-Milan"]);
        let part = "issuer";
        let name = VerifyError::CommonName { endorsement: crl, part, got, expected };
        assert_eq!(other, Err(name));
        for (endorsement, serial) in
            [(Endorsement::Ark, vec![2, 0, 0]), (Endorsement::Ask, vec![2, 0, 2])]
        {
            let listed = with_crl(rule, |vendor| vendor.crl.revoked.push(serial.clone()));
            assert_eq!(listed, Err(VerifyError::Revoked { endorsement, serial: serial.clone() }));
            // Also by an old list.
            let listed = with_crl(rule, |vendor| {
                vendor.crl.revoked.insert(0, serial.clone());
                vendor.crl.next_update = time("2026-11-02T00:00:00Z");
            });
            assert_eq!(listed, Err(VerifyError::Revoked { endorsement, serial }));
        }
        let this_update = time("2026-11-23T12:00:01Z");
        let early = with_crl(rule, |vendor| vendor.crl.this_update = this_update);
        assert_eq!(early, Err(VerifyError::CrlNotYetValid { this_update, now: now() }));
        // A list of some reasons, or of changes since another list, proves nothing.
        let critical = |oid: &[u8], value: &[u8]| ExtensionDraft {
            oid: oid.to_vec(),
            critical: true,
            value: value.to_vec(),
        };
        for (extension, oid) in [
            (critical(&[0x55, 29, 28], &[0x30, 4, 0x83, 2, 7, 0x80]), "2.5.29.28"),
            (critical(&[0x55, 29, 28], &[0x30, 3, 0x81, 1, 0xFF]), "2.5.29.28"),
            (critical(&[0x55, 29, 28], &[0x30, 3, 0x84, 1, 0xFF]), "2.5.29.28"),
            (critical(&[0x55, 29, 27], &[2, 1, 1]), "2.5.29.27"),
        ] {
            let partial = with_crl(rule, |vendor| vendor.crl.extensions.push(extension));
            let error = CertificateError::ExtensionCritical { oid: oid.to_owned() };
            assert_eq!(partial, refused(error));
        }
        let authorities = critical(&[0x55, 29, 28], &[0x30, 3, 0x82, 1, 0xFF]);
        let whole = with_crl(rule, |vendor| {
            vendor.crl.extensions = vec![
                authorities,
                ExtensionDraft { oid: vec![0x55, 29, 20], critical: false, value: vec![2, 1, 7] },
            ];
        });
        assert!(matches!(whole, Ok(CrlStatus::Current { .. })), "{whole:?}");
        let empty = with_crl(rule, |vendor| vendor.crl.revoked.clear());
        assert!(matches!(empty, Ok(CrlStatus::Current { .. })), "{empty:?}");
    }
}

#[test]
fn a_crl_may_be_old_or_absent_only_by_rule() {
    let next_update = time("2026-11-23T11:59:59Z");
    let stale = |rule| with_crl(rule, |vendor| vendor.crl.next_update = next_update);
    let refused = VerifyError::CrlStale { next_update, now: now() };
    assert_eq!(stale(CrlRule::Required), Err(refused));
    assert_eq!(stale(CrlRule::MayBeStale), Ok(CrlStatus::Stale { next_update }));
    assert_eq!(stale(CrlRule::MayBeAbsent), Ok(CrlStatus::Stale { next_update }));

    let mut endorsements = vcek().endorsements();
    let rules = rules_for(&endorsements);
    endorsements.crl = None;
    let absent = |crl| {
        let rules = Rules { crl, ..rules.clone() };
        let verified = verify_report(&genoa().sign(), &endorsements, &rules, now());
        verified.map(|verified| verified.crl())
    };
    assert_eq!(absent(CrlRule::Required), Err(VerifyError::CrlAbsent));
    assert_eq!(absent(CrlRule::MayBeStale), Err(VerifyError::CrlAbsent));
    assert_eq!(absent(CrlRule::MayBeAbsent), Ok(CrlStatus::NotChecked));
}

#[test]
fn every_cut_of_a_crl_is_refused() {
    let endorsements = vcek().endorsements();
    let rules = rules_for(&endorsements);
    let crl = endorsements.crl.clone().unwrap();
    let longer = [&crl[..], &[0]].concat();
    let large = vec![0x30; 65_537];
    let cuts = (0..crl.len()).map(|len| crl[..len].to_vec());
    for crl in cuts.chain([longer, large]) {
        let spoilt = neo_secrets_attestation::endorsements::Endorsements {
            crl: Some(crl),
            ..endorsements.clone()
        };
        let refused = verify_report(&genoa().sign(), &spoilt, &rules, now()).unwrap_err();
        assert!(matches!(
            refused,
            VerifyError::Certificate {
                endorsement: Endorsement::Crl,
                error: CertificateError::Der(_) | CertificateError::TooLong { got: 65_537 }
            }
        ));
    }
}
