//! Small files: reading those whose size the host decides, and replacing one whole.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
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

/// Replaces a file, or makes it and its folder: whatever happens meanwhile, the old one or the new
/// one is there, whole. One caller at a time.
///
/// # Errors
/// As the system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if !folder.exists() {
        std::fs::create_dir(folder)?;
        sync_folder(folder.parent().unwrap_or(folder))?;
    }
    let mut unfinished = name.to_owned();
    unfinished.push(".new");
    let unfinished = folder.join(unfinished);
    // What a killed server left under this name is cut off here.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept/file");
        replace(&path, b"first").unwrap();
        std::fs::write(folder.path().join("kept/file.new"), b"left by a killed server").unwrap();
        replace(&path, b"2nd").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2nd");
        let names = std::fs::read_dir(folder.path().join("kept")).unwrap();
        assert_eq!(names.count(), 1);
        let file_in_the_way = path.join("below");
        assert!(replace(&file_in_the_way, b"x").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"2nd");
    }

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
