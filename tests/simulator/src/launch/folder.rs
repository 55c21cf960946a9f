//! The data folder: what lies where in it, and what must be there before the server starts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use data_encoding::BASE64;
use neo_secrets_attestation::config::{AttestedConfig, Reveal};
use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::client_files::{ClientFilesError, write_client_files};
use crate::files::{self, FileError};
use crate::{Chip, ChipError, Product};

/// An instance that is ending is gone after this.
const LOCK_PATIENCE: Duration = Duration::from_secs(6);

/// The server's certificate before /readyz has answered over it.
pub const UNPROVEN_CERTIFICATE: &str = "server.pem.unproven";

/// Why the data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock could not be taken for another reason than another instance.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another instance has it.
    #[error("{} is in use by another scripts/run: end that one first, or choose another --data", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The simulated chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// The client's files.
    #[error(transparent)]
    ClientFiles(#[from] ClientFilesError),
    /// The owner's key pair.
    #[error("{}: not an Ed25519 private key: {source}", path.display())]
    OwnerKey {
        /// Its file.
        path: PathBuf,
        /// OpenSSL's reason.
        source: ErrorStack,
    },
}

/// The data folder, which this process alone uses as long as it holds the value.
pub struct Folder {
    path: PathBuf,
    /// Children inherit the lock: as long as a server of ours lives, the folder is taken.
    _lock: File,
}

