//! The command `neo-secrets`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    neo_secrets::cli::main()
}
