use super::slots::SlotKind;
use super::*;
use crate::keys::{RootKey, SigningKey as Ed25519Key};
use crate::store::Header;
use hmac::{Hmac, KeyInit, Mac};
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::report::{
    ChipId, Cpuid, EcdsaSignature, FirmwareVersion, KeyInfo, PlatformInfo, ReportVersion,
    SignatureAlgorithm,
};
use sha2::Sha256;
use std::cell::RefCell;
use std::convert::Infallible;

/// A chip of the tests: its derived keys are an HMAC over the request and what firmware always
/// mixes in.
pub(crate) struct Chip {
    secret: [u8; 32],
    pub(crate) report: Report,
    pub(crate) requests: RefCell<Vec<KeyRequest>>,
}

pub(crate) const GENOA: Tcb = Tcb { fmc: None, boot_loader: 10, tee: 0, snp: 23, microcode: 84 };

impl Chip {
    pub(crate) fn new(number: u8) -> Self {
        let requests = RefCell::default();
        Self { secret: [number; 32], report: report(number), requests }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Report)) -> Self {
        change(&mut self.report);
        self
    }

    pub(crate) fn with_tcb(self, tcb: Tcb) -> Self {
        self.with(|report| {
            report.launch_tcb = tcb.to_version();
            report.committed_tcb = tcb.to_version();
        })
    }

    pub(crate) fn boot(&self) -> BootIdentity {
        BootIdentity::from_report(&self.report, Product::Genoa).unwrap()
    }

    pub(crate) fn derive(&self, request: &KeyRequest) -> Result<DerivedKey, Infallible> {
        self.requests.borrow_mut().push(request.clone());
        let report = &self.report;
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret)
            .unwrap()
            .chain_update(request.as_bytes())
            .chain_update(report.policy.0.to_le_bytes())
            .chain_update(report.measurement)
            .chain_update(report.host_data)
            .chain_update(report.id_key_digest)
            .chain_update(report.author_key_digest)
            .chain_update(report.image_id)
            .chain_update(report.family_id);
        Ok(DerivedKey(KeyBytes::copied(&mac.finalize().into_bytes()).unwrap()))
    }

    pub(crate) fn sealer(&self) -> Sealer {
        let boot = self.boot();
        let key = self.derive(&boot.seal_request()).unwrap();
        boot.sealer(key)
    }
}

fn report(chip: u8) -> Report {
    let version = FirmwareVersion { major: 1, minor: 55, build: 40 };
    Report {
        version: ReportVersion::V3,
        guest_svn: 0,
        policy: GuestPolicy(0x30000),
        family_id: [0; 16],
        image_id: [0; 16],
        vmpl: 0,
        signature_algorithm: SignatureAlgorithm::EcdsaP384Sha384,
        current_tcb: GENOA.to_version(),
        platform_info: PlatformInfo(0x25),
        key_info: KeyInfo {
            author_key_enabled: false,
            mask_chip_key: false,
            signing_key: SigningKey::Vcek,
        },
        report_data: [0; 64],
        measurement: [0x4D; 48],
        host_data: [0; 32],
        id_key_digest: [0; 48],
        author_key_digest: [0; 48],
        report_id: [1; 32],
        report_id_ma: [0xFF; 32],
        reported_tcb: GENOA.to_version(),
        cpuid: Some(Cpuid { family: 0x19, model: 0x11, stepping: 1 }),
        chip_id: ChipId([chip; 64]),
        committed_tcb: GENOA.to_version(),
        current_version: version,
        committed_version: version,
        launch_tcb: GENOA.to_version(),
        mitigations: None,
        signature: EcdsaSignature { r: [0; 48], s: [0; 48] },
    }
}

fn refused(change: impl FnOnce(&mut Report)) -> SealError {
    let chip = Chip::new(1).with(change);
    BootIdentity::from_report(&chip.report, Product::Genoa).unwrap_err()
}

