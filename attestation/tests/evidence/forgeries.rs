//! Steps 6 to 11: good evidence with one thing changed, each refused with its own variant.

use neo_secrets_attestation::appraise::{AppraiseError, Appraised, EvidenceError, Pin};
use neo_secrets_attestation::binding::{
    Exporter, Leaf, Nonce, Path, PathError, Role, claim_message,
};
use neo_secrets_attestation::config::{ConfigError, OwnerKey, Reveal, Seal};
use neo_secrets_attestation::endorsements::VekKind;
use neo_secrets_attestation::error::{Step, VerifyError};
use neo_secrets_attestation::evidence::{
    ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore, StoreId,
};
use neo_secrets_attestation::exchange::{Exchange, Refusal};
use neo_secrets_attestation::explain::{State, explain};
use neo_secrets_attestation::policy::{AbiVersion, AnyOf};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::reference::{Covers, Identity};
use neo_secrets_attestation::report::ChipId;
use neo_secrets_attestation::roots::{Provenance, Roots};
use neo_secrets_attestation::tcb::{TcbComponent, TcbShortfall};
use neo_secrets_attestation::verify::{CrlRule, CrlStatus};

use crate::evidence::scene::{CONFIG, Scene, key, sign};
use crate::support::report::{self as field, Field, ReportBuilder};
use crate::support::vendor::{CSP_ID, Vendor};

fn evidence(outcome: Result<Appraised, Refusal>) -> EvidenceError {
    match outcome {
        Err(Refusal::Evidence(error)) => error,
        other => panic!("not refused in steps 1 to 6: {other:?}"),
    }
}

