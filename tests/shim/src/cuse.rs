//! A character device in user space (`linux/fuse.h`): its ioctls go over a serial port, word for word.
//!
//! To the host: `u32 request ‖ what the caller sent`. Back: `u32 error ‖ u64 exitinfo2 ‖ u32 length ‖
//! what the caller gets`. Little-endian. `tests/src/vm/processor.rs` is the other end.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

/// What this process says once the device is there.
pub const READY: &[u8; 6] = b"ready\n";

const CUSE_INIT: u32 = 4096;
const OPEN: u32 = 14;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INTERRUPT: u32 = 36;
const IOCTL: u32 = 39;
const ENOSYS: u32 = 38;
const ENOTTY: u32 = 25;
/// The kernel is to ask again, with these buffers of the caller's.
const RETRY: u32 = 4;
/// `struct snp_guest_request_ioctl`.
const MESSAGE_BYTES: u64 = 32;

/// The request's number, and the lengths of what is sent and answered.
const REQUESTS: [(u32, u64, u64); 2] = [(0xC020_5300, 96, 4000), (0xC020_5301, 32, 64)];

/// Answers the kernel; its requests come and go by standard input, the host is standard output.
pub fn serve() -> io::Result<()> {
    let mut kernel = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut host = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut buffer = vec![0; 1 << 17];
    loop {
        let length = kernel.read(&mut buffer)?;
        let request = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        let (head, body) = request.split_at_checked(40).ok_or(io::ErrorKind::InvalidData)?;
        let operation = number(head, 4)?;
        let answer = match operation {
            CUSE_INIT => Ok(device()),
            OPEN => Ok(vec![0; 16]),
            RELEASE | FLUSH => Ok(Vec::new()),
            INTERRUPT => continue,
            IOCTL => ioctl(body, &mut host)?,
            _ => Err(ENOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (error.wrapping_neg(), Vec::new()),
        };
        let bytes = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let unique = long(head, 8)?;
        let head = [bytes.to_le_bytes(), error.to_le_bytes()].concat();
        kernel.write_all(&[&head, unique.to_le_bytes().as_slice(), &body].concat())?;
        if operation == CUSE_INIT {
            io::stderr().write_all(READY)?;
        }
    }
}

/// Version 7.31; ioctls may name any buffers; reads and writes of a page; any number for the device.
fn device() -> Vec<u8> {
    let mut out = [7_u32, 31, 0, 1, 4096, 4096, 0, 0].map(u32::to_le_bytes).concat();
    out.resize(72, 0);
    out.extend(b"DEVNAME=sev-guest\0");
    out
}

/// Asked without anything, then with the caller's struct, then with the buffers that it names.
fn ioctl(body: &[u8], host: &mut File) -> io::Result<Result<Vec<u8>, u32>> {
    let request = number(body, 12)?;
    let Some((_, sent, answered)) = REQUESTS.iter().find(|(number, ..)| *number == request) else {
        return Ok(Err(ENOTTY));
    };
    let message = (long(body, 16)?, MESSAGE_BYTES);
    let given = body.get(32..).unwrap_or_default();
    if given.is_empty() {
        return Ok(Ok(again(&[message], &[])));
    }
    let (struct_bytes, given) = given.split_at_checked(32).ok_or(io::ErrorKind::InvalidData)?;
    if given.is_empty() {
        let (from, to) = (long(struct_bytes, 8)?, long(struct_bytes, 16)?);
        return Ok(Ok(again(&[message, (from, *sent)], &[message, (to, *answered)])));
    }
    host.write_all(&[&request.to_le_bytes(), given].concat())?;
    let mut head = [0; 16];
    host.read_exact(&mut head)?;
    let (error, status, length) = (number(&head, 0)?, long(&head, 4)?, number(&head, 12)?);
    let mut out = vec![0; 16];
    let (result, _) = out.split_at_mut(4);
    result.copy_from_slice(&error.wrapping_neg().to_le_bytes());
    out.extend(struct_bytes.get(..24).unwrap_or_default());
    out.extend(status.to_le_bytes());
    let mut answer = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    host.read_exact(&mut answer)?;
    out.extend(answer);
    Ok(Ok(out))
}

/// The buffers to read, and those to write.
fn again(read: &[(u64, u64)], write: &[(u64, u64)]) -> Vec<u8> {
    let count = |list: &[_]| u32::try_from(list.len()).unwrap_or(0);
    let mut out = [0, RETRY, count(read), count(write)].map(u32::to_le_bytes).concat();
    for (base, length) in read.iter().chain(write) {
        out.extend([*base, *length].map(u64::to_le_bytes).concat());
    }
    out
}

fn number(bytes: &[u8], at: usize) -> io::Result<u32> {
    let four = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    four.map(u32::from_le_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn long(bytes: &[u8], at: usize) -> io::Result<u64> {
    let eight = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    eight.map(u64::from_le_bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
