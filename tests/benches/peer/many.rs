//! The row of a million secrets: reading from among them, and what the file has for them.

use std::path::Path;
use std::time::Instant;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::load::Requests;
use super::neo;
use super::report::{Bound, Row};
use super::rows::{Bench, Outcome};

/// `accounts` accounts with `each` secrets of 1 KiB.
pub fn many(bench: &Bench<'_>, accounts: usize, each: usize) -> Outcome {
    let home = neo::home();
    let appliance = home.start();
    let claimed = appliance.claim();
    let value = "v".repeat(1_024);
    let (paths, headers) = neo::fill_accounts(&appliance, &claimed, accounts, each, &value);
    assert!(appliance.terminate().success());
    let begun = Instant::now();
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    let ready = begun.elapsed();
    let reads = Requests::Read { paths, headers };
    let few = Requests::Read { paths: bench.secrets.clone(), headers: vec![bench.admin()] };
    let title =
        format!("{} secrets of 1 KiB in {accounts} accounts, 16 connections", accounts * each);
    let (many, thousand) = ("a read there", "a read of 1,000");
    let series = bench.alternate(&[
        (many, &|| bench.load(&appliance.url(), 16, &reads)),
        (thousand, &|| bench.neo(16, &few)),
    ])?;
    let mut row = Row::new("many", title, series);
    row.goal(
        "p50 over that of 1,000 secrets",
        row.ratio(many, thousand, |run| run.p50),
        Bound::AtMost(1.3),
    );
    row.goal("start to ready, s", ready.as_secs_f64(), Bound::AtMost(5.0));
    row.goal("resident, MiB", super::resident_mib(appliance.process_id()), Bound::AtMost(200.0));
    bench.profile(&mut row, &appliance, &|| bench.load(&appliance.url(), 16, &reads))?;
    assert!(appliance.terminate().success());
    let copy = bench.scratch.join("many.redb");
    std::fs::copy(home.store(), &copy)?;
    let sizes = Sizes::measure(&copy)?;
    std::fs::remove_file(&copy)?;
    let payload = (accounts * each * value.len()) as f64;
    row.goal(
        "file over payload, compacted, without the audit log's records",
        (sizes.compacted - sizes.audit) / payload,
        Bound::AtMost(4.0),
    );
    row.fact("the audit log's records over payload", sizes.audit / payload);
    row.fact("file over payload, compacted, with the audit log", sizes.compacted / payload);
    row.fact("file over payload as the server leaves it", sizes.left / payload);
    Ok(row)
}

/// Bytes of a store's file, and of what is in it.
struct Sizes {
    /// As the server has left it.
    left: f64,
    compacted: f64,
    /// Keys and values of the audit log. What the engine needs around them counts for the rest.
    audit: f64,
}

/// STORE.md, section 1.
const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("neo-secrets");
/// STORE.md, section 2: an engine key has its kind behind the account's id.
const KIND_AT: usize = 18;
/// Events, and how many there are.
const AUDIT_KINDS: [u8; 2] = [0x30, 0x31];

impl Sizes {
    /// Of a copy, which is compacted by it.
    fn measure(copy: &Path) -> Result<Sizes, Box<dyn std::error::Error>> {
        let bytes = |path: &Path| std::fs::metadata(path).map(|file| file.len() as f64);
        let left = bytes(copy)?;
        let mut database = Database::open(copy)?;
        let mut audit = 0;
        for record in database.begin_read()?.open_table(TABLE)?.iter()? {
            let (key, value) = record?;
            let (key, value) = (key.value(), value.value());
            if key.get(KIND_AT).is_some_and(|kind| AUDIT_KINDS.contains(kind)) {
                audit += key.len() + value.len();
            }
        }
        while database.compact()? {}
        drop(database);
        Ok(Sizes { left, compacted: bytes(copy)?, audit: audit as f64 })
    }
}
