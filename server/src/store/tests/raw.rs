//! Stores on raw disks: what is refused and why, growth, and disks that fail or change under it.

use super::disk::raw_bytes;
use super::*;
use crate::disk::{Disk as RawDisk, DiskError, Kept, LookError};
use std::path::Path;
use std::sync::Arc;

const MIB: usize = 1_048_576;

fn raw(mib: usize) -> Disk {
    Disk::raw(raw_bytes(mib * MIB))
}

/// With room for more than the engine's cache holds.
fn instance(mib: usize) -> Instance {
    let per_account = PerResource { value_bytes: 1_000_000_000, ..PER_ACCOUNT };
    Instance::on(raw(mib), StoreLimits { per_account, ..LIMITS })
}

/// Why this disk's store is not even looked at.
fn refusal(disk: &Disk) -> String {
    match open(disk, &Chip::new(1), LIMITS) {
        Err(NotOpened::File(OpenError::Disk(error))) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn an_empty_disk_is_unclaimed_and_the_claim_makes_a_store_of_it() {
    let disk = raw(16);
    let before = disk.bytes();
    assert!(matches!(open(&disk, &Chip::new(1), LIMITS), Err(NotOpened::Nothing)));
    assert!(disk.bytes() == before, "looking writes nothing");
    let mut instance = Instance::on(disk, LIMITS);
    let made = instance.create("a", "one").unwrap();
    instance.reopen();
    assert_eq!(instance.value(made.id, None).unwrap(), "one");
    let bytes = instance.disk.bytes();
    assert_eq!(&bytes[..16], b"neo-secrets disk");
    assert_eq!(&bytes[30..46], &instance.store().store_id().0, "after number, length and format");
}

#[test]
fn what_stands_on_a_foreign_disk_is_named_and_never_written_over() {
    for (at, bytes, name) in [
        (0, &b"LUKS\xBA\xBE"[..], "a LUKS header"),
        (512, b"EFI PART", "a GPT partition table"),
        (1080, b"\x53\xEF", "an ext file system"),
        (510, b"\x55\xAA", "an MBR partition table or a FAT file system"),
        (0, b"redb\x1A\x0A\xA9\x0D\x0A", "a file of the engine"),
        (77, b"x", "something unknown, from byte 77 on,"),
        (MIB - 1, b"x", "something unknown, from byte 1048575 on,"),
    ] {
        let disk = raw(16);
        disk.with_bytes(|disk| disk[at..at + bytes.len()].copy_from_slice(bytes));
        let before = disk.bytes();
        let said = refusal(&disk);
        assert!(said.contains(name) && said.contains("never written over"), "{said}");
        let founding = Founding {
            owner: OWNER,
            config: config(),
            account_name: label("a"),
            sealer: &Chip::new(1).sealer(),
            clock: super::clock(),
        };
        assert!(Store::create(&Place::Disk(disk.opened()), founding, LIMITS).is_err());
        assert!(disk.opened().keep(Kept::Chain, b"x").is_err());
        assert!(disk.bytes() == before, "{name}");
    }
}

#[test]
fn a_claimed_disk_is_not_claimed_again() {
    let instance = instance(16);
    let (disk, chip) = (instance.disk.clone(), Chip::new(1));
    let id = instance.store().store_id();
    drop(instance);
    let founding = Founding {
        owner: OWNER,
        config: config(),
        account_name: label("a"),
        sealer: &chip.sealer(),
        clock: clock(),
    };
    let again = Store::create(&Place::Disk(disk.opened()), founding, LIMITS);
    assert!(matches!(again, Err(CreateError::Exists)));
    assert_eq!(open(&disk, &chip, LIMITS).unwrap().store_id(), id);
}

#[test]
fn small_cut_newer_and_broken_disks_are_told_apart() {
    assert_eq!(
        refusal(&Disk::raw(raw_bytes(16 * MIB - 1))),
        "the disk has 16777215 bytes; a store takes 16777216 at least"
    );
    // Far more than 16 MiB, whatever the engine gives back when it closes.
    let instance = instance(128);
    for index in 0..400 {
        instance.create(&format!("s-{index}"), &"v".repeat(60_000)).unwrap();
    }
    let Instance { disk, store, .. } = instance;
    drop(store);
    let whole = disk.bytes();
    disk.with_bytes(|bytes| bytes.truncate(16 * MIB));
    let said = refusal(&disk);
    assert!(said.starts_with("the disk was cut: it has 16777216 bytes, and its store takes "));
    // A header of format 2, in the newest copy.
    disk.with_bytes(|bytes| *bytes = whole.clone());
    let newest = [0, 4096].into_iter().max_by_key(|at| whole[at + 16..at + 24].to_vec()).unwrap();
    disk.with_bytes(|bytes| {
        bytes[newest + 29] = 2;
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&bytes[newest..newest + 54]);
        bytes[newest + 54..newest + 86].copy_from_slice(&hash);
    });
    assert!(refusal(&disk).starts_with("the disk has format 2, written by a newer server"));
    // Another store's id in the header.
    disk.with_bytes(|bytes| {
        *bytes = whole.clone();
        bytes[newest + 30] ^= 1;
        let hash = <sha2::Sha256 as sha2::Digest>::digest(&bytes[newest..newest + 54]);
        bytes[newest + 54..newest + 86].copy_from_slice(&hash);
    });
    let other = open(&disk, &Chip::new(1), LIMITS);
    assert!(matches!(other, Err(NotOpened::File(OpenError::Damaged(_)))), "{:?}", other.err());
    // Both copies broken: no longer ours for sure, and still not empty.
    disk.with_bytes(|bytes| {
        *bytes = whole.clone();
        bytes[30] ^= 1;
        bytes[4096 + 30] ^= 1;
    });
    assert_eq!(refusal(&disk), "neither copy of the disk's header is whole");
}

#[test]
fn a_disk_that_grows_while_it_is_used_is_used_to_its_new_end() {
    let mut instance = instance(16);
    let mut made = 0;
    let mut fill = |instance: &Instance, until: usize| {
        while made < until {
            match instance.create(&format!("s-{made}"), &"v".repeat(65_000)) {
                Ok(_) => made += 1,
                Err(error) => return Some(error),
            }
        }
        None
    };
    let full = fill(&instance, 1_000);
    assert_eq!(full, Some(CreateSecretError::Store(StoreFailure::DiskFull)));
    instance.disk.with_bytes(|bytes| bytes.resize(288 * MIB, 0x5A));
    assert_eq!(fill(&instance, 600), None, "39 MB of values");
    instance.reopen();
    assert_eq!(instance.page(1, 0).total, 600);
    audit::audit(instance.store()).unwrap();
}

#[test]
fn a_disk_that_is_shrunk_or_does_not_write_makes_the_store_unavailable() {
    for harm in [
        (|disk: &Disk| disk.with_bytes(|bytes| bytes.truncate(2 * MIB + 4096))) as fn(&Disk),
        |disk| disk.with_bytes(Vec::clear),
        |disk| disk.fail_after(0),
    ] {
        let instance = instance(16);
        let ids: Vec<_> = (0..80)
            .map(|index| instance.create(&format!("s-{index}"), &"v".repeat(50_000)).unwrap().id)
            .collect();
        harm(&instance.disk);
        let unavailable = CreateSecretError::Store(StoreFailure::Unavailable);
        let failed = (0..2_000).find_map(|index| instance.create(&format!("n-{index}"), "v").err());
        assert_eq!(failed, Some(unavailable.clone()));
        // By the next one the writer has ended.
        assert_eq!(instance.create("later", "v").unwrap_err(), unavailable);
        for id in ids {
            let read = instance.value(id, None);
            assert_eq!(read, Err(ReadError::Store(StoreFailure::Unavailable)));
        }
    }
}

#[test]
fn reads_that_fail_while_nothing_is_written_are_unavailable() {
    let mut instance = instance(160);
    let ids: Vec<_> = (0..700)
        .map(|index| instance.create(&format!("s-{index}"), &"v".repeat(60_000)).unwrap().id)
        .collect();
    instance.reopen();
    instance.disk.make_unreadable();
    let read: Vec<_> = ids.iter().map(|id| instance.value(*id, None)).collect();
    let unavailable = Err(ReadError::Store(StoreFailure::Unavailable));
    assert!(read.contains(&unavailable), "more than the engine's cache was read");
    assert!(read.iter().all(|read| read.is_ok() || *read == unavailable));
}

#[test]
fn a_start_on_a_disk_that_does_not_read_says_so() {
    let disk = raw(16);
    disk.make_unreadable();
    assert_eq!(refusal(&disk), "the disk could not be read: the disk does not read");
    let instance = instance(16);
    let Instance { disk, store, .. } = instance;
    drop(store);
    disk.make_unreadable();
    assert_eq!(refusal(&disk), "the disk could not be read: the disk does not read");
}

#[test]
fn one_engine_at_a_time_has_the_disk() {
    let disk = raw(16).opened();
    assert!(disk.take() && !disk.take());
    disk.give_back();
    assert!(disk.take());
}

#[test]
fn a_file_that_plays_a_disk_is_locked_and_not_made_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    std::fs::File::create(&path).unwrap().set_len(16 * MIB as u64).unwrap();
    let disk = Arc::new(RawDisk::open(&path).unwrap());
    assert!(matches!(RawDisk::open(&path), Err(DiskError::InUse)));
    assert!(matches!(RawDisk::open(Path::new("/dev/null")), Err(DiskError::Kind)));
    assert!(matches!(RawDisk::open(&folder.path().join("none")), Err(DiskError::Io(_))));
    assert_eq!(disk.look().unwrap(), None);
    disk.write_engine(14 * MIB as u64 - 1, b"x").unwrap();
    assert!(disk.write_engine(14 * MIB as u64, b"x").is_err());
    assert!(disk.write_engine(u64::MAX, b"x").is_err());
    assert_eq!(path.metadata().unwrap().len(), 16 * MIB as u64);
    drop(disk);
    RawDisk::open(&path).unwrap();
}

