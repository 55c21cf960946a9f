//! Reference values: the launch digest of each shape of machine, for measured direct boot.

use neo_secrets_attestation::evidence::ImageVersion;
use neo_secrets_attestation::measure::{KernelHashes, Launch, MeasureError, Shape, VcpuType};
use neo_secrets_attestation::reference::{Covers, Input, KnownMeasurement, ReferenceValues};

use crate::error::ImageError;
use crate::files;
use crate::manifest::{self, Identities};

/// Processors of the largest machine in reference.json.
pub const VCPUS_MAX: u32 = 64;

/// SEV_FEATURES: SEV-SNP active; that, and debug swap, which newer kernels turn on by themselves.
pub const SEV_FEATURES: [u64; 2] = [0x1, 0x21];

/// What `-bios`, `-kernel`, `-initrd` and `-append` give to QEMU.
#[derive(Clone, Debug)]
pub struct DirectBoot {
    /// OVMF.amdsev.fd.
    pub firmware: Vec<u8>,
    /// The bzImage.
    pub kernel: Vec<u8>,
    /// The initrd.
    pub initrd: Vec<u8>,
    /// The command line, exactly.
    pub command_line: String,
}

impl DirectBoot {
    /// Measures all but the processors.
    ///
    /// # Errors
    /// The firmware is none that can be measured, or the command line has a zero byte.
    pub fn launch(&self) -> Result<Launch, MeasureError> {
        let Self { firmware, kernel, initrd, command_line } = self;
        Launch::new(firmware, Some(&KernelHashes::new(kernel, initrd, command_line)?))
    }
}

/// Every shape in reference.json, in its order.
pub fn shapes() -> impl Iterator<Item = Shape> {
    VcpuType::ALL.into_iter().flat_map(|vcpu_type| {
        SEV_FEATURES.into_iter().flat_map(move |sev_features| {
            (1..=VCPUS_MAX).map(move |vcpus| Shape { vcpus, vcpu_type, sev_features })
        })
    })
}

/// The digest of every shape.
///
/// # Errors
/// Those of [`DirectBoot::launch`].
pub fn measurements(boot: &DirectBoot) -> Result<Vec<KnownMeasurement>, MeasureError> {
    let launch = boot.launch()?;
    let known = |shape: Shape| {
        Ok(KnownMeasurement {
            digest: launch.digest(&shape)?,
            vcpus: shape.vcpus,
            vcpu_type: shape.vcpu_type.name().to_owned(),
            sev_features: shape.sev_features,
            covers: Covers::Image,
        })
    };
    shapes().map(known).collect()
}

/// reference.json of an image.
///
/// # Errors
/// Those of [`DirectBoot::launch`]; an identity or the version is malformed.
pub fn reference(
    version: &str,
    boot: &DirectBoot,
    identities: &Identities,
    inputs: Vec<(String, [u8; 32])>,
) -> Result<ReferenceValues, ImageError> {
    let Identities { host_data, family_id, image_id, id_key_digest, author_key_digest, .. } =
        identities;
    let named = |(name, sha256)| Input { name, sha256 };
    Ok(ReferenceValues {
        image_version: ImageVersion::new(version)
            .map_err(|error| ImageError::Manifest(error.to_string()))?,
        measurements: measurements(boot)?,
        host_data: manifest::identity(host_data)?,
        family_id: manifest::identity(family_id)?,
        image_id: manifest::identity(image_id)?,
        id_key_digest: manifest::identity(id_key_digest)?,
        author_key_digest: manifest::identity(author_key_digest)?,
        guest_svn_min: identities.guest_svn_min,
        inputs: inputs.into_iter().map(named).collect(),
    })
}

/// Compares a reference.json with the files that it is about, and gives the number of shapes.
///
/// # Errors
/// The first shape whose digest is not the recomputed one.
pub fn check(reference: &ReferenceValues, boot: &DirectBoot) -> Result<usize, ImageError> {
    let launch = boot.launch()?;
    for known in &reference.measurements {
        let vcpu_type = known.vcpu_type.parse();
        let vcpu_type = vcpu_type.map_err(|_| ImageError::Differs(known.to_string()))?;
        let shape = Shape { vcpus: known.vcpus, vcpu_type, sev_features: known.sev_features };
        let digest = launch.digest(&shape)?;
        if digest != known.digest {
            return Err(ImageError::Differs(format!(
                "reference.json has {known}; these files give {}",
                files::hex(&digest)
            )));
        }
    }
    Ok(reference.measurements.len())
}
