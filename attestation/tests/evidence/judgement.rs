//! Steps 7 and 8: genuine evidence with one thing changed, each refused with its own variant.

use neo_secrets_attestation::appraise::{AppraiseError, Appraised};
use neo_secrets_attestation::config::{ConfigError, OwnerKey, Reveal, Seal};
use neo_secrets_attestation::error::Step;
use neo_secrets_attestation::evidence::{ConfigText, ImageVersion};
use neo_secrets_attestation::exchange::Refusal;
use neo_secrets_attestation::explain::explain;
use neo_secrets_attestation::policy::AbiVersion;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::reference::{Covers, Identity};

use crate::evidence::scene::{CONFIG, Scene, key};
use crate::support::report::{self as field, Field};

/// The error of steps 7 to 11.
pub fn appraisal(outcome: Result<Appraised, Refusal>) -> AppraiseError {
    match outcome {
        Err(Refusal::Appraisal { error, .. }) => error,
        other => panic!("not refused in steps 7 to 11: {other:?}"),
    }
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
