//! The function worker: a JavaScript engine in a process of its own. It puts itself into a sandbox
//! before it reads a byte, holds no key, and reaches nothing but the one socket that it was given.
//! With `--launcher` the same program starts workers for a server that starts no processes.
//!
//! `README.md` says what the sandbox refuses, what code is given and what the messages are.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod channel;
mod console;
mod crypto;
mod engine;
mod host;
mod invocation;
mod launcher;
mod limits;
mod memory;
mod prelude;
pub mod sandbox;
mod syntax;
mod text;
mod timers;
mod web;
mod worker;

use std::process::ExitCode;

use channel::Channel;
use worker::Worker;

/// The whole program: sandbox, then messages, until the server closes its end.
#[must_use]
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next()) {
        (None, _) => worker(),
        (Some(argument), None) if argument == "--launcher" => launcher::main(),
        _ => {
            eprintln!(
                "neo-secrets-worker takes no arguments: the server starts it, or the launcher, \
                 which is this program with --launcher"
            );
            ExitCode::from(2)
        }
    }
}

fn worker() -> ExitCode {
    engine::read_time_zone();
    let sandboxed = match sandbox::lockdown() {
        Ok(sandboxed) => sandboxed,
        Err(error) => {
            eprintln!("neo-secrets-worker: {error}");
            return ExitCode::FAILURE;
        }
    };
    // Nothing is left to write to, and writing elsewhere than to the socket ends the process.
    std::panic::set_hook(Box::new(|_| {}));
    Worker::new(Channel::new(sandboxed)).serve()
}
