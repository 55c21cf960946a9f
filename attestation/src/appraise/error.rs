//! Why evidence is refused in steps 6 to 11, and how that is told to a person.

use std::fmt;

use crate::binding::PathError;
use crate::config::ConfigError;
use crate::ed25519::PublicKey;
use crate::encoding::hex;
use crate::error::{Finding, Step, VerifyError};
use crate::policy::AbiVersion;
use crate::product::Product;
use crate::reference::KnownMeasurement;
use crate::report::{ChipId, Cpuid};
use crate::tcb::TcbShortfall;
use crate::time::UnixTime;

/// Why evidence is not genuine, or not for this connection: steps 1 to 6.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Steps 1 to 5.
    #[error(transparent)]
    Report(#[from] VerifyError),
    /// The path leads nowhere.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The claims name another TLS key than the one of this connection: someone stands in between.
    #[error("the server's TLS key is {}, the evidence is for {}", hex(own), hex(claimed))]
    TlsKey {
        /// `tlsSpkiSha256` of the claims.
        claimed: [u8; 32],
        /// The key of the verifier's connection.
        own: [u8; 32],
    },
    /// The report was made for another nonce, connection, role or set of claims.
    #[error(
        "REPORT_DATA is {}, for this nonce, connection and claims it is {}",
        hex(&got[..]),
        hex(&expected[..])
    )]
    ReportData {
        /// The report's.
        got: Box<[u8; 64]>,
        /// Recomputed.
        expected: Box<[u8; 64]>,
    },
}

/// Why genuine evidence is refused: steps 7 to 11. One variant for each fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppraiseError {
    /// 7. The host may read the guest's memory.
    Debug,
    /// 7. A migration agent may move the guest.
    MigrateMa,
    /// 7. Bit 17 of the guest's policy is not 1.
    PolicyBit17,
    /// 7. Bits of the guest's policy that nobody knows.
    PolicyReserved {
        /// These bits, where they stand.
        got: u64,
    },
    /// 7. The guest may run on firmware of an older ABI.
    AbiVersion {
        /// What the guest's policy asks for.
        got: AbiVersion,
        /// What the policy asks for.
        min: AbiVersion,
    },
    /// 7. There is a migration agent.
    ReportIdMa {
        /// REPORT_ID_MA.
        got: [u8; 32],
    },
    /// 7. The report was asked for at a lower privilege level.
    Vmpl {
        /// VMPL.
        got: u32,
    },
    /// 8a. The launch digest is not in the reference values.
    Measurement(Box<UnknownMeasurement>),
    /// 8a. An identity field is not as the reference values say.
    HostData {
        /// HOST_DATA.
        got: [u8; 32],
        /// The reference value.
        expected: String,
    },
    /// 8a.
    FamilyId {
        /// FAMILY_ID.
        got: [u8; 16],
        /// The reference value.
        expected: String,
    },
    /// 8a.
    ImageId {
        /// IMAGE_ID.
        got: [u8; 16],
        /// The reference value.
        expected: String,
    },
    /// 8a.
    IdKeyDigest {
        /// ID_KEY_DIGEST.
        got: [u8; 48],
        /// The reference value.
        expected: String,
    },
    /// 8a.
    AuthorKeyDigest {
        /// AUTHOR_KEY_DIGEST.
        got: [u8; 48],
        /// The reference value.
        expected: String,
    },
    /// 8a. The guest's security version is too low.
    GuestSvn {
        /// GUEST_SVN.
        got: u32,
        /// The reference value.
        min: u32,
    },
    /// 8b. The configuration in the claims does not parse.
    Config(ConfigError),
    /// 8b. The configuration is not the policy's.
    ConfigField {
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// The policy's.
        expected: String,
    },
    /// 9. The policy does not name the product, or not this CPUID model of it.
    Product {
        /// The product.
        product: Product,
        /// The CPUID, from version 3 on.
        cpuid: Option<Cpuid>,
    },
    /// 9. A component is below the policy's floor.
    TcbFloor {
        /// Which TCB version.
        field: &'static str,
        /// The component and both values.
        shortfall: TcbShortfall,
    },
    /// 9. CURRENT_TCB is below COMMITTED_TCB, which no chip allows.
    TcbOrder {
        /// The component and both values.
        shortfall: TcbShortfall,
    },
    /// 9. ALIAS_CHECK_COMPLETE is not set.
    AliasCheck,
    /// 9. The memory has no error correction.
    Ecc,
    /// 10. The policy is past its expiry date.
    PolicyExpired {
        /// Now.
        now: UnixTime,
        /// The date.
        expires: UnixTime,
    },
    /// 10. Milan is accepted only chip by chip.
    MilanWithoutChips,
    /// 10. The policy lists chips, and a VLEK, which many chips have, proves none.
    ChipNotProven,
    /// 10. The chip is not on the policy's list.
    ChipNotAllowed {
        /// CHIP_ID.
        got: ChipId,
    },
    /// 10. The chip is on the policy's deny list.
    ChipDenied {
        /// CHIP_ID.
        got: ChipId,
    },
    /// 11. Another instance than the pinned one.
    Pin {
        /// Its key, where it shows one.
        got: Option<PublicKey>,
        /// The pin.
        expected: PublicKey,
    },
    /// 11. The policy lists instances, and this is none of them.
    InstanceKeyNotListed {
        /// Its key, where it shows one.
        got: Option<PublicKey>,
    },
    /// 11. The instance does not hold its key.
    InstanceSignature,
}

