//! `neo-secrets import`: many secrets from one file.

mod entry;
mod env;
mod json;
mod upload;

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::cli::advice;
use crate::cli::args::{Format, Import};
use crate::cli::outcome::{Done, Exit, Failure, Shown};
use crate::cli::page::{Cell, Column, Page, Paint};
use crate::cli::pool::{self, Next};
use crate::cli::rights::{self, Lacking, Rights};
use crate::cli::session::{Line, Session};
use crate::cli::terminal;
use crate::files;
use crate::limits;
use crate::secret::{SecretValue, read_wiped};
use entry::{Entry, FileProblem, Found, entries};
use upload::{Existing, Outcome};

/// An entry, and what became of it.
struct Handled {
    name: String,
    source: String,
    outcome: Outcome,
}

pub(crate) async fn run(command: &Import, mut session: Session) -> Result<Done, Failure> {
    let (format, found) = read(&command.file, command.format, command.flatten)?;
    let entries = entries(found, &command.prefix);
    // What is wrong with key, instance or evidence is one failure, not one for each entry.
    session.line().await?;
    let rights = if command.dry_run { rights::of(session.line().await?).await? } else { None };
    if let Some(rights) = &rights {
        check_may_write(rights)?;
    }
    let (simulated, program) = (session.simulated(), session.settings().program.clone());
    let mut handled = all(session, entries, Existing::asked_by(command), command.dry_run).await;
    terminal::progress_end();
    if let Some(rights) = &rights {
        check_reach(rights, &mut handled);
    }
    let unchecked = command.dry_run && rights.is_none();
    Ok(told(command, format, &handled, (simulated, &program), unchecked))
}

fn read(
    path: &Path,
    format: Option<Format>,
    flatten: bool,
) -> Result<(Format, Vec<Found>), Failure> {
    let bytes = read_bytes(path)?;
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.display().to_string() };
    let failed =
        |problem: FileProblem| Failure::error(format!("nothing of {name} was imported: {problem}"));
    let text = str::from_utf8(&bytes)
        .map_err(|error| failed(FileProblem::NotUtf8(error.valid_up_to())))?;
    let begins_as_json = text.trim_start().starts_with(['{', '[']);
    let (format, found) = match format {
        Some(Format::Env) => (Format::Env, env::parse(text).map_err(failed)?),
        None if !begins_as_json => (Format::Env, env::parse(text).map_err(failed)?),
        format => json::parse(text, format, flatten).map_err(failed)?,
    };
    match found.len() {
        0 => Err(Failure::error(format!("{name} has no secret in it"))),
        count if count > limits::IMPORT_ITEMS_MAX => Err(failed(FileProblem::TooMany)),
        _ => Ok((format, found)),
    }
}

/// The file's bytes, or for `-` those of stdin.
fn read_bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if path != Path::new("-") {
        return files::read_bounded(path, limits::IMPORT_BYTES_MAX).map_err(Failure::error);
    }
    if terminal::stdin_is_terminal() {
        return Err(Failure::usage("nothing to import comes from stdin")
            .advice("name a file, or type: neo-secrets import - < FILE"));
    }
    let bytes = read_wiped(io::stdin(), limits::IMPORT_BYTES_MAX)
        .map_err(|error| Failure::error(format!("cannot read stdin: {error}")))?;
    if bytes.len() > limits::IMPORT_BYTES_MAX {
        let max = limits::IMPORT_BYTES_MAX;
        return Err(Failure::error(format!("stdin: expected at most {max} bytes, got more")));
    }
    Ok(bytes)
}

