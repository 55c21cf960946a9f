//! Where the server's time goes, in words: each sample counts for one cost.

/// One cost, and the functions that say so: a part of a name suffices. A sample is looked through from
/// where the processor was outwards, and the first function that any line here knows decides. So
/// copying memory counts for whoever copies it. Of two lines that know a function the upper one counts.
const COSTS: [(&str, &[&str]); 14] = [
    ("syncing the file", &["fdatasync", "fsync"]),
    ("log line", &["tracing_", "neo_secrets_server::log", "ksys_write"]),
    ("reading and writing the file", &["pwrite64", "pread64", "ftruncate", "fallocate"]),
    ("kernel network", &["tcp_", "inet_", "sock_", "do_writev", "accept4", "net_rx_action"]),
    ("tasks, waiting and waking", &["epoll", "eventfd", "futex", "__schedule", "tokio::runtime"]),
    ("record seal and open", &["store::record", "RecordKey", "store::body", "minicbor"]),
    ("engine", &["redb::", "store::engine"]),
    ("TLS records", &["GcmMessage", "ExpectTraffic", "tls13_seal", "tokio_rustls"]),
    (
        "handshake",
        &[
            "rustls::server::",
            "rustls::crypto::",
            "rustls::msgs::handshake",
            "KeySchedule",
            "aws_lc_rs::agreement",
            "ml_kem",
            "mlkem",
            "keccak",
            "x25519",
            "nistz256",
        ],
    ),
    ("authentication", &["::authenticate", "api_keys::", "TokenIndexKey", "store::admitted"]),
    ("JSON", &["serde_json", "serde_core", "api::json"]),
    (
        "HTTP and dispatch",
        &["actix_", "httparse", "neo_secrets_server::api", "neo_secrets_server::connection"],
    ),
    ("evidence", &["neo_secrets_server::evidence", "neo_secrets_attestation"]),
    ("the store's other work", &["neo_secrets_server::store"]),
];
/// What no line knows.
const OTHER: &str = "other";

/// The costs of folded stacks (`outermost;..;innermost COUNT`), the largest first, as parts of one.
pub fn of(folded: &[String]) -> Vec<(&'static str, f64)> {
    let mut costs: Vec<(&str, f64)> = COSTS.iter().map(|(cost, _)| (*cost, 0.0)).collect();
    costs.push((OTHER, 0.0));
    let mut all = 0.0;
    for (stack, count) in folded.iter().filter_map(|line| line.rsplit_once(' ')) {
        let count: f64 = count.parse().unwrap_or_default();
        let found = stack.rsplit(';').find_map(cost_of).unwrap_or(OTHER);
        costs.iter_mut().filter(|(cost, _)| *cost == found).for_each(|(_, sum)| *sum += count);
        all += count;
    }
    costs.iter_mut().for_each(|(_, sum)| *sum /= all);
    costs.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    costs
}

fn cost_of(function: &str) -> Option<&'static str> {
    let knows = |(_, names): &&(&str, &[&str])| names.iter().any(|name| function.contains(name));
    COSTS.iter().find(knows).map(|(cost, _)| *cost)
}
