//! The steps of the verification, what each of the first five can find, and how a finding is told
//! to a person.

use std::fmt;

use thiserror::Error;

use crate::encoding::hex;
use crate::endorsements::Endorsement;
use crate::product::Product;
use crate::report::{ChipId, Cpuid, ReportError, SigningKey};
use crate::roots::Provenance;
use crate::tcb::{TcbComponent, TcbReserved};
use crate::time::UnixTime;

pub use crate::certificate::{CertificateError, KeyKind};
pub use crate::der::DerError;
pub use crate::extensions::ExtensionError;

/// A step of the verification, by its number in SPEC.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// 0: the document parses.
    Document,
    /// 1: the report parses.
    Report,
    /// 2: the root is a pinned one.
    Root,
    /// 3: the chain holds.
    Chain,
    /// 4: the report's signature holds.
    ReportSignature,
    /// 5: the report describes the machine that its certificate was made for.
    Identity,
    /// 6: the report is about this connection, now.
    Binding,
    /// 7: the guest's policy.
    GuestPolicy,
    /// 8: what runs in it.
    Measurement,
    /// 9: the platform is recent enough and set up as it should be.
    Platform,
    /// 10: the product and the chip are welcome.
    Chip,
    /// 11: the instance is the one expected.
    Instance,
}

/// What a failed step found, for a person: the field, what it holds, and what it should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The step that failed.
    pub step: Step,
    /// The field of the report, certificate or document.
    pub field: String,
    /// What it holds.
    pub got: String,
    /// What it should hold.
    pub expected: String,
}

/// Why a report is not verified: steps 1 to 5, one variant for each fact.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// 1: the bytes are no report.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// 2: the ARK is none of the trusted roots.
    #[error("the root with SHA-256 {} is not trusted", hex(sha256))]
    Root {
        /// Its SHA-256.
        sha256: [u8; 32],
        /// Whose roots are trusted.
        trusted: Provenance,
    },
    /// 3a: an endorsement is malformed.
    #[error("the {endorsement}: {error}")]
    Certificate {
        /// Which one.
        endorsement: Endorsement,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// 3a: a key is of the wrong kind.
    #[error("the key of the {endorsement} is {got}, not {expected}")]
    KeyKind {
        /// Whose key.
        endorsement: Endorsement,
        /// Its kind.
        got: KeyKind,
        /// The kind that it must have.
        expected: &'static str,
    },
    /// 3a: the ARK did not sign itself.
    #[error("the ARK's signature of itself does not verify")]
    ArkSignature,
    /// 3a: the ARK did not sign the ASK or ASVK.
    #[error("the ARK's signature of the ASK does not verify")]
    AskSignature,
    /// 3a: the ASK or ASVK did not sign the VEK.
    #[error("the ASK's signature of the VEK does not verify")]
    VekSignature,
    /// 3b: a name is not that of its place.
    #[error("the {part} of the {endorsement} is {got:?}, not {expected:?}")]
    CommonName {
        /// Where.
        endorsement: Endorsement,
        /// `subject` or `issuer`.
        part: &'static str,
        /// The common name there.
        got: String,
        /// The common name that belongs there.
        expected: String,
    },
    /// 3c: a certificate's time has not begun.
    #[error("the {endorsement} is valid from {not_before}; now is {now}")]
    NotYetValid {
        /// Which one.
        endorsement: Endorsement,
        /// Its beginning.
        not_before: UnixTime,
        /// The time of the verification.
        now: UnixTime,
    },
    /// 3c: a certificate's time is over.
    #[error("the {endorsement} was valid until {not_after}; now is {now}")]
    Expired {
        /// Which one.
        endorsement: Endorsement,
        /// Its end.
        not_after: UnixTime,
        /// The time of the verification.
        now: UnixTime,
    },
    /// 3d: there is no CRL, and the rule wants one.
    #[error("there is no CRL")]
    CrlAbsent,
    /// 3d: the ARK did not sign the CRL.
    #[error("the ARK's signature of the CRL does not verify")]
    CrlSignature,
    /// 3d: the CRL's time is over, and the rule wants a current one.
    #[error("the next CRL was due at {next_update}; now is {now}")]
    CrlStale {
        /// When the next was due.
        next_update: UnixTime,
        /// The time of the verification.
        now: UnixTime,
    },
    /// 3d: the CRL's time has not begun.
    #[error("the CRL is valid from {this_update}; now is {now}")]
    CrlNotYetValid {
        /// Its beginning.
        this_update: UnixTime,
        /// The time of the verification.
        now: UnixTime,
    },
    /// 3d: the CRL names the certificate.
    #[error("the {endorsement}, serial number {}, is revoked", hex(serial))]
    Revoked {
        /// Which one.
        endorsement: Endorsement,
        /// Its serial number, big-endian.
        serial: Vec<u8>,
    },
    /// 4: the VEK did not sign the report.
    #[error("the VEK's signature of the report does not verify")]
    ReportSignature,
    /// 5a: the report names another kind of key than the one that signed it.
    #[error("KEY_INFO names {got} as the signing key; it is a {expected}")]
    SigningKey {
        /// The report's.
        got: SigningKey,
        /// The certificate's.
        expected: SigningKey,
    },
    /// 5b: the report comes from another product than its root.
    #[error("the CPUID ({got}) is not one of {expected}")]
    Cpuid {
        /// The report's.
        got: Cpuid,
        /// The root's product.
        expected: Product,
    },
    /// 5b: the certificate names another product than its root.
    #[error("the VEK was made for {got:?}, not for {expected}")]
    ProductExtension {
        /// The certificate's.
        got: String,
        /// The root's product.
        expected: Product,
    },
    /// 5b to 5e: an extension of the VEK's certificate can't be used.
    #[error("extension {name} of the VEK {error}")]
    Extension {
        /// Its name in AMD's specification.
        name: &'static str,
        /// What is wrong with it.
        error: ExtensionError,
    },
    /// 5c: a reserved byte of a TCB version is not zero.
    #[error("{field}: {error}")]
    TcbReserved {
        /// The report's field.
        field: &'static str,
        /// Which byte.
        error: TcbReserved,
    },
    /// 5c: the report was signed as another TCB than the certificate's.
    #[error("{component} of REPORTED_TCB is {got:?}; the VEK was made for {expected:?}")]
    TcbExtension {
        /// The first component that differs.
        component: TcbComponent,
        /// The report's.
        got: Option<u8>,
        /// The certificate's.
        expected: Option<u8>,
    },
    /// 5d: the report comes from another chip than the certificate's.
    #[error("CHIP_ID is {}; the VEK was made for {}", hex(&got.0), hex(expected))]
    HwId {
        /// The report's.
        got: ChipId,
        /// The certificate's.
        expected: Vec<u8>,
    },
    /// 5d: the host masks the chip's identity.
    #[error("CHIP_ID is masked")]
    ChipIdMasked,
    /// 5e: the VLEK is that of a provider that is not listed.
    #[error("the VLEK is that of {got:?}, which is not listed")]
    CspId {
        /// The provider.
        got: String,
        /// Those that are.
        listed: Vec<String>,
    },
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 12] = [
        Self::Document,
        Self::Report,
        Self::Root,
        Self::Chain,
        Self::ReportSignature,
        Self::Identity,
        Self::Binding,
        Self::GuestPolicy,
        Self::Measurement,
        Self::Platform,
        Self::Chip,
        Self::Instance,
    ];

    /// Its number in SPEC.md.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What it establishes.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Document => "the evidence document is well-formed",
            Self::Report => "the report is well-formed",
            Self::Root => "the root is a pinned one",
            Self::Chain => "the chain to the root holds, in date and not known to be revoked",
            Self::ReportSignature => "the chip's key signed the report",
            Self::Identity => "the certificate was made for this chip in this state",
            Self::Binding => "the report was made for this connection",
            Self::GuestPolicy => "the guest's policy keeps the host out",
            Self::Measurement => "the software and its configuration are the expected ones",
            Self::Platform => "the platform is recent enough and safely set up",
            Self::Chip => "the product and the chip are allowed",
            Self::Instance => "the instance is the expected one",
        }
    }
}

