//! The evidence document (SPEC.md sections 3 and 5): the claims, reading a document, writing one.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::ed25519::PublicKey;
use crate::encoding::{from_hex, hex, serialize_hex};
use crate::json::{JsonError, JsonProblem, Node, Object};
use crate::limits;

mod document;

pub use document::{BatchBody, Document};

/// The identity of a store: 16 random bytes, drawn at the claim. Its text form is hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// The exact bytes of a configuration file: UTF-8, at most 65,536 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigText(String);

/// The image's version: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageVersion(String);

/// A text that a claim does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimTextError {
    /// Not a store id.
    #[error("expected 32 lower-case hexadecimal digits")]
    StoreId,
    /// Not UTF-8, or too long.
    #[error("a configuration is UTF-8 of at most {} bytes", limits::CONFIG_BYTES_MAX)]
    Config,
    /// Empty, too long, or not visible ASCII.
    #[error(
        "an image version is 1 to {} visible ASCII characters",
        limits::IMAGE_VERSION_BYTES_MAX
    )]
    ImageVersion,
}

/// What an instance says of itself; the report vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// SHA-256 of the DER SubjectPublicKeyInfo of this boot's TLS key.
    pub tls_spki_sha256: [u8; 32],
    /// The configuration that the server runs with.
    pub config: ConfigText,
    /// The image's version.
    pub image_version: ImageVersion,
    /// The phase, and what goes with it.
    pub phase: ClaimPhase,
}

/// The phase of an instance, with the claims that belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimPhase {
    /// Nobody owns the instance yet.
    Unclaimed,
    /// The store is open.
    Serving {
        /// The store.
        store_id: StoreId,
        /// Signs the report data: the instance's pin.
        instance_key: PublicKey,
        /// Signs the log.
        log_key: PublicKey,
        /// Signs receipts.
        receipt_key: PublicKey,
    },
    /// The store is closed; `None` where not even its header is readable.
    Sealed(Option<SealedStore>),
}

/// What a sealed instance knows of its store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStore {
    /// From the store's header.
    pub store_id: StoreId,
    /// Where the identity slot opened.
    pub instance_key: Option<PublicKey>,
}

/// Why a document is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The JSON is not of this shape.
    #[error("the evidence document is malformed: {0}")]
    Json(#[from] JsonError),
    /// A version, a claim or a phase that a later release may know.
    #[error("{what}: this server is newer than this program: upgrade")]
    Newer {
        /// What this program does not know.
        what: String,
    },
    /// A claim that the phase must have is absent.
    #[error("phase {phase} must claim {claim}")]
    ClaimMissing {
        /// The phase claimed.
        phase: &'static str,
        /// The claim's JSON name.
        claim: &'static str,
    },
    /// A claim that the phase cannot have is there.
    #[error("phase {phase} cannot claim {claim}")]
    ClaimUnexpected {
        /// The phase claimed.
        phase: &'static str,
        /// The claim's JSON name.
        claim: &'static str,
    },
    /// The instance's signature is there exactly in phase `serving`.
    #[error("instanceSignature belongs to phase serving, and to no other")]
    InstanceSignaturePresence,
}

impl FromStr for StoreId {
    type Err = ClaimTextError;

    fn from_str(text: &str) -> Result<Self, ClaimTextError> {
        from_hex(text).map(Self).ok_or(ClaimTextError::StoreId)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "StoreId({self})")
    }
}

impl ConfigText {
    /// Takes a configuration file's bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, ClaimTextError> {
        match str::from_utf8(bytes) {
            Ok(text) if text.len() <= limits::CONFIG_BYTES_MAX => Ok(Self(text.to_owned())),
            _ => Err(ClaimTextError::Config),
        }
    }

    /// The file's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ImageVersion {
    /// Takes 1 to 64 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, ClaimTextError> {
        let length = (1..=limits::IMAGE_VERSION_BYTES_MAX).contains(&text.len());
        if length && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClaimTextError::ImageVersion)
        }
    }

    /// The version's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClaimPhase {
    /// As it stands in the claims.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unclaimed => "unclaimed",
            Self::Serving { .. } => "serving",
            Self::Sealed(_) => "sealed",
        }
    }

    /// The store, where the phase names one.
    pub fn store_id(&self) -> Option<StoreId> {
        match self {
            Self::Unclaimed => None,
            Self::Serving { store_id, .. } => Some(*store_id),
            Self::Sealed(store) => store.as_ref().map(|store| store.store_id),
        }
    }

    /// The instance key, where the phase names one.
    pub fn instance_key(&self) -> Option<PublicKey> {
        match self {
            Self::Unclaimed => None,
            Self::Serving { instance_key, .. } => Some(*instance_key),
            Self::Sealed(store) => store.as_ref().and_then(|store| store.instance_key),
        }
    }
}

impl Claims {
    /// The bytes under REPORT_DATA: tag `u16`, length `u32`, value, in ascending tag order.
    pub fn encode(&self) -> Vec<u8> {
        let Self { tls_spki_sha256, config, image_version, phase } = self;
        let (log_key, receipt_key) = match phase {
            ClaimPhase::Serving { log_key, receipt_key, .. } => (Some(log_key), Some(receipt_key)),
            ClaimPhase::Unclaimed | ClaimPhase::Sealed(_) => (None, None),
        };
        let (store_id, instance_key) = (phase.store_id(), phase.instance_key());
        let claims: [(u16, Option<&[u8]>); 8] = [
            (1, store_id.as_ref().map(|id| id.0.as_slice())),
            (2, instance_key.as_ref().map(|key| key.0.as_slice())),
            (3, log_key.map(|key| key.0.as_slice())),
            (4, receipt_key.map(|key| key.0.as_slice())),
            (5, Some(tls_spki_sha256)),
            (7, Some(config.0.as_bytes())),
            (8, Some(image_version.0.as_bytes())),
            (9, Some(phase.as_str().as_bytes())),
        ];
        let mut encoded = Vec::with_capacity(256 + config.0.len());
        for (tag, value) in claims.iter().filter_map(|(tag, value)| Some((tag, (*value)?))) {
            let length = u32::try_from(value.len()).expect("every claim is at most 65,536 bytes");
            encoded.extend_from_slice(&tag.to_be_bytes());
            encoded.extend_from_slice(&length.to_be_bytes());
            encoded.extend_from_slice(value);
        }
        encoded
    }

