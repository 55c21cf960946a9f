use super::*;
use crate::key::{INVALID_KEY, INVALID_PARAMETERS};
use crate::pace::ManualClock;
use crate::product::Product;
use crate::report::{SIGNED_BYTES, field_named};
use crate::settings::{Bits, Hex, POLICY_DEBUG, Settings};
use crate::testing;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

fn chip() -> Chip {
    testing::chip(Product::Genoa, NOW)
}

fn changed(chip: &Chip, change: impl FnOnce(&mut Settings)) -> Machine {
    let mut chip = chip.clone();
    change(&mut chip.settings);
    Machine::launch(chip, NOW).unwrap()
}

/// A MSG_KEY_REQ as the Linux driver takes it.
#[derive(Clone, Copy, Default)]
struct Ask {
    root: u32,
    reserved: u32,
    fields: u64,
    vmpl: u32,
    svn: u32,
    tcb: [u8; 8],
}

impl Ask {
    fn of(self, machine: &Machine) -> Result<[u8; 32], u32> {
        let mut request = [0; 32];
        request[0..4].copy_from_slice(&self.root.to_le_bytes());
        request[4..8].copy_from_slice(&self.reserved.to_le_bytes());
        request[8..16].copy_from_slice(&self.fields.to_le_bytes());
        request[16..20].copy_from_slice(&self.vmpl.to_le_bytes());
        request[20..24].copy_from_slice(&self.svn.to_le_bytes());
        request[24..32].copy_from_slice(&self.tcb);
        let response = machine.derive_key(&request).unwrap();
        assert_eq!(response[4..32], [0; 28]);
        let key: [u8; 32] = response[32..].try_into().unwrap();
        match u32::from_le_bytes(response[..4].try_into().unwrap()) {
            0 => Ok(key),
            status => {
                assert_eq!(key, [0; 32]);
                Err(status)
            }
        }
    }
}

const VCEK_ROOT: u32 = 1 << 1;
const VLEK_ROOT: u32 = 2 << 1;
const VM_ROOT: u32 = 1;

#[test]
fn every_selected_field_enters_the_key_and_no_other_does() {
    type Change = fn(&mut Settings);
    let changes: [(u64, Change); 4] = [
        (1 << 0, |s| s.guest.policy = Bits(s.guest.policy.0 | POLICY_DEBUG)),
        (1 << 1, |s| s.guest.image_id = Hex([1; 16])),
        (1 << 2, |s| s.guest.family_id = Hex([1; 16])),
        (1 << 3, |s| s.guest.measurement = Hex([1; 48])),
    ];
    let chip = chip();
    let machine = changed(&chip, |_| ());
    for (bit, change) in changes {
        let other = changed(&chip, change);
        for fields in [0, bit, 0x3F & !bit, 0x3F] {
            let ask = Ask { root: VCEK_ROOT, fields, ..Ask::default() };
            let same = ask.of(&machine) == ask.of(&other);
            assert_eq!(same, fields & bit == 0, "field {bit:#x} in selection {fields:#x}");
        }
    }
}

#[test]
fn host_data_and_the_id_blocks_keys_enter_every_key() {
    let chip = chip();
    let ask = Ask { root: VCEK_ROOT, ..Ask::default() };
    let key = ask.of(&changed(&chip, |_| ())).unwrap();
    let others = [
        changed(&chip, |s| s.guest.host_data = Hex([1; 32])),
        changed(&chip, |s| s.guest.id_key_digest = Hex([1; 48])),
        changed(&chip, |s| s.guest.author_key_digest = Hex([1; 48])),
    ];
    for other in others {
        assert_ne!(ask.of(&other).unwrap(), key);
    }
}

#[test]
fn svn_and_tcb_of_the_request_enter_the_key_where_they_are_selected() {
    let machine = changed(&chip(), |s| s.guest.guest_svn = 3);
    let tcb = [1, 0, 0, 0, 0, 0, 1, 1];
    let of = |fields, svn, tcb| {
        Ask { root: VCEK_ROOT, fields, svn, tcb, ..Ask::default() }.of(&machine).unwrap()
    };
    assert_ne!(of(1 << 4, 3, [0; 8]), of(1 << 4, 2, [0; 8]));
    assert_ne!(of(1 << 5, 0, tcb), of(1 << 5, 0, [0; 8]));
    assert_eq!(of(0, 3, tcb), of(0, 0, [0; 8]));
}

