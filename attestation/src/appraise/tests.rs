//! Reports of real chips through steps 7 to 11. Their REPORT_DATA is not ours, so that they cannot
//! come through step 6: these tests put them behind it.

use super::*;
use crate::config::{OwnerKey, Reveal, Seal};
use crate::evidence::{ConfigText, ImageVersion};
use crate::reference::Identity;
use crate::roots::Roots;
use crate::tcb::{TcbComponent, TcbShortfall};
use crate::verify::{CrlRule, CspIdRule};

#[allow(dead_code, reason = "the integration tests use the rest")]
#[path = "../../tests/support/vectors.rs"]
mod vectors;

const CONFIG: &str = "seal='firmware'\nreveal='off'\nwitnesses=[]\nquorum=0\nowner_key='any'";

/// A real report behind step 6, with reference values and a policy that fit it but for what they
/// cannot narrow.
struct Case {
    verified: Verified,
    reference: ReferenceValues,
    policy: Policy,
    now: UnixTime,
}

fn case(test: &str, name: &str) -> Option<Case> {
    let vector = vectors::reports(test).into_iter().find(|vector| vector.name == name)?;
    // The VLEK has expired; the newest VCEK was made after that.
    let now = if name == "milan-v3-vlek" { "2025-12-09T00:00:00Z" } else { "2026-11-23T00:00:00Z" };
    let now = now.parse().unwrap();
    let rules = Rules { roots: Roots::Amd, crl: CrlRule::MayBeAbsent, csp_ids: CspIdRule::Any };
    let report = verify::verify_report(&vector.report, &vector.endorsements, &rules, now).unwrap();
    let fields = report.report();
    let reference = ReferenceValues {
        image_version: ImageVersion::new("0").unwrap(),
        measurements: vec![KnownMeasurement {
            digest: fields.measurement,
            vcpus: 1,
            vcpu_type: "EPYC".to_owned(),
            sev_features: 1,
            covers: Covers::Image,
        }],
        host_data: Identity::Exactly(fields.host_data),
        family_id: Identity::Exactly(fields.family_id),
        image_id: Identity::Exactly(fields.image_id),
        id_key_digest: Identity::Exactly(fields.id_key_digest),
        author_key_digest: Identity::Exactly(fields.author_key_digest),
        guest_svn_min: fields.guest_svn,
        inputs: vec![],
    };
    let Tcbs { current: _, reported, committed, launch } = report.tcbs();
    let policy = Policy {
        expires: now,
        abi_min: AbiVersion { major: 0, minor: 0 },
        products: vec![ProductPolicy {
            product: report.product(),
            cpuid_models: AnyOf::Any,
            tcb_floor: reported.min(committed).min(launch),
            chips: AnyOf::Listed(vec![fields.chip_id]),
            denied_chips: vec![],
        }],
        csp_ids: vec![],
        crl: CrlRule::MayBeAbsent,
        instance_keys: AnyOf::Any,
        config: AttestedConfig {
            seal: Seal::Firmware,
            reveal: Reveal::Off,
            witnesses: vec![],
            quorum: 0,
            owner_key: OwnerKey::Any,
        },
    };
    let claims = Claims {
        tls_spki_sha256: [0; 32],
        config: ConfigText::new(CONFIG.as_bytes()).unwrap(),
        image_version: ImageVersion::new("0").unwrap(),
        phase: ClaimPhase::Unclaimed,
    };
    let verified = Verified { report, claims, instance_signature: None };
    Some(Case { verified, reference, policy, now })
}

impl Case {
    fn judge(&self) -> Result<Appraised, AppraiseError> {
        let Self { verified, reference, policy, now } = self;
        appraise(verified.clone(), reference, policy, &Pin::Unpinned, *now)
    }
}

#[test]
fn real_reports_have_their_outcome() {
    for (name, expected) in [
        ("milan-v2-vcek", Some(AppraiseError::AliasCheck)),
        ("milan-v2-vcek-debug-policy", Some(AppraiseError::Debug)),
        ("milan-v3-vcek", None),
        ("milan-v3-vlek", Some(AppraiseError::Vmpl { got: 1 })),
        ("genoa-v3-vcek", None),
        ("genoa-v5-vcek", None),
        ("turin-v5-vcek", None),
    ] {
        let Some(case) = case("real_reports_have_their_outcome", name) else { continue };
        let outcome = case.judge();
        assert_eq!(outcome.as_ref().err(), expected.as_ref(), "{name}");
        if let Ok(appraised) = outcome {
            assert_eq!(appraised.provenance(), Provenance::Amd);
        }
    }
}

#[test]
fn real_milan_is_refused_unless_its_chip_is_named() {
    let test = "real_milan_is_refused_unless_its_chip_is_named";
    let Some(mut case) = case(test, "milan-v3-vcek") else { return };
    case.policy.products[0].chips = AnyOf::Any;
    assert_eq!(case.judge().unwrap_err(), AppraiseError::MilanWithoutChips);
    case.policy.products[0].product = Product::Genoa;
    let cpuid = case.verified.report.report().cpuid;
    let error = AppraiseError::Product { product: Product::Milan, cpuid };
    assert_eq!(case.judge().unwrap_err(), error);
}

#[test]
fn a_real_reported_tcb_may_be_below_the_current_one() {
    let test = "a_real_reported_tcb_may_be_below_the_current_one";
    let Some(mut case) = case(test, "milan-v3-vcek") else { return };
    let Tcbs { current, reported, .. } = case.verified.report.tcbs();
    assert_eq!((reported.snp, current.snp), (23, 24));
    case.policy.products[0].tcb_floor.snp = 24;
    let component = TcbComponent::Snp;
    let shortfall = TcbShortfall { component, got: Some(23), floor: Some(24) };
    let error = AppraiseError::TcbFloor { field: "REPORTED_TCB", shortfall };
    assert_eq!(case.judge().unwrap_err(), error);
}

#[test]
fn vendor_bits_of_a_real_platform_info_do_not_refuse() {
    let test = "vendor_bits_of_a_real_platform_info_do_not_refuse";
    let Some(case) = case(test, "turin-v5-vcek") else { return };
    assert_eq!(case.verified.report.report().platform_info.unnamed_bits(), 0x40);
    case.judge().unwrap();
}