fn appraisal(outcome: Result<Appraised, Refusal>) -> AppraiseError {
    match outcome {
        Err(Refusal::Appraisal(error)) => error,
        other => panic!("not refused in steps 7 to 11: {other:?}"),
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
fn what_covers_the_firmware_only_says_so() {
    let mut scene = Scene::new(Product::Genoa);
    scene.trust.reference.measurements[1].covers = Covers::Firmware;
    let appraised = scene.run().unwrap();
    assert_eq!(appraised.covers(), Covers::Firmware);
    let steps = explain(Ok(&appraised));
    let facts = &steps[8].facts;
    assert!(facts.iter().any(|fact| fact.value == "FIRMWARE ONLY, IMAGE NOT PROVEN"));
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
    // For index 2 the sizes 5 to 8 imply the same walk: the root is the same, and nothing is won by it.
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
    // ... and a batch whose leaf has the bytes of an interior node over the verifier's leaf proves nothing: leaves
    // and nodes are hashed apart.
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
fn every_bit_of_the_guest_policy() {
    let scene = Scene::new(Product::Genoa);
    for bit in 0..64u32 {
        let mut scene = scene.clone();
        scene.report = scene.report.flip(field::POLICY, (bit / 8) as usize, 1 << (bit % 8));
        let outcome = scene.run();
        match bit {
            // The ABI asked for, SMT, and what a guest may ask for beyond.
            0..=16 | 20..=25 => drop(outcome.unwrap()),
            17 => assert_eq!(appraisal(outcome), AppraiseError::PolicyBit17),
            18 => assert_eq!(appraisal(outcome), AppraiseError::MigrateMa),
            19 => assert_eq!(appraisal(outcome), AppraiseError::Debug),
            _ => {
                assert_eq!(appraisal(outcome), AppraiseError::PolicyReserved { got: 1 << bit });
            }
        }
    }
}

#[test]
fn abi_version_migration_agent_and_privilege_level() {
    let mut scene = Scene::new(Product::Genoa);
    let version = |major, minor| AbiVersion { major, minor };
    scene.trust.policy.abi_min = version(1, 51);
    for (minor, major) in [(50, 1), (255, 0), (0, 0)] {
        scene.report = scene.report.with(field::POLICY, [minor, major, 3, 0, 0, 0, 0, 0]);
        let error = AppraiseError::AbiVersion { got: version(major, minor), min: version(1, 51) };
        assert_eq!(appraisal(scene.run()), error);
    }
    for (minor, major) in [(51, 1), (55, 1), (0, 2)] {
        scene.report = scene.report.with(field::POLICY, [minor, major, 3, 0, 0, 0, 0, 0]);
        scene.run().unwrap();
    }
    for byte in 0..32 {
        let mut scene = scene.clone();
        scene.report = scene.report.flip(field::REPORT_ID_MA, byte, 1);
        let got = scene.report.get(field::REPORT_ID_MA).try_into().unwrap();
        assert_eq!(appraisal(scene.run()), AppraiseError::ReportIdMa { got });
    }
    for got in [1, 2, 3, 4, u32::MAX] {
        let mut scene = scene.clone();
        scene.report = scene.report.with(field::VMPL, got.to_le_bytes());
        assert_eq!(appraisal(scene.run()), AppraiseError::Vmpl { got });
    }
}

#[test]
fn measurement() {
    let scene = Scene::new(Product::Genoa);
    for byte in 0..48 {
        let mut scene = scene.clone();
        scene.report = scene.report.flip(field::MEASUREMENT, byte, 0x80);
        let AppraiseError::Measurement(unknown) = appraisal(scene.run()) else {
            panic!("not refused for its measurement")
        };
        assert_eq!(unknown.got[..], *scene.report.get(field::MEASUREMENT));
        assert_eq!(unknown.nearest.as_ref(), Some(&scene.trust.reference.measurements[0]));
        assert_eq!(unknown.known, 2);
    }
    let mut changed = scene.clone();
    changed.trust.reference.image_version = ImageVersion::new("0.2.0").unwrap();
    changed.trust.reference.measurements.truncate(1);
    let finding = appraisal(changed.run()).finding();
    assert_eq!((finding.step, finding.field.as_str()), (Step::Measurement, "MEASUREMENT"));
    assert_eq!(finding.got, "3e".repeat(48));
    let expected = "one of 1 for image 0.2.0, such as 2 x EPYC-v4, SEV_FEATURES 0x1: 00000000";
    assert!(finding.expected.starts_with(expected), "{}", finding.expected);
    assert!(finding.expected.ends_with("the server says that it runs image 0.1.0"));
    // An empty list refuses everything.
    changed.trust.reference.measurements.clear();
    let AppraiseError::Measurement(unknown) = appraisal(changed.run()) else {
        panic!("not refused for its measurement")
    };
    assert_eq!((unknown.nearest, unknown.known), (None, 0));
}

/// A field that the reference values can fix, tested with every byte of it changed.
fn identity<const N: usize>(
    field: Field,
    set: fn(&mut Scene, Identity<N>),
    error: fn([u8; N], String) -> AppraiseError,
) {
    let mut scene = Scene::new(Product::Genoa);
    scene.report = scene.report.with(field, [0x1D; N]);
    scene.run().unwrap();
    set(&mut scene, Identity::Exactly([0x1D; N]));
    scene.run().unwrap();
    for byte in 0..N {
        let mut scene = scene.clone();
        scene.report = scene.report.flip(field, byte, 1);
        let got = scene.report.get(field).try_into().unwrap();
        assert_eq!(appraisal(scene.run()), error(got, "1d".repeat(N)), "{field:?}");
    }
}

#[test]
fn identity_fields() {
    identity(
        field::HOST_DATA,
        |scene, value| scene.trust.reference.host_data = value,
        |got, expected| AppraiseError::HostData { got, expected },
    );
    identity(
        field::FAMILY_ID,
        |scene, value| scene.trust.reference.family_id = value,
        |got, expected| AppraiseError::FamilyId { got, expected },
    );
    identity(
        field::IMAGE_ID,
        |scene, value| scene.trust.reference.image_id = value,
        |got, expected| AppraiseError::ImageId { got, expected },
    );
    identity(
        field::ID_KEY_DIGEST,
        |scene, value| scene.trust.reference.id_key_digest = value,
        |got, expected| AppraiseError::IdKeyDigest { got, expected },
    );
    identity(
        field::AUTHOR_KEY_DIGEST,
        |scene, value| scene.trust.reference.author_key_digest = value,
        |got, expected| AppraiseError::AuthorKeyDigest { got, expected },
    );
    let mut scene = Scene::new(Product::Genoa);
    scene.trust.reference.guest_svn_min = 7;
    scene.report = scene.report.with(field::GUEST_SVN, 6u32.to_le_bytes());
    assert_eq!(appraisal(scene.run()), AppraiseError::GuestSvn { got: 6, min: 7 });
    for enough in [7, 8, 0x100] {
        scene.report = scene.report.with(field::GUEST_SVN, u32::to_le_bytes(enough));
        scene.run().unwrap();
    }
}

#[test]
fn configuration_fields_one_by_one() {
    let owner = key([4; 32]);
    let cases = [
        ("seal = \"firmware\"", "seal = \"unlock\"", "seal", "unlock", "firmware"),
        ("reveal = \"off\"", "reveal = \"by-permission\"", "reveal", "by-permission", "off"),
        ("witnesses = []", "witnesses = [\"w1\", \"w2\"]", "witnesses", "[w1, w2]", "[]"),
        (
            "owner_key = \"any\"",
            &format!("owner_key = \"{owner}\""),
            "owner_key",
            &owner.to_string(),
            "any",
        ),
    ];
    let scene = Scene::new(Product::Genoa);
    let with = |config: &str| {
        let mut scene = scene.clone();
        scene.claims.config = ConfigText::new(config.as_bytes()).unwrap();
        scene
    };
    for (from, to, field, got, expected) in cases {
        let error = AppraiseError::ConfigField {
            field,
            got: got.to_owned(),
            expected: expected.to_owned(),
        };
        assert_eq!(appraisal(with(&CONFIG.replace(from, to)).run()), error);
    }
    // A quorum needs witnesses.
    let witnesses = CONFIG.replace("witnesses = []", "witnesses = [\"w1\"]");
    let mut scene = with(&witnesses.replace("quorum = 0", "quorum = 1"));
    scene.trust.policy.config.witnesses = vec!["w1".to_owned()];
    let (got, expected) = ("1".to_owned(), "0".to_owned());
    let error = AppraiseError::ConfigField { field: "quorum", got, expected };
    assert_eq!(appraisal(scene.run()), error);
    // What the policy asks for is what is accepted.
    let config = "seal='unlock'\nreveal='by-permission'\nwitnesses=['w']\nquorum=1\nowner_key=";
    let mut scene = with(&format!("{config}'{owner}'"));
    let policy = &mut scene.trust.policy.config;
    (policy.seal, policy.reveal, policy.quorum) = (Seal::Unlock, Reveal::ByPermission, 1);
    policy.witnesses = vec!["w".to_owned()];
    policy.owner_key = OwnerKey::Named(owner);
    scene.run().unwrap();
    for malformed in ["", "seal = ", "seal = \"firmware\"\nseal = \"firmware\""] {
        let error = appraisal(with(malformed).run());
        assert!(matches!(error, AppraiseError::Config(ConfigError::Toml(_))), "{error:?}");
    }
}

/// The last number of the OID of a component's extension.
fn extension(component: TcbComponent) -> u8 {
    match component {
        TcbComponent::BootLoader => 1,
        TcbComponent::Tee => 2,
        TcbComponent::Snp => 3,
        TcbComponent::Microcode => 8,
        TcbComponent::Fmc => 9,
    }
}

/// The byte of a TCB version that holds a component.
fn byte_of(product: Product, component: TcbComponent) -> usize {
    match (product, component) {
        (Product::Turin, TcbComponent::Fmc) => 0,
        (Product::Turin, TcbComponent::BootLoader) => 1,
        (Product::Turin, TcbComponent::Tee) => 2,
        (Product::Turin, TcbComponent::Snp) => 3,
        (_, TcbComponent::BootLoader) => 0,
        (_, TcbComponent::Tee) => 1,
        (_, TcbComponent::Snp) => 6,
        (_, TcbComponent::Microcode) => 7,
        (_, TcbComponent::Fmc) => panic!("only Turin has an FMC"),
    }
}

#[test]
fn a_low_tcb_in_each_place_and_component() {
    let places = [
        ("REPORTED_TCB", field::REPORTED_TCB),
        ("COMMITTED_TCB", field::COMMITTED_TCB),
        ("LAUNCH_TCB", field::LAUNCH_TCB),
    ];
    for product in Product::ALL {
        let good = ReportBuilder::new(product);
        let policy = Scene::new(product).trust.policy;
        for (component, value) in policy.products[0].tcb_floor.components() {
            let Some(value) = value else { continue };
            let byte = byte_of(product, component);
            for (name, place) in places {
                let mut low: [u8; 8] = good.get(place).try_into().unwrap();
                low[byte] -= 1;
                let mut vendor = Vendor::new(product, VekKind::Vcek);
                if place == field::REPORTED_TCB {
                    let extension = &[3, extension(component)];
                    vendor.vek.set(extension, crate::support::der::integer(&[low[byte]]));
                }
                let mut scene = Scene::with_vendor(&vendor, good.clone().with(place, low));
                scene.trust.policy = policy.clone();
                let shortfall =
                    TcbShortfall { component, got: Some(value - 1), floor: Some(value) };
                let error = AppraiseError::TcbFloor { field: name, shortfall };
                assert_eq!(appraisal(scene.run()), error, "{product}");
                let finding = error.finding();
                assert_eq!(finding.field, format!("{name}.{component}"));
                assert_eq!(finding.expected, format!("at least {value}"));
            }
            // What runs now may not be below what is committed to.
            let mut low: [u8; 8] = good.get(field::CURRENT_TCB).try_into().unwrap();
            low[byte] -= 1;
            let mut scene = Scene::new(product);
            scene.report = scene.report.with(field::CURRENT_TCB, low);
            let shortfall = TcbShortfall { component, got: Some(value - 1), floor: Some(value) };
            assert_eq!(appraisal(scene.run()), AppraiseError::TcbOrder { shortfall });
        }
    }
}

#[test]
fn a_higher_floor_component_by_component() {
    // No component makes up for another.
    let mut scene = Scene::new(Product::Turin);
    let floor = &mut scene.entry().tcb_floor;
    (floor.boot_loader, floor.tee, floor.microcode) = (0, 0, 0);
    floor.fmc = Some(2);
    let shortfall = TcbShortfall { component: TcbComponent::Fmc, got: Some(1), floor: Some(2) };
    let error = AppraiseError::TcbFloor { field: "REPORTED_TCB", shortfall };
    assert_eq!(appraisal(scene.run()), error);
}

#[test]
fn platform_info() {
    for product in Product::ALL {
        for bit in 0..64 {
            let mut scene = Scene::new(product);
            scene.report = scene.report.flip(field::PLATFORM_INFO, bit / 8, 1 << (bit % 8));
            let outcome = scene.run();
            match (product, bit) {
                (Product::Milan | Product::Genoa, 2) => {
                    assert_eq!(appraisal(outcome), AppraiseError::Ecc);
                }
                (Product::Milan | Product::Genoa, 5) => {
                    assert_eq!(appraisal(outcome), AppraiseError::AliasCheck);
                }
                // Unknown bits never refuse.
                _ => drop(outcome.unwrap()),
            }
        }
    }
}

#[test]
fn products_and_models() {
    let mut scene = Scene::new(Product::Genoa);
    let cpuid = scene.run().unwrap().report().report().cpuid;
    scene.entry().product = Product::Turin;
    let error = AppraiseError::Product { product: Product::Genoa, cpuid };
    assert_eq!(appraisal(scene.run()), error);
    scene.entry().product = Product::Genoa;
    scene.entry().cpuid_models = AnyOf::Listed(vec![0x10, 0xA0]);
    assert_eq!(appraisal(scene.run()), error);
    scene.entry().cpuid_models = AnyOf::Listed(vec![0xA0, 0x11]);
    scene.run().unwrap();
    // A report of version 2 names no model.
    scene.report = scene.report.version(2);
    let error = AppraiseError::Product { product: Product::Genoa, cpuid: None };
    assert_eq!(appraisal(scene.run()), error);
    scene.entry().cpuid_models = AnyOf::Any;
    scene.run().unwrap();
    scene.trust.policy.products.clear();
    assert_eq!(appraisal(scene.run()), error);
    // The entry of the model decides, wherever it stands.
    let mut scene = Scene::new(Product::Genoa);
    let mut strict = scene.entry().clone();
    scene.entry().cpuid_models = AnyOf::Listed(vec![0xA0]);
    strict.cpuid_models = AnyOf::Listed(vec![0x11]);
    strict.tcb_floor.microcode = 255;
    scene.trust.policy.products.push(strict);
    assert!(matches!(appraisal(scene.run()), AppraiseError::TcbFloor { .. }));
}

#[test]
fn chips_and_expiry() {
    for product in Product::ALL {
        let mut scene = Scene::new(product);
        let chip = ChipId(scene.report.get(field::CHIP_ID).try_into().unwrap());
        let other = ChipId({
            let mut bytes = chip.0;
            bytes[0] ^= 1;
            bytes
        });
        scene.now = scene.trust.policy.expires;
        scene.trust.policy.crl = CrlRule::MayBeStale;
        scene.run().unwrap();
        let (now, expires) = ("2027-11-23T00:00:01Z".parse().unwrap(), scene.now);
        scene.now = now;
        assert_eq!(appraisal(scene.run()), AppraiseError::PolicyExpired { now, expires });
        scene.now = expires;
        for chips in [vec![], vec![other]] {
            scene.entry().chips = AnyOf::Listed(chips);
            assert_eq!(appraisal(scene.run()), AppraiseError::ChipNotAllowed { got: chip });
        }
        scene.entry().chips = AnyOf::Listed(vec![other, chip]);
        scene.entry().denied_chips = vec![other];
        scene.run().unwrap();
        scene.entry().denied_chips = vec![other, chip];
        assert_eq!(appraisal(scene.run()), AppraiseError::ChipDenied { got: chip });
        scene.entry().chips = AnyOf::Any;
        let error = appraisal(scene.run());
        match product {
            Product::Milan => assert_eq!(error, AppraiseError::MilanWithoutChips),
            _ => assert_eq!(error, AppraiseError::ChipDenied { got: chip }),
        }
    }
}

#[test]
fn pins_and_instance_keys() {
    let mut scene = Scene::new(Product::Genoa);
    let (own, other) = (key([1; 32]), key([9; 32]));
    scene.trust.pin = Pin::InstanceKey(other);
    let pinned = |got| AppraiseError::Pin { got, expected: other };
    assert_eq!(appraisal(scene.run()), pinned(Some(own)));
    let mut unclaimed = scene.clone();
    for phase in [ClaimPhase::Unclaimed, ClaimPhase::Sealed(None)] {
        unclaimed.claims.phase = phase;
        assert_eq!(appraisal(unclaimed.run()), pinned(None));
    }
    scene.trust.pin = Pin::Unpinned;
    unclaimed.trust.pin = Pin::Unpinned;
    for listed in [vec![], vec![other]] {
        scene.trust.policy.instance_keys = AnyOf::Listed(listed.clone());
        let error = AppraiseError::InstanceKeyNotListed { got: Some(own) };
        assert_eq!(appraisal(scene.run()), error);
        unclaimed.trust.policy.instance_keys = AnyOf::Listed(listed);
        let error = AppraiseError::InstanceKeyNotListed { got: None };
        assert_eq!(appraisal(unclaimed.run()), error);
    }
    scene.trust.policy.instance_keys = AnyOf::Listed(vec![other, own]);
    scene.run().unwrap();
}

#[test]
fn instance_signature() {
    // Another key's.
    let mut scene = Scene::new(Product::Genoa);
    scene.instance_seed = [9; 32];
    assert_eq!(appraisal(scene.run()), AppraiseError::InstanceSignature);
    // The instance's own, over something else: another report, a message with another label.
    let scene = Scene::new(Product::Genoa);
    let (_, older) = Scene { nonce: Nonce::new(&[1; 16]).unwrap(), ..scene.clone() }.attest();
    let text = |document| String::from_utf8(document).unwrap();
    let (path, report) = scene.attest();
    let good = text(scene.write(&report, &scene.claims, &path));
    let (head, _) = good.split_once("\"instanceSignature\":\"").unwrap();
    let older = text(scene.write(&older, &scene.claims, &path));
    let (_, tail) = older.split_once("\"instanceSignature\":\"").unwrap();
    let replaced = format!("{head}\"instanceSignature\":\"{tail}");
    assert_eq!(appraisal(scene.judge(replaced.as_bytes())), AppraiseError::InstanceSignature);
    let (_, claim) = sign([1; 32], &claim_message(&scene.channel.exporter));
    let replaced = format!("{head}\"instanceSignature\":\"{claim}\"}}}}");
    assert_eq!(appraisal(scene.judge(replaced.as_bytes())), AppraiseError::InstanceSignature);
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
fn fields_that_are_shown_and_not_judged() {
    let shown = [
        field::REPORT_ID,
        field::CURRENT_VERSION,
        field::COMMITTED_VERSION,
        field::LAUNCH_MIT_VECTOR,
        field::CURRENT_MIT_VECTOR,
        field::HOST_DATA,
        field::GUEST_SVN,
    ];
    for field in shown {
        let mut scene = Scene::new(Product::Genoa);
        scene.report = scene.report.flip(field, 0, 0x40);
        scene.run().unwrap();
    }
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

#[test]
fn an_explanation_stops_at_the_failed_step() {
    let mut scene = Scene::new(Product::Genoa);
    scene.entry().tcb_floor.snp = 28;
    let refusal = scene.run().unwrap_err();
    let steps = explain(Err(&refusal));
    for step in &steps {
        let state = match step.number {
            0..=8 => State::Passed,
            9 => State::Failed,
            _ => State::NotReached,
        };
        assert_eq!(step.state, state, "{step:?}");
    }
    let failed = serde_json::to_value(&steps[9]).unwrap();
    let expected = serde_json::json!({
        "number": 9,
        "title": Step::Platform.title(),
        "state": "failed",
        "facts": [
            {"name": "field", "value": "REPORTED_TCB.snp"},
            {"name": "got", "value": "27"},
            {"name": "expected", "value": "at least 28"},
        ],
    });
    assert_eq!(failed, expected);
    assert_eq!(refusal.to_string(), "step 9, REPORTED_TCB.snp: got 27, expected at least 28");
}