    fn read(node: Node) -> Result<Self, DocumentError> {
        let mut fields = node.object()?;
        let mut optional = OptionalClaims {
            store_id: read_optional(&mut fields, "storeId", "32 hexadecimal digits")?,
            instance_key: read_optional(&mut fields, "instanceKey", KEY)?,
            log_key: read_optional(&mut fields, "logKey", KEY)?,
            receipt_key: read_optional(&mut fields, "receiptKey", KEY)?,
        };
        // Claims of a later release are recognised before anything is said to be missing.
        let tls_spki_sha256 = fields.take_optional("tlsSpkiSha256");
        let config = fields.take_optional("config");
        let image_version = fields.take_optional("imageVersion");
        let phase = fields.take_optional("phase");
        if fields.left_over().is_some() {
            let unknown = fields.end().expect_err("a field is left over");
            return Err(DocumentError::Newer { what: format!("claim {}", unknown.path) });
        }
        let required = |claim, node: Option<Node>| {
            let missing = || JsonProblem::Missing.at(format!("claims.{claim}"));
            node.ok_or_else(missing)
        };
        let phase = required("phase", phase)?;
        Ok(Self {
            tls_spki_sha256: required("tlsSpkiSha256", tls_spki_sha256)?.hex()?,
            config: required("config", config)?
                .text("at most 65,536 bytes", |text| ConfigText::new(text.as_bytes()).ok())?,
            image_version: required("imageVersion", image_version)?
                .text("1 to 64 visible ASCII characters", |text| ImageVersion::new(text).ok())?,
            phase: optional.phase(phase.str()?)?,
        })
    }
}

const KEY: &str = "base64 of 32 bytes";

fn read_optional<T: FromStr>(
    fields: &mut Object,
    name: &str,
    what: &str,
) -> Result<Option<T>, JsonError> {
    let node = fields.take_optional(name);
    node.map(|node| node.text(what, |text| text.parse().ok())).transpose()
}

/// The claims whose presence the phase decides.
struct OptionalClaims {
    store_id: Option<StoreId>,
    instance_key: Option<PublicKey>,
    log_key: Option<PublicKey>,
    receipt_key: Option<PublicKey>,
}

impl OptionalClaims {
    fn phase(&mut self, phase: &str) -> Result<ClaimPhase, DocumentError> {
        let missing = |phase, claim| DocumentError::ClaimMissing { phase, claim };
        let read = match phase {
            "unclaimed" => ClaimPhase::Unclaimed,
            "serving" => {
                let key = |key: &mut Option<PublicKey>, claim| {
                    key.take().ok_or_else(|| missing("serving", claim))
                };
                ClaimPhase::Serving {
                    store_id: self.store_id.take().ok_or_else(|| missing("serving", "storeId"))?,
                    instance_key: key(&mut self.instance_key, "instanceKey")?,
                    log_key: key(&mut self.log_key, "logKey")?,
                    receipt_key: key(&mut self.receipt_key, "receiptKey")?,
                }
            }
            "sealed" => {
                ClaimPhase::Sealed(self.store_id.take().map(|store_id| SealedStore {
                    store_id,
                    instance_key: self.instance_key.take(),
                }))
            }
            other => {
                let what = format!("phase {:?}", other.chars().take(64).collect::<String>());
                return Err(DocumentError::Newer { what });
            }
        };
        // What the phase did not take, it cannot have.
        let unexpected = [
            ("storeId", self.store_id.is_some()),
            ("instanceKey", self.instance_key.is_some()),
            ("logKey", self.log_key.is_some()),
            ("receiptKey", self.receipt_key.is_some()),
        ];
        match unexpected.into_iter().find(|(_, present)| *present) {
            None => Ok(read),
            Some((claim, _)) => Err(DocumentError::ClaimUnexpected { phase: read.as_str(), claim }),
        }
    }
}

impl Serialize for Claims {
    /// The `claims` object of a document.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Text<'claims> {
            #[serde(skip_serializing_if = "Option::is_none")]
            store_id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            instance_key: Option<PublicKey>,
            #[serde(skip_serializing_if = "Option::is_none")]
            log_key: Option<&'claims PublicKey>,
            #[serde(skip_serializing_if = "Option::is_none")]
            receipt_key: Option<&'claims PublicKey>,
            #[serde(serialize_with = "serialize_hex")]
            tls_spki_sha256: [u8; 32],
            config: &'claims ConfigText,
            image_version: &'claims ImageVersion,
            phase: &'static str,
        }
        let Self { tls_spki_sha256, config, image_version, phase } = self;
        let (log_key, receipt_key) = match phase {
            ClaimPhase::Serving { log_key, receipt_key, .. } => (Some(log_key), Some(receipt_key)),
            ClaimPhase::Unclaimed | ClaimPhase::Sealed(_) => (None, None),
        };
        Text {
            store_id: phase.store_id().map(|id| id.to_string()),
            instance_key: phase.instance_key(),
            log_key,
            receipt_key,
            tls_spki_sha256: *tls_spki_sha256,
            config,
            image_version,
            phase: phase.as_str(),
        }
        .serialize(serializer)
    }
}
