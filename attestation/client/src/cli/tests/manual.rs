//! Completions and the manual know every command and option that the parser knows.

use clap::CommandFactory;

use super::*;

fn text_of(line: &str) -> String {
    let done = super::super::run(&parsed(line), &Environment::default());
    piped(&done.unwrap_or_else(|failure| panic!("{line}: {}", failure.to_text())))
}

/// The command and all below it, each as it is typed.
fn paths(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
    found.push((path.to_owned(), command.clone()));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        paths(below, format!("{path} {}", below.get_name()).trim(), found);
    }
}

fn all() -> Vec<(String, clap::Command)> {
    let mut root = CommandLine::command();
    root.build();
    let mut found = Vec::new();
    paths(&root, "", &mut found);
    found
}

#[test]
fn a_pages_title_is_whole_and_its_synopsis_has_the_commands_own_options() {
    let page = text_of("man secrets create");
    let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
    let expected = concat!(
        ".TH neo-secrets-secrets-create 1 \" \" \"neo-secrets ",
        env!("CARGO_PKG_VERSION"),
        "\" \"Neo Secrets\""
    );
    assert_eq!(title, expected);
    let (_, rest) = page.split_once(".SH SYNOPSIS\n").unwrap();
    let synopsis = rest.lines().next().unwrap();
    assert!(synopsis.contains("from\\-file") && !synopsis.contains("pin"), "{synopsis}");
    assert!(page.contains("GLOBAL OPTIONS") && page.contains("\\-\\-pin\\-first\\-use"));
}

#[test]
fn every_command_has_a_page_with_each_of_its_options() {
    let all = all();
    assert!(all.len() > 30, "{}", all.len());
    for (path, command) in all {
        let page = text_of(&format!("man {path}"));
        for option in command.get_opts().filter(|option| !option.is_hide_set()) {
            let Some(long) = option.get_long() else { continue };
            let shown = format!("\\-\\-{}", long.replace('-', "\\-"));
            assert!(page.contains(&shown), "--{long} is not in the page of {path:?}:\n{page}");
        }
    }
    let failure = super::super::run(&parsed("man secrets nosuch"), &Environment::default());
    let failure = failure.err().unwrap();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.to_text().contains("rollback"), "{}", failure.to_text());
}

#[test]
fn every_shells_completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text_of(&format!("completions {shell}"));
        for (path, _) in all() {
            let last = path.rsplit(' ').next().unwrap_or_default();
            assert!(script.contains(last), "{shell}: {path}");
        }
        for option in ["--skip-existing", "--overlap", "--permission", "reveal", "by-permission"] {
            let known = shell != "fish" || !option.starts_with("--");
            let option = if known { option } else { option.trim_start_matches('-') };
            assert_eq!(script.contains(option), option != "by-permission", "{shell}: {option}");
        }
        // What is taken only so that it can be refused is offered nowhere.
        for offer in ["--value=", " --value ", "-l value "] {
            assert!(!script.contains(offer), "{shell}");
        }
    }
    assert!(usage("completions tcsh").contains("fish"));
}
