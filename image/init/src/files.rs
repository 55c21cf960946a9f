//! Reading files whose size somebody else decides.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A whole file of at most so many bytes.
///
/// # Errors
/// As the system says, or `FileTooLarge`.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= bytes_max => Ok(bytes),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}
