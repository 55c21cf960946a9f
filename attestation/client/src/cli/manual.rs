//! `neo-secrets completions` and `neo-secrets man`, made from the declaration that parses.

use clap::{Command, CommandFactory};
use clap_complete::aot::{Bash, Fish, Generator, Zsh, generate};
use serde_json::json;

use crate::cli::args::{CommandLine, Completions, Man, Shell};
use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;

const NAME: &str = "neo-secrets";

pub(crate) fn completions(command: &Completions) -> Shown {
    let script = match command.shell {
        Shell::Bash => bash(),
        Shell::Zsh => script(Zsh, NAME),
        Shell::Fish => script(Fish, NAME),
    };
    let json = json!({ "script": script });
    Shown::new(Page::new().text(script), &json)
}

/// clap_complete 4.6 labels the subcommands of a program with a `-` in its name in two ways, so that
/// none of them matches (clap's issue 6421): the script is made for another name, and registered for
/// ours.
fn bash() -> String {
    const OTHER: &str = "neo_secrets";
    script(Bash, OTHER).replace(&format!(" {OTHER}\n"), &format!(" {NAME}\n"))
}

fn script(shell: impl Generator, name: &str) -> String {
    let mut script = Vec::new();
    generate(shell, &mut CommandLine::command(), name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command's line, in roff.
fn synopsis(command: &Command) -> Result<String, Failure> {
    let mut section = Vec::new();
    let man = clap_mangen::Man::new(command.clone());
    man.render_synopsis_section(&mut section).map_err(Failure::error)?;
    let section = String::from_utf8_lossy(&section);
    let (_, line) = section.split_once(".SH SYNOPSIS\n").unwrap_or_default();
    Ok(line.to_owned())
}

/// The page of the command that is named, in roff.
pub(crate) fn man(command: &Man) -> Result<Shown, Failure> {
    let mut root = CommandLine::command();
    // This gives each command the options that all of them take, and its whole name.
    root.build();
    let mut found = &root;
    for name in &command.command {
        found = found.find_subcommand(name).ok_or_else(|| {
            let known: Vec<_> = found.get_subcommands().map(Command::get_name).collect();
            let failure = Failure::usage(format!("there is no command {name:?}"));
            match known.is_empty() {
                true => failure,
                false => failure.advice(format!("there are: {}", known.join(", "))),
            }
        })?;
    }
    let mut page = Vec::new();
    // An empty date would be left out of the title's line, and what follows taken for it.
    clap_mangen::Man::new(found.clone())
        .title(found.get_display_name().unwrap_or(NAME))
        .date(" ")
        .source(concat!("neo-secrets ", env!("CARGO_PKG_VERSION")))
        .manual("Neo Secrets")
        .render(&mut page)
        .map_err(Failure::error)?;
    let page = String::from_utf8_lossy(&page);
    let own = found.clone().mut_args(|arg| {
        let hidden = arg.is_hide_set() || arg.is_global_set();
        arg.hide(hidden)
    });
    let page = page.replacen(&synopsis(found)?, &synopsis(&own)?, 1);
    let json = json!({ "roff": page });
    Ok(Shown::new(Page::new().text(page), &json))
}
