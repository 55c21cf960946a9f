use std::io::Write as _;
use std::process::Command;

use super::*;

fn disk() -> Disk {
    let program: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    Disk::new(&system_partition(&program).unwrap(), MEBIBYTE)
}

/// Runs a tool that judges what we wrote; `None`, loudly, where the machine does not have it.
fn judge(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            assert!(
                out.status.success(),
                "{program}: {text}{}",
                String::from_utf8_lossy(&out.stderr)
            );
            Some(text)
        }
        Err(_) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn the_same_program_gives_the_same_disk_in_every_form() {
    let (one, other) = (disk(), disk());
    assert!(one == other);
    assert_eq!(one.bytes() % (1 << 20), 0);
    assert!(qcow2(&one) == qcow2(&other));
    assert_eq!(vhd_footer(&one), vhd_footer(&other));
    assert!(gcp_archive(&one).unwrap() == gcp_archive(&other).unwrap());
}

#[test]
fn the_file_with_holes_is_what_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let disk = disk();
    disk.save(&path, &vhd_footer(&disk)).unwrap();
    let mut whole = Vec::new();
    disk.write_to(&mut whole).unwrap();
    whole.extend(vhd_footer(&disk));
    assert!(std::fs::read(&path).unwrap() == whole);
}

#[test]
fn other_programs_read_partition_table_and_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    disk().save(&path, &[]).unwrap();
    let name = path.to_str().unwrap();
    if let Some(text) = judge("sgdisk", &["--verify", name]) {
        assert!(text.contains("No problems found"), "{text}");
    }
    if let Some(text) = judge("sfdisk", &["--dump", name]) {
        assert!(text.contains("type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), "{text}");
        assert!(text.contains("start=        2048"), "{text}");
    }
    let partition = folder.path().join("partition");
    let all = std::fs::read(&path).unwrap();
    std::fs::write(&partition, &all[MEBIBYTE..all.len() - MEBIBYTE]).unwrap();
    judge("fsck.fat", &["-n", partition.to_str().unwrap()]);
    let image = format!("{name}@@1M");
    if let Some(text) = judge("mdir", &["-i", &image, "-b", "-/", "::"]) {
        assert_eq!(text.trim().lines().last(), Some("::/EFI/BOOT/BOOTX64.EFI"), "{text}");
    }
}

#[test]
fn qemu_reads_qcow2_and_vhd_as_the_raw_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (raw, qcow, vhd) = (path("raw"), path("qcow2"), path("vhd"));
    let disk = disk();
    disk.save(Path::new(&raw), &[]).unwrap();
    disk.save(Path::new(&vhd), &vhd_footer(&disk)).unwrap();
    std::fs::write(&qcow, qcow2(&disk)).unwrap();
    judge("qemu-img", &["check", "-f", "qcow2", &qcow]);
    judge("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw, &qcow]);
    let vpc = format!("driver=vpc,file.filename={vhd},force_size_calc=current_size");
    judge(
        "qemu-img",
        &["compare", "--image-opts", &format!("driver=raw,file.filename={raw}"), &vpc],
    );
}

#[test]
fn gcps_archive_holds_the_disk_in_whole_gibibytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.tar.gz");
    let small = disk();
    let gibibyte = Disk::new(&small.head[MEBIBYTE..], 1 << 30);
    assert_eq!(gibibyte.bytes(), 1 << 30);
    std::fs::write(&path, gcp_archive(&gibibyte).unwrap()).unwrap();
    let name = path.to_str().unwrap();
    if let Some(text) = judge("tar", &["--list", "--verbose", "--numeric-owner", "-zf", name]) {
        assert!(text.contains("0/0") && text.contains("1073741824 1970-01-01"), "{text}");
        assert!(text.trim_end().ends_with(" disk.raw"), "{text}");
    }
}
