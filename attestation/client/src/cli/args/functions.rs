//! `functions ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use neo_secrets_attestation::receipt::FunctionId;

use super::Delete;
use super::secrets::parse_pair;

#[derive(Subcommand, Debug)]
pub(crate) enum Functions {
    /// Create a function from a file, or change the one of that name after showing what changes
    Deploy(Deploy),
    /// Run a function; its result goes to stdout, its logs to stderr; the receipt is verified
    Invoke(Invoke),
    /// List a function's last executions, or show one with its logs
    Logs(Logs),
    /// List functions, newest first
    List(ListFunctions),
    /// Show a function and what it may reach
    Show(ShowFunction),
    /// Let a function's present code read its secrets, where it was deployed with --pin-code
    Confirm(ConfirmFunction),
    /// Set the secrets that a function may read
    Secrets(FunctionSecrets),
    /// Delete a function with its executions, for good
    Delete(Delete),
    /// Check a receipt: which code ran, and which secrets it was given
    Verify(VerifyReceipt),
}

#[derive(Args, Debug)]
pub(crate) struct Deploy {
    /// The code: JavaScript, at most 256 KiB
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Name: lower-case letters, digits, `-`; at most 64
    #[arg(long)]
    pub(crate) name: String,
    /// A secret that it may read; may be repeated; all that are given replace all that were there
    #[arg(long = "secret", value_name = "NAME")]
    pub(crate) secrets: Vec<String>,
    /// A host that it may call; may be repeated
    #[arg(long, value_name = "HOST")]
    pub(crate) egress: Vec<String>,
    /// A pair of its environment, which is not secret; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_pair)]
    pub(crate) environment: Vec<(String, String)>,
    /// Seconds that it may run, 1 to 300 [default at creation: 30]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) timeout: Option<u32>,
    /// Memory in MiB, 8 to 512 [default at creation: 128]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(8..=512))]
    pub(crate) memory: Option<u32>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) tags: Vec<(String, String)>,
    /// Description, at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Changed code reads no secret until an admin confirms it [=false turns that off]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    pub(crate) pin_code: Option<bool>,
    /// Empty this; may be repeated
    #[arg(long, value_name = "WHAT")]
    pub(crate) clear: Vec<Clear>,
    /// Don't ask on a terminal before a change; without one nothing is asked
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What `--clear` empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clear {
    Secrets,
    Egress,
    Env,
    Tags,
    Description,
}

/// A function, as it is typed.
#[derive(Args, Debug)]
pub(crate) struct FunctionName {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) function: String,
}

#[derive(Args, Debug)]
pub(crate) struct Invoke {
    #[command(flatten)]
    pub(crate) function: FunctionName,
    /// What the code finds in context.params: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-")]
    pub(crate) params: Option<String>,
    /// Start it and print the execution's id; it runs on by itself
    #[arg(long = "async")]
    pub(crate) background: bool,
    /// With --async: look until it has ended, and go on as without
    #[arg(long, requires = "background")]
    pub(crate) wait: bool,
    /// Write the receipt to this new file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) receipt: Option<PathBuf>,
    /// Accept the result only where the code of this file ran
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) code: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) function: FunctionName,
    /// An execution's id, as the list shows it
    #[arg(value_name = "EXECUTION")]
    pub(crate) execution: Option<String>,
    /// Items on this page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Items to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ListFunctions {
    /// Items on this page
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Items to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ShowFunction {
    #[command(flatten)]
    pub(crate) function: FunctionName,
    /// Print the code instead, exactly
    #[arg(long)]
    pub(crate) code: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ConfirmFunction {
    #[command(flatten)]
    pub(crate) function: FunctionName,
    /// Confirm only where the function's code is that of this file, which you have read
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) code: Option<PathBuf>,
    /// Don't ask; without a terminal and without --code it is required
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct FunctionSecrets {
    #[command(flatten)]
    pub(crate) function: FunctionName,
    /// A secret that it may read; may be repeated; all given replace all that were there
    #[arg(long, value_name = "NAME", required_unless_present = "none")]
    pub(crate) set: Vec<String>,
    /// It may read none
    #[arg(long, conflicts_with = "set")]
    pub(crate) none: bool,
    /// Don't ask on a terminal; without one nothing is asked
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct VerifyReceipt {
    /// The receipt, as `functions invoke --receipt` writes it
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(crate) receipt: PathBuf,
    /// Refuse where another function ran than this one (`functions list` shows the ids)
    #[arg(long, value_name = "ID", required_unless_present = "any_function")]
    pub(crate) function: Option<FunctionId>,
    /// Leave open which function ran: then anybody with an account on the instance can have made the receipt
    #[arg(long, conflicts_with = "function")]
    pub(crate) any_function: bool,
    /// Refuse where other code ran than that of this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) code: Option<PathBuf>,
    /// Refuse where it had other parameters: exactly the JSON that was sent, @FILE, or - for stdin
    #[arg(long, value_name = "JSON|@FILE|-", conflicts_with = "no_params")]
    pub(crate) params: Option<String>,
    /// Refuse where it had parameters
    #[arg(long)]
    pub(crate) no_params: bool,
    /// Refuse where the result was another than the one in this file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) result: Option<PathBuf>,
}
