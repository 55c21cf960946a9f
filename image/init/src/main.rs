//! `neo-secrets-init`: PID 1 of the appliance, and nothing else.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use neo_secrets_init::{boot, power};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "neo-secrets-init: this is an appliance's first process, and runs as nothing else"
        );
        return ExitCode::from(2);
    }
    power::off_at_panic();
    boot::run()
}
