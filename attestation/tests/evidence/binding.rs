//! Evidence for this connection is accepted, and any other refused: steps 0 to 6 through the whole
//! exchange.

use neo_secrets_attestation::appraise::{Appraised, EvidenceError, Pin};
use neo_secrets_attestation::binding::{Exporter, Leaf, Nonce, Path, PathError, Role};
use neo_secrets_attestation::endorsements::VekKind;
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::evidence::{
    ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore, StoreId,
};
use neo_secrets_attestation::exchange::{Exchange, Refusal};
use neo_secrets_attestation::explain::{State, explain};
use neo_secrets_attestation::policy::AnyOf;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::reference::Covers;
use neo_secrets_attestation::roots::{Provenance, Roots};
use neo_secrets_attestation::verify::{CrlRule, CrlStatus};

use crate::evidence::scene::{CONFIG, Scene, key};
use crate::support::report::ReportBuilder;
use crate::support::vendor::{CSP_ID, Vendor};

fn evidence(outcome: Result<Appraised, Refusal>) -> EvidenceError {
    match outcome {
        Err(Refusal::Evidence(error)) => error,
        other => panic!("not refused in steps 1 to 6: {other:?}"),
    }
}

fn is_report_data(outcome: Result<Appraised, Refusal>) -> bool {
    matches!(evidence(outcome), EvidenceError::ReportData { got, expected } if got != expected)
}

#[test]
fn good_evidence_is_accepted() {
    for product in Product::ALL {
        let scene = Scene::new(product);
        let appraised = scene.run().unwrap();
        assert_eq!(appraised.provenance(), Provenance::Simulated);
        assert_eq!(appraised.covers(), Covers::Image);
        assert_eq!(appraised.measurement().vcpus, 4);
        assert_eq!(appraised.claims(), &scene.claims);
        assert_eq!(appraised.report().product(), product);
        assert_eq!(appraised.config(), &scene.trust.policy.config);
        assert_eq!(appraised.policy_expires(), scene.trust.policy.expires);
        let steps = explain(Ok(&appraised));
        assert!(steps.iter().map(|step| step.number).eq(0..=11));
        assert!(steps.iter().all(|step| step.state == State::Passed && !step.facts.is_empty()));
    }
}

#[test]
fn every_place_in_a_batch_is_accepted() {
    let mut scene = Scene::new(Product::Genoa);
    for size in 1..=9 {
        for index in 0..size {
            scene.batch = vec![Some(Leaf([7; 32])); size];
            scene.batch[index] = None;
            scene.run().unwrap();
        }
    }
}

#[test]
fn evidence_of_the_other_phases_is_accepted_without_a_pin() {
    let mut scene = Scene::new(Product::Genoa);
    scene.trust.pin = Pin::Unpinned;
    let sealed = |instance_key| {
        ClaimPhase::Sealed(Some(SealedStore { store_id: StoreId([1; 16]), instance_key }))
    };
    let phases =
        [ClaimPhase::Unclaimed, ClaimPhase::Sealed(None), sealed(None), sealed(Some(key([1; 32])))];
    for phase in phases {
        scene.claims.phase = phase;
        scene.run().unwrap();
    }
    // A sealed instance can still show its pin.
    scene.trust.pin = Pin::InstanceKey(key([1; 32]));
    scene.run().unwrap();
}

#[test]
fn another_nonce_connection_or_role() {
    let honest = Scene::new(Product::Genoa);
    let document = honest.document();
    let mut replayed = honest.clone();
    replayed.nonce = Nonce::new(&[0x4F; 32]).unwrap();
    assert!(is_report_data(replayed.judge(&document)), "a replayed nonce");
    // A prefix of the nonce is another nonce, whatever its bytes.
    replayed.nonce = Nonce::new(&[0x4E; 31]).unwrap();
    assert!(is_report_data(replayed.judge(&document)), "a shorter nonce");
    let mut relayed = honest.clone();
    relayed.channel.exporter = Exporter([9; 32]);
    assert!(is_report_data(relayed.judge(&document)), "another connection");
    let mut in_the_middle = honest.clone();
    in_the_middle.channel.tls_spki_sha256 = [9; 32];
    let (claimed, own) = ([0x54; 32], [9; 32]);
    let error = EvidenceError::TlsKey { claimed, own };
    assert_eq!(evidence(in_the_middle.judge(&document)), error);
    // The relay can rewrite the claim, but not the report over it.
    let (path, report) = honest.attest();
    let claims = Claims { tls_spki_sha256: own, ..honest.claims.clone() };
    let rewritten = honest.write(&report, &claims, &path);
    assert!(is_report_data(in_the_middle.judge(&rewritten)));
    for role in [Role::HandoverOld, Role::HandoverSuccessor] {
        let reflected = Scene { role, ..honest.clone() };
        assert!(is_report_data(reflected.run()), "{role:?}");
    }
}

