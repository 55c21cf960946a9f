//! Steps 9 to 11: the platform, the chip and the instance, each refused with its own variant.

use neo_secrets_attestation::appraise::{AppraiseError, Pin};
use neo_secrets_attestation::binding::{Nonce, claim_message};
use neo_secrets_attestation::endorsements::VekKind;
use neo_secrets_attestation::error::Step;
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::explain::{State, explain};
use neo_secrets_attestation::policy::AnyOf;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::ChipId;
use neo_secrets_attestation::tcb::{TcbComponent, TcbShortfall};
use neo_secrets_attestation::verify::CrlRule;

use crate::evidence::judgement::appraisal;
use crate::evidence::scene::{Scene, key, sign};
use crate::support::report::{self as field, ReportBuilder};
use crate::support::vendor::Vendor;

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
fn under_a_vlek_no_list_of_chips_can_be_applied() {
    for product in Product::ALL {
        let vendor = Vendor::new(product, VekKind::Vlek);
        let masked = ReportBuilder::new(product).vlek();
        let chip_id = ReportBuilder::new(product).get(field::CHIP_ID).to_vec();
        // Whoever holds the provider's key can write any chip id: a named one proves nothing.
        let named = masked.clone().with(field::CHIP_ID, &chip_id);
        let chip = ChipId(chip_id.try_into().unwrap());
        let other = ChipId([7; 64]);
        for report in [masked, named] {
            let mut scene = Scene::with_vendor(&vendor, report);
            scene.entry().chips = AnyOf::Any;
            match product {
                Product::Milan => {
                    assert_eq!(appraisal(scene.run()), AppraiseError::MilanWithoutChips);
                }
                Product::Genoa | Product::Turin => drop(scene.run().unwrap()),
            }
            scene.entry().chips = AnyOf::Listed(vec![chip, ChipId([0; 64])]);
            assert_eq!(appraisal(scene.run()), AppraiseError::ChipNotProven);
            scene.entry().denied_chips = vec![other];
            assert_eq!(appraisal(scene.run()), AppraiseError::ChipNotProven);
            scene.entry().chips = AnyOf::Any;
            let expected = match product {
                Product::Milan => AppraiseError::MilanWithoutChips,
                Product::Genoa | Product::Turin => AppraiseError::ChipNotProven,
            };
            assert_eq!(appraisal(scene.run()), expected);
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
    // What held is told with its facts, which say why the rest does not.
    let names = |step: usize| -> Vec<_> {
        steps[step].facts.iter().map(|fact| fact.name.as_str()).collect()
    };
    assert_eq!(names(5), ["CHIP_ID", "REPORTED_TCB"]);
    assert_eq!(names(7), ["POLICY", "VMPL"]);
    assert_eq!(names(8), ["MEASUREMENT", "imageVersion"]);
    assert!((0..=8).all(|step| !names(step).is_empty()) && names(10).is_empty());
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
