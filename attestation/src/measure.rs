//! The launch digest (MEASUREMENT) of a QEMU guest, computed from the bytes that it starts with.
//!
//! Each page that the host loads extends the digest by a PAGE_INFO structure of 112 bytes (SEV-SNP
//! Firmware ABI, SNP_LAUNCH_UPDATE). QEMU loads the firmware, the sections that the firmware's
//! metadata names (the page of kernel hashes among them), and one VMSA for each processor, in this
//! order.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256, Sha384};

use crate::limits;

mod ovmf;

use ovmf::{Firmware, Section, SectionKind};

const PAGE_BYTES: usize = 4096;
const FOUR_GIB: u64 = 1 << 32;

/// A launch digest: SHA-384.
pub type LaunchDigest = [u8; 48];

/// A processor type of QEMU's. Only its signature (CPUID 1, EAX) is measured: it stands in RDX at
/// reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VcpuType {
    /// EPYC-v4: runs on every product.
    EpycV4,
    /// EPYC-Milan.
    EpycMilan,
    /// EPYC-Genoa.
    EpycGenoa,
    /// EPYC-Turin.
    EpycTurin,
}

/// How many processors of what kind a guest starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many: 1 to [`limits::VCPUS_MAX`].
    pub vcpus: u32,
    /// What kind.
    pub vcpu_type: VcpuType,
    /// SEV_FEATURES of the VMSA: 0x1 (SNP active), or 0x21 where the kernel turns debug swap on.
    pub sev_features: u64,
}

/// The hashes that QEMU adds with `kernel-hashes=on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

/// Everything of a launch but its processors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    digest: LaunchDigest,
    reset_vector: u32,
}

/// Why a launch cannot be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// The firmware is empty, not whole pages, or too long.
    #[error(
        "the firmware has {got} bytes: expected whole pages, at most {}",
        limits::FIRMWARE_BYTES_MAX
    )]
    FirmwareBytes {
        /// Its length.
        got: usize,
    },
    /// The firmware does not end with OVMF's table of GUIDs.
    #[error("the firmware has no table of GUIDs at its end")]
    Footer,
    /// An entry of the table is malformed or reaches beyond it.
    #[error("the firmware's table of GUIDs is malformed")]
    Table,
    /// The table lacks an entry.
    #[error("the firmware does not support SEV-SNP with measured boot: its table has no {name}")]
    EntryMissing {
        /// The entry's name in OVMF's source.
        name: &'static str,
    },
    /// The SEV metadata lies outside the firmware or is not of version 1.
    #[error("the firmware's SEV metadata is malformed")]
    Metadata,
    /// More sections than any firmware has.
    #[error(
        "the firmware's SEV metadata has {got} sections; the limit is {}",
        limits::FIRMWARE_SECTIONS_MAX
    )]
    Sections {
        /// How many it says it has.
        got: u32,
    },
    /// A section of a kind that nobody knows how to measure.
    #[error("a section of the firmware's SEV metadata has the unknown type {got:#x}")]
    SectionType {
        /// Its type.
        got: u32,
    },
    /// A section is not whole pages below 4 GiB, or not one page where it must be.
    #[error("a section of the firmware's SEV metadata at {address:#x} has {bytes:#x} bytes")]
    SectionExtent {
        /// Its guest-physical address.
        address: u32,
        /// Its length.
        bytes: u32,
    },
    /// The sections are longer than any firmware's.
    #[error(
        "the sections of the firmware's SEV metadata have more than {} pages",
        limits::FIRMWARE_SECTION_PAGES_MAX
    )]
    SectionPages,
    /// There is a kernel to measure, and the firmware has no place for its hashes.
    #[error("the firmware has no section for kernel hashes: it would start an unmeasured kernel")]
    NoKernelHashes,
    /// The table of hashes would cross the end of its page.
    #[error("the firmware wants the kernel hashes at {address:#x}, across the end of a page")]
    KernelHashesAddress {
        /// Their guest-physical address.
        address: u32,
    },
    /// The command line has a zero byte, which would end it.
    #[error("the kernel's command line has a zero byte")]
    CommandLine,
    /// No processors, or too many.
    #[error("{got} virtual processors: expected 1 to {}", limits::VCPUS_MAX)]
    Vcpus {
        /// How many.
        got: u32,
    },
    /// SEV-SNP is not active in the features.
    #[error("SEV_FEATURES {got:#x} does not have SEV-SNP active")]
    SevFeatures {
        /// The features.
        got: u64,
    },
}

impl KernelHashes {
    /// Hashes what `-kernel`, `-initrd` and `-append` give; an absent initrd is empty. The command
    /// line is taken exactly as it is.
    pub fn new(kernel: &[u8], initrd: &[u8], command_line: &str) -> Result<Self, MeasureError> {
        if command_line.contains('\0') {
            return Err(MeasureError::CommandLine);
        }
        let command_line = Sha256::new().chain_update(command_line).chain_update([0]).finalize();
        Ok(Self {
            kernel: Sha256::digest(kernel).into(),
            initrd: Sha256::digest(initrd).into(),
            command_line: command_line.into(),
        })
    }