#[test]
fn a_key_is_the_same_after_a_relaunch_and_a_firmware_update_unless_its_root_is_the_vms() {
    let chip = chip();
    let (first, second) = (changed(&chip, |_| ()), changed(&chip, |s| s.tcb.reported.snp += 1));
    let chips_key = Ask { root: VCEK_ROOT, fields: 0x3F, ..Ask::default() };
    assert_eq!(chips_key.of(&first), chips_key.of(&second));
    let vms_key = Ask { root: VM_ROOT, ..chips_key };
    assert_ne!(vms_key.of(&first), vms_key.of(&second));
    assert_ne!(vms_key.of(&first), chips_key.of(&first));
}

#[test]
fn another_chip_gives_another_key_but_the_same_provider_the_same() {
    let under_vlek = |s: &mut Settings| {
        s.signer = Signer::Vlek;
        s.csp_id = "CN=simulated-provider".to_owned();
    };
    let (one, two) = (changed(&chip(), under_vlek), changed(&chip(), under_vlek));
    for (root, same) in [(VCEK_ROOT, false), (VLEK_ROOT, true), (0, true)] {
        let ask = Ask { root, ..Ask::default() };
        assert_eq!(ask.of(&one).unwrap() == ask.of(&two).unwrap(), same, "root {root}");
    }
    let without = changed(&chip(), |_| ());
    assert_eq!(Ask { root: VLEK_ROOT, ..Ask::default() }.of(&without), Err(INVALID_KEY));
}

#[test]
fn a_tcb_above_the_committed_one_in_any_component_is_refused() {
    let machine = changed(&chip(), |s| {
        s.tcb.current.snp += 1;
        s.tcb.reported.snp += 1;
    });
    let committed = machine.chip().settings.tcb.committed.encode(Product::Genoa);
    let ask = |tcb| Ask { root: VCEK_ROOT, fields: 1 << 5, tcb, ..Ask::default() }.of(&machine);
    assert!(ask(committed).is_ok());
    for at in 0..8 {
        let mut tcb = committed;
        tcb[at] += 1;
        assert_eq!(ask(tcb), Err(INVALID_PARAMETERS), "byte {at}");
        // A low component elsewhere doesn't make up for it, as it would in one number.
        tcb[7] = if at == 7 { tcb[7] } else { 0 };
        assert_eq!(ask(tcb), Err(INVALID_PARAMETERS), "byte {at}");
    }
}

#[test]
fn requests_out_of_range_are_refused() {
    let machine = changed(&chip(), |s| {
        s.guest.vmpl = 1;
        s.guest.guest_svn = 2;
    });
    let good = Ask { root: VCEK_ROOT, vmpl: 1, svn: 2, ..Ask::default() };
    assert!(good.of(&machine).is_ok());
    assert!(Ask { vmpl: 3, ..good }.of(&machine).is_ok());
    for bad in [
        Ask { vmpl: 0, ..good },
        Ask { vmpl: 4, ..good },
        Ask { svn: 3, ..good },
        Ask { reserved: 1, ..good },
        Ask { fields: 1 << 6, ..good },
        Ask { fields: 1 << 63, ..good },
        Ask { root: 3 << 1, ..good },
        Ask { root: VM_ROOT | VCEK_ROOT, ..good },
        Ask { root: 1 << 3, ..good },
    ] {
        assert_eq!(bad.of(&machine), Err(INVALID_PARAMETERS));
    }
    let masked = changed(&chip(), |s| s.mask_chip_key = true);
    assert_eq!(Ask { root: VCEK_ROOT, ..Ask::default() }.of(&masked), Err(INVALID_KEY));
}

