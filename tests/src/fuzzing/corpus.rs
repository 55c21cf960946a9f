//! The corpus: `tests/fuzz/corpus/TARGET/SEED`.

use std::fs;
use std::path::{Path, PathBuf};

/// What the names of seeds begin with that are refused, and must be. All others are accepted: a
/// seed that is refused by mistake leads no fuzzer anywhere.
pub const BAD: &str = "bad-";

/// The folder of a target's seeds.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// A target's seeds with their names, in order.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("{target}: {error}"));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let read = |path: PathBuf| (name(&path), fs::read(&path).unwrap());
    let mut seeds: Vec<_> = entries.map(|entry| read(entry.unwrap().path())).collect();
    seeds.sort();
    seeds
}

/// One seed.
pub fn seed(target: &str, name: &str) -> Vec<u8> {
    let path = folder(target).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