#[test]
fn unfit_machines_are_refused_by_name() {
    for got in [SigningKey::Vlek, SigningKey::None] {
        let error = refused(|report| report.key_info.signing_key = got);
        assert_eq!(error, SealError::SigningKey { got });
    }
    assert_eq!(refused(|report| report.key_info.mask_chip_key = true), SealError::ChipMasked);
    assert_eq!(refused(|report| report.chip_id = ChipId([0; 64])), SealError::ChipMasked);
    let milan = Some(Cpuid { family: 0x19, model: 1, stepping: 1 });
    let certified = Product::Genoa;
    assert_eq!(refused(|report| report.cpuid = milan), SealError::Product { certified });
    let debug = 0xB0000;
    let error = refused(|report| report.policy = GuestPolicy(debug));
    assert_eq!(error, SealError::Debug { policy: debug });
    let migratable = 0x70000;
    let error = refused(|report| report.policy = GuestPolicy(migratable));
    assert_eq!(error, SealError::MigrationAgent { policy: migratable });
    let error = refused(|report| report.report_id_ma = [7; 32]);
    assert_eq!(error, SealError::MigrationAgent { policy: 0x30000 });
    assert_eq!(refused(|report| report.vmpl = 1), SealError::Vmpl { got: 1 });
    let reserved = TcbVersion([10, 0, 9, 0, 0, 0, 23, 84]);
    let cause = TcbReserved { index: 2, got: 9 };
    let error = refused(|report| report.committed_tcb = reserved);
    assert_eq!(error, SealError::TcbReserved { which: "committed", cause });
}

#[test]
fn machines_below_the_floor_are_refused() {
    for product in Product::ALL {
        let floor = tcb_floor(product);
        for (index, byte) in floor.to_version().0.into_iter().enumerate() {
            if byte == 0 {
                continue;
            }
            let mut version = floor.to_version();
            version.0[index] -= 1;
            for which in ["launch", "committed"] {
                let mut report = report(1);
                (report.launch_tcb, report.committed_tcb) =
                    (floor.to_version(), floor.to_version());
                report.cpuid = None;
                report.chip_id.0[8..].fill(0);
                assert!(BootIdentity::from_report(&report, product).is_ok());
                match which {
                    "launch" => report.launch_tcb = version,
                    _ => report.committed_tcb = version,
                }
                let error = BootIdentity::from_report(&report, product).unwrap_err();
                assert!(
                    matches!(error, SealError::TcbBelowFloor { which: got, .. } if got == which)
                );
            }
        }
    }
    let chip = Chip::new(1).with(|report| report.cpuid = None);
    let error = BootIdentity::from_report(&chip.report, Product::Turin).unwrap_err();
    assert_eq!(error, SealError::ChipId { product: Product::Turin });
}

#[test]
fn the_floors_admit_every_genuine_machine_at_hand() {
    // launch and committed of the genuine reports that are neither of a debugging VM nor of a VLEK.
    let genuine = [
        (Product::Milan, [3, 0, 0, 0, 0, 0, 8, 115]),
        (Product::Milan, [4, 0, 0, 0, 0, 0, 24, 213]),
        (Product::Genoa, [10, 0, 0, 0, 0, 0, 23, 84]),
        (Product::Genoa, [10, 0, 0, 0, 0, 0, 27, 27]),
        (Product::Turin, [1, 1, 1, 4, 0, 0, 0, 81]),
    ];
    for (product, version) in genuine {
        assert!(TcbVersion(version).of(product).unwrap().reaches(&tcb_floor(product)));
    }
}

#[test]
fn the_request_has_the_specified_bytes() {
    let plain = Chip::new(1).boot().seal_request();
    let expected = [
        [2, 0, 0, 0, 0, 0, 0, 0], // root VCEK, KEY_SEL VCEK
        [0x29, 0, 0, 0, 0, 0, 0, 0],
        [0; 8], // VMPL, guest SVN
        [10, 0, 0, 0, 0, 0, 23, 84],
    ];
    assert_eq!(plain.as_bytes(), expected.as_flattened());
    let with_id_block = Chip::new(1).with(|report| {
        report.id_key_digest = [5; 48];
        report.guest_svn = 0x0102;
        report.launch_tcb = TcbVersion([10, 0, 0, 0, 0, 0, 25, 80]);
        report.committed_tcb = TcbVersion([11, 0, 0, 0, 0, 0, 24, 84]);
    });
    let expected = [
        [2, 0, 0, 0, 0, 0, 0, 0],
        [0x3F, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 2, 1, 0, 0],
        [10, 0, 0, 0, 0, 0, 24, 80], // each component's lesser one
    ];
    assert_eq!(with_id_block.boot().seal_request().as_bytes(), expected.as_flattened());
}

