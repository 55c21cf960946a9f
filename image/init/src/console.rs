//! What PID 1 says: a word for programs and at most an id or a number. Never what a disk, a packet or
//! the network holds.

use std::io::Write;

/// One line on the console. Where there is none, nobody is kept from anything.
pub fn say(state: &str, detail: &dyn std::fmt::Display) {
    let _nobody_reads = writeln!(std::io::stderr(), "neo-secrets-init: {state} {detail}");
}
