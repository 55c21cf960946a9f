//! A build: inputs in, `target/image/` out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use neo_secrets_attestation::reference::ReferenceValues;

use crate::compile;
use crate::debian::{Deb, Debian};
use crate::disk::{self, Disk, MEBIBYTE};
use crate::error::ImageError;
use crate::files;
use crate::initrd::Initrd;
use crate::launch::{self, DirectBoot};
use crate::manifest::{self, Manifest};
use crate::modules::{self, Module};
use crate::sbom;
use crate::uki::{self, Section};

/// The version of image and programs: the workspace's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where a build's files are, from the top of the checkout, and nothing else is.
pub const FOLDER: &str = "target/image";

/// The files of measured direct boot, as they are named there.
pub const DIRECT_BOOT: [&str; 4] = ["OVMF.amdsev.fd", "bzImage", "initrd", "cmdline"];

/// Everything that decides about the image's bytes.
#[derive(Debug)]
pub struct Inputs {
    manifest: Manifest,
    /// What is not as the manifest pins it.
    pub unpinned: Vec<String>,
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    /// `uname -r`.
    release: String,
    stub: Vec<u8>,
    modules: Vec<Module>,
    programs: Vec<Vec<u8>>,
    debs: Vec<Deb>,
    sbom: String,
    files: Vec<(String, [u8; 32])>,
}

impl Inputs {
    /// Gets and compiles all of it. Where `pinned` is false, what is not to be had as pinned is
    /// taken as it is to be had.
    ///
    /// # Errors
    /// A pin can't be kept, or something fails.
    pub fn collect(root: &Path, pinned: bool) -> Result<Self, ImageError> {
        let manifest = Manifest::load(root)?;
        let mut unpinned = Vec::new();
        let others: Vec<_> = compile::other_tools(&manifest)?
            .into_iter()
            .map(|(name, there, pinned)| format!("{name} {there} instead of {pinned}"))
            .collect();
        if pinned && !others.is_empty() {
            return Err(ImageError::Tools(others.join(", ")));
        }
        unpinned.extend(others);
        let debian = Debian::new(&root.join("target"));
        let mut debs = Vec::new();
        for (_, package) in manifest.packages.each() {
            debs.push(match debian.pinned(package) {
                Err(gone @ ImageError::VersionGone { .. }) if !pinned => {
                    let deb = debian.newest(package)?;
                    unpinned.push(format!("{} {} ({gone})", deb.name, deb.version));
                    deb
                }
                result => result?,
            });
        }
        let unpacked = root.join("target").join(format!("image-debs.{}", std::process::id()));
        let contents = Contents::unpack(&debs, &unpacked, &manifest.modules);
        files::remove_folder(&unpacked)?;
        let Contents { firmware, kernel, release, stub, modules } = contents?;
        let programs = compile::programs(root, &manifest.programs)?;
        let sbom = sbom::sbom(root, VERSION, &manifest, &debs)?;
        let mut names = vec![];
        for name in [manifest::PATH, "Cargo.lock"] {
            names.push((name.to_owned(), files::sha256(&files::read(root.join(name))?)));
        }
        Ok(Self {
            manifest,
            unpinned,
            firmware,
            kernel,
            release,
            stub,
            modules,
            programs,
            debs,
            sbom,
            files: names,
        })
    }

