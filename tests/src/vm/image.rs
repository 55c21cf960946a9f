//! An image that was built, and what the harness adds to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use neo_secrets_attestation::measure::{Shape, VcpuType};
use neo_secrets_image::build::{self, Inputs};
use neo_secrets_image::compile;
use neo_secrets_image::debian::Debian;
use neo_secrets_image::error::ImageError;
use neo_secrets_image::initrd::Initrd;
use neo_secrets_image::launch::DirectBoot;
use neo_secrets_image::manifest::{self, Manifest, Package, Program};
use neo_secrets_image::{files, modules};

use super::overlay::{file_of, overlay};

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageProblem {
    #[error(transparent)]
    Build(#[from] ImageError),
    #[error(transparent)]
    File(#[from] io::Error),
    #[error("the initrd has no /init")]
    NoInit,
}

/// The machine that the harness makes: one processor.
pub const SHAPE: Shape = Shape { vcpus: 1, vcpu_type: VcpuType::EpycV4, sev_features: 1 };

/// Kernel, initrd and command line, and what stands behind them.
#[derive(Clone)]
pub struct Image {
    /// What is measured.
    pub boot: DirectBoot,
    /// The values that the build wrote.
    pub reference: Vec<u8>,
    /// The kernel's file, as QEMU reads it.
    pub kernel: PathBuf,
    /// The disk with the unified kernel image.
    pub disk: PathBuf,
    /// The harness's archive.
    pub overlay: Vec<u8>,
}

impl Image {
    /// What lies in this folder, from a build of this checkout.
    ///
    /// # Errors
    /// It is not there, or what the harness adds can't be had.
    pub fn open(root: &Path, folder: &Path) -> Result<Self, ImageProblem> {
        let boot = build::direct_boot(folder)?;
        let shim = Program {
            package: "neo-secrets-vm-shim".to_owned(),
            name: "neo-secrets-vm-shim".to_owned(),
            path: "init".to_owned(),
        };
        let shim = compile::programs(root, &[shim])?.remove(0);
        let init = file_of(&boot.initrd, "init")?.ok_or(ImageProblem::NoInit)?;
        Ok(Self {
            overlay: overlay(shim, init, cuse(root)?)?,
            reference: fs::read(folder.join("reference.json"))?,
            kernel: folder.join("bzImage"),
            disk: folder.join("neo-secrets.raw"),
            boot,
        })
    }

    /// Assembles one of the sources as they are, for tests: with the newest packages where the
    /// mirror no longer has the pinned ones.
    ///
    /// # Errors
    /// It can't be built.
    pub fn assemble(root: &Path, folder: &Path) -> Result<Self, ImageProblem> {
        let inputs = Inputs::collect(root, false)?;
        for what in &inputs.unpinned {
            eprintln!("UNPINNED: {what}");
        }
        files::remove_folder(folder)?;
        inputs.assemble(folder)?;
        Self::open(root, folder)
    }

    /// The launch digest, of what is measured alone.
    ///
    /// # Errors
    /// The firmware is none that can be measured.
    pub fn digest(&self) -> Result<[u8; 48], ImageProblem> {
        let launch = self.boot.launch().map_err(ImageError::from)?;
        Ok(launch.digest(&SHAPE).map_err(ImageError::from)?)
    }

    /// Another image: of another command line, which its PID 1 expects.
    pub fn with_command_line(mut self, line: &str) -> Result<Self, ImageProblem> {
        let mut more = Initrd::default();
        more.file("etc/cmdline", line.into())?;
        self.boot.initrd.extend(more.to_cpio());
        line.clone_into(&mut self.boot.command_line);
        Ok(self)
    }
}

/// The module that the image does not have, of the image's kernel package.
fn cuse(root: &Path) -> Result<Vec<u8>, ImageProblem> {
    let kernel = Manifest::load(root)?.packages.kernel;
    let module = out_of(root, &kernel, "cuse.ko.xz", |unpacked| {
        let folder = modules::kernel_folder(unpacked)?;
        // What it needs, FUSE, is in the kernel.
        Ok(modules::in_load_order(&folder, &["cuse".to_owned()])?.remove(0).bytes)
    })?;
    Ok(fs::read(module)?)
}

/// UEFI that knows nothing of SEV, otherwise of the same sources as the pinned firmware: what its
/// loader makes of the command line differs between versions.
///
/// # Errors
/// It can't be had.
pub fn uefi_firmware(root: &Path) -> Result<PathBuf, ImageProblem> {
    let package = Package {
        follow: None,
        suites: vec!["forky".to_owned()],
        name: "ovmf-generic".to_owned(),
        version: "2026.08+ds-2".to_owned(),
        sha256: "05c1593998ba58700ff86c062bde306321af1f5a2943ea9ceef6c2332f3f3374".to_owned(),
    };
    out_of(root, &package, "OVMF.fd", |unpacked| {
        Ok(files::read(unpacked.join("usr/share/ovmf/OVMF.fd"))?)
    })
}

/// A file out of a package, kept for later; of the newest where the pinned one is gone.
fn out_of(
    root: &Path,
    package: &Package,
    name: &str,
    take: impl FnOnce(&Path) -> Result<Vec<u8>, ImageProblem>,
) -> Result<PathBuf, ImageProblem> {
    let target = root.join("target");
    let debian = Debian::new(&target);
    let deb = match debian.pinned(package) {
        Err(ImageError::VersionGone { .. }) => debian.newest(package)?,
        result => result?,
    };
    let kept = target.join("vm").join(format!("{}-{name}", deb.sha256));
    if !kept.is_file() {
        fs::create_dir_all(target.join("vm"))?;
        let unpacked = tempfile::tempdir_in(target.join("vm"))?;
        deb.unpack(unpacked.path())?;
        let whole = unpacked.path().join(name);
        fs::write(&whole, take(unpacked.path())?)?;
        fs::rename(whole, &kept)?;
    }
    Ok(kept)
}

/// Whether an image that was built is not there, or older than what it was built from.
pub fn is_stale(root: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Some(built) = time(&root.join(build::FOLDER).join("SHA256SUMS")) else { return true };
    let newer = |path: &Path| time(path).is_none_or(|time: SystemTime| time > built);
    let Ok(manifest) = Manifest::load(root) else { return true };
    let programs = root.join("target/static/x86_64-unknown-linux-gnu/release");
    // cargo's lists of the sources that each program, and the builder, consist of.
    let lists =
        manifest.programs.iter().map(|program| programs.join(format!("{}.d", program.name)));
    let builder = root.join("target/release/neo-secrets-image.d");
    let sources = lists.chain([builder]).map(|list| fs::read_to_string(list).unwrap_or_default());
    let sources: Vec<_> = sources.collect();
    [manifest::PATH, "Cargo.lock"].iter().any(|name| newer(&root.join(name)))
        || sources.iter().any(|list| {
            let Some((_, list)) = list.split_once(": ") else { return true };
            list.split_whitespace().any(|path| newer(Path::new(path)))
        })
}