    /// The page that QEMU loads for the firmware, with the table of hashes at `address`.
    fn page(&self, address: u32) -> Result<[u8; PAGE_BYTES], MeasureError> {
        let mut table = Vec::with_capacity(176);
        table.extend(guid(0x9438_d606, 0x4f22, 0x4cc9, 0xb479_a793_d411_fd21));
        table.extend(168u16.to_le_bytes());
        for (guid, hash) in [
            (guid(0x97d0_2dd8, 0xbd20, 0x4c94, 0xaa78_e771_4d36_ab2a), self.command_line),
            (guid(0x44ba_f731, 0x3a2f, 0x4bd7, 0x9af1_41e2_9169_781d), self.initrd),
            (guid(0x4de7_9437, 0xabd2, 0x427f, 0xb835_d5b1_72d2_045b), self.kernel),
        ] {
            table.extend(guid);
            table.extend(50u16.to_le_bytes());
            table.extend(hash);
        }
        table.extend([0; 8]); // To a multiple of 16.
        let mut page = [0; PAGE_BYTES];
        let offset = usize::try_from(address & 0xFFF).unwrap_or(PAGE_BYTES);
        let place = page.get_mut(offset..).and_then(|rest| rest.get_mut(..table.len()));
        place.ok_or(MeasureError::KernelHashesAddress { address })?.copy_from_slice(&table);
        Ok(page)
    }
}

impl Launch {
    /// Measures the firmware (OVMF, as the file is) and, with `kernel-hashes=on`, what it will
    /// start.
    pub fn new(firmware: &[u8], hashes: Option<&KernelHashes>) -> Result<Self, MeasureError> {
        let firmware = Firmware::parse(firmware)?;
        let mut digest = Digesting([0; 48]);
        for (address, page) in (firmware.address..).step_by(PAGE_BYTES).zip(firmware.pages()) {
            digest.page(PageKind::Normal, address, page);
        }
        for section in &firmware.sections {
            measure_section(section, &mut digest, &firmware, hashes)?;
        }
        let has_place = |section: &Section| section.kind == SectionKind::KernelHashes;
        if hashes.is_some() && !firmware.sections.iter().any(has_place) {
            return Err(MeasureError::NoKernelHashes);
        }
        Ok(Self { digest: digest.0, reset_vector: firmware.reset_vector })
    }

    /// The launch digest with these processors.
    pub fn digest(&self, shape: &Shape) -> Result<LaunchDigest, MeasureError> {
        let Shape { vcpus, vcpu_type, sev_features } = *shape;
        if vcpus == 0 || vcpus > limits::VCPUS_MAX {
            return Err(MeasureError::Vcpus { got: vcpus });
        }
        if sev_features & 1 == 0 {
            return Err(MeasureError::SevFeatures { got: sev_features });
        }
        // The first starts at the architecture's reset vector, the others where the firmware says.
        // A VMSA counts as the last page of a 48-bit address space.
        const VMSA_ADDRESS: u64 = 0xFFFF_FFFF_F000;
        let mut digest = Digesting(self.digest);
        let first = vmsa(0xFFFF_FFF0, vcpu_type, sev_features);
        digest.page(PageKind::Vmsa, VMSA_ADDRESS, &first);
        let other = vmsa(self.reset_vector, vcpu_type, sev_features);
        for _ in 1..vcpus {
            digest.page(PageKind::Vmsa, VMSA_ADDRESS, &other);
        }
        Ok(digest.0)
    }
}

/// Page types of SNP_LAUNCH_UPDATE.
#[derive(Clone, Copy)]
enum PageKind {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Secrets = 5,
    Cpuid = 6,
}

struct Digesting(LaunchDigest);

impl Digesting {
    /// A page whose contents are measured.
    fn page(&mut self, kind: PageKind, address: u64, contents: &[u8]) {
        self.extend(kind, address, &Sha384::digest(contents).into());
    }

    /// PAGE_INFO: the digest so far, that of the contents (zero where they are not measured), the
    /// structure's length, the page type, flags and permissions of the lower privilege levels
    /// (none), the guest-physical address.
    fn extend(&mut self, kind: PageKind, address: u64, contents: &LaunchDigest) {
        let hash = Sha384::new()
            .chain_update(self.0)
            .chain_update(contents)
            .chain_update([0x70, 0, kind as u8, 0, 0, 0, 0, 0])
            .chain_update(address.to_le_bytes());
        self.0 = hash.finalize().into();
    }
}