/// A launch digest that is not in the reference values, with what helps to find out why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMeasurement {
    /// MEASUREMENT.
    pub got: [u8; 48],
    /// The image version that the instance claims.
    pub claimed_version: String,
    /// The image version that the reference values are for.
    pub reference_version: String,
    /// The first of the known ones: a digest has no neighbours, but a machine's shape has.
    pub nearest: Option<KnownMeasurement>,
    /// How many are known.
    pub known: usize,
}

impl EvidenceError {
    /// The failed step with the field and both values, as a person reads them.
    pub fn finding(&self) -> Finding {
        let (field, got, expected) = match self {
            Self::Report(error) => return error.finding(),
            Self::Path(error) => {
                ("freshness.path", error.to_string(), "a path in a tree of its size".into())
            }
            Self::TlsKey { claimed, own } => {
                ("tlsSpkiSha256", hex(claimed), format!("{} (of this connection)", hex(own)))
            }
            Self::ReportData { got, expected } => {
                ("REPORT_DATA", hex(&got[..]), hex(&expected[..]))
            }
        };
        Finding { step: Step::Binding, field: field.to_owned(), got, expected }
    }
}

impl fmt::Display for AppraiseError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding().fmt(formatter)
    }
}

impl std::error::Error for AppraiseError {}

impl AppraiseError {
    /// The failed step with the field and both values, as a person reads them.
    pub fn finding(&self) -> Finding {
        let (field, got, expected) = self.values();
        Finding { step: self.step(), field, got, expected }
    }

    /// The step that failed.
    pub const fn step(&self) -> Step {
        match self {
            Self::Debug
            | Self::MigrateMa
            | Self::PolicyBit17
            | Self::PolicyReserved { .. }
            | Self::AbiVersion { .. }
            | Self::ReportIdMa { .. }
            | Self::Vmpl { .. } => Step::GuestPolicy,
            Self::Measurement(_)
            | Self::HostData { .. }
            | Self::FamilyId { .. }
            | Self::ImageId { .. }
            | Self::IdKeyDigest { .. }
            | Self::AuthorKeyDigest { .. }
            | Self::GuestSvn { .. }
            | Self::Config(_)
            | Self::ConfigField { .. } => Step::Measurement,
            Self::Product { .. }
            | Self::TcbFloor { .. }
            | Self::TcbOrder { .. }
            | Self::AliasCheck
            | Self::Ecc => Step::Platform,
            Self::PolicyExpired { .. }
            | Self::MilanWithoutChips
            | Self::ChipNotProven
            | Self::ChipNotAllowed { .. }
            | Self::ChipDenied { .. } => Step::Chip,
            Self::Pin { .. } | Self::InstanceKeyNotListed { .. } | Self::InstanceSignature => {
                Step::Instance
            }
        }
    }

