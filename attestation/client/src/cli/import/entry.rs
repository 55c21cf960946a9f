//! What a file to import comes to: names and values, and what is wrong with either.

use std::collections::BTreeMap;

use crate::cli::lookup::is_name;
use crate::secret::{SecretValue, Wiped};

/// A name and a value as they stand in the file.
pub(crate) struct Found {
    /// The name, or the path of names that leads to it.
    pub(crate) source: String,
    pub(crate) value: Wiped,
}

/// Why nothing of a file is imported. It tells the place, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileProblem {
    #[error("it is not UTF-8 text, from byte {0} on")]
    NotUtf8(usize),
    #[error("line {line}: {issue}")]
    Line { line: usize, issue: &'static str },
    #[error("line {line}: {source_name:?} was given on line {first} already")]
    Repeated { line: usize, first: usize, source_name: String },
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error("at {path}: {issue}")]
    Node { path: String, issue: &'static str },
    #[error("it has more than {} secrets", crate::limits::IMPORT_ITEMS_MAX)]
    TooMany,
    #[error("{}", list(.0))]
    Several(Vec<FileProblem>),
}

/// So many of a file's problems are told: who has to look at more looks at the file.
const TOLD_MAX: usize = 10;

impl FileProblem {
    /// All of these as one; `None` where there are none.
    pub(crate) fn all(mut problems: Vec<Self>) -> Option<Self> {
        match problems.len() {
            0 | 1 => problems.pop(),
            _ => Some(Self::Several(problems)),
        }
    }
}

fn list(problems: &[FileProblem]) -> String {
    let mut told = format!("{} mistakes", problems.len());
    for problem in problems.iter().take(TOLD_MAX) {
        told.push_str(&format!("\n  {problem}"));
    }
    if problems.len() > TOLD_MAX {
        told.push_str(&format!("\n  and {} more", problems.len() - TOLD_MAX));
    }
    told
}

/// A secret to be.
pub(crate) struct Entry {
    pub(crate) source: String,
    pub(crate) name: String,
    /// The value, or why it can't be imported.
    pub(crate) value: Result<SecretValue, String>,
}

/// Gives each its secret's name: `prefix` and its own, with `-` for what no name can have.
pub(crate) fn entries(found: Vec<Found>, prefix: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = found.into_iter().map(|found| entry(found, prefix)).collect();
    let mut sources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &entries {
        sources.entry(&entry.name).or_default().push(&entry.source);
    }
    let shared: BTreeMap<String, String> = sources
        .into_iter()
        .filter(|(_, sources)| sources.len() > 1)
        .map(|(name, sources)| (name.to_owned(), sources.join(", ")))
        .collect();
    for entry in &mut entries {
        if let Some(sources) = shared.get(&entry.name) {
            entry.value = Err(format!("several would have this name: {sources}"));
        }
    }
    entries
}

fn entry(found: Found, prefix: &str) -> Entry {
    let Found { source, value } = found;
    let name = name_for(prefix, &source);
    let value = if is_name(&name) {
        SecretValue::new(value.into_bytes()).map_err(|error| error.to_string())
    } else {
        Err("no secret can have this name: 1 to 100 letters, digits, `_`, `.`, `-`, a letter or \
             digit first"
            .to_owned())
    };
    Entry { source, name, value }
}

fn name_for(prefix: &str, source: &str) -> String {
    let fits = |character: char| match character {
        fits if fits.is_ascii_alphanumeric() || "_.-".contains(fits) => fits,
        _ => '-',
    };
    let mapped: String = source.chars().map(fits).collect();
    if prefix.is_empty() {
        mapped.trim_start_matches(['_', '.', '-']).to_owned()
    } else {
        format!("{prefix}{mapped}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(sources: &[&str], prefix: &str) -> Vec<(String, bool)> {
        let found = |source: &&str| Found { source: (*source).to_owned(), value: Wiped::new("v") };
        let entries = entries(sources.iter().map(found).collect(), prefix);
        entries.into_iter().map(|entry| (entry.name, entry.value.is_ok())).collect()
    }

    #[test]
    fn names_are_mapped_to_valid_ones_or_refused() {
        let one = |source: &str, prefix: &str| made(&[source], prefix).remove(0);
        assert_eq!(one("DB_PASSWORD", ""), ("DB_PASSWORD".to_owned(), true));
        assert_eq!(one("DB_PASSWORD", "app."), ("app.DB_PASSWORD".to_owned(), true));
        assert_eq!(one("_x", ""), ("x".to_owned(), true));
        assert_eq!(one("_x", "a"), ("a_x".to_owned(), true));
        assert_eq!(one("db/pass word", ""), ("db-pass-word".to_owned(), true));
        assert_eq!(one("ä", ""), (String::new(), false));
        assert_eq!(one("___", ""), (String::new(), false));
        assert!(!one(&"x".repeat(101), "").1);
        assert!(!one("x", ".").1);
    }

    #[test]
    fn two_that_would_have_one_name_are_both_refused() {
        let made = made(&["a/b", "a-b", "c"], "");
        assert_eq!(made.iter().map(|(_, fits)| *fits).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_value_that_no_secret_can_have_is_told_without_it() {
        let found = Found { source: "empty".to_owned(), value: Wiped::new("") };
        let long = Found { source: "long".to_owned(), value: Wiped::new(&"x".repeat(65_537)) };
        let entries = entries(vec![found, long], "");
        let problem = |index: usize| entries[index].value.as_ref().err().unwrap().clone();
        assert!(problem(0).contains("at least 1 byte"), "{}", problem(0));
        assert!(problem(1).contains("at most 65536 bytes"), "{}", problem(1));
    }
}