fn header() -> Header {
    Header { store_id: StoreId([8; 16]) }
}

/// A table, with the keys in it.
fn sealed(chip: &Chip) -> (SlotTable, RootKey, Ed25519Key) {
    let root = RootKey::random().unwrap();
    let instance = Ed25519Key::random().unwrap();
    let table = chip.sealer().seal(&header(), &root, &instance).unwrap();
    chip.requests.borrow_mut().clear();
    (table, root, instance)
}

type Outcome =
    Result<Opened, (UnsealError<Infallible>, Option<neo_secrets_attestation::ed25519::PublicKey>)>;

fn open(chip: &Chip, bytes: &[u8]) -> Outcome {
    let table = SlotTable::parse(bytes).map_err(|error| (error.into(), None))?;
    unseal(&header(), &table, &chip.boot(), |request| chip.derive(request))
}

fn error(outcome: Outcome) -> UnsealError<Infallible> {
    outcome.err().unwrap().0
}

#[test]
fn the_same_machine_opens_with_one_request() {
    let chip = Chip::new(1);
    let (table, root, _) = sealed(&chip);
    let opened = open(&chip, &table.to_bytes()).unwrap();
    assert_eq!(opened.root.bytes().expose(), root.bytes().expose());
    assert!(opened.rewrapped.is_none());
    assert_eq!(chip.requests.borrow().len(), 1);
}

#[test]
fn another_machine_does_not_open_and_names_what_differs() {
    use Difference::{Chip as OtherChip, GuestSvn, HostData, IdBlock, Measurement, Policy};
    let (table, ..) = sealed(&Chip::new(1));
    let bytes = table.to_bytes();
    let cases: [(Chip, &[Difference]); 7] = [
        (Chip::new(2), &[OtherChip]),
        (Chip::new(1).with(|report| report.measurement[0] ^= 1), &[Measurement]),
        (Chip::new(1).with(|report| report.host_data = [3; 32]), &[HostData]),
        (Chip::new(1).with(|report| report.policy = GuestPolicy(0x20000)), &[Policy]),
        (Chip::new(1).with(|report| report.guest_svn = 1), &[GuestSvn]),
        (Chip::new(1).with(|report| report.id_key_digest = [1; 48]), &[IdBlock]),
        (Chip::new(2).with(|report| report.host_data = [3; 32]), &[OtherChip, HostData]),
    ];
    for (chip, expected) in cases {
        let UnsealError::Key { differences } = error(open(&chip, &bytes)) else { panic!() };
        assert_eq!(differences.0, expected);
        assert_eq!(chip.requests.borrow().len(), 1);
    }
    // The same identity on a chip with another secret: nothing recorded differs, and it stays
    // closed.
    let mut twin = Chip::new(1);
    twin.secret = [9; 32];
    let UnsealError::Key { differences } = error(open(&twin, &bytes)) else { panic!() };
    assert_eq!(differences.to_string(), "nothing that is recorded differs");
}

/// Firmware that mixed nothing of the VM into its key would be no way in either.
#[test]
fn the_vm_is_bound_without_the_firmwares_help() {
    let derive =
        |_: &KeyRequest| Ok::<_, Infallible>(DerivedKey(KeyBytes::copied(&[5; 32]).unwrap()));
    let table = || {
        let (root, instance) = (RootKey::random().unwrap(), Ed25519Key::random().unwrap());
        let sealer = Chip::new(1).boot().sealer(DerivedKey(KeyBytes::copied(&[5; 32]).unwrap()));
        sealer.seal(&header(), &root, &instance).unwrap()
    };
    assert!(unseal(&header(), &table(), &Chip::new(1).boot(), derive).is_ok());
    let changes: [fn(&mut Report); 6] = [
        |report| report.measurement[0] ^= 1,
        |report| report.policy = GuestPolicy(0x20000),
        |report| report.guest_svn = 1,
        |report| report.host_data = [3; 32],
        |report| report.id_key_digest = [1; 48],
        |report| report.author_key_digest = [1; 48],
    ];
    for change in changes {
        let boot = Chip::new(1).with(change).boot();
        let refused = error(unseal(&header(), &table(), &boot, derive));
        assert!(matches!(refused, UnsealError::Key { .. }));
    }
}

