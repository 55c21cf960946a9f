//! A SIMULATED `/dev/sev-guest` for the production server: a FUSE file system rooted at one file,
//! whose ioctls go to the simulator. Linux copies the 32 bytes of a request's struct; the buffers that
//! it points at are in the caller's memory, and are read and written there.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use neo_secrets_server::platform::{
    KEY_REQUEST_BYTES, KEY_RESPONSE_BYTES, Platform, PlatformError, REPORT_RESPONSE_BYTES,
};
use nix::mount::{MsFlags, mount as mount_file_system};
use nix::sched::{CloneFlags, unshare};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// The file system's ends.
pub struct Mounted {
    /// Where the kernel asks.
    pub channel: OwnedFd,
    /// The device's path, where it does not stand in `/dev`.
    pub file: Option<PathBuf>,
}

/// A file with a line for each request.
pub struct Asked(Mutex<File>);

impl Asked {
    /// Appends to this file.
    pub fn new(path: &Path) -> io::Result<Self> {
        Ok(Self(Mutex::new(OpenOptions::new().append(true).create(true).open(path)?)))
    }

    fn note(&self, what: &str) -> io::Result<()> {
        writeln!(self.0.lock().unwrap(), "{what}")
    }
}

/// Why this machine can have no such device, where it can't.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    fuse.is_err().then_some("no /dev/fuse")
}

