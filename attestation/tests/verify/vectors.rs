//! Reports of real chips have the outcome that is known of them.

use neo_secrets_attestation::endorsements::{Endorsement, Endorsements, VekKind};
use neo_secrets_attestation::error::{CertificateError, Step, VerifyError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{ChipId, FirmwareVersion, Report, ReportVersion};
use neo_secrets_attestation::roots::{Provenance, RootError, Roots};
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{
    CrlRule, CrlStatus, CspIdRule, Rules, Signer, VerifiedReport, verify_report,
};

use crate::support::now;
use crate::support::vectors::{Vector, read, reports};

const AWS: &str = "CN=cc-us-east-2.amazonaws.com";

fn rules() -> Rules {
    Rules {
        roots: Roots::Amd,
        crl: CrlRule::MayBeAbsent,
        csp_ids: CspIdRule::Listed(vec![AWS.to_owned()]),
    }
}

/// A time at which the certificates of a vector are valid.
fn valid_at(vector: &Vector) -> UnixTime {
    match vector.name {
        "milan-v3-vlek" => "2025-12-09T00:00:00Z".parse().unwrap(),
        _ => now(),
    }
}

fn verify(vector: &Vector) -> Result<VerifiedReport, VerifyError> {
    verify_report(&vector.report, &vector.endorsements, &rules(), valid_at(vector))
}

fn vector(test: &str, name: &str) -> Option<Vector> {
    reports(test).into_iter().find(|vector| vector.name == name)
}

#[test]
fn every_real_report_verifies() {
    for vector in reports("every_real_report_verifies") {
        let verified = verify(&vector).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        assert_eq!(verified.raw()[..], vector.report, "{}", vector.name);
        assert_eq!(verified.report(), &Report::try_from(&vector.report[..]).unwrap());
        assert_eq!(verified.product(), vector.product);
        assert_eq!(verified.provenance(), Provenance::Amd);
        assert_eq!(verified.crl(), CrlStatus::NotChecked);
    }
}

#[test]
fn fields_are_what_is_known_of_them() {
    let version = |major, minor, build| FirmwareVersion { major, minor, build };
    let facts = |name| match name {
        "milan-v2-vcek" => (ReportVersion::V2, version(1, 52, 4), 0x3_0000),
        "milan-v2-vcek-debug-policy" => (ReportVersion::V2, version(1, 49, 3), 0xB_0000),
        "milan-v3-vcek" | "milan-v3-vlek" => (ReportVersion::V3, version(1, 55, 29), 0x3_0000),
        "genoa-v3-vcek" => (ReportVersion::V3, version(1, 55, 40), 0x3_001F),
        "genoa-v5-vcek" => (ReportVersion::V5, version(1, 55, 49), 0x3_0000),
        "turin-v5-vcek" => (ReportVersion::V5, version(1, 55, 65), 0x3_001F),
        _ => panic!("a vector without facts: {name}"),
    };
    for vector in reports("fields_are_what_is_known_of_them") {
        let verified = verify(&vector).unwrap();
        let report = verified.report();
        let got = (report.version, report.current_version, report.policy.0);
        assert_eq!(got, facts(vector.name), "{}", vector.name);
        assert_eq!(report.cpuid.is_some(), report.version != ReportVersion::V2);
        assert_eq!(report.mitigations.is_some(), report.version == ReportVersion::V5);
        assert_eq!(report.policy.debug_allowed(), vector.name.ends_with("debug-policy"));
        assert_eq!(report.vmpl, u32::from(vector.name == "milan-v3-vlek"));
        assert_eq!(report.report_id_ma, [0xFF; 32]);
        match verified.signer() {
            Signer::Vlek { csp_id } => {
                assert_eq!((vector.name, csp_id.as_str()), ("milan-v3-vlek", AWS));
                assert_eq!(report.chip_id, ChipId([0; 64]));
            }
            Signer::Vcek { chip_id } => {
                assert_eq!(chip_id.len(), vector.product.chip_id_bytes());
                assert_eq!(report.chip_id.of(vector.product), Some(&chip_id[..]));
            }
        }
        match vector.name {
            "milan-v3-vcek" => {
                assert_eq!((verified.tcbs().reported.snp, verified.tcbs().current.snp), (23, 24));
            }
            "genoa-v3-vcek" => {
                assert_ne!(report.host_data, [0; 32]);
                assert_ne!(report.id_key_digest, [0; 48]);
                assert_eq!((report.guest_svn, report.policy.abi_min()), (2, (0, 31)));
            }
            "genoa-v5-vcek" => {
                assert!(report.report_data.starts_with(b"hello-atte"));
                assert_eq!(report.cpuid.unwrap().model, 0xA0);
            }
            "turin-v5-vcek" => {
                assert_eq!(
                    (report.platform_info.0, report.platform_info.unnamed_bits()),
                    (0x65, 0x40)
                );
                assert_eq!(verified.tcbs().reported.fmc, Some(1));
            }
            _ => {}
        }
    }
}

#[test]
fn the_clock_is_the_callers() {
    let test = "the_clock_is_the_callers";
    let Some(vlek) = vector(test, "milan-v3-vlek") else { return };
    let not_after: UnixTime = "2025-12-10T22:14:21Z".parse().unwrap();
    let at = |time: UnixTime| verify_report(&vlek.report, &vlek.endorsements, &rules(), time);
    assert!(at(not_after).is_ok());
    let later = UnixTime::from_seconds(not_after.seconds() + 1).unwrap();
    let expired = VerifyError::Expired { endorsement: Endorsement::Vek, not_after, now: later };
    assert_eq!(at(later), Err(expired));
    let not_before: UnixTime = "2024-12-10T22:14:21Z".parse().unwrap();
    assert!(at(not_before).is_ok());
    let earlier = UnixTime::from_seconds(not_before.seconds() - 1).unwrap();
    let early =
        VerifyError::NotYetValid { endorsement: Endorsement::Vek, not_before, now: earlier };
    assert_eq!(at(earlier), Err(early));
}

#[test]
fn a_provider_that_is_not_listed_is_refused() {
    let Some(vlek) = vector("a_provider_that_is_not_listed_is_refused", "milan-v3-vlek") else {
        return;
    };
    let verify = |csp_ids| {
        let rules = Rules { csp_ids, ..rules() };
        verify_report(&vlek.report, &vlek.endorsements, &rules, valid_at(&vlek))
    };
    for listed in [vec![], vec!["CN=cc-eu-west-1.amazonaws.com".to_owned()]] {
        let refused = VerifyError::CspId { got: AWS.to_owned(), listed: listed.clone() };
        assert_eq!(verify(CspIdRule::Listed(listed)), Err(refused));
    }
    let verified = verify(CspIdRule::Any).unwrap();
    assert_eq!(verified.signer().kind(), VekKind::Vlek);
}

#[test]
fn certificates_of_another_place_are_refused() {
    let test = "certificates_of_another_place_are_refused";
    let all = reports(test);
    let of = |name| all.iter().find(|vector| vector.name == name);
    let Some((vcek, vlek)) = of("milan-v3-vcek").zip(of("milan-v3-vlek")) else { return };
    let Some(genoa) = of("genoa-v3-vcek") else { return };
    let refused = |endorsements: Endorsements| {
        verify_report(&vcek.report, &endorsements, &rules(), now()).unwrap_err()
    };
    let Endorsements { vek, ask, ark, crl } = vcek.endorsements.clone();
    let with_vlek_authority =
        Endorsements { ask: vlek.endorsements.ask.clone(), ..vcek.endorsements.clone() };
    assert_eq!(refused(with_vlek_authority), VerifyError::VekSignature);
    let with_other_ark =
        Endorsements { ark: genoa.endorsements.ark.clone(), ..vcek.endorsements.clone() };
    assert_eq!(refused(with_other_ark), VerifyError::AskSignature);
    let swapped = Endorsements { vek: ask.clone(), ask: vek, ark: ark.clone(), crl };
    assert_eq!(refused(swapped), VerifyError::AskSignature);
    let ark_as_ask = Endorsements { ask: ark.clone(), ..vcek.endorsements.clone() };
    assert_eq!(refused(ark_as_ask), VerifyError::VekSignature);
    let ask_as_root = Endorsements { ark: ask.clone(), ..vcek.endorsements.clone() };
    assert!(matches!(refused(ask_as_root), VerifyError::Root { trusted: Provenance::Amd, .. }));
    let ask_as_vek = Endorsements { vek: ask, ask: ark.clone(), ark, crl: None };
    assert!(matches!(refused(ask_as_vek), VerifyError::KeyKind { expected: "P-384", .. }));
    // Another chip of the same kind: its own report would verify, this one does not.
    let other_chip = Endorsements {
        vek: of("milan-v2-vcek").unwrap().endorsements.vek.clone(),
        ..vcek.endorsements.clone()
    };
    assert_eq!(refused(other_chip), VerifyError::ReportSignature);
}

#[test]
fn certificates_that_amd_did_not_sign_are_refused() {
    let test = "certificates_that_amd_did_not_sign_are_refused";
    let Some(milan) = vector(test, "milan-v3-vcek") else { return };
    for name in ["legacy", "new"] {
        let vek = read(test, &format!("not-amd/test-vcek-invalid-{name}.der")).unwrap();
        let endorsements = Endorsements { vek, ..milan.endorsements.clone() };
        let refused = verify_report(&milan.report, &endorsements, &rules(), now()).unwrap_err();
        assert_eq!((refused.step(), refused), (Step::Chain, VerifyError::VekSignature));
    }
}

#[test]
fn every_authority_is_signed_by_its_root() {
    // The ASVKs of Genoa and Turin sign no vector: without a leaf they are told by what fails next.
    let test = "every_authority_is_signed_by_its_root";
    for vector in reports(test) {
        let asvk = format!("amd-ca/{}/asvk.der", vector.product.name().to_lowercase());
        let ask = read(test, &asvk).unwrap();
        if ask == vector.endorsements.ask {
            continue;
        }
        let endorsements = Endorsements { ask, ..vector.endorsements.clone() };
        let refused = verify_report(&vector.report, &endorsements, &rules(), now());
        assert_eq!(refused, Err(VerifyError::VekSignature), "{}", vector.name);
    }
}

#[test]
fn simulated_and_genuine_never_mix() {
    let Some(milan) = vector("simulated_and_genuine_never_mix", "milan-v3-vcek") else { return };
    let vendor = crate::support::vendor::Vendor::new(Product::Milan, VekKind::Vcek);
    let rules = Rules { roots: vendor.rules().roots, ..rules() };
    let refused = verify_report(&milan.report, &milan.endorsements, &rules, now()).unwrap_err();
    assert!(matches!(refused, VerifyError::Root { trusted: Provenance::Simulated, .. }));
    assert_eq!(Roots::simulated(&milan.endorsements.ark), Err(RootError::IsAmd));
}

#[test]
fn every_cut_of_every_certificate_is_refused() {
    let test = "every_cut_of_every_certificate_is_refused";
    for vector in reports(test) {
        let Endorsements { vek, ask, .. } = &vector.endorsements;
        let now = valid_at(&vector);
        for len in 0..vek.len() {
            let cut = Endorsements { vek: vek[..len].to_vec(), ..vector.endorsements.clone() };
            let refused = verify_report(&vector.report, &cut, &rules(), now).unwrap_err();
            let VerifyError::Certificate { endorsement: Endorsement::Vek, error } = refused else {
                panic!("{} cut to {len}: {refused}", vector.name);
            };
            assert!(matches!(error, CertificateError::Der(_)));
        }
        for len in 0..ask.len() {
            let cut = Endorsements { ask: ask[..len].to_vec(), ..vector.endorsements.clone() };
            let refused = verify_report(&vector.report, &cut, &rules(), now).unwrap_err();
            assert!(matches!(
                refused,
                VerifyError::Certificate {
                    endorsement: Endorsement::Ask,
                    error: CertificateError::Der(_)
                }
            ));
        }
        for endorsement in [vek, ask] {
            let longer = [&endorsement[..], &[0]].concat();
            let endorsements = if endorsement == vek {
                Endorsements { vek: longer, ..vector.endorsements.clone() }
            } else {
                Endorsements { ask: longer, ..vector.endorsements.clone() }
            };
            let refused = verify_report(&vector.report, &endorsements, &rules(), now).unwrap_err();
            assert!(matches!(
                refused,
                VerifyError::Certificate { error: CertificateError::Der(_), .. }
            ));
        }
    }
}
