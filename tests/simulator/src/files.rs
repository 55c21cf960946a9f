//! Small private files: mode 0600 in folders of mode 0700, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// No file of a chip or of a client is longer; a bound on what a wrong path makes us read.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// A file or folder that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { path: path.to_owned(), source }
}

/// Creates the folder and its missing parents, for the owner only.
///
/// # Errors
/// The operating system's.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))
}

/// Reads a whole file of at most 256 KiB.
///
/// # Errors
/// The operating system's, or that the file is longer.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(at(path))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(at(path))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(at(path)(io::Error::other("the file is longer than 256 KiB")));
    }
    Ok(bytes)
}

/// Writes the file under another name, syncs it and renames it into place.
///
/// # Errors
/// The operating system's.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let put = || -> io::Result<()> {
        remove_if_there(&partial)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        sync_folder_of(path)
    };
    put().map_err(at(path))
}

/// Renames, and syncs the folder of the new name.
///
/// # Errors
/// The operating system's.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).and_then(|()| sync_folder_of(to)).map_err(at(to))
}

/// Removes a file; one that isn't there is no error.
///
/// # Errors
/// The operating system's.
pub fn remove(path: &Path) -> Result<(), FileError> {
    remove_if_there(path).map_err(at(path))
}

/// Removes a folder with all that is in it; one that isn't there is no error.
///
/// # Errors
/// The operating system's.
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
