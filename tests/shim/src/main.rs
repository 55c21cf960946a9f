//! The first process of a virtual machine of the tests, and of no other: makes a SIMULATED
//! `/dev/sev-guest` whose requests go to the simulator on the host, and becomes the image's own first
//! process. It lies in an archive that only the harness puts behind the image's initrd.
#![forbid(unsafe_code)]

mod cuse;

use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The image's `/init`, which this program stands in place of.
const IMAGES_INIT: &str = "/init.image";
const MODULE: &str = "/cuse.ko.xz";
/// `MODULE_INIT_COMPRESSED_FILE`.
const COMPRESSED: u32 = 4;
/// The serial port to the host shows up some time after its driver.
const PORT_PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let serves = std::env::args_os().nth(1).is_some_and(|word| word == "--serve");
    let outcome = if serves { cuse::serve() } else { start().map(|never| match never {}) };
    if let Err(error) = outcome {
        eprintln!("neo-secrets-vm-shim: {error}");
    }
    // As PID 1: the kernel panics, and the machine ends.
    ExitCode::FAILURE
}

fn start() -> io::Result<Infallible> {
    mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), MsFlags::empty(), Some("mode=755"))?;
    let no_parameters: &CStr = c"";
    let how = ModuleInitFlags::from_bits_retain(COMPRESSED);
    finit_module(File::open(MODULE)?, no_parameters, how)?;
    let open = |path: &Path| OpenOptions::new().read(true).write(true).open(path);
    let (device, port) = (open(Path::new("/dev/cuse"))?, open(&port()?)?);
    // Another process answers, and lives as long as the machine. It says when there is a device.
    let mut command = Command::new("/init");
    command.arg("--serve").stdin(device).stdout(port).stderr(Stdio::piped());
    let mut server = command.spawn()?;
    let mut said = server.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut word = [0; 6];
    said.read_exact(&mut word)?;
    if word != *cuse::READY {
        let mut rest = String::new();
        said.read_to_string(&mut rest)?;
        return Err(io::Error::other(rest));
    }
    // The image's own init mounts it as it does everywhere; what is in it stays.
    umount2("/dev", MntFlags::MNT_DETACH)?;
    Err(Command::new(IMAGES_INIT).exec())
}

/// The only port there is.
fn port() -> io::Result<PathBuf> {
    let began = Instant::now();
    while began.elapsed() < PORT_PATIENCE {
        for entry in std::fs::read_dir("/dev")? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("vport") {
                return Ok(entry.path());
            }
        }
        sleep(PAUSE);
    }
    Err(io::Error::other("no serial port to the host"))
}