#[test]
fn every_claim_is_bound() {
    let honest = Scene::new(Product::Genoa);
    let (path, report) = honest.attest();
    let serving = |store: u8, instance: u8, log: u8, receipt: u8| ClaimPhase::Serving {
        store_id: StoreId([store; 16]),
        instance_key: key([instance; 32]),
        log_key: key([log; 32]),
        receipt_key: key([receipt; 32]),
    };
    assert_eq!(honest.claims.phase, serving(0x51, 1, 2, 3));
    let claims = honest.claims.clone();
    let config = ConfigText::new(format!("{CONFIG}#").as_bytes()).unwrap();
    let image_version = ImageVersion::new("0.1.1").unwrap();
    let changed = [
        Claims { phase: serving(9, 1, 2, 3), ..claims.clone() },
        Claims { phase: serving(0x51, 9, 2, 3), ..claims.clone() },
        Claims { phase: serving(0x51, 1, 9, 3), ..claims.clone() },
        Claims { phase: serving(0x51, 1, 2, 9), ..claims.clone() },
        Claims { phase: serving(0x51, 1, 3, 2), ..claims.clone() },
        Claims { phase: ClaimPhase::Unclaimed, ..claims.clone() },
        Claims { phase: ClaimPhase::Sealed(None), ..claims.clone() },
        Claims { config, ..claims.clone() },
        Claims { image_version, ..claims },
    ];
    for claims in changed {
        assert!(is_report_data(honest.judge(&honest.write(&report, &claims, &path))), "{claims:?}");
    }
}

#[test]
fn paths_that_lead_nowhere() {
    let scene = Scene::new(Product::Genoa);
    let (path, report) = scene.attest();
    let judge = |path: &Path| scene.judge(&scene.write(&report, &scene.claims, path));
    judge(&path).unwrap();
    assert_eq!((path.index, path.size, path.hashes.len()), (2, 5, 3));
    let refused = |path: Path| match evidence(judge(&path)) {
        EvidenceError::Path(error) => error,
        other => panic!("{path:?}: {other:?}"),
    };
    let with = |change: fn(&mut Path)| {
        let mut path = path.clone();
        change(&mut path);
        path
    };
    for size in [0, 65_537, u32::MAX] {
        assert_eq!(refused(Path { size, ..path.clone() }), PathError::Size { got: size });
    }
    for index in [5, 6, u32::MAX] {
        let error = PathError::Index { index, size: 5 };
        assert_eq!(refused(Path { index, ..path.clone() }), error);
    }
    let length = |got, expected| PathError::Length { got, expected };
    assert_eq!(refused(with(|path| path.hashes.truncate(2))), length(2, 3));
    assert_eq!(refused(with(|path| path.hashes.push([0; 32]))), length(4, 3));
    assert_eq!(refused(with(|path| path.hashes.clear())), length(0, 3));
    // The last of five leaves has one sibling only; of 65,536 each has sixteen.
    assert_eq!(refused(with(|path| path.index = 4)), length(3, 1));
    assert_eq!(refused(with(|path| path.size = 65_536)), length(3, 16));
    // Of a size in which the same length is right, the place decides; and so does every hash.
    let misplaced: [fn(&mut Path); 7] = [
        |path| path.index = 0,
        |path| path.index = 1,
        |path| path.index = 3,
        |path| path.hashes.swap(0, 1),
        |path| path.hashes[0][31] ^= 1,
        |path| path.hashes[1][0] ^= 1,
        |path| path.hashes[2][0] ^= 1,
    ];
    for change in misplaced {
        assert!(is_report_data(judge(&with(change))));
    }
    // For index 2 the sizes 5 to 8 imply the same walk: the root is the same, and nothing is won by
    // it.
    judge(&with(|path| path.size = 8)).unwrap();
}

#[test]
fn paths_from_interior_nodes() {
    // Four leaves, the verifier's first. An interior node is no sibling of a leaf ...
    let mut scene = Scene::new(Product::Genoa);
    let other = |byte| Some(Leaf([byte; 32]));
    scene.batch = vec![None, other(1), other(2), other(3)];
    let (path, report) = scene.attest();
    let judge = |path: &Path| scene.judge(&scene.write(&report, &scene.claims, path));
    let [_, right] = path.hashes[..] else { panic!("two levels") };
    assert!(is_report_data(judge(&Path { index: 0, size: 2, hashes: vec![right] })));
    assert!(is_report_data(judge(&Path { index: 1, size: 2, hashes: vec![right] })));
    // ... and a batch whose leaf has the bytes of an interior node over the verifier's leaf proves
    // nothing: leaves and nodes are hashed apart.
    let own =
        neo_secrets_attestation::binding::leaf(scene.role, &scene.nonce, &scene.channel.exporter);
    let above = neo_secrets_attestation::binding::Tree::new(&[own, Leaf([1; 32])]).unwrap().root();
    let mut forged = scene.clone();
    forged.batch = vec![Some(Leaf(above.0)), None];
    let (_, report) = forged.attest();
    let path = Path { index: 0, size: 2, hashes: vec![[1; 32]] };
    assert!(is_report_data(scene.judge(&scene.write(&report, &scene.claims, &path))));
}

