//! `image/manifest.toml`: every input of the image, pinned.

use std::collections::BTreeMap;
use std::path::Path;

use neo_secrets_attestation::reference::Identity;
use serde::Deserialize;

use crate::error::ImageError;
use crate::files;

/// Where it is, from the top of the checkout.
pub const PATH: &str = "image/manifest.toml";

/// The manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The kernel's command line, exactly.
    pub command_line: String,
    /// Names of kernel modules.
    pub modules: Vec<String>,
    /// Programs.
    pub programs: Vec<Program>,
    /// Text files of the initrd, by path.
    pub files: BTreeMap<String, String>,
    /// What a report must say beyond the measurement.
    pub identity: Identities,
    /// Debian packages.
    pub packages: Packages,
    /// Versions of what compiles and links the programs: rustc, or a Debian package.
    pub tools: BTreeMap<String, String>,
}

/// A program of the workspace.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Cargo's package.
    pub package: String,
    /// The binary's name.
    pub name: String,
    /// Its path in the initrd.
    pub path: String,
}

/// The packages that the image takes files from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Kernel and modules.
    pub kernel: Package,
    /// OVMF for measured direct boot.
    pub firmware: Package,
    /// The EFI program that the unified kernel image begins with.
    pub stub: Package,
}

/// A Debian package, pinned.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// A package that depends on the newest of this kind, if its name has a version in it.
    #[serde(default)]
    pub follow: Option<String>,
    /// Suites of Debian's archive.
    pub suites: Vec<String>,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// What a report must say beyond the measurement.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identities {
    /// HOST_DATA.
    pub host_data: String,
    /// FAMILY_ID.
    pub family_id: String,
    /// IMAGE_ID.
    pub image_id: String,
    /// ID_KEY_DIGEST.
    pub id_key_digest: String,
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: String,
    /// The least GUEST_SVN.
    pub guest_svn_min: u32,
}

impl Manifest {
    /// Reads the one of a checkout.
    ///
    /// # Errors
    /// It is not there or malformed.
    pub fn load(root: &Path) -> Result<Self, ImageError> {
        let path = root.join(PATH);
        if !path.is_file() {
            return Err(ImageError::NotTheCheckout);
        }
        Self::parse(&files::read_text(path)?)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let problem = |error: String| ImageError::Manifest(error);
        let manifest: Self = toml::from_str(text).map_err(|error| problem(error.to_string()))?;
        let line = &manifest.command_line;
        // QEMU adds a zero; systemd's stub takes characters; an outer blank would get lost.
        if line.trim() != line || line.is_empty() || !line.bytes().all(|b| matches!(b, b' '..=b'~'))
        {
            return Err(problem(
                "command_line: expected printable ASCII without outer blanks".into(),
            ));
        }
        Ok(manifest)
    }
}

impl Packages {
    /// Each with its place in the manifest.
    pub fn each(&self) -> [(&'static str, &Package); 3] {
        let Self { kernel, firmware, stub } = self;
        [("kernel", kernel), ("firmware", firmware), ("stub", stub)]
    }
}

/// Reads `any` or hexadecimal.
///
/// # Errors
/// It is neither, or of another length.
pub fn identity<const N: usize>(text: &str) -> Result<Identity<N>, ImageError> {
    if text == "any" {
        return Ok(Identity::Any);
    }
    let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).map(Identity::Exactly).ok_or_else(|| {
        ImageError::Manifest(format!("{text:?}: expected any, or {N} bytes in hexadecimal"))
    })
}

/// Puts a value in place of another: `key = "value"` below `[section]`; the rest of the text stays
/// as it is.
///
/// # Errors
/// There is no such line.
pub fn replace(text: &str, section: &str, key: &str, value: &str) -> Result<String, ImageError> {
    let heading = format!("[{section}]");
    let start = format!("{key} = ");
    let mut inside = false;
    let mut done = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == heading;
        }
        if inside && line.starts_with(&start) {
            lines.push(format!("{key} = \"{value}\""));
            done = true;
        } else {
            lines.push(line.to_owned());
        }
    }
    if !done {
        return Err(ImageError::Manifest(format!("no line {start:?} below {heading}")));
    }
    Ok(lines.join("\n") + "\n")
}
