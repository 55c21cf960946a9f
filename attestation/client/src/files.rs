//! Files on the user's machine: bounded reads, atomic writes with mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::secret::read_wiped;

/// What could not be done with a file. It names the path and what was tried, never the content.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The file is longer than anything that belongs there.
    #[error("cannot read {}: expected at most {bytes_max} bytes, got more", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: usize,
    },
    /// A file that must be new exists.
    #[error("{} exists and is not overwritten: name another file, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { verb, path, source }
}

/// The whole of a file, at most `bytes_max` bytes, in memory that is wiped when dropped.
pub fn read_bounded(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = File::open(path).map_err(failed("read", path))?;
    let bytes = read_wiped(file, bytes_max).map_err(failed("read", path))?;
    if bytes.len() > bytes_max {
        return Err(FileError::TooLarge { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

/// The permission bits, where group or others may read or write the file.
pub fn mode_open_to_others(path: &Path) -> Option<u32> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o066 != 0).then_some(mode)
}

/// Makes a folder and its parents, mode 0700, where they are absent.
pub fn make_private_folder(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// Replaces `path` by a file with `bytes` and mode 0600: whole or not at all, on disk when this
/// returns.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, RenameFlags::empty())
}

/// As `replace`, but never over an existing file.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, RenameFlags::NOREPLACE)
}

/// Fails where `create` would: `path` exists, or its folder takes no file.
pub fn check_can_create(path: &Path) -> Result<(), FileError> {
    if path.symlink_metadata().is_ok() {
        return Err(FileError::Exists { path: path.to_owned() });
    }
    check_can_replace(path)
}

/// Fails where `replace` would, because the folder takes no file.
pub fn check_can_replace(path: &Path) -> Result<(), FileError> {
    let temporary = temporary_beside(path)?;
    open_new(&temporary).map_err(failed("write", path))?;
    fs::remove_file(&temporary).map_err(failed("write", path))
}

/// Moves an existing file to a free name beside it (`NAME.old-1`, `-2`, ...), so that nothing is
/// lost.
/// `None` where there was none.
pub fn set_aside(path: &Path) -> Result<Option<PathBuf>, FileError> {
    for number in 1..u32::MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".old-{number}"));
        let aside = PathBuf::from(name);
        match renameat_with(CWD, path, CWD, &aside, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Some(aside)),
            Err(rustix::io::Errno::EXIST) => {}
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("move", path)(error.into())),
        }
    }
    Err(FileError::Exists { path: path.to_owned() })
}

fn put(path: &Path, bytes: &[u8], flags: RenameFlags) -> Result<(), FileError> {
    let temporary = temporary_beside(path)?;
    let written = open_new(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| {
            renameat_with(CWD, &temporary, CWD, path, flags)?;
            File::open(folder_of(path))?.sync_all()
        });
    written.map_err(|error| {
        // The file is not needed any more; where it cannot be removed there is nothing else to do.
        let _ = fs::remove_file(&temporary);
        if error.kind() == io::ErrorKind::AlreadyExists {
            FileError::Exists { path: path.to_owned() }
        } else {
            failed("write", path)(error)
        }
    })
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path) -> Result<PathBuf, FileError> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "this is not a file's name");
    let name = path.file_name().ok_or_else(no_name).map_err(failed("write", path))?;
    let random = getrandom::u64()
        .map_err(|_| io::Error::other("the system gives no random bytes"))
        .map_err(failed("write", path))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{random:016x}"));
    Ok(folder_of(path).join(temporary))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder of its own that is removed with the value.
    pub(crate) struct Folder(pub(crate) PathBuf);

    impl Folder {
        pub(crate) fn new() -> Self {
            let name = format!("neo-secrets-{:016x}", getrandom::u64().unwrap());
            let path = std::env::temp_dir().join(name);
            make_private_folder(&path).unwrap();
            Self(path)
        }

        pub(crate) fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_replaced_whole_with_mode_0600_and_nothing_is_left_beside_them() {
        let folder = Folder::new();
        let path = folder.join("key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(mode_open_to_others(&path), Some(0o644));
        replace(&path, b"new\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new\n");
        assert_eq!(mode_open_to_others(&path), None);
        assert_eq!(folder.names(), ["key"]);
    }

    #[test]
    fn an_existing_file_is_never_overwritten_by_create() {
        let folder = Folder::new();
        let path = folder.join("key");
        check_can_create(&path).unwrap();
        create(&path, b"first").unwrap();
        assert!(matches!(check_can_create(&path), Err(FileError::Exists { .. })));
        assert!(matches!(create(&path, b"second"), Err(FileError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(folder.names(), ["key"]);
    }

    #[test]
    fn a_file_set_aside_keeps_its_content_under_a_free_name() {
        let folder = Folder::new();
        let path = folder.join("key");
        assert_eq!(set_aside(&path).unwrap(), None);
        for content in ["one", "two"] {
            create(&path, content.as_bytes()).unwrap();
            let aside = set_aside(&path).unwrap().unwrap();
            assert_eq!(fs::read(aside).unwrap(), content.as_bytes());
        }
        assert_eq!(folder.names(), ["key.old-1", "key.old-2"]);
    }

    #[test]
    fn reads_are_bounded_and_errors_name_the_path() {
        let folder = Folder::new();
        let path = folder.join("key");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap().as_slice(), b"12345");
        let error = read_bounded(&path, 4).unwrap_err();
        assert!(matches!(error, FileError::TooLarge { bytes_max: 4, .. }));
        assert!(!error.to_string().contains("12345"));
        let absent = folder.join("absent");
        let error = read_bounded(&absent, 4).unwrap_err().to_string();
        assert!(error.contains("absent") && error.contains("No such file"), "{error}");
    }
}