#[test]
fn the_policy_decides_about_crl_and_provider() {
    let scene = Scene::new(Product::Genoa);
    let status = |rule, crl: Option<Vec<u8>>, now: &str| {
        let mut scene = scene.clone();
        scene.trust.policy.crl = rule;
        scene.endorsements.crl = crl;
        scene.now = now.parse().unwrap();
        scene.run().map(|appraised| appraised.report().crl())
    };
    let (current, later) = ("2026-11-23T12:00:00Z", "2027-01-01T00:00:00Z");
    let crl = scene.endorsements.crl.clone();
    let next_update = "2026-12-15T00:00:00Z".parse().unwrap();
    let refused = |outcome: Result<CrlStatus, Refusal>| match outcome {
        Err(Refusal::Evidence(EvidenceError::Report(error))) => error,
        other => panic!("{other:?}"),
    };
    for rule in [CrlRule::Required, CrlRule::MayBeStale, CrlRule::MayBeAbsent] {
        let expected = CrlStatus::Current { next_update };
        assert_eq!(status(rule, crl.clone(), current).unwrap(), expected);
    }
    let stale = VerifyError::CrlStale { next_update, now: later.parse().unwrap() };
    assert_eq!(refused(status(CrlRule::Required, crl.clone(), later)), stale);
    for rule in [CrlRule::MayBeStale, CrlRule::MayBeAbsent] {
        assert_eq!(status(rule, crl.clone(), later).unwrap(), CrlStatus::Stale { next_update });
    }
    for rule in [CrlRule::Required, CrlRule::MayBeStale] {
        assert_eq!(refused(status(rule, None, current)), VerifyError::CrlAbsent);
    }
    let absent = status(CrlRule::MayBeAbsent, None, current);
    assert_eq!(absent.unwrap(), CrlStatus::NotChecked);

    let vendor = Vendor::new(Product::Genoa, VekKind::Vlek);
    let mut scene = Scene::with_vendor(&vendor, ReportBuilder::new(Product::Genoa).vlek());
    scene.entry().chips = AnyOf::Any;
    scene.run().unwrap();
    scene.trust.policy.csp_ids.clear();
    let (got, listed) = (CSP_ID.to_owned(), vec![]);
    let error = EvidenceError::Report(VerifyError::CspId { got, listed });
    assert_eq!(evidence(scene.run()), error);
}

#[test]
fn simulated_evidence_is_never_amd_s() {
    let mut scene = Scene::new(Product::Genoa);
    scene.trust.roots = Roots::Amd;
    let error = evidence(scene.run());
    assert!(matches!(error, EvidenceError::Report(VerifyError::Root { .. })), "{error:?}");
}

#[test]
fn the_error_of_a_server_is_told() {
    let scene = Scene::new(Product::Genoa);
    let answer = |status, body: &str| {
        let exchange = Exchange::start(scene.nonce.clone());
        let body = body.as_bytes();
        exchange.finish(status, body, &scene.channel, &scene.trust, scene.now).unwrap_err()
    };
    let refusal = |status, code: &str, message: &str| Refusal::Answer {
        status,
        code: code.to_owned(),
        message: message.to_owned(),
    };
    let body = r#"{"error":{"code":"SERVICE_UNAVAILABLE","message":"starting","requestId":"r"}}"#;
    assert_eq!(answer(503, body), refusal(503, "SERVICE_UNAVAILABLE", "starting"));
    // Nothing in it reaches a terminal unfiltered, and nothing of it is needed.
    let body = r#"{"error":{"code":"A\u001b[2J","message":"\r\nSERVER VERIFIED"}}"#;
    let filtered = refusal(500, "A\u{FFFD}[2J", "\u{FFFD}\u{FFFD}SERVER VERIFIED");
    assert_eq!(answer(500, body), filtered);
    for body in ["", "<html>", "{}", "[]", r#"{"error":1}"#, r#"{"error":{"code":1}}"#] {
        assert_eq!(answer(404, body), refusal(404, "", ""));
    }
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(10_000));
    assert_eq!(answer(500, &long), refusal(500, "", &"x".repeat(400)));
    // Evidence counts with status 200 only.
    let document = String::from_utf8(scene.document()).unwrap();
    assert_eq!(answer(206, &document), refusal(206, "", ""));
    assert_eq!(scene.nonce.to_string(), "Tk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk4");
    let target = "/v1/attestation?nonce=Tk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk4";
    assert_eq!(Exchange::start(scene.nonce).request_target(), target);
}
