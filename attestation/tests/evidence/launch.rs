//! Launch digests: agreement with the `sev` crate, and firmware that is not what it should be.

use std::fs;

use neo_secrets_attestation::limits;
use neo_secrets_attestation::measure::{
    KernelHashes, Launch, MeasureError, Shape, VcpuType, VcpuTypeError,
};
use proptest::prelude::*;
use sev::measurement::snp::{SnpMeasurementArgs, snp_calc_launch_digest};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};

use crate::support::vectors::read;

fn firmware() -> Vec<u8> {
    fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/firmware.bin")).unwrap()
}

const SHAPE: Shape = Shape { vcpus: 1, vcpu_type: VcpuType::EpycV4, sev_features: 1 };

/// The place of a little-endian number, of which the firmware has exactly one.
fn place(firmware: &[u8], number: u32) -> usize {
    let mut places =
        firmware.windows(4).enumerate().filter(|(_, bytes)| *bytes == number.to_le_bytes());
    let (place, _) = places.next().unwrap();
    assert_eq!(places.next(), None);
    place
}

fn replace(firmware: &mut [u8], place: usize, number: u32) {
    firmware[place..place + 4].copy_from_slice(&number.to_le_bytes());
}

#[test]
fn the_sev_crate_agrees() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let (kernel, initrd, line) = (b"a kernel".as_slice(), b"an initrd".as_slice(), "quiet x=y");
    let kernel_file = write("launch-kernel", kernel);
    let initrd_file = write("launch-initrd", initrd);
    let mut builds = vec![("launch-synthetic", firmware())];
    let real = read("the_sev_crate_agrees", "launch-digest/ovmf_AmdSev_suffix.bin");
    builds.extend(real.map(|bytes| ("launch-amdsev", bytes)));
    for (name, firmware) in builds {
        let file = write(name, &firmware);
        let hashes = KernelHashes::new(kernel, initrd, line).unwrap();
        for (vcpu_type, same) in [
            (VcpuType::EpycV4, CpuType::EpycV4),
            (VcpuType::EpycMilan, CpuType::EpycMilan),
            (VcpuType::EpycGenoa, CpuType::EpycGenoa),
            (VcpuType::EpycTurin, CpuType::EpycTurin),
        ] {
            for vcpus in [1, 2, 3, 64, 255] {
                for with_kernel in [true, false] {
                    let expected = snp_calc_launch_digest(SnpMeasurementArgs {
                        vcpus,
                        vcpu_type: same,
                        ovmf_file: file.clone(),
                        guest_features: GuestFeatures::default(),
                        kernel_file: with_kernel.then(|| kernel_file.clone()),
                        initrd_file: with_kernel.then(|| initrd_file.clone()),
                        append: with_kernel.then_some(line),
                        ovmf_hash_str: None,
                        vmm_type: Some(VMMType::QEMU),
                    });
                    let expected: Vec<u8> = expected.unwrap().try_into().unwrap();
                    let launch = Launch::new(&firmware, with_kernel.then_some(&hashes)).unwrap();
                    let digest = launch.digest(&Shape { vcpus, vcpu_type, sev_features: 1 });
                    assert_eq!(digest.unwrap()[..], expected);
                }
            }
        }
    }
}

#[test]
fn everything_measured_changes_the_digest() {
    let good = firmware();
    let hashes = KernelHashes::new(b"kernel", b"initrd", "quiet").unwrap();
    let digest = |firmware: &[u8], hashes: &KernelHashes, shape: &Shape| {
        Launch::new(firmware, Some(hashes)).unwrap().digest(shape).unwrap()
    };
    let mut changed = good.clone();
    changed[0] ^= 1;
    let others = [
        digest(&good, &hashes, &SHAPE),
        digest(&changed, &hashes, &SHAPE),
        digest(&good, &KernelHashes::new(b"kernel2", b"initrd", "quiet").unwrap(), &SHAPE),
        digest(&good, &KernelHashes::new(b"kernel", b"", "quiet").unwrap(), &SHAPE),
        digest(&good, &KernelHashes::new(b"kernel", b"initrd", "quiet ").unwrap(), &SHAPE),
        digest(&good, &hashes, &Shape { vcpus: 2, ..SHAPE }),
        digest(&good, &hashes, &Shape { vcpu_type: VcpuType::EpycGenoa, ..SHAPE }),
        digest(&good, &hashes, &Shape { sev_features: 0x21, ..SHAPE }),
        Launch::new(&good, None).unwrap().digest(&SHAPE).unwrap(),
    ];
    let different: std::collections::HashSet<_> = others.iter().collect();
    assert_eq!(different.len(), others.len());
}

#[test]
fn processors() {
    let launch = Launch::new(&firmware(), None).unwrap();
    for vcpus in [1, limits::VCPUS_MAX] {
        launch.digest(&Shape { vcpus, ..SHAPE }).unwrap();
    }
    for got in [0, limits::VCPUS_MAX + 1, u32::MAX] {
        let error = MeasureError::Vcpus { got };
        assert_eq!(launch.digest(&Shape { vcpus: got, ..SHAPE }), Err(error));
    }
    for got in [0, 0x20] {
        let error = MeasureError::SevFeatures { got };
        assert_eq!(launch.digest(&Shape { sev_features: got, ..SHAPE }), Err(error));
    }
    for vcpu_type in VcpuType::ALL {
        assert_eq!(vcpu_type.to_string().parse(), Ok(vcpu_type));
    }
    assert_eq!("EPYC".parse::<VcpuType>(), Err(VcpuTypeError));
    assert_eq!(KernelHashes::new(b"", b"", "a\0b"), Err(MeasureError::CommandLine));
}

