//! `chip.json`: all that a person can set about a simulated chip and the guest on it.

use data_encoding::HEXLOWER;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::product::{Product, Tcb};
use crate::report::FirmwareVersion;

/// The version of the format of `chip.json`.
const FORMAT: u32 = 1;

/// `N` bytes, in JSON lower-case hexadecimal of exactly their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = HexBytes::deserialize(from)?.0;
        let wrong = |_| D::Error::custom(format!("expected {} hexadecimal digits", 2 * N));
        bytes.try_into().map(Self).map_err(wrong)
    }
}

/// Bytes of a length that another field decides, in JSON lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    /// The bytes with zeros after them, as a report carries a chip id.
    pub fn padded(&self) -> [u8; 64] {
        let mut padded = [0; 64];
        for (byte, own) in padded.iter_mut().zip(&self.0) {
            *byte = *own;
        }
        padded
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let wrong = |_| D::Error::custom("expected lower-case hexadecimal digits");
        HEXLOWER.decode(text.as_bytes()).map(Self).map_err(wrong)
    }
}

/// A number of 64 bits whose bits matter, in JSON `"0x..."`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits(pub u64);

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{:#x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected \"0x\" and up to 16 hexadecimal digits"))
    }
}

impl Serialize for FirmwareVersion {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{}.{}.{}", self.major, self.minor, self.build))
    }
}

impl<'de> Deserialize<'de> for FirmwareVersion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let numbers: Option<Vec<u8>> = text.split('.').map(|n| n.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, build]) => Ok(Self { major, minor, build }),
            _ => Err(D::Error::custom("expected \"major.minor.build\", each at most 255")),
        }
    }
}

/// CPUID's family, model and stepping, as reports of version 3 and later carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Cpuid {
    pub family: u8,
    pub model: u8,
    pub stepping: u8,
}

/// Which endorsement key signs reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signer {
    /// The chip's.
    Vcek,
    /// The provider's; `cspId` names it.
    Vlek,
}

/// The four TCB versions of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcbVersions {
    /// What runs.
    pub current: Tcb,
    /// What the host says; VCEK and VLEK are made for it.
    pub reported: Tcb,
    /// What can't be rolled back any more: the bound of derived keys.
    pub committed: Tcb,
    /// What ran when the guest was launched.
    pub launch: Tcb,
}

/// What is fixed when a guest is launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guest {
    /// The launch digest.
    pub measurement: Hex<48>,
    /// Policy bits.
    pub policy: Bits,
    /// What the host put beside the measurement.
    pub host_data: Hex<32>,
    /// From the ID block.
    pub family_id: Hex<16>,
    /// From the ID block.
    pub image_id: Hex<16>,
    /// From the ID block.
    pub guest_svn: u32,
    /// Of the key that signed the ID block.
    pub id_key_digest: Hex<48>,
    /// Of the key that signed the ID key; not zero: key_info says that there is one.
    pub author_key_digest: Hex<48>,
    /// The privilege level that asks, 0 to 3.
    pub vmpl: u8,
}

/// How fast the processor answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rate {
    /// Reports and keys a second; 0: without limit.
    pub requests_per_second: u32,
    /// How many of them at once after a pause.
    pub burst: u32,
    /// How long a report takes, in milliseconds.
    pub report_ms: u16,
}

/// A simulated chip and its guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Says what this is.
    pub simulated: Notice,
    /// Version of this format.
    pub format: Format,
    /// Fixes the roots and every layout.
    pub product: Product,
    /// In reports from version 3 on.
    pub cpuid: Cpuid,
    /// 64 bytes, Turin 8.
    pub chip_id: HexBytes,
    /// Version of the reports: 2, 3 or 5.
    pub report_version: ReportVersion,
    /// Firmware that runs.
    pub current_version: FirmwareVersion,
    /// Firmware that can't be rolled back any more.
    pub committed_version: FirmwareVersion,
    /// TCB versions.
    pub tcb: TcbVersions,
    /// SMT, ECC, ALIAS_CHECK_COMPLETE and so on.
    pub platform_info: Bits,
    /// What has been mitigated, in reports of version 5.
    pub mitigations: Bits,
    /// Who signs.
    pub signer: Signer,
    /// The provider, where `signer` is `vlek`.
    pub csp_id: String,
    /// The host hides the chip id: reports carry zeros.
    pub mask_chip_id: bool,
    /// The host hides the VCEK: reports are not signed.
    pub mask_chip_key: bool,
    /// The host hands over certificates and CRL with the machine.
    #[serde(default = "usually")] // chips of before lack it
    pub host_certificates: bool,
    /// The guest.
    pub guest: Guest,
    /// How fast.
    pub rate: Rate,
}

const fn usually() -> bool {
    true
}

/// A sentence in `chip.json` for whoever finds the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// The only one.
    #[serde(rename = "This chip is made up and protects nothing.")]
    ProtectsNothing,
}