fn measure_section(
    section: &Section,
    digest: &mut Digesting,
    firmware: &Firmware<'_>,
    hashes: Option<&KernelHashes>,
) -> Result<(), MeasureError> {
    let Section { address, bytes, kind } = *section;
    let address = u64::from(address);
    match (kind, hashes) {
        (SectionKind::Secrets, _) => digest.extend(PageKind::Secrets, address, &[0; 48]),
        (SectionKind::Cpuid, _) => digest.extend(PageKind::Cpuid, address, &[0; 48]),
        (SectionKind::KernelHashes, Some(hashes)) => {
            let table = firmware.kernel_hashes.ok_or(MeasureError::NoKernelHashes)?;
            digest.page(PageKind::Normal, address, &hashes.page(table)?);
        }
        (SectionKind::Memory | SectionKind::CallingArea, _) | (SectionKind::KernelHashes, None) => {
            for page in (address..address + u64::from(bytes)).step_by(PAGE_BYTES) {
                digest.extend(PageKind::Zero, page, &[0; 48]);
            }
        }
    }
    Ok(())
}

/// A GUID in the byte order of firmware tables: the first three parts are little-endian.
fn guid(first: u32, second: u16, third: u16, rest: u64) -> [u8; 16] {
    let number = u128::from(first.swap_bytes()) << 96
        | u128::from(second.swap_bytes()) << 80
        | u128::from(third.swap_bytes()) << 64
        | u128::from(rest);
    number.to_be_bytes()
}

/// A processor's state at reset as QEMU and KVM set it up (AMD64 manual volume 2, table B-4 for the
/// layout).
fn vmsa(instruction_pointer: u32, vcpu_type: VcpuType, sev_features: u64) -> [u8; PAGE_BYTES] {
    let mut page = [0; PAGE_BYTES];
    // Constant offsets in a page: each is below 4096 by inspection.
    let mut put = |offset: usize, bytes: &[u8]| {
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    // Segments: selector, attributes, limit, base. ES, CS, SS, DS, FS, GS, GDTR, LDTR, IDTR, TR.
    let attributes = [0x93, 0x9B, 0x93, 0x93, 0x93, 0x93, 0, 0x82, 0, 0x8Bu16];
    for (index, attributes) in attributes.into_iter().enumerate() {
        put(16 * index + 2, &attributes.to_le_bytes());
        put(16 * index + 4, &0xFFFFu32.to_le_bytes());
    }
    put(0x10, &0xF000u16.to_le_bytes());
    put(0x18, &u64::from(instruction_pointer & 0xFFFF_0000).to_le_bytes());
    for (offset, value) in [
        (0x0D0, 0x1000),                                  // EFER: SVME, by KVM
        (0x148, 0x40),                                    // CR4: MCE, by KVM
        (0x158, 0x10),                                    // CR0
        (0x160, 0x400),                                   // DR7
        (0x168, 0xFFFF_0FF0),                             // DR6
        (0x170, 2),                                       // RFLAGS
        (0x178, u64::from(instruction_pointer & 0xFFFF)), // RIP
        (0x268, 0x0007_0406_0007_0406),                   // PAT
        (0x310, u64::from(vcpu_type.signature())),        // RDX
        (0x3B0, sev_features),                            // SEV_FEATURES
        (0x3E8, 1),                                       // XCR0
        (0x408, 0x1F80),                                  // MXCSR
        (0x410, 0x037F),                                  // x87 control word
    ] {
        put(offset, &u64::to_le_bytes(value));
    }
    page
}

impl VcpuType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::EpycV4, Self::EpycMilan, Self::EpycGenoa, Self::EpycTurin];

    /// QEMU's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EpycV4 => "EPYC-v4",
            Self::EpycMilan => "EPYC-Milan",
            Self::EpycGenoa => "EPYC-Genoa",
            Self::EpycTurin => "EPYC-Turin",
        }
    }

    /// CPUID 1, EAX: families 0x17 model 1 stepping 2; 0x19 model 1 stepping 1; 0x19 model 0x11;
    /// 0x1A model 0.
    const fn signature(self) -> u32 {
        match self {
            Self::EpycV4 => 0x0080_0F12,
            Self::EpycMilan => 0x00A0_0F11,
            Self::EpycGenoa => 0x00A1_0F10,
            Self::EpycTurin => 0x00B0_0F00,
        }
    }
}

impl fmt::Display for VcpuType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Not a processor type that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected EPYC-v4, EPYC-Milan, EPYC-Genoa or EPYC-Turin")]
pub struct VcpuTypeError;

impl FromStr for VcpuType {
    type Err = VcpuTypeError;

    fn from_str(name: &str) -> Result<Self, VcpuTypeError> {
        Self::ALL.into_iter().find(|vcpu_type| vcpu_type.name() == name).ok_or(VcpuTypeError)
    }
}