#[test]
fn a_raised_tcb_opens_and_wraps_anew() {
    let old = Chip::new(1);
    let (table, root, instance) = sealed(&old);
    let raised = Tcb { snp: 24, microcode: 90, ..GENOA };
    let chip = Chip::new(1).with_tcb(raised);
    let opened = open(&chip, &table.to_bytes()).unwrap();
    assert_eq!(opened.root.bytes().expose(), root.bytes().expose());
    assert_eq!(chip.requests.borrow().len(), 2);
    let rewrapped = opened.rewrapped.unwrap().unwrap().to_bytes();
    // The new table opens at the raised TCB with one request, and no longer at the old one.
    chip.requests.borrow_mut().clear();
    let opened = open(&chip, &rewrapped).unwrap();
    assert!(opened.rewrapped.is_none());
    assert_eq!(chip.requests.borrow().len(), 1);
    let identity = SlotTable::parse(&rewrapped).unwrap().identity.unwrap();
    let key = chip.derive(&chip.boot().seal_request()).unwrap();
    let seed = identity.open(SlotKind::Identity, &header(), &chip.boot(), &key);
    assert_eq!(seed.unwrap().expose(), instance.seed().expose());
    old.requests.borrow_mut().clear();
    let refused = error(open(&old, &rewrapped));
    assert!(matches!(
        refused,
        UnsealError::TcbAboveFirmware {
            shortfall: TcbShortfall { got: Some(23), floor: Some(24), .. },
            ..
        }
    ));
    assert!(old.requests.borrow().is_empty(), "the firmware is not asked");
}

#[test]
fn a_tcb_mixed_of_older_and_newer_parts_is_refused_unasked() {
    let (table, ..) = sealed(&Chip::new(1));
    let chip = Chip::new(1).with_tcb(Tcb { snp: 30, microcode: 83, ..GENOA });
    let refused = error(open(&chip, &table.to_bytes()));
    assert!(matches!(refused, UnsealError::TcbAboveFirmware { .. }), "{refused}");
    // Committed alone is not enough: a VM keeps its launch TCB.
    let (table, ..) = sealed(&Chip::new(1).with_tcb(Tcb { snp: 24, ..GENOA }));
    let committed = Tcb { snp: 24, ..GENOA }.to_version();
    let chip = Chip::new(1).with(|report| report.committed_tcb = committed);
    let refused = error(open(&chip, &table.to_bytes()));
    assert!(matches!(refused, UnsealError::TcbAboveFirmware { .. }), "{refused}");
    assert!(chip.requests.borrow().is_empty());
}

#[test]
fn an_edited_tcb_never_reaches_the_firmware_below_the_floor() {
    let (table, ..) = sealed(&Chip::new(1));
    let mut bytes = table.to_bytes();
    let snp = 2 + 3 + 32 + 6;
    assert_eq!(bytes[snp], 23);
    bytes[snp] = 22;
    let chip = Chip::new(1);
    assert!(matches!(error(open(&chip, &bytes)), UnsealError::TcbBelowFloor { .. }));
    bytes[snp] = 24;
    assert!(matches!(error(open(&chip, &bytes)), UnsealError::TcbAboveFirmware { .. }));
    bytes[snp] = 23;
    bytes[snp - 1] = 1;
    assert!(matches!(error(open(&chip, &bytes)), UnsealError::TcbReserved { .. }));
    assert!(chip.requests.borrow().is_empty());
}

#[test]
fn no_flipped_bit_and_no_cut_opens() {
    let chip = Chip::new(1);
    let (table, ..) = sealed(&chip);
    let bytes = table.to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&chip, &flipped).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(matches!(error(open(&chip, &bytes[..length])), UnsealError::Table(_)));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(error(open(&chip, &longer)), UnsealError::Table(SlotTableError::Length(_))));
}

#[test]
fn slots_and_tables_of_other_stores_are_refused() {
    let chip = Chip::new(1);
    let (own, ..) = sealed(&chip);
    let (foreign, ..) = sealed(&chip);
    // A slot of another table with the same header: it opens, and its root key does not
    // authenticate this table.
    let bytes = own.to_bytes();
    let swapped = [&foreign.to_bytes()[..5 + 244], &bytes[5 + 244..]].concat();
    assert!(matches!(error(open(&chip, &swapped)), UnsealError::TableForged));
    // So do tables that lack the identity slot, or have another one.
    let swapped = [&bytes[..5 + 244], &foreign.to_bytes()[5 + 244..]].concat();
    assert!(matches!(error(open(&chip, &swapped)), UnsealError::TableForged));
    let without = [&[1, 1][..], &bytes[2..5 + 244], &bytes[bytes.len() - 32..]].concat();
    assert!(matches!(error(open(&chip, &without)), UnsealError::TableForged));
    // A whole table under another store's header.
    let other = Header { store_id: StoreId([9; 16]) };
    let outcome = unseal(&other, &own, &chip.boot(), |request| chip.derive(request));
    assert!(matches!(error(outcome), UnsealError::Key { .. }));
}