#[test]
fn firmware_of_a_wrong_length() {
    let good = firmware();
    let longest = limits::FIRMWARE_BYTES_MAX;
    for got in [0, 1, 4095, 4097, longest + 4096] {
        let error = MeasureError::FirmwareBytes { got };
        assert_eq!(Launch::new(&vec![0; got], None), Err(error));
    }
    assert_eq!(Launch::new(&[0; 4096], None), Err(MeasureError::Footer));
    // Longer in front is another firmware, and a good one.
    let padded = [vec![0; longest - good.len()], good].concat();
    Launch::new(&padded, None).unwrap();
}

#[test]
fn tables_that_are_malformed() {
    let good = firmware();
    let refused = |place: usize, number: u32| {
        let mut firmware = good.clone();
        replace(&mut firmware, place, number);
        let hashes = KernelHashes::new(b"", b"", "").unwrap();
        Launch::new(&firmware, Some(&hashes)).unwrap_err()
    };
    let end = good.len() - 32;
    // The footer: its GUID, its length.
    assert_eq!(refused(end - 16, 0), MeasureError::Footer);
    let footer = place(&good, 0x96b5_82de);
    assert_eq!(footer, end - 16);
    for length in [0u16, 17, 19, u16::MAX] {
        let mut firmware = good.clone();
        firmware[end - 18..end - 16].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Launch::new(&firmware, None), Err(MeasureError::Table), "{length}");
    }
    // The entries: each by its GUID.
    let missing = |name| MeasureError::EntryMissing { name };
    let (reset, metadata) = (place(&good, 0x00f7_71de), place(&good, 0xdc88_6566));
    assert_eq!(refused(reset, 0), missing("SEV_ES_RESET_BLOCK"));
    assert_eq!(refused(metadata, 0), missing("SEV_METADATA"));
    assert_eq!(refused(place(&good, 0x7255_371f), 0), MeasureError::NoKernelHashes);
    // The table of hashes: nowhere, or across the end of its page.
    let hashes = place(&good, 0x0081_0C00);
    assert_eq!(refused(hashes, 0), MeasureError::NoKernelHashes);
    let address = 0x0081_0FFF;
    assert_eq!(refused(hashes, address), MeasureError::KernelHashesAddress { address });
}

#[test]
fn metadata_that_is_malformed() {
    let good = firmware();
    let refused = |place: usize, number: u32| {
        let mut firmware = good.clone();
        replace(&mut firmware, place, number);
        Launch::new(&firmware, None).unwrap_err()
    };
    let start = place(&good, u32::from_le_bytes(*b"ASEV"));
    let from_end = place(&good, u32::try_from(good.len() - start).unwrap());
    for offset in [0, 1, 15, 8193, u32::MAX] {
        assert_eq!(refused(from_end, offset), MeasureError::Metadata, "{offset}");
    }
    assert_eq!(refused(start, 0), MeasureError::Metadata);
    assert_eq!(refused(start + 4, 16), MeasureError::Metadata);
    assert_eq!(refused(start + 8, 2), MeasureError::Metadata);
    for got in [65, u32::MAX] {
        assert_eq!(refused(start + 12, got), MeasureError::Sections { got });
    }
    // The first section: address, length, type; the third must have one page.
    let first = start + 16;
    let extent = |address, bytes| MeasureError::SectionExtent { address, bytes };
    assert_eq!(refused(first, 0x80_0001), extent(0x80_0001, 0x9000));
    assert_eq!(refused(first + 4, 0x9001), extent(0x80_0000, 0x9001));
    assert_eq!(refused(first, 0xFFFF_F000), extent(0xFFFF_F000, 0x9000));
    assert_eq!(refused(first + 4, 0xFFFF_F000), extent(0x80_0000, 0xFFFF_F000));
    assert_eq!(refused(first + 4, 0x1000_0000 + 0x1000), MeasureError::SectionPages);
    assert_eq!(refused(first + 8, 5), MeasureError::SectionType { got: 5 });
    assert_eq!(refused(first + 24 + 4, 0x2000), extent(0x80_D000, 0x2000));
}

#[test]
fn a_firmware_without_kernel_hashes_measures_no_kernel() {
    let mut firmware = firmware();
    let kind = place(&firmware, u32::from_le_bytes(*b"ASEV")) + 16 + 5 * 12 + 8;
    replace(&mut firmware, kind, 1);
    let hashes = KernelHashes::new(b"", b"", "").unwrap();
    assert_eq!(Launch::new(&firmware, Some(&hashes)), Err(MeasureError::NoKernelHashes));
    Launch::new(&firmware, None).unwrap();
    let path = "launch-digest/ovmf_OvmfX64_suffix.bin";
    if let Some(real) = read("a_firmware_without_kernel_hashes_measures_no_kernel", path) {
        assert_eq!(Launch::new(&real, Some(&hashes)), Err(MeasureError::NoKernelHashes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Hostile firmware: changed where its tables are.
    #[test]
    fn nothing_panics_on_firmware(
        changes in proptest::collection::vec((0usize..600, any::<u8>()), 1..8)
    ) {
        let mut firmware = firmware();
        let metadata = place(&firmware, u32::from_le_bytes(*b"ASEV"));
        for (offset, byte) in changes {
            let place = match offset {
                0..200 => metadata + offset,
                offset => firmware.len() - (offset - 199),
            };
            firmware[place] = byte;
        }
        let hashes = KernelHashes::new(b"", b"", "").unwrap();
        if let Ok(launch) = Launch::new(&firmware, Some(&hashes)) {
            launch.digest(&SHAPE).unwrap();
        }
    }
}
