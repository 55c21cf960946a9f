//! What is in the image, and what is not.

use std::process::Command;

use neo_secrets_image::uki::UKI_BYTES_MAX;

use crate::{archive, image, manifest, root};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// Texts that stand in simulations and in code for tests.
const MARKS: [&str; 6] = [
    "neo-secrets-vm-shim",
    "SIMULATED chip root",
    "SIMULATED endorsement key",
    "snp_simulator",
    "chip.json",
    "escaped.rs",
];

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_initrd_holds_the_manifests_programs_modules_and_files_and_nothing_else() {
    let Some(image) = image() else { return };
    let manifest = manifest();
    let mut entries = archive::entries(&image.read("initrd"));
    for (path, entry) in &entries {
        assert_eq!((entry.owner, entry.time), ((0, 0), 0), "{path}");
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        assert!(parent.is_none_or(|parent| entries[parent].mode == FOLDER), "{path}");
    }
    assert!(manifest.programs.iter().any(|program| program.path == "init"), "nothing to start");
    let programs: Vec<_> = manifest.programs.iter().map(|program| program.path.as_str()).collect();
    for program in &programs {
        let entry = entries.remove(*program).unwrap();
        assert_eq!(entry.mode, PROGRAM, "{program}");
        assert_static(program, &entry.bytes);
        for mark in MARKS {
            assert!(!holds(&entry.bytes, mark), "{mark} is in {program}");
        }
        let here = root().display().to_string();
        assert!(!holds(&entry.bytes, &here), "{program} says where it was built");
    }
    let order = String::from_utf8(entries.remove("etc/modules").unwrap().bytes).unwrap();
    for path in order.lines() {
        let entry = entries.remove(path.strip_prefix('/').unwrap()).unwrap();
        assert_eq!(entry.mode, FILE, "{path}");
        assert!(entry.bytes.starts_with(b"\xFD7zXZ\0"), "{path} is not as Debian ships it");
        assert!(!path.contains("cuse") && !path.contains("vfat"), "{path}");
    }
    for name in &manifest.modules {
        let plain = |text: &str| text.replace('-', "_");
        let file = format!("/{name}.ko.xz");
        assert!(order.lines().any(|path| plain(path).ends_with(&plain(&file))), "{name}");
    }
    for (path, text) in &manifest.files {
        assert_eq!(entries.remove(path).unwrap().bytes, text.as_bytes(), "{path}");
    }
    let line = entries.remove("etc/cmdline").unwrap();
    assert_eq!(line.bytes, image.read("cmdline"), "PID 1 compares the kernel's line with it");
    assert!(entries.remove("etc/os-release").is_some());
    entries.retain(|_, entry| entry.mode != FOLDER);
    assert!(entries.is_empty(), "{:?}", entries.keys());
}

/// An ELF file without an interpreter: no program header of type 3.
fn assert_static(name: &str, bytes: &[u8]) {
    assert_eq!(&bytes[..6], b"\x7FELF\x02\x01", "{name} is no program");
    let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let table = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
    for index in 0..half(56) {
        let header = table + index * half(54);
        assert_ne!(&bytes[header..header + 4], [3, 0, 0, 0], "{name} needs an interpreter");
    }
}

#[test]
fn the_server_comes_before_no_module_that_it_needs() {
    let Some(image) = image() else { return };
    let entries = archive::entries(&image.read("initrd"));
    let order = String::from_utf8(entries["etc/modules"].bytes.clone()).unwrap();
    let place = |name: &str| {
        let end = format!("/{name}.ko.xz");
        order.lines().position(|path| path.ends_with(&end)).unwrap_or_else(|| panic!("{name}"))
    };
    // sev-guest takes gcm(aes) by name when it starts, and nobody could load it for it then.
    for (first, second) in [
        ("gcm", "sev-guest"),
        ("ghash-generic", "sev-guest"),
        ("aesni-intel", "sev-guest"),
        ("tsm", "sev-guest"),
        ("configfs", "tsm"),
        ("net_failover", "virtio_net"),
        ("failover", "net_failover"),
        ("hv_vmbus", "hv_netvsc"),
        ("scsi_mod", "hv_storvsc"),
    ] {
        assert!(place(first) < place(second), "{first} after {second}:\n{order}");
    }
}

#[test]
fn the_unified_kernel_image_carries_the_files_of_direct_boot() {
    let Some(image) = image() else { return };
    let uki = image.folder.join("neo-secrets.efi");
    assert!(std::fs::metadata(&uki).unwrap().len() < UKI_BYTES_MAX as u64);
    let folder = tempfile::tempdir().unwrap();
    for (section, file) in [(".linux", "bzImage"), (".initrd", "initrd"), (".cmdline", "cmdline")] {
        let path = folder.path().join(section);
        // A reader that shares nothing with the writer.
        let dump = format!("{section}={}", path.display());
        let out = Command::new("objcopy")
            .args(["--dump-section", &dump])
            .arg(&uki)
            .arg(folder.path().join("copy"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let (mut got, expected) = (std::fs::read(path).unwrap(), image.read(file));
        assert!(got.len() >= expected.len(), "{section}");
        assert!(got.split_off(expected.len()).iter().all(|byte| *byte == 0), "{section}");
        assert!(got == expected, "{section} is not {file}");
    }
}

#[test]
fn a_second_assembly_gives_the_same_bytes() {
    let Some(image) = image() else { return };
    let again = tempfile::tempdir_in(root().join("target")).unwrap();
    let folder = again.path().join("image");
    image.inputs.assemble(&folder).unwrap();
    let sums = image.read("SHA256SUMS");
    assert_eq!(std::fs::read(folder.join("SHA256SUMS")).unwrap(), sums);
    let out = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "SHA256SUMS"])
        .current_dir(&image.folder)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    assert_eq!(String::from_utf8(sums).unwrap().lines().count(), 11);
}

#[test]
fn the_bill_of_materials_names_what_is_linked_and_nothing_of_tests() {
    let Some(image) = image() else { return };
    let text = String::from_utf8(image.read("sbom.cdx.json")).unwrap();
    for part in [
        "pkg:cargo/redb@",
        "pkg:cargo/aws-lc-rs@",
        "pkg:cargo/rquickjs-core@",
        "\"neo-secrets-server\"",
        "pkg:deb/debian/linux-image-",
        "pkg:deb/debian/ovmf-amdsev@",
        "pkg:deb/debian/libssl-dev@",
    ] {
        assert!(text.contains(part), "{part}");
    }
    for part in ["snp-simulator", "proptest", "tempfile", "neo-secrets-image", "utoipa", "/root/"] {
        assert!(!text.contains(part), "{part}");
    }
}
