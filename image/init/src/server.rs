//! The server and the worker launcher: each has a user of its own, no rights of root, its end of one
//! socket pair, and nothing of this process's; the server has the open device too.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, chown};

use crate::files::read_bounded;
use crate::limits::HOST_CERTIFICATES_BYTES;

/// The server's user and group: nobody else's.
pub const SERVER_ID: u32 = 700;
/// The user and group of the launcher and its workers: nobody else's.
pub const LAUNCHER_ID: u32 = 701;
/// Where it listens: IPv4 too.
const LISTEN: &str = "[::]:8443";
const PROGRAM: &str = "/bin/neo-secretsd";
const WORKER_PROGRAM: &str = "/bin/neo-secrets-worker";
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

    /// Starts the launcher, and then the server.
    ///
    /// # Errors
    /// As the system says; nothing is left running.
    pub fn start(&self) -> io::Result<Running> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let mut command = as_user(WORKER_PROGRAM, LAUNCHER_ID);
        // With its workers it is a group of its own, which ends as a whole.
        command.arg("--launcher").process_group(0).stdin(theirs);
        let launcher = Group(command.spawn()?);
        let server = self.start_server(&ours)?;
        Ok(Running { server, launcher })
    }

    fn start_server(&self, launcher: &OwnedFd) -> io::Result<Child> {
        let mut command = as_user(PROGRAM, SERVER_ID);
        command.arg("--config").arg(&self.config).arg("--data").arg(&self.data);
        command.args(["--listen", LISTEN]);
        command.arg("--sev-guest-fd").arg(self.device.as_raw_fd().to_string());
        command.arg("--worker-launcher-fd").arg(launcher.as_raw_fd().to_string());
        if let Some(path) = &self.certificates {
            command.arg("--host-certificates").arg(path);
        }
        command.stdin(Stdio::null());
        // The two descriptors that the program inherits beside its three streams, and no other does.
        for inherited in [&self.device, launcher] {
            fcntl(inherited, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let child = command.spawn();
        fcntl(&self.device, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        child
    }
}

/// Another user than root, so that no right of root's is left; std leaves no group either.
fn as_user(program: &str, id: u32) -> Command {
    let mut command = Command::new(program);
    command.uid(id).gid(id).env_clear().current_dir("/");
    command
}

/// What [`Server::start`] started. Dropped, the launcher and its workers are killed.
pub struct Running {
    /// The server.
    pub server: Child,
    launcher: Group,
}

impl Running {
    /// The launcher.
    pub fn launcher(&self) -> &Child {
        &self.launcher.0
    }
}

/// The leader of a process group, which goes as a whole when this is dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            // The group's number is nobody else's while one of it is there, and there is no other
            // group of it after.
            let _gone = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

fn auxiliary_blob(folder: &Path) -> io::Result<Vec<u8>> {
    std::fs::write(folder.join("inblob"), [0; 64])?;
    File::open(folder.join("outblob")).and_then(|mut file| io::copy(&mut file, &mut io::sink()))?;
    read_bounded(&folder.join("auxblob"), HOST_CERTIFICATES_BYTES)
}
