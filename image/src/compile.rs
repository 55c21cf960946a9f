//! The programs of the image: linked statically, the same bytes wherever the checkout lies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ImageError;
use crate::files;
use crate::manifest::{Manifest, Program};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What the surroundings could change about a compilation. Where compiler and registry are
/// (`CARGO_HOME`, proxies) stays.
const FOREIGN: [&str; 15] = [
    "AR",
    "AWS_LC_",
    "CARGO_BUILD_",
    "CARGO_ENCODED_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CC",
    "CFLAGS",
    "CPATH",
    "CXX",
    "C_INCLUDE_",
    "LIBRARY_PATH",
    "OPENSSL_",
    "PKG_CONFIG",
    "RUSTFLAGS",
];

/// Compiles these programs and gives their bytes, in this order. `root` is the checkout.
///
/// # Errors
/// cargo fails.
pub fn programs(root: &Path, programs: &[Program]) -> Result<Vec<Vec<u8>>, ImageError> {
    // So that the registry's folder is there to be named below.
    files::run(cargo(root, "fetch").args(["--target", TARGET]))?;
    let sources = registry_sources()?;
    let mut command = cargo(root, "build");
    command.args(["--release", "--target", TARGET, "--target-dir"]).arg(root.join("target/static"));
    for Program { package, name, path: _ } in programs {
        command.args(["--package", package, "--bin", name]);
    }
    let moved = |option: &str| {
        let sources = sources.iter().map(|from| (from.display(), "/registry"));
        let places: Vec<_> =
            [(root.display(), "/neo-secrets")].into_iter().chain(sources).collect();
        places.iter().map(|(from, to)| format!("{option}={from}={to}")).collect::<Vec<_>>()
    };
    let mut flags = vec!["-C".to_owned(), "target-feature=+crt-static".to_owned()];
    flags.extend(moved("--remap-path-prefix"));
    command
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CFLAGS", moved("-ffile-prefix-map").join(" "))
        .env("SOURCE_DATE_EPOCH", "0")
        // One unit: how code is split must not depend on the number of processors.
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_INCREMENTAL", "0")
        .env("OPENSSL_STATIC", "1")
        .stderr(std::process::Stdio::inherit());
    files::run(&mut command)?;
    let folder = root.join("target/static").join(TARGET).join("release");
    programs.iter().map(|program| files::read(folder.join(&program.name))).collect()
}

/// cargo for this checkout, without configuration files of folders above it: it starts in `/`.
pub(crate) fn cargo(root: &Path, verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir("/").arg(verb).arg("--locked");
    command.arg("--manifest-path").arg(root.join("Cargo.toml"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if FOREIGN.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Where cargo unpacks crates: one folder for each registry or mirror of it.
fn registry_sources() -> Result<Vec<PathBuf>, ImageError> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let Some(home) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home) else {
        return Ok(Vec::new());
    };
    let folder = home.join("registry/src");
    if !folder.is_dir() {
        return Ok(Vec::new()); // Vendored, below the checkout.
    }
    let list = std::fs::read_dir(&folder).map_err(|source| files::at(&folder, source))?;
    let mut folders: Vec<_> = list.filter_map(Result::ok).map(|entry| entry.path()).collect();
    folders.sort();
    Ok(folders)
}

/// Which of the manifest's tools this machine has in another version: name, there, pinned.
///
/// # Errors
/// rustc does not start.
pub fn other_tools(manifest: &Manifest) -> Result<Vec<(String, String, String)>, ImageError> {
    let mut others = Vec::new();
    for (name, pinned) in &manifest.tools {
        let installed = tool_version(name)?;
        if installed != *pinned {
            others.push((name.clone(), installed, pinned.clone()));
        }
    }
    Ok(others)
}

/// The version of rustc or of an installed Debian package; `none` where it is not there.
///
/// # Errors
/// rustc does not start.
pub fn tool_version(name: &str) -> Result<String, ImageError> {
    let none = || "none".to_owned();
    if name == "rustc" {
        // In `/`, like the compilation: a folder's toolchain file must not choose another.
        let text = files::run_text(Command::new("rustc").arg("--version").current_dir("/"))?;
        return Ok(text.split(' ').nth(1).map_or_else(none, str::to_owned));
    }
    let format = "--showformat=${Version}";
    match files::run_text(Command::new("dpkg-query").args(["--show", format, name])) {
        Ok(text) => Ok(text),
        Err(ImageError::Failed { .. } | ImageError::Start { .. }) => Ok(none()),
        Err(error) => Err(error),
    }
}
