//! The function worker: see the library.

fn main() -> std::process::ExitCode {
    neo_secrets_worker::main()
}
