//! Questions before what can't be undone.

use crate::cli::outcome::{Exit, Failure};
use crate::cli::terminal::{self, printable};

/// On a terminal a person is asked; a script is not.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || !terminal::stdin_is_terminal() {
        return Ok(());
    }
    asked(question)
}

/// A person is asked; a script must have said `--yes`.
pub(crate) fn confirm_or_yes(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !terminal::stdin_is_terminal() {
        return Err(Failure::usage("nobody can be asked here, and nothing was done")
            .advice("--yes says yes beforehand"));
    }
    asked(question)
}

fn asked(question: &str) -> Result<(), Failure> {
    let answer =
        terminal::ask(&format!("{} [y/N] ", printable(question))).map_err(Failure::error)?;
    match answer.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Error, "nothing was done")),
    }
}
