//! Our reports under the verifier, which was written apart from them.

use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::endorsements::{Endorsement, Endorsements};
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::policy::Policy;
use neo_secrets_attestation::reference::ReferenceValues;
use neo_secrets_attestation::roots::{Provenance, Roots};
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{Rules, VerifiedReport, verify_report};
use neo_secrets_server::platform::Platform;
use time::Duration;

use super::NOW;
use crate::client_files::{policy, reference};
use crate::settings::{ReportVersion, Settings, Signer};
use crate::vendor::AMD_EXTENSIONS;
use crate::{Fault, Machine, Product, der, testing};

const CONFIG: &[u8] = b"seal='firmware'\nreveal='off'\nwitnesses=[]\nquorum=0\nowner_key='any'\n";
const CSP_ID: &str = "CN=simulated-provider";

fn launched(product: Product, change: impl FnOnce(&mut Settings)) -> Machine {
    let mut chip = testing::chip(product, NOW);
    change(&mut chip.settings);
    Machine::launch(chip, NOW).unwrap()
}

fn under_vlek(settings: &mut Settings) {
    settings.signer = Signer::Vlek;
    settings.csp_id = CSP_ID.to_owned();
    settings.mask_chip_id = true;
}

fn policy_of(machine: &Machine) -> Policy {
    let config = AttestedConfig::parse(CONFIG).unwrap();
    let mut policy = policy(machine.chip(), config, NOW);
    policy.csp_ids.push(CSP_ID.to_owned());
    policy
}

fn rules(machine: &Machine) -> Rules {
    let root = Roots::simulated(machine.chip().vendor().ark()).unwrap();
    policy_of(machine).rules(root)
}

fn endorsements(machine: &Machine) -> Endorsements {
    let of = machine.endorsements().unwrap();
    Endorsements { vek: of.vek, ask: of.ask, ark: of.ark, crl: of.crl }
}

fn at(time: time::OffsetDateTime) -> UnixTime {
    UnixTime::from_seconds(time.unix_timestamp().try_into().unwrap()).unwrap()
}

fn verified_with(
    machine: &Machine,
    endorsements: &Endorsements,
) -> Result<VerifiedReport, VerifyError> {
    let response = machine.report(&[9; 64]).unwrap();
    verify_report(&response[32..32 + 1184], endorsements, &rules(machine), at(NOW))
}

fn verified(machine: &Machine) -> Result<VerifiedReport, VerifyError> {
    verified_with(machine, &endorsements(machine))
}

#[test]
fn reports_of_every_product_version_and_signer_verify() {
    for product in Product::ALL {
        for version in [ReportVersion::V2, ReportVersion::V3, ReportVersion::V5] {
            for signer in [|_: &mut Settings| (), under_vlek] {
                let machine = launched(product, |settings| {
                    settings.report_version = version;
                    signer(settings);
                });
                let report = verified(&machine).unwrap();
                assert_eq!(report.provenance(), Provenance::Simulated);
                assert_eq!(report.product().name(), product.name());
                let settings = &machine.chip().settings;
                let floor = policy_of(&machine).products[0].tcb_floor;
                let tcbs = report.tcbs();
                for tcb in [tcbs.current, tcbs.reported, tcbs.committed, tcbs.launch] {
                    assert!(tcb.reaches(&floor), "{product:?}");
                }
                let read = report.report();
                assert_eq!(read.report_data, [9; 64]);
                let known = &reference(machine.chip()).measurements[0];
                assert_eq!(read.measurement, known.digest);
                assert_eq!(read.host_data, settings.guest.host_data.0);
            }
        }
    }
}

#[test]
fn the_clients_files_say_what_they_were_made_from() {
    for product in Product::ALL {
        let machine = launched(product, |_| ());
        let (reference, policy) = (reference(machine.chip()), policy_of(&machine));
        assert_eq!(ReferenceValues::parse(reference.to_json().as_bytes()), Ok(reference));
        assert_eq!(Policy::parse(policy.to_json().as_bytes()), Ok(policy));
    }
}

#[test]
fn amds_own_roots_refuse_us() {
    let machine = launched(Product::Genoa, |_| ());
    let rules = policy_of(&machine).rules(Roots::Amd);
    let response = machine.report(&[9; 64]).unwrap();
    let refused = verify_report(&response[32..32 + 1184], &endorsements(&machine), &rules, at(NOW));
    assert!(matches!(refused, Err(VerifyError::Root { .. })), "{refused:?}");
}

#[test]
fn a_foreign_signature_is_refused() {
    let machine = launched(Product::Genoa, |_| ());
    machine.faults().next(1, Fault::ForeignSignature);
    assert_eq!(verified(&machine).unwrap_err(), VerifyError::ReportSignature);
}

#[test]
fn leaves_with_one_extension_changed_are_refused() {
    let machine = launched(Product::Turin, |_| ());
    let chip = machine.chip();
    let (vendor, tcb) = (chip.vendor(), chip.settings.tcb.reported);
    let kind = chip.leaf_kind();
    let key = chip.signing_key(tcb).unwrap();
    let refused = |arc: &str, value: Vec<u8>| {
        let mut draft = vendor.leaf_draft(&kind, &key, tcb, NOW).unwrap();
        draft.set_extension(&format!("{AMD_EXTENSIONS}.{arc}"), value);
        let vek = draft.sign(vendor.issuer_key(&kind)).unwrap();
        verified_with(&machine, &Endorsements { vek, ..endorsements(&machine) }).unwrap_err()
    };
    let snp = refused("3.3", der::integer(&[tcb.snp + 1]));
    assert!(matches!(snp, VerifyError::TcbExtension { .. }), "{snp}");
    let hwid = refused("4", vec![1; 8]);
    assert!(matches!(hwid, VerifyError::HwId { .. }), "{hwid}");
    let product = refused("2", der::ia5_string("Genoa"));
    assert!(matches!(product, VerifyError::ProductExtension { .. }), "{product}");
}

#[test]
fn revocation_lists_that_are_old_early_foreign_or_revoking_are_refused() {
    let machine = launched(Product::Genoa, |_| ());
    let vendor = machine.chip().vendor();
    let refused = |change: &dyn Fn(&mut crate::x509::CrlDraft), key| {
        let mut draft = vendor.crl_draft(NOW).unwrap();
        change(&mut draft);
        let crl = Some(draft.sign(key).unwrap());
        verified_with(&machine, &Endorsements { crl, ..endorsements(&machine) }).unwrap_err()
    };
    let ark = vendor.ark_key();
    let stale = refused(&|crl| crl.next_update = NOW - Duration::SECOND, ark);
    assert!(matches!(stale, VerifyError::CrlStale { .. }), "{stale}");
    let early = refused(&|crl| crl.this_update = NOW + Duration::SECOND, ark);
    assert!(matches!(early, VerifyError::CrlNotYetValid { .. }), "{early}");
    assert_eq!(refused(&|_| (), vendor.ask_key()), VerifyError::CrlSignature);
    let revoked = refused(&|crl| crl.revoked.push(vendor.ask_serial()), ark);
    let ask = matches!(revoked, VerifyError::Revoked { endorsement: Endorsement::Ask, .. });
    assert!(ask, "{revoked}");
    let absent = Endorsements { crl: None, ..endorsements(&machine) };
    assert_eq!(verified_with(&machine, &absent).unwrap_err(), VerifyError::CrlAbsent);
}
