//! policy.json: what the owner asks for beyond the reference values; it only narrows (SPEC.md
//! section 8).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::config::{AttestedConfig, Reveal, Seal};
use crate::ed25519::PublicKey;
use crate::encoding::hex;
use crate::json::{self, JsonError, JsonProblem, Node};
use crate::limits;
use crate::product::Product;
use crate::report::{ChipId, Cpuid};
use crate::roots::Roots;
use crate::tcb::Tcb;
use crate::time::UnixTime;
use crate::verify::{CrlRule, CspIdRule, Rules};

/// The owner's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// The last second in which the policy holds.
    pub expires: UnixTime,
    /// The least ABI version that the guest's policy must ask for.
    pub abi_min: AbiVersion,
    /// The products allowed, each with its floor.
    pub products: Vec<ProductPolicy>,
    /// The cloud providers whose VLEKs are accepted.
    pub csp_ids: Vec<String>,
    /// What to do without a current CRL.
    #[serde(serialize_with = "serialize_crl")]
    pub crl: CrlRule,
    /// The instances allowed.
    pub instance_keys: AnyOf<PublicKey>,
    /// What the configuration must say.
    pub config: AttestedConfig,
}

/// What is asked of chips of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductPolicy {
    /// The product.
    pub product: Product,
    /// The CPUID models that the entry is for.
    pub cpuid_models: AnyOf<u8>,
    /// What each TCB version must reach.
    pub tcb_floor: Tcb,
    /// The chips allowed; for Milan always a list. Where chips are listed, here or below, a VLEK is
    /// refused: it proves no chip.
    pub chips: AnyOf<ChipId>,
    /// The chips refused.
    pub denied_chips: Vec<ChipId>,
}

/// A version of the firmware's ABI: `1.51`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AbiVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
}

/// Everything, or exactly what is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyOf<T> {
    /// Everything.
    Any,
    /// These only.
    Listed(Vec<T>),
}

