//! What must hold for every parser of outside bytes, whatever it is given. `tests/fuzz` has
//! libFuzzer look for bytes for which it does not; `tests/suite/fuzz.rs` replays the corpus.

pub mod corpus;
pub mod mutation;
pub mod seeds;

mod certificates;
mod der;
mod egress;
mod evidence;
mod files;
mod requests;
mod store;
mod worker;

/// A parser and what must hold for it.
pub struct Target {
    /// The name of its folder in the corpus.
    pub name: &'static str,
    /// Whether the parser accepts the bytes; panics where what must hold does not.
    pub check: fn(&[u8]) -> bool,
}

/// Every target.
pub const TARGETS: [Target; 24] = [
    Target { name: "report", check: evidence::report },
    Target { name: "evidence", check: evidence::document },
    Target { name: "chain", check: evidence::chain },
    Target { name: "certificate", check: certificates::certificate },
    Target { name: "certificate-file", check: certificates::file },
    Target { name: "certificate-table", check: certificates::table },
    Target { name: "extensions", check: certificates::extensions },
    Target { name: "crl", check: certificates::crl },
    Target { name: "reference", check: files::reference },
    Target { name: "policy", check: files::policy },
    Target { name: "config", check: files::config },
    Target { name: "profile", check: files::profile },
    Target { name: "firmware", check: files::firmware },
    Target { name: "receipt", check: evidence::receipt },
    Target { name: "record", check: store::record },
    Target { name: "record-body", check: store::record_body },
    Target { name: "slots", check: store::slots },
    Target { name: "worker", check: worker::life },
    Target { name: "worker-input", check: worker::told },
    Target { name: "egress", check: egress::url },
    Target { name: "json", check: requests::json },
    Target { name: "query", check: requests::query },
    Target { name: "texts", check: requests::texts },
    Target { name: "scope", check: requests::scope },
];

/// A refusal: its message is [`presentable`].
fn refused(message: &impl std::fmt::Display) -> bool {
    presentable(message);
    false
}

/// A message for a person: short, and nothing in it that steers a terminal or forges a line of a
/// log.
fn presentable(message: &impl std::fmt::Display) {
    let message = message.to_string();
    assert!(!message.chars().any(char::is_control), "controls in {message:?}");
    assert!(message.chars().count() <= 1_000, "{} characters: {message}", message.len());
}
