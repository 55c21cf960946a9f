//! `neo-secrets-run`: what `scripts/run` starts after the build.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use snp_simulator::launch::arguments::{Arguments, USAGE};
use snp_simulator::launch::run;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("scripts/run: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // One thread, the main one: the server is told when the thread that started it ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)).map_err(|error| error.to_string()),
        Err(error) => Err(format!("cannot start: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scripts/run: {error}");
            ExitCode::FAILURE
        }
    }
}
