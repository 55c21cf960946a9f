//! Every bound on bytes from outside, each with its reason.

/// An ATTESTATION_REPORT has exactly this size.
pub const REPORT_BYTES: usize = 1184;

/// The part of the report that its signature covers: 0x000..0x29F.
pub const REPORT_SIGNED_BYTES: usize = 0x2A0;

/// AMD's largest certificate has 1,683 bytes; this leaves room for several times as many
/// extensions.
pub const CERTIFICATE_BYTES_MAX: usize = 8_192;

/// AMD's CRLs have under 1 KiB; this leaves room for about 1,500 revoked authorities.
pub const CRL_BYTES_MAX: usize = 65_536;

/// AMD's leaves have 12 extensions. A bound keeps the search for duplicates, which is quadratic,
/// small.
pub const EXTENSIONS_MAX: usize = 32;

/// AMD's names have six attributes.
pub const NAME_ATTRIBUTES_MAX: usize = 16;

/// RFC 5280's bound of a common name; AMD's have under 20. Names stand in messages, also of
/// certificates that nobody has vouched for.
pub const COMMON_NAME_BYTES_MAX: usize = 64;

/// A CSP_ID is a host name; a host name has at most 253 characters.
pub const CSP_ID_BYTES_MAX: usize = 253;

/// A file that a person hands over as certificates: three of them in PEM, with room for text around
/// them.
pub const CERTIFICATE_FILE_BYTES_MAX: usize = 262_144;

/// Certificates in all files that a person hands over: those of every product, several leaves.
pub const CERTIFICATES_MAX: usize = 64;

/// A host's certificate table: three certificates and a CRL at their limits, and as much again of
/// what this package does not know. Linux hands out at most 16 KiB.
pub const CERTIFICATE_TABLE_BYTES_MAX: usize = 262_144;

/// Entries of such a table: five kinds are known, one for each certificate.
pub const CERTIFICATE_TABLE_ENTRIES_MAX: usize = 64;

/// An evidence document: three certificates and a CRL at their limits in base64, a configuration at
/// its limit with every byte escaped as two, and the rest, which is under 8 KiB.
pub const DOCUMENT_BYTES_MAX: usize = 262_144;

/// A document's report field: all that the firmware could answer, so that a report of a wrong size
/// is refused as such.
pub const REPORT_FIELD_BYTES_MAX: usize = 4_096;

/// A configuration file has under 1 KiB; this leaves room for comments and long lists.
pub const CONFIG_BYTES_MAX: usize = 65_536;

/// An image's version: a semantic version with a long build tag.
pub const IMAGE_VERSION_BYTES_MAX: usize = 64;

/// A witness: a name in the style of C2SP, with its key.
pub const WITNESS_BYTES_MAX: usize = 256;

/// Witnesses in one configuration; nobody waits for more cosignatures than these.
pub const WITNESSES_MAX: usize = 16;

/// Fewer bytes could be guessed or met again by chance.
pub const NONCE_BYTES_MIN: usize = 16;

/// More bytes add nothing, and the leaf has one byte for the length.
pub const NONCE_BYTES_MAX: usize = 64;

/// Callers that one report can answer.
pub const TREE_LEAVES_MAX: usize = 65_536;

/// The height of a tree of `TREE_LEAVES_MAX` leaves.
pub const PATH_HASHES_MAX: usize = 16;

/// QEMU maps at most 8 MiB of flash; this leaves room for twice that.
pub const FIRMWARE_BYTES_MAX: usize = 16 << 20;

/// The length and the GUID behind an entry of OVMF's table.
pub const FIRMWARE_ENTRY_HEADER_BYTES: usize = 18;

/// OVMF has up to eight sections of SEV metadata.
pub const FIRMWARE_SECTIONS_MAX: u32 = 64;

/// OVMF's sections have under 100 pages; each costs one hash, so that a gigabyte of them would take
/// seconds.
pub const FIRMWARE_SECTION_PAGES_MAX: u64 = 65_536;

/// KVM starts at most 512 virtual processors in an SEV-SNP guest.
pub const VCPUS_MAX: u32 = 512;

/// A reference.json: 4,096 shapes of machines with 250 bytes each.
pub const REFERENCE_BYTES_MAX: usize = 1 << 20;

/// A policy.json: 7,000 chip ids.
pub const POLICY_BYTES_MAX: usize = 1 << 20;

/// One list in these two files: more than their length lets them hold.
pub const FILE_LIST_ITEMS_MAX: usize = 16_384;

/// The name of a file that went into an image.
pub const INPUT_NAME_BYTES_MAX: usize = 256;

/// Text from a server in messages: as much as fits on a few lines.
pub const ERROR_TEXT_CHARACTERS_MAX: usize = 400;

/// A secret's name, per the API.
pub const SECRET_NAME_BYTES_MAX: usize = 100;

/// Secrets that one execution can read: an instance ends an execution that asks for more.
pub const SECRETS_READ_MAX: usize = 1_000;

/// A receipt: its secrets with 160 bytes each, indented, and the rest, which is under 2 KiB.
pub const RECEIPT_BYTES_MAX: usize = 262_144;