/// Puts this process into a mount namespace of its own, in which the device is: in `/dev`, or else
/// in a folder that nobody else sees.
pub fn mount(outside_dev: bool) -> io::Result<Mounted> {
    let channel = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount_file_system(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let place = Path::new("/mnt");
    mount_file_system(Some("dev"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
    for name in ["null", "zero", "full", "random", "urandom"] {
        let (from, to) = (Path::new("/dev").join(name), place.join(name));
        File::create(&to)?;
        mount_file_system(Some(&from), &to, none, MsFlags::MS_BIND, none)?;
    }
    let file = place.join("sev-guest");
    File::create(&file)?;
    let fd = channel.as_fd().as_raw_fd();
    let options = format!("fd={fd},rootmode=100600,user_id=0,group_id=0,allow_other");
    mount_file_system(Some("sev-guest"), &file, Some("fuse"), MsFlags::empty(), Some(&*options))?;
    let file = match outside_dev {
        true => Some(file),
        false => {
            mount_file_system(Some(place), "/dev", none, MsFlags::MS_MOVE, none)?;
            None
        }
    };
    Ok(Mounted { channel: channel.into(), file })
}

/// Opens the device for another program.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty())?;
    Ok(file)
}

/// Its number.
pub fn number(file: &File) -> String {
    file.as_raw_fd().to_string()
}

/// The kernel's requests have a head of 40 bytes: length, operation, number, node, user, group,
/// thread, and 4 more.
struct Question<'a> {
    operation: u32,
    unique: u64,
    thread: i32,
    body: &'a [u8],
}

impl<'a> Question<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, body) = bytes.split_at_checked(40)?;
        let thread = number_at(head, 32)?.cast_signed();
        Some(Self { operation: number_at(head, 4)?, unique: long_at(head, 8)?, thread, body })
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

const EIO: i32 = 5;
const ENODEV: i32 = 19;
const ENOTTY: i32 = 25;
const ENOSYS: i32 = 38;
/// The high half of `exitinfo2` where the host is busy.
const BUSY: u64 = 2 << 32;

/// Answers the kernel until the file system is gone.
pub fn serve(channel: &impl AsFd, machine: &impl Platform, asked: &Asked) -> io::Result<()> {
    let mut channel = File::from(channel.as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = match channel.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.raw_os_error() == Some(ENODEV) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let question = Question::parse(&buffer[..length]).ok_or(io::ErrorKind::InvalidData)?;
        let Some(answer) = answer(&question, machine, asked) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let head = [length.to_le_bytes(), error.to_le_bytes()].concat();
        match channel.write_vectored(&[
            IoSlice::new(&head),
            IoSlice::new(&question.unique.to_le_bytes()),
            IoSlice::new(&body),
        ]) {
            // Who asked is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => drop(written?),
        }
    }
}

fn answer(
    question: &Question<'_>,
    machine: &impl Platform,
    asked: &Asked,
) -> Option<Result<Vec<u8>, i32>> {
    Some(match question.operation {
        2 | 36 | 42 => return None, // FORGET, INTERRUPT, BATCH_FORGET have no answer
        26 => Ok(initialized()),
        3 => Ok(attributes()),
        14 => Ok(vec![0; 16]),     // OPEN: no handle, no flags
        18 | 25 => Ok(Vec::new()), // RELEASE, FLUSH
        39 => Ok(ioctl(question, machine, asked)),
        _ => Err(ENOSYS),
    })
}

/// INIT: version 7.31, and nothing beyond it.
fn initialized() -> Vec<u8> {
    let mut out = [7_u32, 31, 0, 0].map(u32::to_le_bytes).concat();
    out.extend([16_u16, 12].map(u16::to_le_bytes).concat()); // background, congestion
    out.extend([4096_u32, 1].map(u32::to_le_bytes).concat()); // largest write, time's grain
    out.resize(64, 0);
    out
}

/// GETATTR: a file of mode 600.
fn attributes() -> Vec<u8> {
    let mut out = vec![0; 104];
    out[16] = 1; // inode
    out[76..80].copy_from_slice(&0o100_600_u32.to_le_bytes());
    out[80] = 1; // links
    out
}

/// IOCTL: 32 bytes of the kernel, then the struct; and so is the answer, with 16 bytes before it.
fn ioctl(question: &Question<'_>, machine: &impl Platform, asked: &Asked) -> Vec<u8> {
    let mut message = [0; 32];
    let result = perform(question, machine, asked, &mut message);
    let result = result.map_or_else(|error| -error, |()| 0);
    let mut out = result.to_le_bytes().to_vec();
    out.resize(16, 0);
    out.extend(message);
    out
}

fn perform(
    question: &Question<'_>,
    machine: &impl Platform,
    asked: &Asked,
    message: &mut [u8; 32],
) -> Result<(), i32> {
    let Question { thread, body, .. } = question;
    let request = number_at(body, 12).ok_or(ENOTTY)?;
    *message = body.get(32..64).and_then(|bytes| bytes.try_into().ok()).ok_or(ENOTTY)?;
    if message[0] != 1 {
        return Err(EIO);
    }
    let (from, to) = (long_at(message, 8).ok_or(EIO)?, long_at(message, 16).ok_or(EIO)?);
    let answered = match request {
        GET_REPORT => ask(request, &read_from::<96>(*thread, from)?, machine, asked),
        GET_DERIVED_KEY => {
            ask(request, &read_from::<KEY_REQUEST_BYTES>(*thread, from)?, machine, asked)
        }
        _ => return Err(ENOTTY),
    };
    match answered {
        Ok(bytes) => write_to(*thread, to, &bytes),
        Err(Refused { error, status }) => {
            message[24..].copy_from_slice(&status.to_le_bytes());
            Err(error)
        }
    }
}

/// The guest device's requests, by their numbers.
pub const GET_REPORT: u32 = 0xC020_5300;
pub const GET_DERIVED_KEY: u32 = 0xC020_5301;

/// The system's error, and the firmware's `exitinfo2`.
pub struct Refused {
    pub error: i32,
    pub status: u64,
}

/// Answers one request as the guest device does.
pub fn ask(
    request: u32,
    sent: &[u8],
    machine: &impl Platform,
    asked: &Asked,
) -> Result<Vec<u8>, Refused> {
    let system = |error| Refused { error, status: 0 };
    let answered = match request {
        GET_REPORT => {
            asked.note("report").map_err(|_| system(EIO))?;
            let data = sent.first_chunk().ok_or(system(EIO))?;
            machine.report(data).map(|answer: [u8; REPORT_RESPONSE_BYTES]| answer.to_vec())
        }
        GET_DERIVED_KEY => {
            asked.note("key").map_err(|_| system(EIO))?;
            let sent: &[u8; KEY_REQUEST_BYTES] = sent.try_into().map_err(|_| system(EIO))?;
            machine.derive_key(sent).map(|answer| {
                let answer: &[u8; KEY_RESPONSE_BYTES] = &answer;
                answer.to_vec()
            })
        }
        _ => return Err(system(ENOTTY)),
    };
    answered.map_err(|error| match error {
        PlatformError::Busy => Refused { error: EIO, status: BUSY },
        PlatformError::Firmware { status } => Refused { error: EIO, status },
        PlatformError::Device(_) => system(ENODEV),
    })
}

fn read_from<const N: usize>(thread: i32, at: u64) -> Result<[u8; N], i32> {
    let mut bytes = [0; N];
    let base = usize::try_from(at).map_err(|_| EIO)?;
    let remote = [RemoteIoVec { base, len: N }];
    let read = process_vm_readv(Pid::from_raw(thread), &mut [IoSliceMut::new(&mut bytes)], &remote);
    if read == Ok(N) { Ok(bytes) } else { Err(EIO) }
}

fn write_to(thread: i32, at: u64, bytes: &[u8]) -> Result<(), i32> {
    let base = usize::try_from(at).map_err(|_| EIO)?;
    let remote = [RemoteIoVec { base, len: bytes.len() }];
    let written = process_vm_writev(Pid::from_raw(thread), &[IoSlice::new(bytes)], &remote);
    if written == Ok(bytes.len()) { Ok(()) } else { Err(EIO) }
}
