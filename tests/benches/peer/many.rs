//! The row of a million secrets: reading from among them, and what the file has for them.

use std::path::Path;
use std::time::Instant;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::load::Requests;
use super::neo;
use super::report::{Bound, Row};
use super::rows::{Bench, Outcome};

/// One in so many secrets is read: far more than any memory of ours holds.
const SAMPLE: usize = 10;

/// A call's own time: few enough connections that none waits for another.
const ALONE: &str = "a read there, 2 connections";
const ALONE_OF_FEW: &str = "a read of 1,000, 2 connections";
const BUSY: &str = "a read there, 16 connections";
const BUSY_OF_FEW: &str = "a read of 1,000, 16 connections";

/// `accounts` accounts with `each` secrets of 1 KiB.
pub fn many(bench: &Bench<'_>, accounts: usize, each: usize) -> Outcome {
    let home = neo::home();
    let appliance = home.start();
    let claimed = appliance.claim();
    let value = "v".repeat(1_024);
    let all = neo::fill_accounts(&appliance, &claimed, accounts, each, &value);
    assert!(appliance.terminate().success());
    let begun = Instant::now();
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    let ready = begun.elapsed();
    // The load can't hold a million requests.
    let (paths, headers) = all.into_iter().step_by(SAMPLE).unzip();
    let reads = Requests::Read { paths, headers };
    let few = Requests::Read { paths: bench.secrets.clone(), headers: vec![bench.admin()] };
    let title = format!(
        "{} secrets of 1 KiB in {accounts} accounts, one in {SAMPLE} of them read",
        accounts * each
    );
    let there = |connections| bench.load(&appliance.url(), connections, &reads);
    let of_few = |connections| bench.neo(connections, &few);
    let series = bench.alternate(&[
        (ALONE, &|| there(2)),
        (ALONE_OF_FEW, &|| of_few(2)),
        (BUSY, &|| there(16)),
        (BUSY_OF_FEW, &|| of_few(16)),
    ])?;
    let mut row = Row::new("many", title, series);
    row.goal(
        "p50 over that of 1,000 secrets, 2 connections",
        row.ratio(ALONE, ALONE_OF_FEW, |run| run.p50),
        Bound::AtMost(1.3),
    );
    row.fact(
        "the same at 16 connections, which wait for the processors",
        row.ratio(BUSY, BUSY_OF_FEW, |run| run.p50),
    );
    row.goal("start to ready, s", ready.as_secs_f64(), Bound::AtMost(5.0));
    row.goal("resident, MiB", super::resident_mib(appliance.process_id()), Bound::AtMost(200.0));
    bench.profile(&mut row, &appliance, &|| there(16))?;
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
