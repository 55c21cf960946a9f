//! `profile ..`, `import`, `run`, and what needs no instance.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand, Debug)]
pub(crate) enum Profiles {
    /// Print a profile for a colleague: address, pin, reference, policy; no key and no key file
    Export(ExportProfile),
    /// Take over a profile that a colleague has exported, after showing what it trusts
    Import(ImportProfile),
    /// List the profiles in the profiles' folder
    List,
    /// Show what a profile trusts
    Show(ProfileName),
}

#[derive(Args, Debug)]
pub(crate) struct ProfileName {
    /// The profile [default: the one in use]
    #[arg(value_name = "NAME|FILE")]
    pub(crate) name: Option<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ExportProfile {
    #[command(flatten)]
    pub(crate) profile: ProfileName,
    /// Write to this new file instead of stdout
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportProfile {
    /// The file that `profile export` wrote
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The name to keep it under [default: --profile, or `default`]
    #[arg(value_name = "NAME|FILE")]
    pub(crate) name: Option<OsString>,
    /// Don't ask; without a terminal it is required
    #[arg(long)]
    pub(crate) yes: bool,
    /// Replace a profile of that name
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file with names and values (`-`: stdin)
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The file's format [default: told from its content]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Show what would be done to each name, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Put this in front of each name
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) prefix: String,
    /// Give a secret that exists the file's value as a new version, instead of reporting a conflict
    #[arg(long, conflicts_with = "skip_existing")]
    pub(crate) update: bool,
    /// Leave a secret that exists as it is, instead of reporting a conflict
    #[arg(long)]
    pub(crate) skip_existing: bool,
    /// JSON: take nested objects too, with a `.` between the names
    #[arg(long)]
    pub(crate) flatten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines NAME=VALUE, with quotes, comments and `export `
    Env,
    /// An object of strings
    Json,
    /// What `vault kv get -format=json` prints, or a list of such
    Vault,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// A secret, and the variable to put it in where the name in upper case will not do; may be
    /// repeated
    #[arg(long = "secret", value_name = "NAME[=VARIABLE]")]
    pub(crate) secrets: Vec<String>,
    /// All secrets whose names begin so; the variables' names leave it out
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// All secrets that the key may see
    #[arg(long, conflicts_with = "prefix")]
    pub(crate) all: bool,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    #[arg(value_hint = clap::ValueHint::CommandWithArguments, num_args = 1..)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    pub(crate) shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// source <(neo-secrets completions bash)
    Bash,
    /// neo-secrets completions zsh > DIR/_neo-secrets, DIR in $fpath
    Zsh,
    /// neo-secrets completions fish > ~/.config/fish/completions/neo-secrets.fish
    Fish,
}

#[derive(Args, Debug)]
pub(crate) struct Man {
    /// A command, for example: secrets create
    pub(crate) command: Vec<String>,
}