/// The version of `chip.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Format;

impl From<Format> for u32 {
    fn from(_: Format) -> u32 {
        FORMAT
    }
}

impl TryFrom<u32> for Format {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        match number {
            FORMAT => Ok(Self),
            other => Err(format!("this program knows format {FORMAT}, not {other}")),
        }
    }
}

/// A version of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
#[allow(missing_docs)]
pub enum ReportVersion {
    V2,
    V3,
    V5,
}

impl From<ReportVersion> for u32 {
    fn from(version: ReportVersion) -> u32 {
        match version {
            ReportVersion::V2 => 2,
            ReportVersion::V3 => 3,
            ReportVersion::V5 => 5,
        }
    }
}

impl TryFrom<u32> for ReportVersion {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        match number {
            2 => Ok(Self::V2),
            3 => Ok(Self::V3),
            5 => Ok(Self::V5),
            _ => Err("expected 2, 3 or 5"),
        }
    }
}

/// Why `chip.json` was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("chip.json: {field}: {issue}")]
pub struct SettingsError {
    /// The field at fault, or the line.
    pub field: String,
    /// What is wrong with it.
    pub issue: String,
}

impl Settings {
    /// A chip of the product with this id, as it leaves the imaginary factory.
    ///
    /// # Errors
    /// `chipId`: the id is shorter than the product's.
    pub fn new(product: Product, chip_id: &[u8]) -> Result<Self, SettingsError> {
        let chip_id = chip_id.get(..product.chip_id_bytes()).unwrap_or(chip_id).to_vec();
        let (family, model, stepping, report_version) = match product {
            Product::Milan => (0x19, 0x01, 1, ReportVersion::V3),
            Product::Genoa => (0x19, 0x11, 1, ReportVersion::V5),
            Product::Turin => (0x1A, 0x02, 1, ReportVersion::V5),
        };
        let tcb = match product {
            Product::Milan => Tcb { fmc: None, boot_loader: 4, tee: 0, snp: 27, microcode: 219 },
            Product::Genoa => Tcb { fmc: None, boot_loader: 10, tee: 0, snp: 27, microcode: 84 },
            Product::Turin => Tcb { fmc: Some(1), boot_loader: 1, tee: 1, snp: 4, microcode: 81 },
        };
        let firmware = FirmwareVersion { major: 1, minor: 55, build: 65 };
        let settings = Self {
            simulated: Notice::ProtectsNothing,
            format: Format,
            product,
            cpuid: Cpuid { family, model, stepping },
            chip_id: HexBytes(chip_id),
            report_version,
            current_version: firmware,
            committed_version: firmware,
            tcb: TcbVersions { current: tcb, reported: tcb, committed: tcb, launch: tcb },
            platform_info: Bits(PLATFORM_SMT | PLATFORM_ECC | PLATFORM_ALIAS_CHECK_COMPLETE),
            mitigations: Bits(0xF),
            signer: Signer::Vcek,
            csp_id: String::new(),
            mask_chip_id: false,
            mask_chip_key: false,
            host_certificates: true,
            guest: Guest::default(),
            rate: Rate { requests_per_second: 4, burst: 8, report_ms: 0 },
        };
        settings.checked()
    }

    /// Reads `chip.json`.
    ///
    /// # Errors
    /// Names the field that is missing, unknown, repeated or out of range.
    pub fn parse(json: &[u8]) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_slice(json).map_err(|error| {
            let place = || format!("line {}", error.line());
            SettingsError {
                field: field_before(json, error.line(), error.column()).unwrap_or_else(place),
                issue: error.to_string(),
            }
        })?;
        settings.checked()
    }

    /// Writes `chip.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("plain data with text keys is always JSON");
        json.push(b'\n');
        json
    }

    /// What the types don't say.
    fn checked(self) -> Result<Self, SettingsError> {
        let refuse =
            |field: &str, issue: String| Err(SettingsError { field: field.to_owned(), issue });
        let bytes = self.product.chip_id_bytes();
        if self.chip_id.0.len() != bytes {
            let name = self.product.name();
            return refuse("chipId", format!("a chip id of {name} has {} digits", 2 * bytes));
        }
        let TcbVersions { current, reported, committed, launch } = self.tcb;
        let levels = [
            ("current", current),
            ("reported", reported),
            ("committed", committed),
            ("launch", launch),
        ];
        for (name, tcb) in levels {
            if tcb.fmc.is_some() != (self.product == Product::Turin) {
                return refuse(&format!("tcb.{name}.fmc"), "Turin has it, and only Turin".into());
            }
        }
        if self.guest.vmpl > 3 {
            return refuse("guest.vmpl", "expected 0 to 3".into());
        }
        if (self.signer == Signer::Vlek) == self.csp_id.is_empty() {
            return refuse("cspId", "named exactly where signer is vlek".into());
        }
        Ok(self)
    }
}