impl fmt::Display for Step {
    /// Its number.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(formatter)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, field, got, expected } = self;
        write!(formatter, "step {step}, {field}: got {got}, expected {expected}")
    }
}

impl VerifyError {
    /// The step that failed.
    pub const fn step(&self) -> Step {
        match self {
            Self::Report(_) => Step::Report,
            Self::Root { .. } => Step::Root,
            Self::Certificate { .. }
            | Self::KeyKind { .. }
            | Self::ArkSignature
            | Self::AskSignature
            | Self::VekSignature
            | Self::CommonName { .. }
            | Self::NotYetValid { .. }
            | Self::Expired { .. }
            | Self::CrlAbsent
            | Self::CrlSignature
            | Self::CrlStale { .. }
            | Self::CrlNotYetValid { .. }
            | Self::Revoked { .. } => Step::Chain,
            Self::ReportSignature => Step::ReportSignature,
            Self::SigningKey { .. }
            | Self::Cpuid { .. }
            | Self::ProductExtension { .. }
            | Self::Extension { .. }
            | Self::TcbReserved { .. }
            | Self::TcbExtension { .. }
            | Self::HwId { .. }
            | Self::ChipIdMasked
            | Self::CspId { .. } => Step::Identity,
        }
    }

    /// Which of the endorsements does not fit; nothing where it is the report by itself.
    pub const fn endorsement(&self) -> Option<Endorsement> {
        Some(match self {
            Self::Report(_) | Self::TcbReserved { .. } | Self::ChipIdMasked => return None,
            Self::Certificate { endorsement, .. }
            | Self::KeyKind { endorsement, .. }
            | Self::CommonName { endorsement, .. }
            | Self::NotYetValid { endorsement, .. }
            | Self::Expired { endorsement, .. }
            | Self::Revoked { endorsement, .. } => *endorsement,
            Self::Root { .. } | Self::ArkSignature | Self::Cpuid { .. } => Endorsement::Ark,
            Self::AskSignature => Endorsement::Ask,
            Self::CrlAbsent
            | Self::CrlSignature
            | Self::CrlStale { .. }
            | Self::CrlNotYetValid { .. } => Endorsement::Crl,
            Self::VekSignature
            | Self::ReportSignature
            | Self::SigningKey { .. }
            | Self::ProductExtension { .. }
            | Self::Extension { .. }
            | Self::TcbExtension { .. }
            | Self::HwId { .. }
            | Self::CspId { .. } => Endorsement::Vek,
        })
    }

