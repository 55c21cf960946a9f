//! Reading small files whose size the host decides.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// As the system says.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Larger than this kind of file may be.
    #[error("the file has more than {bytes_max} bytes")]
    TooLong {
        /// The limit.
        bytes_max: u64,
    },
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// [`ReadError`], without having read more than one byte beyond the limit.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= bytes_max => Ok(bytes),
        _ => Err(ReadError::TooLong { bytes_max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"1234").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), b"1234");
        assert!(matches!(read_bounded(&path, 3), Err(ReadError::TooLong { bytes_max: 3 })));
        assert!(matches!(read_bounded(Path::new("/dev/zero"), 3), Err(ReadError::TooLong { .. })));
        assert!(matches!(read_bounded(&folder.path().join("none"), 3), Err(ReadError::Io(_))));
    }
}