    /// Writes the image into a folder that is not there yet.
    ///
    /// # Errors
    /// Something does not fit, or a file can't be written.
    pub fn assemble(&self, folder: &Path) -> Result<(), ImageError> {
        files::make_folder(folder)?;
        let initrd = self.initrd()?.to_gzip();
        let command_line = &self.manifest.command_line;
        let (kernel, firmware) = (self.kernel.clone(), self.firmware.clone());
        let boot = DirectBoot { firmware, kernel, initrd, command_line: command_line.clone() };
        let uki = uki::assemble(
            &self.stub,
            &[
                Section { name: ".osrel", bytes: self.os_release().as_bytes() },
                Section { name: ".cmdline", bytes: command_line.as_bytes() },
                Section { name: ".uname", bytes: self.release.as_bytes() },
                Section { name: ".initrd", bytes: &boot.initrd },
                // Last: a kernel of old unpacks itself over what follows.
                Section { name: ".linux", bytes: &boot.kernel },
            ],
        )?;
        let partition = disk::system_partition(&uki)?;
        let disk = Disk::new(&partition, MEBIBYTE);
        disk.save(&folder.join("neo-secrets.raw"), &[])?;
        disk.save(&folder.join("neo-secrets-azure.vhd"), &disk::vhd_footer(&disk))?;
        let archive = disk::gcp_archive(&Disk::new(&partition, 1 << 30));
        let archive = archive.map_err(|source| files::at("the archive for GCP", source))?;
        let reference = self.reference(&boot)?;
        let [name_firmware, name_kernel, name_initrd, name_command_line] = DIRECT_BOOT;
        for (name, bytes) in [
            (name_firmware, boot.firmware.as_slice()),
            (name_kernel, &boot.kernel),
            (name_initrd, &boot.initrd),
            (name_command_line, command_line.as_bytes()),
            ("neo-secrets.efi", &uki),
            ("neo-secrets.qcow2", &disk::qcow2(&disk)),
            ("neo-secrets-gcp.tar.gz", &archive),
            ("reference.json", reference.to_json().as_bytes()),
            ("sbom.cdx.json", self.sbom.as_bytes()),
        ] {
            files::write(folder.join(name), bytes)?;
        }
        let sums: String = sums(folder)?
            .into_iter()
            .map(|(name, sha256)| format!("{}  {name}\n", files::hex(&sha256)))
            .collect();
        files::write(folder.join("SHA256SUMS"), sums)
    }

    fn initrd(&self) -> Result<Initrd, ImageError> {
        let mut initrd = Initrd::default();
        for folder in ["dev", "proc", "run", "sys", "tmp"] {
            initrd.folder(folder)?;
        }
        for (program, bytes) in self.manifest.programs.iter().zip(&self.programs) {
            initrd.program(&program.path, bytes.clone())?;
        }
        let mut order = String::new();
        for Module { file_name, bytes } in &self.modules {
            let path = format!("lib/modules/{file_name}");
            order += &format!("/{path}\n");
            initrd.file(&path, bytes.clone())?;
        }
        // The modules in the order in which PID 1 loads them.
        initrd.file("etc/modules", order.into())?;
        // What it compares the kernel's line with.
        initrd.file("etc/cmdline", self.manifest.command_line.clone().into())?;
        initrd.file("etc/os-release", self.os_release().into())?;
        for (path, text) in &self.manifest.files {
            initrd.file(path, text.clone().into())?;
        }
        Ok(initrd)
    }

    fn os_release(&self) -> String {
        let version = self.version();
        format!(
            "ID=neo-secrets\nNAME=\"Neo Secrets\"\nPRETTY_NAME=\"Neo Secrets {version}\"\nVERSION_ID={version}\n"
        )
    }

    fn version(&self) -> String {
        match self.unpinned.as_slice() {
            [] => VERSION.to_owned(),
            _ => format!("{VERSION}+unpinned"),
        }
    }

    fn reference(&self, boot: &DirectBoot) -> Result<ReferenceValues, ImageError> {
        let DirectBoot { firmware, kernel, initrd, command_line } = boot;
        let mut inputs: Vec<_> = DIRECT_BOOT
            .into_iter()
            .zip([firmware.as_slice(), kernel, initrd, command_line.as_bytes()])
            .map(|(name, bytes)| (name.to_owned(), files::sha256(bytes)))
            .collect();
        for (program, bytes) in self.manifest.programs.iter().zip(&self.programs) {
            inputs.push((program.name.clone(), files::sha256(bytes)));
        }
        for Deb { name, version, sha256, path: _ } in &self.debs {
            let bytes = data_encoding::HEXLOWER.decode(sha256.as_bytes()).ok();
            let hash = bytes.and_then(|bytes| bytes.try_into().ok());
            let hash = hash.ok_or_else(|| ImageError::Manifest(format!("{name}: no SHA-256")))?;
            inputs.push((format!("{name}_{version}.deb"), hash));
        }
        inputs.extend(self.files.iter().cloned());
        launch::reference(&self.version(), boot, &self.manifest.identity, inputs)
    }
}

/// The files that the image takes out of its packages.
struct Contents {
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    release: String,
    stub: Vec<u8>,
    modules: Vec<Module>,
}