    /// The failed step with the field and both values, as a person reads them.
    pub fn finding(&self) -> Finding {
        let (field, got, expected) = match self {
            Self::Report(error) => return error.finding(),
            Self::Root { sha256, trusted } => {
                let expected = match trusted {
                    Provenance::Amd => "SHA-256 of AMD's ARK of Milan, Genoa or Turin",
                    Provenance::Simulated => "SHA-256 of the simulated root",
                };
                ("ARK".into(), hex(sha256), expected.into())
            }
            Self::Certificate { endorsement, error } => {
                (endorsement.to_string(), error.to_string(), "as AMD makes them".into())
            }
            Self::KeyKind { endorsement, got, expected } => {
                (format!("{endorsement} key"), got.to_string(), (*expected).into())
            }
            Self::ArkSignature => signature("ARK", "ARK"),
            Self::AskSignature => signature("ASK", "ARK"),
            Self::VekSignature => signature("VEK", "ASK"),
            Self::CommonName { endorsement, part, got, expected } => {
                (format!("{endorsement} {part} CN"), got.clone(), expected.clone())
            }
            Self::NotYetValid { endorsement, not_before, now } => {
                (format!("{endorsement} notBefore"), not_before.to_string(), format!("<= {now}"))
            }
            Self::Expired { endorsement, not_after, now } => {
                (format!("{endorsement} notAfter"), not_after.to_string(), format!(">= {now}"))
            }
            Self::CrlAbsent => ("CRL".into(), "none".into(), "a current one".into()),
            Self::CrlSignature => signature("CRL", "ARK"),
            Self::CrlStale { next_update, now } => {
                ("CRL nextUpdate".into(), next_update.to_string(), format!(">= {now}"))
            }
            Self::CrlNotYetValid { this_update, now } => {
                ("CRL thisUpdate".into(), this_update.to_string(), format!("<= {now}"))
            }
            Self::Revoked { endorsement, serial } => (
                format!("{endorsement} serial {}", hex(serial)),
                "revoked".into(),
                "not revoked".into(),
            ),
            Self::ReportSignature => signature("SIGNATURE", "VEK"),
            Self::SigningKey { got, expected } => {
                ("KEY_INFO.SIGNING_KEY".into(), got.to_string(), expected.to_string())
            }
            Self::Cpuid { got, expected } => {
                ("CPUID".into(), got.to_string(), format!("one of {expected}"))
            }
            Self::ProductExtension { got, expected } => {
                ("VEK productName".into(), got.clone(), expected.to_string())
            }
            Self::Extension { name, error } => {
                (format!("VEK {name}"), error.to_string(), "as AMD makes them".into())
            }
            Self::TcbReserved { field, error } => {
                let TcbReserved { index, got } = error;
                (format!("{field} byte {index}"), format!("{got:#04x}"), "0x00".into())
            }
            Self::TcbExtension { component, got, expected } => {
                (format!("REPORTED_TCB.{component}"), number(*got), number(*expected))
            }
            Self::HwId { got, expected } => ("CHIP_ID".into(), hex(&got.0), hex(expected)),
            Self::ChipIdMasked => {
                ("CHIP_ID".into(), "zero (masked)".into(), "the VEK's hwID".into())
            }
            Self::CspId { got, listed } => {
                ("VEK cspID".into(), got.clone(), format!("one of [{}]", listed.join(", ")))
            }
        };
        Finding { step: self.step(), field, got, expected }
    }
}

impl ReportError {
    /// The same for step 1.
    pub fn finding(&self) -> Finding {
        let reserved = |offset: usize, got: u8| {
            (format!("byte {offset:#05x}"), format!("{got:#04x}"), "0x00".into())
        };
        let (field, got, expected) = match *self {
            Self::Size { got } => ("size".into(), got.to_string(), "1184".into()),
            Self::Version { got } => ("VERSION".into(), got.to_string(), "2, 3 or 5".into()),
            Self::SignatureAlgorithm { got } => {
                ("SIGNATURE_ALGO".into(), got.to_string(), "1".into())
            }
            Self::SigningKeyUndefined { got } => {
                ("KEY_INFO.SIGNING_KEY".into(), got.to_string(), "0, 1 or 7".into())
            }
            Self::Reserved { offset, got } | Self::SignaturePadding { offset, got } => {
                reserved(offset, got)
            }
        };
        Finding { step: Step::Report, field, got, expected }
    }
}

fn signature(of: &str, by: &str) -> (String, String, String) {
    (format!("{of} signature"), "does not verify".into(), format!("made by the {by}'s key"))
}

fn number(value: Option<u8>) -> String {
    value.map_or_else(|| "none".into(), |value| value.to_string())
}