impl Folder {
    /// Creates the folder where it is missing (for its owner only) and takes it for this process.
    ///
    /// # Errors
    /// `File`, `InUse`.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        files::create_folder(path)?;
        let path =
            path.canonicalize().map_err(|source| FileError { path: path.to_owned(), source })?;
        let lock = lock(&path)?;
        files::create_folder(&path.join("client"))?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder itself, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// The simulated chip's folder.
    pub fn chip(&self) -> PathBuf {
        self.path.join("chip")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// The folder of all that clients need.
    pub fn client_folder(&self) -> PathBuf {
        self.path.join("client")
    }

    /// A file in it.
    pub fn client(&self, name: &str) -> PathBuf {
        self.client_folder().join(name)
    }

    /// Takes away `server.pem` of an earlier start, and makes what is missing: the owner's key
    /// pair, the configuration that names it, the chip; then writes the client's files. With
    /// `reveal`, the configuration says from here on that values may leave. Gives back what it says.
    ///
    /// # Errors
    /// What is broken, by name.
    pub fn prepare(&self, now: OffsetDateTime, reveal: bool) -> Result<Reveal, FolderError> {
        files::remove(&self.client("server.pem"))?;
        files::remove(&self.client(UNPROVEN_CERTIFICATE))?;
        if !self.config().exists() {
            let owner = self.owner_public_key()?;
            files::write(&self.config(), configuration(&owner).as_bytes())?;
        }
        if reveal {
            files::write(&self.config(), &revealing(&files::read(&self.config())?))?;
        }
        if !self.chip().exists() {
            Chip::create(&self.chip(), Product::Genoa, now)?;
        }
        let chip = Chip::open(&self.chip(), now)?;
        let config = files::read(&self.config())?;
        write_client_files(&self.client_folder(), &chip, &config, now)?;
        Ok(AttestedConfig::parse(&config).map_err(ClientFilesError::from)?.reveal)
    }

    /// The owner's public key, 32 bytes; its pair is made where there is none.
    fn owner_public_key(&self) -> Result<Vec<u8>, FolderError> {
        let path = self.client("owner.pem");
        let broken = |source| FolderError::OwnerKey { path: path.clone(), source };
        if !path.exists() {
            let pair = PKey::generate_ed25519().map_err(broken)?;
            let pem = Zeroizing::new(pair.private_key_to_pem_pkcs8().map_err(broken)?);
            files::write(&path, &pem)?;
        }
        let pem = Zeroizing::new(files::read(&path)?);
        // The empty answer to OpenSSL's question for a passphrase: nothing prompts.
        let pair = PKey::private_key_from_pem_callback(&pem, |_| Ok(0)).map_err(broken)?;
        match pair.id() {
            Id::ED25519 => pair.raw_public_key().map_err(broken),
            _ => Err(broken(ErrorStack::get())),
        }
    }
}

/// Nobody but the owner can claim the instance, however early they come.
fn configuration(owner_public_key: &[u8]) -> String {
    format!(
        "# Neo Secrets. These exact bytes stand in the evidence, and client/policy.json asks for these five fields.\n\
         seal = \"firmware\"\n\
         reveal = \"off\"\n\
         witnesses = []\n\
         quorum = 0\n\
         owner_key = \"{}\"\n",
        BASE64.encode(owner_public_key)
    )
}

/// The configuration with its `reveal` set to by-permission; all other bytes stay as they are.
fn revealing(config: &[u8]) -> Vec<u8> {
    let sets_reveal = |line: &&[u8]| {
        let key = line.split(|byte| *byte == b'=').next().unwrap_or_default();
        key.trim_ascii() == b"reveal"
    };
    let lines = config.split_inclusive(|byte| *byte == b'\n');
    let lines = lines.map(|line| match sets_reveal(&line) {
        true => &b"reveal = \"by-permission\"\n"[..],
        false => line,
    });
    lines.collect::<Vec<_>>().concat()
}

/// Takes the folder's lock; an instance that is just ending is waited for.
fn lock(folder: &Path) -> Result<File, FolderError> {
    let path = folder.join("run.lock");
    let failed = |source| FolderError::Lock { path: path.clone(), source };
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
    let file = file.map_err(failed)?;
    fcntl_setfd(&file, FdFlags::empty()).map_err(|error| failed(error.into()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(error) => return Err(failed(error.into())),
    }
    eprintln!("{} is in use; waiting a moment in case it is just being left", folder.display());
    let (sender, receiver) = mpsc::channel();
    // The thread may outlive the patience; it ends with the process.
    std::thread::spawn(move || {
        let locked = flock(&file, FlockOperation::LockExclusive).map(|()| file);
        let _nobody_waits = sender.send(locked);
    });
    match receiver.recv_timeout(LOCK_PATIENCE) {
        Ok(locked) => locked.map_err(|error| failed(error.into())),
        Err(_) => Err(FolderError::InUse { path: folder.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn preparing_makes_what_is_missing_and_keeps_what_is_there() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::take(&parent.path().join("a/b")).unwrap();
        testing::chip(Product::Genoa, NOW).store(&folder.chip(), NOW).unwrap();
        std::fs::write(folder.client("server.pem"), "old").unwrap();
        assert_eq!(folder.prepare(NOW, false).unwrap(), Reveal::Off);
        assert_eq!(names(folder.path()), ["chip", "client", "config.toml", "run.lock"]);
        let client = ["owner.pem", "policy.json", "reference.json", "simulated-root.der"];
        assert_eq!(names(&folder.path().join("client")), client);
        let kept = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let files = ["config.toml", "client/owner.pem", "client/simulated-root.der"];
        let before = files.map(kept);
        folder.prepare(NOW + time::Duration::days(1), false).unwrap();
        assert_eq!(files.map(kept), before);
        // Asked for once, reveal stays on, and nothing else of the configuration changes.
        for reveal in [true, true, false] {
            assert_eq!(folder.prepare(NOW, reveal).unwrap(), Reveal::ByPermission);
        }
        let off = String::from_utf8(before[0].clone()).unwrap();
        let on = String::from_utf8(kept("config.toml")).unwrap();
        assert_eq!(on, off.replace("reveal = \"off\"", "reveal = \"by-permission\""));
        assert!(String::from_utf8(kept("client/policy.json")).unwrap().contains("by-permission"));
    }

    #[test]
    fn only_the_line_of_reveal_is_changed() {
        let config = b"# reveal = \"off\"\nx = 'reveal'\n  reveal=\"off\" # why\r\nquorum = 0";
        let expected = b"# reveal = \"off\"\nx = 'reveal'\nreveal = \"by-permission\"\nquorum = 0";
        assert_eq!(revealing(config), expected);
        assert_eq!(revealing(expected), expected);
    }

    #[test]
    fn the_configuration_names_the_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = Folder::take(parent.path()).unwrap();
        let owner = folder.owner_public_key().unwrap();
        assert_eq!(folder.owner_public_key().unwrap(), owner);
        let config = configuration(&owner);
        let parsed =
            neo_secrets_attestation::config::AttestedConfig::parse(config.as_bytes()).unwrap();
        assert_eq!(parsed.owner_key.to_string(), BASE64.encode(&owner));
        std::fs::write(folder.client("owner.pem"), "no key").unwrap();
        assert!(matches!(folder.owner_public_key(), Err(FolderError::OwnerKey { .. })));
    }
}
