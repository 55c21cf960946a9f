//! Bytes from an enemy: never a panic, never accepted.

use std::sync::LazyLock;

use neo_secrets_attestation::endorsements::{Endorsements, VekKind};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{Report, ReportVersion};
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::verify::{CrlRule, CspIdRule, Rules, verify_report};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::now;
use crate::support::report::ReportBuilder;
use crate::support::vectors::reports;
use crate::support::vendor::{Vendor, rules_for};

/// Good evidence, made once.
struct Good {
    report: [u8; 1184],
    endorsements: Endorsements,
    rules: Rules,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let endorsements = Vendor::new(Product::Genoa, VekKind::Vcek).endorsements();
    let rules = rules_for(&endorsements);
    Good { report: ReportBuilder::new(Product::Genoa).sign(), endorsements, rules }
});

#[test]
fn any_single_flipped_bit_of_a_genuine_report_is_refused() {
    let vectors = reports("any_single_flipped_bit_of_a_genuine_report_is_refused");
    let rules = Rules { roots: Roots::Amd, crl: CrlRule::MayBeAbsent, csp_ids: CspIdRule::Any };
    // Each bit once; the reports take turns.
    for (bit, vector) in (0..1184 * 8).zip(vectors.iter().cycle()) {
        let mut raw = vector.report.clone();
        raw[bit / 8] ^= 1 << (bit % 8);
        let at = if vector.name == "milan-v3-vlek" {
            "2025-12-09T00:00:00Z".parse().unwrap()
        } else {
            now()
        };
        let refused = verify_report(&raw, &vector.endorsements, &rules, at);
        assert!(refused.is_err(), "{} bit {bit}", vector.name);
    }
}

/// What may stand where a certificate, a CRL or a report should: noise, or the real thing with some
/// bytes replaced, left out and put in.
fn spoilt(good: &[u8]) -> BoxedStrategy<Vec<u8>> {
    let good = good.to_vec();
    let len = good.len();
    let edit = (0..len, 0..4usize, vec(any::<u8>(), 0..4));
    let edited = vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = good.clone();
        for (start, removed, inserted) in edits {
            let start = start.min(bytes.len());
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, inserted);
        }
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..2048), 3 => edited].boxed()
}

fn endorsements() -> impl Strategy<Value = Endorsements> {
    let Endorsements { vek, ask, ark, crl } = &GOOD.endorsements;
    let or_spoilt = |good: &Vec<u8>| prop_oneof![Just(good.clone()), spoilt(good)];
    let crl = crl.as_ref().unwrap();
    (or_spoilt(vek), or_spoilt(ask), Just(ark.clone()), or_spoilt(crl))
        .prop_map(|(vek, ask, ark, crl)| Endorsements { vek, ask, ark, crl: Some(crl) })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..Default::default() })]

    #[test]
    fn bytes_are_a_report_or_an_error(bytes in vec(any::<u8>(), 0..1300)) {
        let _ = Report::try_from(&bytes[..]);
        let _ = Roots::simulated(&bytes);
        let _ = Endorsements::from_files(&[&bytes, &bytes]);
        let _ = GOOD.endorsements.clone().with_crl_file(&bytes);
    }

    #[test]
    fn a_report_that_parses_has_a_known_version(tail in vec(any::<u8>(), 1180), version in 0u32..8) {
        let bytes = [&version.to_le_bytes()[..], &tail].concat();
        if let Ok(report) = Report::try_from(&bytes[..]) {
            prop_assert!(matches!(
                report.version,
                ReportVersion::V2 | ReportVersion::V3 | ReportVersion::V5
            ));
        }
    }

    #[test]
    fn only_the_genuine_evidence_verifies(
        report in prop_oneof![Just(GOOD.report.to_vec()), spoilt(&GOOD.report)],
        endorsements in endorsements(),
    ) {
        let verified = verify_report(&report, &endorsements, &GOOD.rules, now());
        let genuine = report == GOOD.report && endorsements == GOOD.endorsements;
        prop_assert_eq!(verified.is_ok(), genuine, "{:?}", verified.err());
    }

    #[test]
    fn a_spoilt_root_is_no_root(ark in spoilt(&GOOD.endorsements.ark)) {
        prop_assume!(ark != GOOD.endorsements.ark);
        let spoilt = Endorsements { ark, ..GOOD.endorsements.clone() };
        prop_assert!(verify_report(&GOOD.report, &spoilt, &GOOD.rules, now()).is_err());
        // Even where the user is made to trust it: it does not sign itself.
        if let Ok(roots) = Roots::simulated(&spoilt.ark) {
            let rules = Rules { roots, ..GOOD.rules.clone() };
            prop_assert!(verify_report(&GOOD.report, &spoilt, &rules, now()).is_err());
        }
    }
}