/// SMT is enabled.
pub const PLATFORM_SMT: u64 = 1 << 0;
/// Memory has ECC.
pub const PLATFORM_ECC: u64 = 1 << 2;
/// The check against aliased memory was done.
pub const PLATFORM_ALIAS_CHECK_COMPLETE: u64 = 1 << 5;

/// Guest policy: SMT is allowed.
pub const POLICY_SMT: u64 = 1 << 16;
/// Guest policy: reserved, always 1.
pub const POLICY_ONE: u64 = 1 << 17;
/// Guest policy: a migration agent is allowed.
pub const POLICY_MIGRATE_MA: u64 = 1 << 18;
/// Guest policy: the host may read and write the guest's memory.
pub const POLICY_DEBUG: u64 = 1 << 19;
/// Guest policy: the firmware's ABI is at least 1.51.
const POLICY_ABI: u64 = 0x0133;

impl Default for Guest {
    /// A guest without an ID block, whose launch digest is readable text, so that nobody takes it
    /// for the digest of an image.
    fn default() -> Self {
        let text = concat!("SIMULATED launch digest, version ", env!("CARGO_PKG_VERSION"));
        let mut measurement = [b'.'; 48];
        for (byte, letter) in measurement.iter_mut().zip(text.bytes()) {
            *byte = letter;
        }
        Self {
            measurement: Hex(measurement),
            policy: Bits(POLICY_ONE | POLICY_SMT | POLICY_ABI),
            host_data: Hex([0; 32]),
            family_id: Hex([0; 16]),
            image_id: Hex([0; 16]),
            guest_svn: 0,
            id_key_digest: Hex([0; 48]),
            author_key_digest: Hex([0; 48]),
            vmpl: 0,
        }
    }
}

/// The last name of a field that starts before this place of a JSON text.
fn field_before(json: &[u8], line: usize, column: usize) -> Option<String> {
    let text = std::str::from_utf8(json).ok()?;
    let lines: Vec<&str> = text.lines().take(line).collect();
    let (last, above) = lines.split_last()?;
    let last = last.get(..column.saturating_sub(1)).unwrap_or(last);
    let named = |line: &str| {
        let (before, _) = line.rsplit_once("\":").or_else(|| line.rsplit_once("\" :"))?;
        before.rsplit_once('"').map(|(_, name)| name.to_owned())
    };
    named(last).or_else(|| above.iter().rev().find_map(|line| named(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genoa() -> Settings {
        Settings::new(Product::Genoa, &[7; 64]).unwrap()
    }

    fn refused(from: &str, to: &str) -> SettingsError {
        let json = String::from_utf8(genoa().to_json()).unwrap();
        assert!(json.contains(from), "{from} in {json}");
        Settings::parse(json.replacen(from, to, 1).as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_written_is_read_back() {
        for product in Product::ALL {
            let settings = Settings::new(product, &[9; 64]).unwrap();
            assert_eq!(Settings::parse(&settings.to_json()), Ok(settings));
        }
    }

    #[test]
    fn a_refusal_names_the_field() {
        for (from, to, field) in [
            ("\"Genoa\"", "\"Rome\"", "product"),
            ("\"format\": 1", "\"format\": 2", "format"),
            ("\"reportVersion\": 5", "\"reportVersion\": 4", "reportVersion"),
            ("\"measurement\": \"53", "\"measurement\": \"5", "measurement"),
            ("\"measurement\": \"53", "\"measurement\": \"", "measurement"),
            ("\"model\": 17", "\"model\": 1700", "model"),
            ("\"0x30133\"", "\"30133\"", "policy"),
            ("\"1.55.65\"", "\"1.55\"", "currentVersion"),
            ("\"maskChipId\": false", "\"maskChipId\": 0", "maskChipId"),
            ("\"chipId\": \"0707", "\"chipId\": \"07", "chipId"),
            ("\"bootLoader\": 10", "\"bootLoader\": 10, \"fmc\": 1", "tcb.current.fmc"),
            ("\"vmpl\": 0", "\"vmpl\": 4", "guest.vmpl"),
            ("\"cspId\": \"\"", "\"cspId\": \"x\"", "cspId"),
        ] {
            assert_eq!(refused(from, to).field, field, "{to}");
        }
    }

    #[test]
    fn fields_that_are_missing_unknown_or_repeated_are_named() {
        assert!(refused("\"guestSvn\": 0,", "").issue.contains("missing field `guestSvn`"));
        assert!(
            refused("\"guestSvn\"", "\"guest_svn\"").issue.contains("unknown field `guest_svn`")
        );
        let twice = refused("\"vmpl\": 0", "\"vmpl\": 0, \"vmpl\": 0");
        assert!(twice.issue.contains("duplicate field `vmpl`"));
        assert_eq!(Settings::parse(b"{").unwrap_err().field, "line 1");
    }
}
