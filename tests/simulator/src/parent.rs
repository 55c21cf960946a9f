//! A server that a launcher started ends with its launcher, however that ends.

use std::ffi::OsString;

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// The environment variable in which a launcher gives its own process id.
pub const VARIABLE: &str = "NEO_SECRETS_SIMULATED_LAUNCHER";

/// Why a server doesn't go on.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The variable names no process.
    #[error("{VARIABLE} is not a process id")]
    NotAProcess,
    /// The launcher has ended already, or is not the parent.
    #[error("the launcher {0} is not this process's parent")]
    Gone(i32),
    /// The kernel refused.
    #[error("cannot end with the launcher: {0}")]
    Kernel(#[from] rustix::io::Errno),
}

/// Where a launcher is named, asks the kernel for SIGTERM when the launcher's main thread ends.
///
/// # Errors
/// The launcher is gone already, or the kernel refuses.
pub fn end_with(launcher: Option<OsString>) -> Result<(), ParentError> {
    let Some(launcher) = launcher else { return Ok(()) };
    let launcher: i32 =
        launcher.to_str().and_then(|text| text.parse().ok()).ok_or(ParentError::NotAProcess)?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the request took effect.
    match getppid() {
        Some(parent) if parent.as_raw_nonzero().get() == launcher => Ok(()),
        _ => Err(ParentError::Gone(launcher)),
    }
}