    /// The field, its value, and what it should have been.
    fn values(&self) -> (String, String, String) {
        let values = |field: &str, got: &dyn fmt::Display, expected: &dyn fmt::Display| {
            (field.to_owned(), got.to_string(), expected.to_string())
        };
        let least = |field: &str, got: &dyn fmt::Display, min: &dyn fmt::Display| {
            (field.to_owned(), got.to_string(), format!("at least {min}"))
        };
        match self {
            Self::Debug => values("POLICY.DEBUG", &1, &0),
            Self::MigrateMa => values("POLICY.MIGRATE_MA", &1, &0),
            Self::PolicyBit17 => values("POLICY, bit 17", &0, &1),
            Self::PolicyReserved { got } => {
                values("POLICY, bits 26 and up", &format_args!("{got:#x}"), &0)
            }
            Self::AbiVersion { got, min } => least("POLICY.ABI", got, min),
            Self::ReportIdMa { got } => values("REPORT_ID_MA", &hex(got), &"ff, 32 times"),
            Self::Vmpl { got } => values("VMPL", got, &0),
            Self::Measurement(unknown) => {
                values("MEASUREMENT", &hex(&unknown.got), &unknown.expected())
            }
            Self::HostData { got, expected } => values("HOST_DATA", &hex(got), expected),
            Self::FamilyId { got, expected } => values("FAMILY_ID", &hex(got), expected),
            Self::ImageId { got, expected } => values("IMAGE_ID", &hex(got), expected),
            Self::IdKeyDigest { got, expected } => values("ID_KEY_DIGEST", &hex(got), expected),
            Self::AuthorKeyDigest { got, expected } => {
                values("AUTHOR_KEY_DIGEST", &hex(got), expected)
            }
            Self::GuestSvn { got, min } => least("GUEST_SVN", got, min),
            Self::Config(error) => values("config", error, &"a configuration"),
            Self::ConfigField { field, got, expected } => {
                values(&format!("config.{field}"), got, expected)
            }
            Self::Product { product, cpuid } => {
                let model = cpuid.map_or("unknown".into(), |cpuid| format!("{:#04x}", cpuid.model));
                let got = format!("{product}, CPUID model {model}");
                values("product", &got, &"one of the policy's")
            }
            Self::TcbFloor { field, shortfall } => below(field, shortfall, "at least"),
            Self::TcbOrder { shortfall } => {
                below("CURRENT_TCB", shortfall, "at least COMMITTED_TCB's")
            }
            Self::AliasCheck => values("PLATFORM_INFO.ALIAS_CHECK_COMPLETE", &0, &1),
            Self::Ecc => values("PLATFORM_INFO.ECC", &0, &1),
            Self::PolicyExpired { now, expires } => {
                values("now", now, &format_args!("at most the policy's {expires}"))
            }
            Self::MilanWithoutChips => {
                values("policy's chips for Milan", &"any", &"a list of chip ids")
            }
            Self::ChipNotProven => {
                values("signer", &"VLEK", &"VCEK: the policy lists chips for this product")
            }
            Self::ChipNotAllowed { got } => {
                values("CHIP_ID", &hex(&got.0), &"one of the policy's chips")
            }
            Self::ChipDenied { got } => {
                values("CHIP_ID", &hex(&got.0), &"none of the policy's denied chips")
            }
            Self::Pin { got, expected } => {
                values("instanceKey", &key(got), &format_args!("the pinned {expected}"))
            }
            Self::InstanceKeyNotListed { got } => {
                values("instanceKey", &key(got), &"one of the policy's instance keys")
            }
            Self::InstanceSignature => values(
                "instanceSignature",
                &"does not verify",
                &"made by the instance key over REPORT_DATA",
            ),
        }
    }
}

fn key(key: &Option<PublicKey>) -> String {
    key.map_or_else(|| "absent".into(), |key| key.to_string())
}

fn below(field: &str, shortfall: &TcbShortfall, least: &str) -> (String, String, String) {
    let TcbShortfall { component, got, floor } = shortfall;
    let value = |value: &Option<u8>| value.map_or("none".into(), |value| value.to_string());
    (format!("{field}.{component}"), value(got), format!("{least} {}", value(floor)))
}

impl UnknownMeasurement {
    fn expected(&self) -> String {
        let Self { got: _, claimed_version, reference_version, nearest, known } = self;
        let Some(nearest) = nearest else {
            return format!("nothing: the reference values for {reference_version} list none");
        };
        let mut text = format!("one of {known} for image {reference_version}, such as {nearest}");
        if claimed_version != reference_version {
            text += &format!("; the server says that it runs image {claimed_version}");
        }
        text
    }
}