#[test]
fn the_rate_limit_covers_reports_and_keys_together() {
    let mut chip = chip();
    chip.settings.rate.requests_per_second = 4;
    let clock = Arc::new(ManualClock::default());
    let machine = Machine::launch_by(chip, NOW, clock.clone()).unwrap();
    for _ in 0..4 {
        assert!(machine.report(&[0; 64]).is_ok());
        assert!(machine.derive_key(&[0; 32]).is_ok());
    }
    assert!(matches!(machine.report(&[0; 64]), Err(PlatformError::Busy)));
    assert!(matches!(machine.derive_key(&[0; 32]), Err(PlatformError::Busy)));
    clock.advance(Duration::from_millis(250));
    assert!(machine.report(&[0; 64]).is_ok());
    assert!(matches!(machine.report(&[0; 64]), Err(PlatformError::Busy)));
}

#[test]
fn a_report_takes_as_long_as_it_is_told_to() {
    let mut chip = chip();
    chip.settings.rate.report_ms = 40;
    let clock = Arc::new(ManualClock::default());
    let machine = Machine::launch_by(chip, NOW, clock.clone()).unwrap();
    machine.report(&[0; 64]).unwrap();
    machine.report(&[0; 64]).unwrap();
    machine.derive_key(&[0; 32]).unwrap();
    assert_eq!(clock.elapsed(), Duration::from_millis(80));
}

#[test]
fn injected_faults_come_out_as_they_would_from_the_device() {
    let machine = changed(&chip(), |_| ());
    let faults = machine.faults();
    let report = || machine.report(&[7; 64]);
    for fault in [Fault::Busy, Fault::Firmware { status: 0x2_0000_0000 }, Fault::Device] {
        faults.next(1, fault);
    }
    assert!(matches!(report(), Err(PlatformError::Busy)));
    let refused = machine.derive_key(&[0; 32]).err();
    assert!(matches!(refused, Some(PlatformError::Firmware { status: 0x2_0000_0000 })));
    assert!(matches!(report(), Err(PlatformError::Device(_))));
    faults.next(1, Fault::ZeroKey);
    assert_eq!(*machine.derive_key(&[0; 32]).unwrap(), [0; 64]);
    faults.next(1, Fault::TruncatedReport);
    assert_eq!(report().unwrap()[4..8], 1183_u32.to_le_bytes());
    faults.next(1, Fault::GarbageReport);
    assert_eq!(report().unwrap()[32..32 + REPORT_BYTES], [0xA5; REPORT_BYTES]);
    faults.next(1, Fault::ForeignSignature);
    let (foreign, own) = (report().unwrap(), report().unwrap());
    assert_eq!(foreign[..32 + SIGNED_BYTES], own[..32 + SIGNED_BYTES]);
    assert_ne!(foreign[32 + SIGNED_BYTES..], own[32 + SIGNED_BYTES..]);
    assert_eq!(faults.report_count(), 6);
    assert_eq!(faults.key_requests().len(), 2);
}

#[test]
fn key_info_says_who_signed_and_what_is_masked() {
    let word = |change: fn(&mut Settings)| {
        let machine = changed(&chip(), change);
        let report = machine.forged_report(&[0; 64], |_| ()).unwrap();
        let bytes = |name| {
            let field = field_named(name);
            report[field.offset..field.offset + field.bytes].to_vec()
        };
        let signed = bytes("signature_r").iter().any(|b| *b != 0);
        let identified = bytes("chip_id").iter().any(|b| *b != 0);
        (u32::from_le_bytes(bytes("key_info").try_into().unwrap()), signed, identified)
    };
    assert_eq!(word(|_| ()), (0, true, true));
    assert_eq!(word(|s| s.guest.author_key_digest = Hex([1; 48])), (1, true, true));
    assert_eq!(word(|s| s.mask_chip_id = true), (0, true, false));
    assert_eq!(word(|s| s.mask_chip_key = true), (0b1_1110, false, true));
    let vlek = |s: &mut Settings| {
        s.signer = Signer::Vlek;
        s.csp_id = "CN=simulated-provider".to_owned();
    };
    assert_eq!(word(vlek), (4, true, true));
}