/// Does with each entry what is to be done, in the order of the file where it is told.
async fn all(
    session: Session,
    entries: Vec<Entry>,
    existing: Existing,
    dry_run: bool,
) -> Vec<Handled> {
    let mut handled = Vec::with_capacity(entries.len());
    let mut tasks = Vec::with_capacity(entries.len());
    for (index, Entry { source, name, value }) in entries.into_iter().enumerate() {
        let outcome = match value {
            Ok(value) => {
                tasks.push((index, name.clone(), value));
                Outcome::NotTried
            }
            Err(why) => Outcome::Invalid(why),
        };
        handled.push(Handled { name, source, outcome });
    }
    let mut progress = Progress { done: 0, all: tasks.len() };
    let work = async move |line: &mut Line, (index, name, value): (usize, String, SecretValue)| {
        let outcome = match dry_run {
            true => upload::look(line, &name, existing).await,
            false => upload::put(line, &name, &value, existing).await,
        };
        let next = if outcome.stops() { Next::Stop } else { Next::Continue };
        ((index, outcome), next)
    };
    let results = pool::each(session.into_line(), tasks, work, || progress.step()).await;
    for (index, outcome) in results.into_iter().flatten() {
        if let Some(place) = handled.get_mut(index) {
            place.outcome = outcome;
        }
    }
    handled
}

/// Fails where the import that is tried out would fail at its first secret.
fn check_may_write(rights: &Rights) -> Result<(), Failure> {
    if rights.may("write") {
        return Ok(());
    }
    let lacking = Lacking { permission: "write", has: Some(rights.clone()) };
    let message = "nothing would be imported: this key lacks the permission write";
    Err(Failure::new(Exit::NotAuthorised, message).advice(advice::lacking(&lacking)))
}

/// Marks what a dry run would create, and the key does not reach.
fn check_reach(rights: &Rights, handled: &mut [Handled]) {
    let globs = rights.secrets.as_deref().unwrap_or_default().join(", ");
    for entry in handled {
        let would = matches!(entry.outcome, Outcome::Created | Outcome::Updated);
        if would && !rights.reach(&entry.name) {
            let failure = Failure::new(
                Exit::NotAuthorised,
                format!("this key does not reach secrets of that name, only {globs}"),
            );
            let failure = failure.field("status", 403).advice(advice::NARROWED);
            entry.outcome = Outcome::Failed(Box::new(failure));
        }
    }
}

/// A bar on stderr, where that is a terminal.
struct Progress {
    done: usize,
    all: usize,
}

impl Progress {
    fn step(&mut self) {
        const WIDTH: usize = 30;
        self.done += 1;
        // Every percent, and the last.
        let (now, before) = (self.done * 100 / self.all, (self.done - 1) * 100 / self.all);
        if terminal::shows_progress() && now != before {
            let filled = self.done * WIDTH / self.all;
            let bar = "#".repeat(filled) + &".".repeat(WIDTH - filled);
            terminal::progress(&format!("[{bar}] {} of {}", self.done, self.all));
        }
    }
}

/// The kinds of outcome in the order in which they are counted, each with what it is called after
/// the fact and in a dry run.
const KINDS: [(&str, &str); 8] = [
    ("created", "create"),
    ("updated", "update"),
    ("skipped", "skip"),
    ("conflict", "conflict"),
    ("invalid", "invalid"),
    ("failed", "failed"),
    ("unknown", "unknown"),
    ("not tried", "not tried"),
];

fn kind(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Created => 0,
        Outcome::Updated => 1,
        Outcome::Skipped => 2,
        Outcome::Conflict => 3,
        Outcome::Invalid(_) => 4,
        Outcome::Failed(_) => 5,
        Outcome::Unknown(_) => 6,
        Outcome::NotTried => 7,
    }
}

