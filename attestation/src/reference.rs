//! reference.json: what the image build says a genuine instance measures (SPEC.md section 7).

use serde::{Serialize, Serializer};

use crate::encoding::{hex, serialize_hex};
use crate::evidence::ImageVersion;
use crate::json::{self, JsonError, JsonProblem, Node};
use crate::limits;

const SIGNATURE_LABEL: &[u8] = b"neo-secrets reference v1\0";

/// The reference values of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceValues {
    /// The image's version, for messages.
    pub image_version: ImageVersion,
    /// The launch digests of the image, one for each shape of machine. An empty list refuses
    /// everything.
    pub measurements: Vec<KnownMeasurement>,
    /// HOST_DATA.
    pub host_data: Identity<32>,
    /// FAMILY_ID.
    pub family_id: Identity<16>,
    /// IMAGE_ID.
    pub image_id: Identity<16>,
    /// ID_KEY_DIGEST.
    pub id_key_digest: Identity<48>,
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: Identity<48>,
    /// The least GUEST_SVN.
    pub guest_svn_min: u32,
    /// What the image was built from.
    pub inputs: Vec<Input>,
}

/// A launch digest and the machine that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownMeasurement {
    /// MEASUREMENT.
    #[serde(serialize_with = "serialize_hex")]
    pub digest: [u8; 48],
    /// Virtual processors.
    pub vcpus: u32,
    /// QEMU's name of the processor type; 1 to 64 visible ASCII characters. For messages only.
    pub vcpu_type: String,
    /// SEV_FEATURES. For messages only.
    #[serde(serialize_with = "serialize_features")]
    pub sev_features: u64,
    /// How much the digest proves.
    pub covers: Covers,
}

/// How much a launch digest proves. Whoever appraises must decide about both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Covers {
    /// Firmware, kernel, initial file system and command line: all that runs.
    Image,
    /// The firmware only: what it starts is not proven.
    Firmware,
}

/// What an identity field of the report must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity<const N: usize> {
    /// Whatever it is.
    Any,
    /// Exactly this.
    Exactly([u8; N]),
}

/// A file that went into the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its name: 1 to 256 visible ASCII characters.
    pub name: String,
    /// Its SHA-256.
    #[serde(serialize_with = "serialize_hex")]
    pub sha256: [u8; 32],
}

/// What is wrong with reference.json, and at which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reference values are malformed: {0}")]
pub struct ReferenceError(#[from] pub JsonError);

impl ReferenceValues {
    /// Reads a reference.json.
    pub fn parse(text: &[u8]) -> Result<Self, ReferenceError> {
        let mut fields = json::parse(text, limits::REFERENCE_BYTES_MAX)?.object()?;
        fields.take("version")?.is_version_1()?;
        let list = limits::FILE_LIST_ITEMS_MAX;
        let reference = Self {
            image_version: fields
                .take("imageVersion")?
                .text("1 to 64 visible ASCII characters", |text| ImageVersion::new(text).ok())?,
            measurements: fields.take("measurements")?.list(list, KnownMeasurement::read)?,
            host_data: Identity::read(fields.take("hostData")?)?,
            family_id: Identity::read(fields.take("familyId")?)?,
            image_id: Identity::read(fields.take("imageId")?)?,
            id_key_digest: Identity::read(fields.take("idKeyDigest")?)?,
            author_key_digest: Identity::read(fields.take("authorKeyDigest")?)?,
            guest_svn_min: fields.take("guestSvnMin")?.number()?,
            inputs: fields.take("inputs")?.list(list, Input::read)?,
        };
        fields.end()?;
        reference.refuse_repeated_digests()?;
        Ok(reference)
    }

    /// The file: indented JSON and a newline.
    pub fn to_json(&self) -> String {
        json::file(self)
    }

    /// Two entries with one digest could disagree about what it covers.
    fn refuse_repeated_digests(&self) -> Result<(), JsonError> {
        let mut seen = std::collections::HashSet::new();
        match self.measurements.iter().position(|known| !seen.insert(known.digest)) {
            None => Ok(()),
            Some(index) => Err(JsonProblem::Repeated.at(format!("measurements[{index}].digest"))),
        }
    }
}

impl KnownMeasurement {
    fn read(node: Node) -> Result<Self, JsonError> {
        let mut fields = node.object()?;
        let known = Self {
            digest: fields.take("digest")?.hex()?,
            vcpus: fields.take("vcpus")?.number()?,
            vcpu_type: fields.take("vcpuType")?.visible(limits::IMAGE_VERSION_BYTES_MAX)?,
            sev_features: fields.take("sevFeatures")?.text(
                "0x and hexadecimal digits",
                |text| {
                    // Only the form that the writer writes: no sign, no upper case, no leading
                    // zero.
                    let number = u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?;
                    (format!("{number:#x}") == text).then_some(number)
                },
            )?,
            covers: fields.take("covers")?.text("image or firmware", |text| match text {
                "image" => Some(Covers::Image),
                "firmware" => Some(Covers::Firmware),
                _ => None,
            })?,
        };
        fields.end()?;
        Ok(known)
    }
}

impl Input {
    fn read(node: Node) -> Result<Self, JsonError> {
        let mut fields = node.object()?;
        let input = Self {
            name: fields.take("name")?.visible(limits::INPUT_NAME_BYTES_MAX)?,
            sha256: fields.take("sha256")?.hex()?,
        };
        fields.end()?;
        Ok(input)
    }
}

impl<const N: usize> Identity<N> {
    fn read(node: Node) -> Result<Self, JsonError> {
        if node.is_any() { Ok(Self::Any) } else { Ok(Self::Exactly(node.hex()?)) }
    }

    /// Whether `got` will do.
    pub fn allows(&self, got: &[u8; N]) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == got,
        }
    }
}

impl<const N: usize> std::fmt::Display for Identity<N> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::Exactly(bytes) => formatter.write_str(&hex(bytes)),
        }
    }
}

impl<const N: usize> Serialize for Identity<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for KnownMeasurement {
    /// `4 x EPYC-v4, SEV_FEATURES 0x1: 0123..`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { digest, vcpus, vcpu_type, sev_features, covers: _ } = self;
        write!(formatter, "{vcpus} x {vcpu_type}, SEV_FEATURES {sev_features:#x}: {}", hex(digest))
    }
}

/// What the detached signature over a reference.json is over (SPEC.md section 7): its exact bytes.
pub fn signed_message(text: &[u8]) -> Vec<u8> {
    let bytes = u64::try_from(text.len()).expect("a usize has at most 64 bits");
    [SIGNATURE_LABEL, &bytes.to_be_bytes(), text].concat()
}

fn serialize_features<S: Serializer>(features: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{features:#x}"))
}
