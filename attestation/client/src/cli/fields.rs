//! Every field of a report, decoded for people.

use data_encoding::HEXLOWER;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::report::{
    GuestPolicy, KeyInfo, Mitigations, PlatformInfo, Report, SignatureAlgorithm, SigningKey,
};
use neo_secrets_attestation::tcb::TcbVersion;
use serde_json::{Value, json};

/// A field as it is shown: where it lies, what it is called, its value, and what its bits mean.
pub(crate) struct Field {
    offset: usize,
    name: &'static str,
    value: String,
    parts: Vec<Part>,
}

/// A part of a field: bits or a byte.
struct Part {
    /// Which bits; empty where the parts are bytes.
    bits: &'static str,
    name: String,
    value: Value,
    meaning: &'static str,
}

/// All fields in the order of the bytes. The TCB versions have names only where the product is
/// known.
pub(crate) fn fields(report: &Report, product: Option<Product>) -> Vec<Field> {
    let Report {
        version,
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        signature_algorithm: SignatureAlgorithm::EcdsaP384Sha384,
        current_tcb,
        platform_info,
        key_info,
        report_data,
        measurement,
        host_data,
        id_key_digest,
        author_key_digest,
        report_id,
        report_id_ma,
        reported_tcb,
        cpuid,
        chip_id,
        committed_tcb,
        current_version,
        committed_version,
        launch_tcb,
        mitigations,
        signature,
    } = report;
    let tcb = |offset, name, version: &TcbVersion| tcb_field(offset, name, version, product);
    let mut fields = vec![
        plain(0x000, "VERSION", version.number()),
        plain(0x004, "GUEST_SVN", guest_svn),
        policy_field(policy),
        bytes(0x010, "FAMILY_ID", family_id),
        bytes(0x020, "IMAGE_ID", image_id),
        plain(0x030, "VMPL", vmpl),
        plain(0x034, "SIGNATURE_ALGO", "1 (ECDSA P-384 with SHA-384)"),
        tcb(0x038, "CURRENT_TCB", current_tcb),
        platform_field(platform_info),
        key_info_field(key_info),
        bytes(0x050, "REPORT_DATA", report_data),
        bytes(0x090, "MEASUREMENT", measurement),
        bytes(0x0C0, "HOST_DATA", host_data),
        bytes(0x0E0, "ID_KEY_DIGEST", id_key_digest),
        bytes(0x110, "AUTHOR_KEY_DIGEST", author_key_digest),
        bytes(0x140, "REPORT_ID", report_id),
        bytes(0x160, "REPORT_ID_MA", report_id_ma),
        tcb(0x180, "REPORTED_TCB", reported_tcb),
    ];
    match cpuid {
        None => fields.push(plain(0x188, "CPUID", "none before version 3")),
        Some(cpuid) => fields.extend([
            plain(0x188, "CPUID_FAM_ID", format!("{:#04x}", cpuid.family)),
            plain(0x189, "CPUID_MOD_ID", format!("{:#04x}", cpuid.model)),
            plain(0x18A, "CPUID_STEP", cpuid.stepping),
        ]),
    }
    fields.extend([
        bytes(0x1A0, "CHIP_ID", &chip_id.0),
        tcb(0x1E0, "COMMITTED_TCB", committed_tcb),
        plain(0x1E8, "CURRENT_VERSION", current_version),
        plain(0x1EC, "COMMITTED_VERSION", committed_version),
        tcb(0x1F0, "LAUNCH_TCB", launch_tcb),
    ]);
    match mitigations {
        None => fields.push(plain(0x1F8, "MIT_VECTORS", "none before version 5")),
        Some(Mitigations { launch, current }) => fields.extend([
            plain(0x1F8, "LAUNCH_MIT_VECTOR", format!("{launch:#018x}")),
            plain(0x200, "CURRENT_MIT_VECTOR", format!("{current:#018x}")),
        ]),
    }
    // The type has the numbers big-endian; shown is what a calculator takes.
    fields.push(bytes(0x2A0, "SIGNATURE.R", &signature.r));
    fields.push(bytes(0x2E8, "SIGNATURE.S", &signature.s));
    fields
}

