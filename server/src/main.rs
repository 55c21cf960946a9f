//! `neo-secretsd`: the server on the real secure processor, the only platform that it knows.

use std::process::ExitCode;

use neo_secrets_server::egress::Network;
use neo_secrets_server::options;
use neo_secrets_server::platform::snp::{FLAGS, SnpDevice};

fn main() -> ExitCode {
    options::main("neo-secretsd", FLAGS, |_, given| {
        SnpDevice::given(given).map(|device| (device, Network::internet()))
    })
}