impl Contents {
    fn unpack(debs: &[Deb], folder: &Path, names: &[String]) -> Result<Self, ImageError> {
        files::remove_folder(folder)?;
        for deb in debs {
            deb.unpack(folder)?;
        }
        let kernel_folder = modules::kernel_folder(folder)?;
        let release = kernel_folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            firmware: files::read(folder.join("usr/share/ovmf/OVMF.amdsev.fd"))?,
            kernel: files::read(folder.join("boot").join(format!("vmlinuz-{release}")))?,
            stub: files::read(folder.join("usr/lib/systemd/boot/efi/linuxx64.efi.stub"))?,
            modules: modules::in_load_order(&kernel_folder, names)?,
            release,
        })
    }
}

/// Builds into [`FOLDER`]: the old one is there until the new one is whole.
///
/// # Errors
/// Whatever keeps it from being built.
pub fn build(root: &Path, pinned: bool) -> Result<Inputs, ImageError> {
    let inputs = Inputs::collect(root, pinned)?;
    let (folder, fresh) = (root.join(FOLDER), root.join("target/image.new"));
    files::remove_folder(&fresh)?;
    inputs.assemble(&fresh)?;
    files::remove_folder(&folder)?;
    std::fs::rename(&fresh, &folder).map_err(|source| files::at(&folder, source))?;
    Ok(inputs)
}

/// Assembles the image again and compares every file with those in [`FOLDER`]; gives their number.
///
/// # Errors
/// The first file that differs or is on one side only.
pub fn check(root: &Path, pinned: bool) -> Result<usize, ImageError> {
    let inputs = Inputs::collect(root, pinned)?;
    let (folder, again) = (root.join(FOLDER), root.join("target/image.check"));
    files::remove_folder(&again)?;
    inputs.assemble(&again)?;
    let (one, other) = (sums(&folder)?, sums(&again)?);
    files::remove_folder(&again)?;
    match one.symmetric_difference(&other).next() {
        None => Ok(one.len()),
        Some((name, _)) => Err(ImageError::Differs(format!("{FOLDER}/{name}"))),
    }
}

/// The files of a folder with their hashes.
fn sums(folder: &Path) -> Result<BTreeSet<(String, [u8; 32])>, ImageError> {
    let named = |path: PathBuf| {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        Ok((name, files::sha256(&files::read(path)?)))
    };
    files::below(folder)?.into_iter().map(named).collect()
}

/// Reads the files of measured direct boot from a folder.
///
/// # Errors
/// One can't be read.
pub fn direct_boot(folder: &Path) -> Result<DirectBoot, ImageError> {
    let [firmware, kernel, initrd, command_line] = DIRECT_BOOT;
    Ok(DirectBoot {
        firmware: files::read(folder.join(firmware))?,
        kernel: files::read(folder.join(kernel))?,
        initrd: files::read(folder.join(initrd))?,
        command_line: files::read_text(folder.join(command_line))?,
    })
}

/// Pins the newest packages and this machine's tools; gives what has changed.
///
/// # Errors
/// The mirror does not answer, or lacks a package.
pub fn bump(root: &Path) -> Result<Vec<String>, ImageError> {
    let manifest = Manifest::load(root)?;
    let debian = Debian::new(&root.join("target"));
    let path = root.join(manifest::PATH);
    let mut text = files::read_text(&path)?;
    let mut changes = Vec::new();
    for (place, package) in manifest.packages.each() {
        let newest = debian.newest_listed(package)?;
        let section = format!("packages.{place}");
        for (key, old, new) in [
            ("name", &package.name, &newest.name),
            ("version", &package.version, &newest.version),
            ("sha256", &package.sha256, &newest.sha256),
        ] {
            if old != new {
                changes.push(format!("{place}: {key} {new}, was {old}"));
                text = manifest::replace(&text, &section, key, new)?;
            }
        }
    }
    for (name, there, pinned) in compile::other_tools(&manifest)? {
        text = manifest::replace(&text, "tools", &name, &there)?;
        changes.push(format!("{name} {there}, was {pinned}"));
    }
    if !changes.is_empty() {
        Manifest::parse(&text)?;
        files::write(&path, text)?;
    }
    Ok(changes)
}
