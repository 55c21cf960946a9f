//! What can go wrong in a build, one variant for each fact.

use std::path::PathBuf;
use std::process::ExitStatus;

use neo_secrets_attestation::measure::MeasureError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("{program} does not start: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// The working folder is not the checkout.
    #[error("image/manifest.toml is not here: run this at the top of the checkout")]
    NotTheCheckout,
    /// The manifest is malformed.
    #[error("image/manifest.toml: {0}")]
    Manifest(String),
    /// The machine's apt knows no Debian mirror.
    #[error(
        "apt on this machine is set up for no Debian mirror (a source whose address ends in /debian)"
    )]
    NoMirror,
    /// A pinned version is in none of its suites any more.
    #[error(
        "Debian no longer has {name} {version} in {suites}. \
         `scripts/image bump` pins the newest, which changes the image and its measurement; \
         `scripts/image --unpinned` builds with the newest this once"
    )]
    VersionGone {
        /// The package.
        name: String,
        /// The pinned version.
        version: String,
        /// Where it was looked for.
        suites: String,
    },
    /// A package is in none of its suites.
    #[error("Debian has no package {name} in {suites}")]
    PackageGone {
        /// The package.
        name: String,
        /// Where it was looked for.
        suites: String,
    },
    /// A package's bytes are not the pinned ones.
    #[error("{name} has SHA-256 {got}; the manifest pins {expected}")]
    PackageHash {
        /// The package.
        name: String,
        /// What it has.
        got: String,
        /// What it should have.
        expected: String,
    },
    /// The building machine's tools are not the pinned ones.
    #[error(
        "this machine compiles with other tools than the manifest pins, so the image would differ: {0}. \
         Install those, or `scripts/image bump`, or `scripts/image --unpinned`"
    )]
    Tools(String),
    /// A kernel module that the manifest lists, or that another needs, is not in the package.
    #[error("the kernel's package has no module {0}")]
    ModuleMissing(String),
    /// Modules that need each other.
    #[error("the kernel module {0} needs itself")]
    ModuleCycle(String),
    /// A package has no such file, or more than one.
    #[error("the package of {what} has {got} files that could be it")]
    NotOne {
        /// What was looked for.
        what: &'static str,
        /// How many there are.
        got: usize,
    },
    /// Two entries of the initrd have one path, or a path is not plain.
    #[error("the initrd cannot have {0:?}: it is there already, or not a plain relative path")]
    InitrdPath(String),
    /// The boot stub is no program of the kind that sections can be added to.
    #[error("the boot stub is malformed: {0}")]
    Stub(&'static str),
    /// The unified kernel image is larger than allowed.
    #[error("the unified kernel image has {got} bytes; the limit is {limit}")]
    UkiBytes {
        /// Its length.
        got: usize,
        /// The most.
        limit: usize,
    },
    /// The launch cannot be measured.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// A file that a build wrote is not what it should be.
    #[error("{}: {problem}", path.display())]
    Output {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Two builds differ.
    #[error("not reproducible: {0}")]
    Differs(String),
    /// A key or a signature.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// OpenSSL failed.
    #[error(transparent)]
    OpenSsl(#[from] openssl::error::ErrorStack),
}
