//! The initial file system: a cpio archive in the kernel's `newc` form, the same bytes from the same
//! files. Everything belongs to root, has no time, and stands in the order of its path.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::GzBuilder;

use crate::error::ImageError;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive in the making.
#[derive(Clone, Debug, Default)]
pub struct Initrd {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    bytes: Vec<u8>,
}

impl Initrd {
    /// Adds a folder and those above it; those that are there stay.
    ///
    /// # Errors
    /// The path is not plain, or a file is there.
    pub fn folder(&mut self, path: &str) -> Result<(), ImageError> {
        check(path)?;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let (above, _) = path.split_at(end);
            let folder = Entry { mode: FOLDER, bytes: Vec::new() };
            if self.entries.entry(above.to_owned()).or_insert(folder).mode != FOLDER {
                return Err(ImageError::InitrdPath(path.to_owned()));
            }
        }
        Ok(())
    }

    /// Adds a file that anyone may read, with the folders above it.
    ///
    /// # Errors
    /// The path is not plain, or something is there.
    pub fn file(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.add(path, FILE, bytes)
    }

    /// Adds a program that anyone may run, with the folders above it.
    ///
    /// # Errors
    /// The path is not plain, or something is there.
    pub fn program(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), ImageError> {
        self.add(path, PROGRAM, bytes)
    }

    fn add(&mut self, path: &str, mode: u32, bytes: Vec<u8>) -> Result<(), ImageError> {
        check(path)?;
        if let Some((above, _)) = path.rsplit_once('/') {
            self.folder(above)?;
        }
        match self.entries.insert(path.to_owned(), Entry { mode, bytes }) {
            None => Ok(()),
            Some(_) => Err(ImageError::InitrdPath(path.to_owned())),
        }
    }

    /// The archive, uncompressed. A path sorts after the folder that it is in.
    pub fn to_cpio(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, Entry { mode, bytes })) in (1..).zip(&self.entries) {
            entry(&mut out, number, *mode, path, bytes);
        }
        entry(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }

    /// The archive in gzip, in whole words, so that another can follow it.
    pub fn to_gzip(&self) -> Vec<u8> {
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(255) // Unknown.
            .write(Vec::new(), Compression::best());
        gzip.write_all(&self.to_cpio()).expect("a vector takes everything");
        let mut out = gzip.finish().expect("a vector takes everything");
        pad(&mut out);
        out
    }
}

/// Relative, and of names that mean themselves.
fn check(path: &str) -> Result<(), ImageError> {
    let plain = |name: &str| {
        !matches!(name, "" | "." | "..")
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    match path.split('/').all(plain) {
        true => Ok(()),
        false => Err(ImageError::InitrdPath(path.to_owned())),
    }
}

/// The kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
fn entry(out: &mut Vec<u8>, number: u32, mode: u32, path: &str, bytes: &[u8]) {
    let links = if mode == FOLDER { 2 } else { 1 };
    let length = |length: usize| u32::try_from(length).expect("an initrd is far below 4 GiB");
    out.extend(b"070701");
    for field in [
        number,
        mode,
        0, // User.
        0, // Group.
        links,
        0, // Time.
        length(bytes.len()),
        0, // Device, major.
        0, // Device, minor.
        0, // Device that it is, major.
        0, // Device that it is, minor.
        length(path.len() + 1),
        0, // Checksum: not in this form.
    ] {
        out.extend(format!("{field:08x}").bytes());
    }
    out.extend(path.bytes());
    out.push(0);
    pad(out);
    out.extend(bytes);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_does_not_depend_on_the_order_of_its_making() {
        let mut one = Initrd::default();
        one.program("bin/b", b"2".to_vec()).unwrap();
        one.file("a", b"1".to_vec()).unwrap();
        one.folder("proc").unwrap();
        let mut other = Initrd::default();
        other.folder("proc").unwrap();
        other.folder("bin").unwrap();
        other.file("a", b"1".to_vec()).unwrap();
        other.program("bin/b", b"2".to_vec()).unwrap();
        assert_eq!(one.to_cpio(), other.to_cpio());
        assert_eq!(one.to_gzip(), other.to_gzip());
        assert_eq!(one.to_gzip().len() % 4, 0);
    }

    #[test]
    fn what_is_there_or_leads_elsewhere_is_refused() {
        let mut initrd = Initrd::default();
        initrd.file("bin/a", Vec::new()).unwrap();
        for path in ["bin/a", "bin", "/init", "a//b", "a/../b", ".", "", "bin/a/b", "a b"] {
            let refused = initrd.file(path, Vec::new());
            assert!(
                matches!(&refused, Err(ImageError::InitrdPath(got)) if path.starts_with(got.as_str())),
                "{path}: {refused:?}"
            );
        }
    }
}
