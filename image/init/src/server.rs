//! The server: its own user, no rights of root, the open device, and nothing of this process's.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, chown};

use crate::files::read_bounded;
use crate::limits::HOST_CERTIFICATES_BYTES;

/// The server's user and group: nobody else's.
pub const SERVER_ID: u32 = 700;
/// Where it listens: IPv4 too.
const LISTEN: &str = "[::]:8443";
const PROGRAM: &str = "/bin/neo-secretsd";
const DEVICE: &str = "/dev/sev-guest";
const RUN: &str = "/run/neo-secrets";
const TSM: &str = "/sys/kernel/config/tsm/report/neo-secrets";

/// All that it takes to start the server, again and again.
pub struct Server {
    config: PathBuf,
    data: PathBuf,
    device: OwnedFd,
    certificates: Option<PathBuf>,
}

impl Server {
    /// Keeps the configuration's bytes where the server reads them, gives it the data disk, and opens
    /// the secure processor.
    ///
    /// # Errors
    /// As the system says.
    pub fn prepare(config: &[u8], data: &str) -> io::Result<Self> {
        std::fs::create_dir_all(RUN)?;
        let path = Path::new(RUN).join("config.toml");
        std::fs::write(&path, config)?;
        let data = Path::new("/dev").join(data);
        let (user, group) = (Uid::from_raw(SERVER_ID), Gid::from_raw(SERVER_ID));
        chown(&data, Some(user), Some(group))?;
        let device = open(DEVICE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Server { config: path, data, device, certificates: None })
    }

    /// Takes what the host has of certificates, where it has any: once, before the server runs, by
    /// one report of the kernel's.
    pub fn take_host_certificates(&mut self) -> io::Result<()> {
        std::fs::create_dir(TSM)?;
        let taken = auxiliary_blob(Path::new(TSM));
        // Whatever came of it: nobody finds the folder later.
        std::fs::remove_dir(TSM)?;
        let path = Path::new(RUN).join("host-certificates");
        let blob = taken?;
        if !blob.is_empty() {
            std::fs::write(&path, blob)?;
            self.certificates = Some(path);
        }
        Ok(())
    }

    /// Starts it.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(&self) -> io::Result<Child> {
        // The one descriptor that the program inherits beside its three streams.
        fcntl(&self.device, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let mut command = Command::new(PROGRAM);
        command.arg("--config").arg(&self.config).arg("--data").arg(&self.data);
        command.args(["--listen", LISTEN]);
        command.arg("--sev-guest-fd").arg(self.device.as_raw_fd().to_string());
        if let Some(path) = &self.certificates {
            command.arg("--host-certificates").arg(path);
        }
        // Another user than root, so that no right of root's is left; std leaves no group either.
        command.uid(SERVER_ID).gid(SERVER_ID).env_clear().current_dir("/");
        command.stdin(Stdio::null()).spawn()
    }
}

fn auxiliary_blob(folder: &Path) -> io::Result<Vec<u8>> {
    std::fs::write(folder.join("inblob"), [0; 64])?;
    File::open(folder.join("outblob")).and_then(|mut file| io::copy(&mut file, &mut io::sink()))?;
    read_bounded(&folder.join("auxblob"), HOST_CERTIFICATES_BYTES)
}