#[test]
fn what_is_kept_for_the_evidence_survives_every_cut() {
    let disk = raw(16);
    let opened = disk.opened();
    assert_eq!(opened.look().unwrap(), None);
    assert_eq!(opened.kept(Kept::Crl).unwrap(), None, "what lay there before is nothing");
    let values: Vec<Vec<u8>> = (1..5_u8).map(|n| vec![n; 9_000 * usize::from(n)]).collect();
    let mut begun = Vec::new();
    for value in &values {
        begun.push(disk.position());
        opened.keep(Kept::Crl, value).unwrap();
    }
    assert!(opened.keep(Kept::Crl, &vec![0; 65_537]).is_err());
    assert_eq!(opened.kept(Kept::Crl).unwrap().as_ref(), values.last());
    assert_eq!(opened.kept(Kept::Chain).unwrap(), None);
    assert!(matches!(opened.look(), Ok(None)), "the disk is still unclaimed");
    for (position, event) in disk.log().iter().enumerate() {
        // The write at hand is torn: the value before it is there.
        for sectors in [0, 1, 5] {
            let mut image = raw_bytes(16 * MIB);
            disk.log()[..position]
                .iter()
                .for_each(|event| event.apply(&mut image, super::disk::Fate::Kept));
            event.apply(&mut image, super::disk::Fate::Torn(sectors));
            let cut = Disk::raw(image).opened();
            cut.look().unwrap();
            let complete = begun.iter().filter(|begun| **begun < position).count();
            let kept = cut.kept(Kept::Crl).unwrap();
            assert_eq!(kept.as_ref(), complete.checked_sub(1).and_then(|last| values.get(last)));
        }
    }
}

#[test]
fn the_disks_errors_are_its_own() {
    let error = raw(16).opened().read_engine(u64::MAX, &mut [0]).unwrap_err();
    assert_eq!(error.to_string(), "the disk ends at 16777216 bytes");
    let small = Disk::raw(vec![0; 100]).opened();
    assert!(matches!(small.look(), Err(LookError::TooSmall { bytes: 100 })));
}
