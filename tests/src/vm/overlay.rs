//! The archive that only the harness puts behind the image's initrd.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use neo_secrets_image::error::ImageError;
use neo_secrets_image::initrd::Initrd;

/// What the shim takes from it: `tests/shim/src/main.rs`.
pub fn overlay(shim: Vec<u8>, images_init: Vec<u8>, cuse: Vec<u8>) -> Result<Vec<u8>, ImageError> {
    let mut overlay = Initrd::default();
    overlay.program("init", shim)?;
    overlay.program("init.image", images_init)?;
    overlay.file("cuse.ko.xz", cuse)?;
    Ok(overlay.to_cpio())
}

/// A file of an initrd of one archive.
pub fn file_of(initrd: &[u8], wanted: &str) -> io::Result<Option<Vec<u8>>> {
    let mut archive = GzDecoder::new(initrd);
    loop {
        let mut header = [0; 110];
        archive.read_exact(&mut header)?;
        let text = str::from_utf8(&header).map_err(io::Error::other)?;
        let field = |index: usize| {
            let digits =
                text.get(6 + 8 * index..14 + 8 * index).ok_or(io::ErrorKind::InvalidData)?;
            usize::from_str_radix(digits, 16).map_err(io::Error::other)
        };
        let (name_bytes, bytes) = (field(11)?, field(6)?);
        // Header and name together, and the file, are whole words.
        let mut name = vec![0; (110 + name_bytes).next_multiple_of(4) - 110];
        archive.read_exact(&mut name)?;
        let mut file = vec![0; bytes.next_multiple_of(4)];
        archive.read_exact(&mut file)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name == wanted.as_bytes() {
            file.truncate(bytes);
            return Ok(Some(file));
        }
        if name == b"TRAILER!!!" {
            return Ok(None);
        }
    }
}