#[test]
fn malformed_tables_are_named() {
    let chip = Chip::new(1);
    let bytes = sealed(&chip).0.to_bytes();
    let parse = |bytes: &[u8]| SlotTable::parse(bytes).err().unwrap();
    let with = |index: usize, byte: u8| {
        let mut changed = bytes.clone();
        changed[index] = byte;
        parse(&changed)
    };
    assert_eq!(with(0, 2), SlotTableError::Format { got: 2 });
    assert_eq!(with(1, 0), SlotTableError::Count);
    assert_eq!(with(1, 17), SlotTableError::Count);
    for reserved in [0, 2, 3, 4, 0x11] {
        assert_eq!(with(2, reserved), SlotTableError::Kind { got: reserved });
    }
    assert_eq!(with(2 + 3 + 244, 1), SlotTableError::Count, "two firmware slots");
    assert_eq!(with(2, 0x10), SlotTableError::Count, "two identity slots");
    let (firmware, identity) = (&bytes[2..2 + 3 + 244], &bytes[2 + 3 + 244..bytes.len() - 32]);
    let swapped = [&bytes[..2], identity, firmware, &bytes[bytes.len() - 32..]].concat();
    assert_eq!(parse(&swapped), SlotTableError::Order);
    assert!(matches!(parse(&vec![1; 8_193]), SlotTableError::Length(_)));
    assert!(matches!(parse(b""), SlotTableError::Length(_)));
}

#[test]
fn a_sealed_instance_can_show_its_pin() {
    let chip = Chip::new(1);
    let (table, _, instance) = sealed(&chip);
    let mut bytes = table.to_bytes();
    *bytes.last_mut().unwrap() ^= 1; // the MAC
    let (error, shown) = open(&chip, &bytes).err().unwrap();
    assert!(matches!(error, UnsealError::TableForged));
    assert_eq!(shown, Some(instance.public()));
    let (_, shown) = open(&Chip::new(2), &bytes).err().unwrap();
    assert_eq!(shown, None);
}

#[test]
fn a_failed_second_request_leaves_the_old_slot() {
    let (table, ..) = sealed(&Chip::new(1));
    let chip = Chip::new(1).with_tcb(Tcb { snp: 24, ..GENOA });
    let derive = |request: &KeyRequest| {
        let is_first = chip.requests.borrow().is_empty();
        let key = chip.derive(request).map_err(|_| "never")?;
        if is_first { Ok(key) } else { Err("busy") }
    };
    let opened = unseal(&header(), &table, &chip.boot(), derive).ok().unwrap();
    assert_eq!(opened.rewrapped.unwrap().err().unwrap(), "busy");
    let refused = unseal(&header(), &table, &chip.boot(), |_| Err("refused"));
    assert!(matches!(refused.err().unwrap().0, UnsealError::Derive("refused")));
}

/// Made from STORE.md by another program: Python with the `cryptography` package.
#[test]
fn the_vector_opens() {
    let hex = include_str!("../../vectors/slots.hex").replace('\n', "");
    let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
    let table = SlotTable::parse(&bytes).unwrap();
    assert_eq!(table.to_bytes(), bytes);
    let key = || DerivedKey(KeyBytes::copied(&[5; 32]).unwrap());
    let boot = Chip::new(1).boot();
    let opened = unseal(&header(), &table, &boot, |_| Ok::<_, Infallible>(key())).ok().unwrap();
    assert_eq!(opened.root.bytes().expose(), &[9; 32]);
    let identity = table.identity.unwrap();
    assert!(identity.differences(&boot).0.is_empty());
    let seed = identity.open(SlotKind::Identity, &header(), &boot, &key()).unwrap();
    assert_eq!(seed.expose(), &[10; 32]);
}
