//! `server/OPERATIONS.md` and the programs say the same: every configuration key with its default
//! and bounds, every log event with its level.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use neo_secrets_tests::appliance::{CONFIG, program};

use crate::rules::{root, sources};

/// The part of OPERATIONS.md below this heading.
fn section(heading: &str) -> String {
    let text = std::fs::read_to_string(root().join("server/OPERATIONS.md")).unwrap();
    let start = text.find(&format!("\n## {heading}\n")).expect(heading) + 4;
    let end = text[start..].find("\n## ").map_or(text.len(), |end| start + end);
    text[start..end].to_owned()
}

/// The cells of each row of the tables in a text, heads and rules included.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    rows.map(|row| row.split('|').map(str::trim).collect()).collect()
}

/// What stands in the text between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Runs `--check-config` on a file of this text.
fn check(text: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let out = Command::new(program("neo-secretsd")).arg("--check-config").arg(&file).output();
    let out = out.unwrap();
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8(said).unwrap().replace(file.to_str().unwrap(), "FILE");
    (out.status.code().unwrap(), said)
}

/// The keys that the parser names where it is given another one.
fn known_keys(more: &str) -> BTreeSet<String> {
    let (code, said) = check(&format!("{CONFIG}{more}"));
    assert_eq!(code, 1, "{said}");
    let (_, known) = said.trim_end().split_once("known here: ").expect("an unknown key is refused");
    known.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_of_the_configuration_is_documented_with_default_and_bounds() {
    let section = section("Configuration");
    let (top, limits) = section.split_once("`[limits]`").unwrap();
    let keys = |text| rows(text).into_iter().filter(|row| row[0].starts_with('`'));
    let names = |text| keys(text).map(|row| row[0].replace('`', "")).collect::<BTreeSet<_>>();
    let mut top = names(top);
    top.insert("limits".to_owned());
    assert_eq!(top, known_keys("surplus = 1\n"));
    assert_eq!(names(limits), known_keys("[limits]\nsurplus = 1\n"));

    let (code, defaults) = check(CONFIG);
    assert_eq!(code, 0, "{defaults}");
    for row in keys(limits) {
        let (key, number) = (row[0].replace('`', ""), |text: &str| text.replace(',', ""));
        let default = format!("\n{key} = {}\n", number(row[1]));
        assert!(defaults.contains(&default), "{key} is not {} in {defaults}", row[1]);
        let (code, said) = check(&format!("{CONFIG}[limits]\n{key} = 99999999999999999\n"));
        let bounds = said.trim_end().rsplit_once("must be an integer from ").unwrap().1;
        let documented: Vec<_> = row[2].split(' ').take(3).map(number).collect();
        let documented = documented.join(" ").trim_end_matches(';').to_owned();
        assert_eq!((code, documented.as_str()), (1, bounds), "{key}");
    }
}

#[test]
fn a_refused_configuration_is_told_with_key_value_rule_and_line() {
    let swapped = |from: &str, to: &str| check(&CONFIG.replace(from, to));
    let refused = |told: &str| (1, format!("neo-secretsd: FILE: {told}\n"));
    for (from, to, told) in [
        ("\"firmware\"", "1", "line 1: seal = 1: must be \"firmware\" or \"unlock\""),
        ("\"off\"", "\"on\"", "line 2: reveal = \"on\": must be \"off\" or \"by-permission\""),
        (
            "quorum = 0",
            "quorum = 1",
            "line 4: quorum = 1: must be an integer from 0 to 0, the \
            number of witnesses",
        ),
        (
            "\"any\"",
            "\"AAAA\"",
            "line 5: owner_key = \"AAAA\": must be \"any\" or an Ed25519 public \
            key: padded base64 of 32 bytes",
        ),
        (
            "[]",
            "[7]",
            "line 3: witnesses = 7: must be a list of at most 16 different names of 1 to \
            256 visible ASCII characters",
        ),
        ("[]", "[\"w\"]", "line 3: witnesses = [\"w\"]: not available in this version; use []"),
        (
            "quorum = 0\n",
            "",
            "the key quorum is missing; it must be an integer from 0 to the number \
            of witnesses",
        ),
        ("quorum = 0", "quorum", "line 4: key with no value, expected `=`: quorum"),
    ] {
        assert_eq!(swapped(from, to), refused(told), "{to}");
    }
    let (code, said) = check(&format!("{CONFIG}[limits]\n\nversions_kept = 0\n"));
    let told = "line 8: limits.versions_kept = 0: must be an integer from 1 to 100";
    assert_eq!((code, said), refused(told));
    let (code, said) = check(&format!("{CONFIG}#{}", " ".repeat(65_536)));
    assert_eq!((code, said), refused("the file has more than 65536 bytes"));
}

/// Every event of a source: its level and its words.
fn events(text: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for call in text.split("tracing::").skip(1) {
        let Some((level, rest)) = call.split_once("!(") else { continue };
        if !["info", "warn", "error"].contains(&level) {
            continue;
        }
        // The last text of the call that is no field's value; the request's line has none.
        let (mut depth, mut before, mut words) = (1, "", None);
        for (index, part) in rest.split('"').enumerate() {
            if index % 2 == 1 {
                words = if before.trim_end().ends_with('=') { words } else { Some(part) };
                continue;
            }
            before = part;
            for bracket in part.chars() {
                depth += i32::from(bracket == '(') - i32::from(bracket == ')');
                if depth == 0 {
                    break;
                }
            }
            if depth == 0 {
                break;
            }
        }
        events.extend(words.map(|words| (level.to_ascii_uppercase(), words.to_owned())));
    }
    events
}

#[test]
fn every_log_event_is_documented_with_its_level() {
    let section = section("Log");
    let mut documented: BTreeMap<&str, &str> = BTreeMap::new();
    for row in rows(&section).into_iter().filter(|row| row.len() == 3) {
        documented.extend(quoted(row[1]).into_iter().map(|words| (words, row[0])));
        // What follows an event stands beside it, with its level.
        if let Some((level, words)) = row[2].split_once(" `").filter(|(before, _)| {
            ["INFO", "WARN", "ERROR"].iter().any(|level| before.ends_with(level))
        }) {
            let level = level.rsplit(' ').next().unwrap();
            documented.insert(words.split('`').next().unwrap(), level);
        }
    }
    let found = sources("server/src").into_iter().flat_map(|(_, text)| events(&text));
    let found: BTreeMap<String, String> = found.map(|(level, words)| (words, level)).collect();
    assert!(found.len() > 20, "{found:?}");
    for (words, level) in &found {
        let known = documented.get(words.as_str());
        assert_eq!(known, Some(&level.as_str()), "{words:?} in OPERATIONS.md's table of events");
    }
    for words in documented.keys() {
        assert!(found.contains_key(*words), "{words:?} is documented, and nothing logs it");
    }
}
