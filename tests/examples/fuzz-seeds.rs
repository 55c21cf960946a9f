//! Makes the corpus of `tests/fuzz` anew: `cargo run --release -p neo-secrets-tests --example
//! fuzz-seeds [TARGET..]`. Seeds that a fuzzer found stay.

fn main() {
    neo_secrets_tests::fuzzing::seeds::write(std::env::args().skip(1).collect());
}
