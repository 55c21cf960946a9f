//! The sandbox: what a process gives up for good before it reads anything that others wrote.
//!
//! [`lockdown`] is all of it, and [`Sandboxed`] the proof that it is on: the channel to the server
//! opens with nothing else. No flag, variable or feature leaves out a step.

mod filter;
mod identity;
mod resources;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

pub use filter::{RULES, Rule};
pub use identity::WORKER_ID;
pub use resources::LIMITS;

/// Proof that this process is in the sandbox.
pub struct Sandboxed(());

/// Why there is no sandbox, and so no worker.
#[derive(Debug, thiserror::Error)]
pub enum LockdownError {
    /// The environment could not be emptied by starting the program anew.
    #[error("cannot start anew with an empty environment: {0}")]
    Environment(io::Error),
    /// A sandbox is a thread's own: others would stay outside.
    #[error("{0} threads, where the sandbox needs to be put around a single one")]
    Threads(usize),
    /// The threads can't be counted.
    #[error("cannot count the threads in /proc/self/task: {0}")]
    CountThreads(io::Error),
    /// Standard input is not a Unix socket of the right type.
    #[error("standard input is not the server's socket")]
    NoSocket,
    /// Landlock is there, and refused.
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    /// The user, its groups or its capabilities could not be given up.
    #[error("cannot give up the user's rights: {0}")]
    Identity(io::Error),
    /// The process still could be read by others, or gain rights.
    #[error("cannot close the process to others: {0}")]
    Process(io::Error),
    /// A limit could not be set.
    #[error("cannot limit {name}: {error}")]
    Limit {
        /// Which limit.
        name: &'static str,
        /// As the system says.
        error: io::Error,
    },
    /// Descriptors could not be closed.
    #[error("cannot close the other descriptors: {0}")]
    Descriptors(io::Error),
    /// There is no seccomp: without it nothing else suffices.
    #[error("seccomp, without which this program does not run: {0}")]
    Seccomp(#[from] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("seccomp, without which this program does not run: {0}")]
    SeccompInstall(#[from] seccompiler::Error),
}

/// Gives up everything but memory, time, randomness and the socket at standard input. The order
/// matters: what needs rights comes first, the filter last.
///
/// # Errors
/// As [`LockdownError`] says; the process must end then.
pub fn lockdown() -> Result<Sandboxed, LockdownError> {
    empty_environment()?;
    only_thread()?;
    server_socket(SocketType::STREAM)?;
    // Where memory runs out, this process goes first. Best effort: a limit does not depend on it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let filter = filter::compile()?;
    no_files()?;
    close_process()?;
    close_descriptors(1, 1)?;
    close_descriptors(3, u32::MAX)?;
    resources::limit()?;
    seccompiler::apply_filter(&filter)?;
    // Until here errors went there. The filter lets this one descriptor be closed.
    close_descriptors_after_filter();
    Ok(Sandboxed(()))
}

/// What the launcher gives up: it starts processes, which a worker can't, and so holds its user's
/// right to that, its program, and standard error.
///
/// # Errors
/// As [`lockdown`].
pub(crate) fn launcher_lockdown() -> Result<(), LockdownError> {
    empty_environment()?;
    only_thread()?;
    server_socket(SocketType::SEQPACKET)?;
    close_process()?;
    close_descriptors(1, 1)?;
    close_descriptors(3, u32::MAX)
}

/// Gives up the user's rights, and what others could do with this process.
fn close_process() -> Result<(), LockdownError> {
    identity::give_up().map_err(LockdownError::Identity)?;
    rustix::thread::set_no_new_privs(true).map_err(|error| LockdownError::Process(error.into()))?;
    // After the change of user, which resets it: no core file, no debugger, /proc/PID of root only.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| LockdownError::Process(error.into()))
}

/// The environment of a worker: the C library then reads no time zone file, now or later.
pub(crate) const ENVIRONMENT: (&str, &str) = ("TZ", "UTC0");

/// The old environment stays in memory until another program takes its place: this one, again.
fn empty_environment() -> Result<(), LockdownError> {
    let (name, value) = ENVIRONMENT;
    let wanted = [(OsString::from(name), OsString::from(value))];
    if std::env::vars_os().eq(wanted) {
        return Ok(());
    }
    let error = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env_clear()
        .env(name, value)
        .exec();
    Err(LockdownError::Environment(error))
}

fn only_thread() -> Result<(), LockdownError> {
    let threads =
        std::fs::read_dir("/proc/self/task").map_err(LockdownError::CountThreads)?.count();
    if threads == 1 { Ok(()) } else { Err(LockdownError::Threads(threads)) }
}

fn server_socket(wanted: SocketType) -> Result<(), LockdownError> {
    let socket = std::io::stdin();
    let family = sockopt::socket_domain(&socket).map_err(|_| LockdownError::NoSocket)?;
    let kind = sockopt::socket_type(&socket).map_err(|_| LockdownError::NoSocket)?;
    let ours = family == AddressFamily::UNIX && kind == wanted;
    if ours { Ok(()) } else { Err(LockdownError::NoSocket) }
}

/// Landlock with no rule at all: no file, no port, no signal and no abstract socket beyond this
/// process. An older kernel enforces what it knows, and one without it nothing: seccomp refuses to
/// open anything either way.
fn no_files() -> Result<(), landlock::RulesetError> {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, Scope};
    const KNOWN: ABI = ABI::V6;
    Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .restrict_self()
        .map(drop)
}

#[allow(unsafe_code)]
fn close_descriptors(first: u32, last: u32) -> Result<(), LockdownError> {
    // SAFETY: the call takes no pointers. Nothing in this process owns a descriptor in the range:
    // it has opened none that it keeps, and whatever it inherited belongs to nobody here.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 { Ok(()) } else { Err(LockdownError::Descriptors(io::Error::last_os_error())) }
}

#[allow(unsafe_code)]
fn close_descriptors_after_filter() {
    // SAFETY: as above; standard error, which nothing writes to from here on. An error would mean
    // that it was closed already.
    unsafe { libc::close(libc::STDERR_FILENO) };
}
