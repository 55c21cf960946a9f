//! Files, hashes and programs, with errors that name them.

use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::error::ImageError;

/// Reads a whole file.
///
/// # Errors
/// With the file's name.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, ImageError> {
    std::fs::read(&path).map_err(|source| at(path, source))
}

/// Reads a whole file as text.
///
/// # Errors
/// With the file's name.
pub fn read_text(path: impl AsRef<Path>) -> Result<String, ImageError> {
    std::fs::read_to_string(&path).map_err(|source| at(path, source))
}

/// Writes a whole file.
///
/// # Errors
/// With the file's name.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), ImageError> {
    std::fs::write(&path, bytes).map_err(|source| at(path, source))
}

/// Makes a folder and those above it.
///
/// # Errors
/// With the folder's name.
pub fn make_folder(path: impl AsRef<Path>) -> Result<(), ImageError> {
    std::fs::create_dir_all(&path).map_err(|source| at(path, source))
}

/// Removes a folder with all that is in it, if it is there.
///
/// # Errors
/// With the folder's name.
pub fn remove_folder(path: impl AsRef<Path>) -> Result<(), ImageError> {
    match std::fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(at(path, source)),
        _ => Ok(()),
    }
}

/// An error at this path.
pub fn at(path: impl AsRef<Path>, source: std::io::Error) -> ImageError {
    ImageError::File { path: path.as_ref().to_owned(), source }
}

/// Every file below this folder, sorted. Links are not followed.
///
/// # Errors
/// With the name of the folder that can't be read.
pub fn below(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, ImageError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.as_ref().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|source| at(&folder, source))? {
            let entry = entry.map_err(|source| at(&folder, source))?;
            match entry.file_type().map_err(|source| at(entry.path(), source))? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Runs a program to its end and gives its standard output.
///
/// # Errors
/// It does not start, or fails: with the last lines of its standard error.
pub fn run(command: &mut Command) -> Result<Vec<u8>, ImageError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command
        .output()
        .map_err(|source| ImageError::Start { program: program.clone(), source })?;
    if out.status.success() {
        return Ok(out.stdout);
    }
    let text = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<_> = text.trim().lines().collect();
    let message = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n");
    Err(ImageError::Failed { program, status: out.status, message })
}

/// Runs a program and gives its standard output as text.
///
/// # Errors
/// Those of [`run`].
pub fn run_text(command: &mut Command) -> Result<String, ImageError> {
    Ok(String::from_utf8_lossy(&run(command)?).into_owned())
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}
