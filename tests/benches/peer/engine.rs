//! The engine's own ceiling: redb with nothing above it.

use std::io::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};

use super::load::Figures;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
/// As many as callers.
const RECORDS_A_COMMIT: usize = 64;
const KEY_BYTES: usize = 48;
const VALUE_BYTES: usize = 300;

/// Commits of 64 records under keys in no order, each synced, for this long.
///
/// # Errors
/// redb's.
pub fn run(scratch: &Path, time: Duration) -> Result<Figures, Error> {
    let file = scratch.join("engine.redb");
    let _ = std::fs::remove_file(&file);
    let database = Database::create(&file).map_err(Error::other)?;
    let (begun, mut commits) = (Instant::now(), Vec::new());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut key = move || {
        let mut key = [0; KEY_BYTES];
        for part in key.chunks_exact_mut(8) {
            // xorshift: the order of keys matters, not their secrecy.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            part.copy_from_slice(&state.to_be_bytes());
        }
        key
    };
    while begun.elapsed() < time {
        let one = Instant::now();
        let write = database.begin_write().map_err(Error::other)?;
        {
            let mut table = write.open_table(TABLE).map_err(Error::other)?;
            for _ in 0..RECORDS_A_COMMIT {
                table.insert(&key()[..], &[7; VALUE_BYTES][..]).map_err(Error::other)?;
            }
        }
        write.commit().map_err(Error::other)?;
        commits.push(one.elapsed());
    }
    Ok(Figures::of(commits, RECORDS_A_COMMIT, begun.elapsed()))
}
