//! reference.json against the files, and against a program that is not ours.

use std::path::PathBuf;
use std::process::{Command, Output};

use neo_secrets_attestation::reference::{Covers, ReferenceValues};
use neo_secrets_image::error::ImageError;
use neo_secrets_image::launch::{self, SEV_FEATURES, VCPUS_MAX};
use neo_secrets_image::{build, files};

use crate::{Image, image, root, skip};

/// Exact versions of it and of all that it needs.
const PINS: [&str; 4] =
    ["sev-snp-measure==0.0.13", "cryptography==50.0.2", "cffi==2.1.1", "pycparser==3.12"];

/// Prints the digest of each shape: processors, QEMU's name, SEV_FEATURES on a line of input.
const SCRIPT: &str = "\
import sys
from sevsnpmeasure import guest
from sevsnpmeasure.vcpu_types import CPU_SIGS
folder = sys.argv[1] + '/'
firmware = folder + 'OVMF.amdsev.fd'
once = guest.calc_snp_ovmf_hash(firmware).hex()
line = open(folder + 'cmdline').read()
for shape in sys.stdin:
    vcpus, name, features = shape.split()
    print(guest.snp_calc_launch_digest(int(vcpus), CPU_SIGS[name], firmware, folder + 'bzImage',
        folder + 'initrd', line, int(features, 16), once).hex())
";

fn reference(image: &Image) -> ReferenceValues {
    ReferenceValues::parse(&image.read("reference.json")).unwrap()
}

#[test]
fn reference_json_has_every_shape_once_and_the_hashes_of_all_inputs() {
    let Some(image) = image() else { return };
    let reference = reference(image);
    let types = 4;
    assert_eq!(reference.measurements.len(), VCPUS_MAX as usize * types * SEV_FEATURES.len());
    assert!(reference.measurements.iter().all(|known| known.covers == Covers::Image));
    let boot = build::direct_boot(&image.folder).unwrap();
    assert_eq!(launch::check(&reference, &boot).unwrap(), reference.measurements.len());
    for name in build::DIRECT_BOOT {
        let input = reference.inputs.iter().find(|input| input.name == name).unwrap();
        assert_eq!(input.sha256, files::sha256(&image.read(name)), "{name}");
    }
    let programs = ["neo-secrets-init", "neo-secretsd", "neo-secrets-worker"];
    for name in programs.into_iter().chain(["Cargo.lock", "image/manifest.toml"]) {
        assert!(reference.inputs.iter().any(|input| input.name == name), "{name}");
    }
}

#[test]
fn one_byte_of_any_part_is_another_measurement() {
    let Some(image) = image() else { return };
    let reference = reference(image);
    let whole = build::direct_boot(&image.folder).unwrap();
    let mut line = whole.clone();
    line.command_line.push(' ');
    let [mut firmware, mut kernel, mut initrd] = [(); 3].map(|()| whole.clone());
    firmware.firmware[0x1000] ^= 1;
    kernel.kernel[0x1000] ^= 1;
    *initrd.initrd.last_mut().unwrap() ^= 1;
    for other in [line, firmware, kernel, initrd] {
        assert!(matches!(launch::check(&reference, &other), Err(ImageError::Differs(_))));
    }
}

#[test]
fn sev_snp_measure_gives_the_same_digest_for_every_shape() {
    let Some(image) = image() else { return };
    let python = match python() {
        Ok(python) => python,
        Err(why) => return skip(&format!("digests by sev-snp-measure ({why})")),
    };
    let reference = reference(image);
    let shapes: String = reference
        .measurements
        .iter()
        .map(|known| format!("{} {} {:#x}\n", known.vcpus, known.vcpu_type, known.sev_features))
        .collect();
    let input = image.folder.with_extension("shapes");
    std::fs::write(&input, shapes).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).arg(&image.folder).stdin(std::fs::File::open(&input).unwrap());
    let printed = run(&mut command).unwrap();
    std::fs::remove_file(input).unwrap();
    let digests: Vec<_> = printed.lines().collect();
    assert_eq!(digests.len(), reference.measurements.len());
    for (known, digest) in reference.measurements.iter().zip(digests) {
        assert_eq!(files::hex(&known.digest), digest, "{known}");
    }
}

/// Python with sev-snp-measure, in an environment of its own below `target/`.
fn python() -> Result<PathBuf, String> {
    let folder = root().join("target/sev-snp-measure");
    let (made, python) = (folder.join("pins.txt"), folder.join("bin/python"));
    if std::fs::read_to_string(&made).is_ok_and(|pins| pins == PINS.join("\n")) {
        return Ok(python);
    }
    let _ = std::fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    run(pip.args(["-m", "pip", "install", "--quiet", "--no-deps"]).args(PINS))?;
    std::fs::write(made, PINS.join("\n")).unwrap();
    Ok(python)
}

fn run(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    match status.success() {
        true => Ok(String::from_utf8_lossy(&stdout).into_owned()),
        false => Err(format!("{status}: {}", String::from_utf8_lossy(&stderr).trim())),
    }
}