fn told(
    command: &Import,
    format: Format,
    handled: &[Handled],
    (simulated, program): (bool, &str),
    unchecked: bool,
) -> Done {
    let dry_run = command.dry_run;
    let called = |index: usize| {
        KINDS.get(index).map_or("", |(after, before)| if dry_run { before } else { after })
    };
    let mut counts = [0_usize; KINDS.len()];
    for entry in handled {
        if let Some(count) = counts.get_mut(kind(&entry.outcome)) {
            *count += 1;
        }
    }
    let row = |entry: &Handled| {
        let word = called(kind(&entry.outcome)).to_owned();
        let result = match entry.outcome.is_good() {
            true => word.into(),
            false => Cell::Painted(Paint::Bad, word),
        };
        let from = if entry.source == entry.name { "" } else { &entry.source };
        vec![entry.name.as_str().into(), result, from.into(), why(&entry.outcome).into()]
    };
    // In a dry run each name is of interest; afterwards those that are not there.
    let shown = handled.iter().filter(|entry| dry_run || !entry.outcome.is_good());
    let columns =
        [Column::whole("NAME"), Column::whole("RESULT"), Column::cut("FROM"), Column::cut("WHY")];
    let counted = counts.iter().enumerate().filter(|(index, count)| **count > 0 || *index == 0);
    let fields = counted.map(|(index, count)| (called(index), count.to_string().into())).collect();
    let page = Page::new().table(&columns, shown.map(row).collect()).fields(fields);
    let mut page = page.essential(Vec::new());
    if unchecked {
        page = page.hint("not checked: whether this key may create these secrets");
    }
    let object = |entry: &Handled| {
        json!({
            "name": entry.name,
            "source": entry.source,
            "result": called(kind(&entry.outcome)),
            "reason": why(&entry.outcome),
        })
    };
    let mut json = json!({
        "simulated": simulated,
        "format": match format {
            Format::Env => "env",
            Format::Json => "json",
            Format::Vault => "vault",
        },
        "dryRun": dry_run,
        "total": handled.len(),
        "entries": handled.iter().map(object).collect::<Vec<Value>>(),
    });
    for (index, count) in counts.iter().enumerate() {
        json["counts"][called(index)] = json!(count);
    }
    let failure = failure(command, handled).map(|failure| failure.with_program(program));
    Shown::with(page, json, failure)
}

fn why(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Created | Outcome::Updated | Outcome::NotTried => String::new(),
        Outcome::Skipped | Outcome::Conflict => "it exists".to_owned(),
        Outcome::Invalid(why) | Outcome::Unknown(why) => why.clone(),
        Outcome::Failed(failure) => failure.message.clone(),
    }
}

/// The failure where not every entry is there as asked for: the gravest reason gives the exit code.
fn failure(command: &Import, handled: &[Handled]) -> Option<Failure> {
    let bad: Vec<&Outcome> =
        handled.iter().map(|entry| &entry.outcome).filter(|outcome| !outcome.is_good()).collect();
    if bad.is_empty() {
        return None;
    }
    let would = if command.dry_run { "would not be" } else { "were not" };
    let message = format!("{} of {} {would} imported", bad.len(), handled.len());
    let stopped = bad.iter().find_map(|outcome| match outcome {
        Outcome::Failed(failure) if outcome.stops() => Some(failure),
        _ => None,
    });
    let conflicts = bad.iter().all(|outcome| matches!(outcome, Outcome::Conflict));
    let resumes = "type the same command again with --skip-existing (or --update): what is there \
        stays, and the rest is tried";
    let exists = "--update gives those that exist the file's value as a new version, --skip-existing leaves \
         them as they are";
    Some(match stopped {
        Some(stopped) => {
            let failure = Failure::new(stopped.exit, message);
            let failure = failure.detail(format!("what stopped it: {}", stopped.message));
            match &stopped.advice {
                Some(advice) => failure.detail(advice.clone()).advice(resumes),
                None => failure.advice(resumes),
            }
        }
        None if conflicts => Failure::new(Exit::NotFoundOrConflict, message).advice(exists),
        None => {
            let unfinished =
                |outcome: &&Outcome| matches!(outcome, Outcome::Unknown(_) | Outcome::NotTried);
            let first = bad.iter().find_map(|outcome| match outcome {
                Outcome::Failed(failure) => Some(failure),
                _ => None,
            });
            let failure = Failure::new(Exit::Error, message);
            match (bad.iter().any(unfinished), first.and_then(|first| first.advice.as_ref())) {
                (true, _) => failure.advice(resumes),
                (false, Some(advice)) => failure.advice(advice),
                (false, None) => failure,
            }
        }
    })
}