/// What is wrong with policy.json, and at which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy is malformed: {0}")]
pub struct PolicyError(#[from] pub JsonError);

const LIST: usize = limits::FILE_LIST_ITEMS_MAX;

impl Policy {
    /// Reads a policy.json.
    pub fn parse(text: &[u8]) -> Result<Self, PolicyError> {
        let mut fields = json::parse(text, limits::POLICY_BYTES_MAX)?.object()?;
        fields.take("version")?.is_version_1()?;
        let policy = Self {
            expires: fields.take("expires")?.parsed("a time such as 2027-11-23T00:00:00Z")?,
            abi_min: fields.take("abiMin")?.text("a version such as 1.51", AbiVersion::read)?,
            products: fields.take("products")?.list(LIST, ProductPolicy::read)?,
            csp_ids: fields
                .take("cspIds")?
                .list(LIST, |id| id.visible(limits::CSP_ID_BYTES_MAX))?,
            crl: fields.take("crl")?.text("required, may-be-stale or may-be-absent", |text| {
                let mut rules = CRL_RULES.into_iter();
                rules.find(|(name, _)| *name == text).map(|(_, rule)| rule)
            })?,
            instance_keys: AnyOf::read(fields.take("instanceKeys")?, |key| {
                key.parsed("base64 of 32 bytes")
            })?,
            config: read_config(fields.take("config")?)?,
        };
        fields.end()?;
        policy.refuse_overlaps()?;
        Ok(policy)
    }

    /// The file: indented JSON and a newline.
    pub fn to_json(&self) -> String {
        json::file(self)
    }

    /// What steps 1 to 5 of the verification take from the policy.
    pub fn rules(&self, roots: Roots) -> Rules {
        Rules { roots, crl: self.crl, csp_ids: CspIdRule::Listed(self.csp_ids.clone()) }
    }

    /// The entry for a chip of `product` with this CPUID. A report of version 2 has none.
    pub fn product(&self, product: Product, cpuid: Option<Cpuid>) -> Option<&ProductPolicy> {
        self.products.iter().find(|entry| {
            entry.product == product
                && match (&entry.cpuid_models, cpuid) {
                    (AnyOf::Any, _) => true,
                    (AnyOf::Listed(models), Some(cpuid)) => models.contains(&cpuid.model),
                    (AnyOf::Listed(_), None) => false,
                }
        })
    }

    fn refuse_overlaps(&self) -> Result<(), JsonError> {
        for (index, entry) in self.products.iter().enumerate() {
            let mut earlier = self.products.iter().take(index);
            let overlaps = earlier.any(|other| {
                other.product == entry.product && other.cpuid_models.overlaps(&entry.cpuid_models)
            });
            if overlaps {
                let what = "models that no other entry of this product names".to_owned();
                let path = format!("products[{index}].cpuidModels");
                return Err(JsonProblem::Expected(what).at(path));
            }
        }
        Ok(())
    }
}

impl ProductPolicy {
    fn read(node: Node) -> Result<Self, JsonError> {
        let mut fields = node.object()?;
        let product = fields.take("product")?.parsed("Milan, Genoa or Turin")?;
        let cpuid_models = AnyOf::read(fields.take("cpuidModels")?, |model| model.number())?;
        let tcb_floor = read_floor(fields.take("tcbFloor")?, product)?;
        let chips = fields.take("chips")?;
        if product == Product::Milan && chips.is_any() {
            return Err(chips.expected("a list of chip ids: Milan's root secrets can be extracted"));
        }
        let chips = AnyOf::read(chips, |chip| read_chip(chip, product))?;
        let denied = fields.take("deniedChips")?;
        let denied_chips = denied.list(LIST, |chip| read_chip(chip, product))?;
        fields.end()?;
        Ok(Self { product, cpuid_models, tcb_floor, chips, denied_chips })
    }
}

fn read_floor(node: Node, product: Product) -> Result<Tcb, JsonError> {
    let mut fields = node.object()?;
    let floor = Tcb {
        fmc: match product {
            Product::Milan | Product::Genoa => None,
            Product::Turin => Some(fields.take("fmc")?.number()?),
        },
        boot_loader: fields.take("bootLoader")?.number()?,
        tee: fields.take("tee")?.number()?,
        snp: fields.take("snp")?.number()?,
        microcode: fields.take("microcode")?.number()?,
    };
    fields.end()?;
    Ok(floor)
}

/// A chip id has as many bytes as its product's chips have; all zero would be a masked one.
fn read_chip(node: Node, product: Product) -> Result<ChipId, JsonError> {
    let mut chip = ChipId([0; 64]);
    match product {
        Product::Milan | Product::Genoa => chip.0 = node.hex()?,
        Product::Turin => {
            let short: [u8; 8] = node.hex()?;
            chip.0[..8].copy_from_slice(&short);
        }
    }
    if chip.is_masked() {
        return Err(node.expected("a chip id that is not all zero"));
    }
    Ok(chip)
}

fn read_config(node: Node) -> Result<AttestedConfig, JsonError> {
    let mut fields = node.object()?;
    let list = limits::WITNESSES_MAX;
    let seal = fields.take("seal")?.text("firmware or unlock", |text| {
        [Seal::Firmware, Seal::Unlock].into_iter().find(|seal| seal.as_str() == text)
    })?;
    let reveal = fields.take("reveal")?.text("off or by-permission", |text| {
        [Reveal::Off, Reveal::ByPermission].into_iter().find(|reveal| reveal.as_str() == text)
    })?;
    let witnesses = fields
        .take("witnesses")?
        .list(list, |witness| witness.visible(limits::WITNESS_BYTES_MAX))?;
    let quorum = fields.take("quorum")?.number()?;
    let owner_key = fields.take("ownerKey")?.parsed("any, or base64 of 32 bytes")?;
    fields.end()?;
    let config = AttestedConfig { seal, reveal, witnesses, quorum, owner_key };
    config.checked().map_err(|error| JsonProblem::Expected(error.to_string()).at("config"))
}

impl AbiVersion {
    fn read(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let version = Self { major: major.parse().ok()?, minor: minor.parse().ok()? };
        // Neither signs nor leading zeros.
        (version.to_string() == text).then_some(version)
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for AbiVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<T> AnyOf<T> {
    fn read(node: Node, read: impl FnMut(Node) -> Result<T, JsonError>) -> Result<Self, JsonError> {
        if node.is_any() { Ok(Self::Any) } else { node.list(LIST, read).map(Self::Listed) }
    }
}

impl<T: PartialEq> AnyOf<T> {
    /// Whether `value` will do.
    pub fn allows(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(listed) => listed.contains(value),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Listed(own), Self::Listed(other)) => own.iter().any(|item| other.contains(item)),
        }
    }
}

impl<T: Serialize> Serialize for AnyOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::Listed(listed) => listed.serialize(serializer),
        }
    }
}

impl Serialize for ProductPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Text<'policy> {
            product: Product,
            cpuid_models: &'policy AnyOf<u8>,
            tcb_floor: &'policy Tcb,
            chips: AnyOf<String>,
            denied_chips: Vec<String>,
        }
        let Self { product, cpuid_models, tcb_floor, chips, denied_chips } = self;
        let text = |chip: &ChipId| hex(chip.of(*product).unwrap_or(&chip.0));
        Text {
            product: *product,
            cpuid_models,
            tcb_floor,
            chips: match chips {
                AnyOf::Any => AnyOf::Any,
                AnyOf::Listed(chips) => AnyOf::Listed(chips.iter().map(text).collect()),
            },
            denied_chips: denied_chips.iter().map(text).collect(),
        }
        .serialize(serializer)
    }
}

const CRL_RULES: [(&str, CrlRule); 3] = [
    ("required", CrlRule::Required),
    ("may-be-stale", CrlRule::MayBeStale),
    ("may-be-absent", CrlRule::MayBeAbsent),
];

fn serialize_crl<S: Serializer>(rule: &CrlRule, serializer: S) -> Result<S::Ok, S::Error> {
    let name = match rule {
        CrlRule::Required => "required",
        CrlRule::MayBeStale => "may-be-stale",
        CrlRule::MayBeAbsent => "may-be-absent",
    };
    serializer.serialize_str(name)
}