/// The fields as lines for a terminal.
pub(crate) fn to_text(fields: &[Field]) -> String {
    let mut text = String::new();
    for Field { offset, name, value, parts } in fields {
        text.push_str(&format!("0x{offset:03x}  {name:<18}  {}\n", folded(value)));
        for Part { bits, name, value, meaning } in parts {
            let value = match value {
                Value::Null => "?".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let line = format!("{:27}{bits:<7} {name:<21} {value:<5} {meaning}", "");
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// The fields as a JSON object: each by its name.
pub(crate) fn to_json(fields: &[Field]) -> Value {
    let part = |Part { bits: _, name, value, meaning: _ }: &Part| (name.clone(), value.clone());
    let one = |Field { offset, name, value, parts }: &Field| {
        let mut object = json!({ "offset": offset, "value": value });
        if !parts.is_empty() {
            object["parts"] = Value::Object(parts.iter().map(part).collect());
        }
        ((*name).to_owned(), object)
    };
    Value::Object(fields.iter().map(one).collect())
}

fn plain(offset: usize, name: &'static str, value: impl ToString) -> Field {
    Field { offset, name, value: value.to_string(), parts: Vec::new() }
}

fn bytes(offset: usize, name: &'static str, bytes: &[u8]) -> Field {
    plain(offset, name, HEXLOWER.encode(bytes))
}

/// Long hexadecimal in lines of 64 digits, under each other.
fn folded(value: &str) -> String {
    const DIGITS: usize = 64;
    if value.len() <= DIGITS || !value.is_ascii() {
        return value.to_owned();
    }
    let lines: Vec<String> = value
        .as_bytes()
        .chunks(DIGITS)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    lines.join(&format!("\n{:27}", ""))
}

fn tcb_field(
    offset: usize,
    name: &'static str,
    version: &TcbVersion,
    product: Option<Product>,
) -> Field {
    let part = |name: String, value, meaning| Part { bits: "", name, value, meaning };
    let parts = match product.map(|product| version.of(product)) {
        None => {
            vec![part("components".to_owned(), Value::Null, "their order depends on the product")]
        }
        Some(Err(error)) => vec![part("components".to_owned(), json!(error.to_string()), "")],
        Some(Ok(tcb)) => {
            let present = tcb.components().into_iter();
            let present = present.filter_map(|(component, value)| Some((component, value?)));
            present.map(|(name, value)| part(name.to_string(), json!(value), "")).collect()
        }
    };
    Field { offset, name, value: version.to_string(), parts }
}

/// A bit, with what it means when it is 1, and when it is 0.
fn bit(
    bits: &'static str,
    name: &str,
    set: bool,
    [when_set, when_clear]: [&'static str; 2],
) -> Part {
    let meaning = if set { when_set } else { when_clear };
    Part { bits, name: name.to_owned(), value: json!(u8::from(set)), meaning }
}

/// Bits that nobody has named, as a number where they stand.
fn nameless(bits: &'static str, value: u64, meaning: &'static str) -> Part {
    let value = json!(if value == 0 { "0".to_owned() } else { format!("{value:#x}") });
    Part { bits, name: "reserved".to_owned(), value, meaning }
}

const ALLOWED: [&str; 2] = ["allowed", "not allowed"];
const REQUIRED: [&str; 2] = ["required", "not required"];
const ON: [&str; 2] = ["on", "off"];

fn policy_field(policy: &GuestPolicy) -> Field {
    let (major, minor) = policy.abi_min();
    let abi = json!(format!("{major}.{minor}"));
    let debug = ["the host may read and write the guest's memory", "not allowed"];
    let parts = vec![
        Part { bits: "0-15", name: "ABI".to_owned(), value: abi, meaning: "at least" },
        bit("16", "SMT", policy.smt_allowed(), ALLOWED),
        bit("17", "BIT_17", policy.bit_17(), ["as it must be", "must be 1"]),
        bit("18", "MIGRATE_MA", policy.migrate_ma_allowed(), ALLOWED),
        bit("19", "DEBUG", policy.debug_allowed(), debug),
        bit("20", "SINGLE_SOCKET", policy.single_socket(), REQUIRED),
        bit("21", "CXL_ALLOW", policy.cxl_allowed(), ALLOWED),
        bit("22", "MEM_AES_256_XTS", policy.aes_256_xts_required(), REQUIRED),
        bit("23", "RAPL_DIS", policy.rapl_disabled_required(), REQUIRED),
        bit("24", "CIPHERTEXT_HIDING", policy.ciphertext_hiding_required(), REQUIRED),
        bit("25", "PAGE_SWAP_DISABLE", policy.page_swap_disabled_required(), REQUIRED),
        nameless("26-63", policy.reserved_bits(), "must be 0"),
    ];
    Field { offset: 0x008, name: "POLICY", value: format!("{:#018x}", policy.0), parts }
}

fn platform_field(platform: &PlatformInfo) -> Field {
    let rapl = ["power metering is off", "power metering is on"];
    let parts = vec![
        bit("0", "SMT_EN", platform.smt_enabled(), ON),
        bit("1", "TSME_EN", platform.tsme_enabled(), ON),
        bit("2", "ECC_EN", platform.ecc_enabled(), ON),
        bit("3", "RAPL_DIS", platform.rapl_disabled(), rapl),
        bit("4", "CIPHERTEXT_HIDING_EN", platform.ciphertext_hiding_enabled(), ON),
        bit("5", "ALIAS_CHECK_COMPLETE", platform.alias_check_complete(), ["done", "not done"]),
        nameless("6-63", platform.unnamed_bits(), "without a name"),
    ];
    Field { offset: 0x040, name: "PLATFORM_INFO", value: format!("{:#018x}", platform.0), parts }
}

fn key_info_field(key_info: &KeyInfo) -> Field {
    let KeyInfo { author_key_enabled, mask_chip_key, signing_key } = key_info;
    let number: u32 = match signing_key {
        SigningKey::Vcek => 0,
        SigningKey::Vlek => 1,
        SigningKey::None => 7,
    };
    let bits = number << 2 | u32::from(*mask_chip_key) << 1 | u32::from(*author_key_enabled);
    let author = ["AUTHOR_KEY_DIGEST is filled in", "no author key"];
    let mask = ["the chip's key is masked", "not masked"];
    let signing = json!(signing_key.to_string());
    let parts = vec![
        bit("0", "AUTHOR_KEY_EN", *author_key_enabled, author),
        bit("1", "MASK_CHIP_KEY", *mask_chip_key, mask),
        Part { bits: "2-4", name: "SIGNING_KEY".to_owned(), value: signing, meaning: "" },
    ];
    Field { offset: 0x048, name: "KEY_INFO", value: format!("{bits:#010x}"), parts }
}
