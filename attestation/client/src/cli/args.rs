//! The command line's shape, from which the help, the completions and the manual are made as well.
//! No option and no argument carries a key or a secret's value.

mod endorsements;
mod functions;
mod instance;
mod keys;
mod local;
mod secrets;
mod stray;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use neo_secrets_attestation::ed25519::PublicKey;

pub(crate) use endorsements::*;
pub(crate) use functions::*;
pub(crate) use instance::*;
pub(crate) use keys::*;
pub(crate) use local::*;
pub(crate) use secrets::*;
pub(crate) use stray::*;

use crate::cli::proxy;

/// Store secrets in a confidential virtual machine, after verifying that it is one.
///
/// Every command checks the machine's evidence on its own TLS connection before it sends a key or a
/// value.
#[derive(Parser, Debug)]
#[command(name = "neo-secrets", version, max_term_width = 100)]
#[command(after_help = "\
First steps:
  neo-secrets verify URL --reference FILE --policy FILE
  neo-secrets claim URL --reference FILE --policy FILE --owner-key FILE
  neo-secrets profile import FILE    (one that the instance's owner gave you)
  neo-secrets status                 (what is known, and what to do next)
  printf %s \"$VALUE\" | neo-secrets secrets create NAME

Exit codes: 0 ok, 1 error, 2 usage, 3 evidence refused, 4 not authorised, 5 not found or conflict.
A flag goes before an environment variable, and that before the profile: NEO_SECRETS_URL,
NEO_SECRETS_KEY_FILE, NEO_SECRETS_PROFILE. NO_COLOR turns colours off.")]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The instance: https://host:port
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Profile: a name, or a path with a `/` [default: `default`, where it exists]
    #[arg(long, global = true, value_name = "NAME|FILE")]
    pub(crate) profile: Option<OsString>,
    /// File with an API key
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) key_file: Option<PathBuf>,
    /// reference.json: what the image build measured
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) reference: Option<PathBuf>,
    /// The image builder's key: --reference FILE must bear its signature, in FILE.sig
    #[arg(long, global = true, value_name = "BASE64")]
    pub(crate) reference_key: Option<PublicKey>,
    /// policy.json: what you accept
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) policy: Option<PathBuf>,
    /// Trust this simulated root (DER or PEM) and none of AMD's: proves nothing
    #[arg(long, global = true, value_name = "ROOT", value_hint = clap::ValueHint::FilePath)]
    pub(crate) trust_simulated: Option<PathBuf>,
    /// The instance key to expect, as `verify` shows it
    #[arg(long, global = true, value_name = "BASE64")]
    pub(crate) pin: Option<PublicKey>,
    /// Without a pin: trust the instance met first, and pin it in the profile
    #[arg(long, global = true)]
    pub(crate) pin_first_use: bool,
    /// Accept evidence that covers the vendor's firmware, not our image
    #[arg(long, global = true)]
    pub(crate) accept_firmware_only: bool,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print only what the command is for (an id, a name); errors and warnings go to stderr
    #[arg(long, short, global = true, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print no colours, on a terminal neither
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Verify an instance's evidence
    Verify(Verify),
    /// Show on one screen what is known of the instance, and what to do next
    Status(Status),
    /// Take an unclaimed instance into possession
    Claim(Claim),
    /// Accept the configuration that an instance was started with, as its owner
    AcceptConfig(OwnerAct),
    /// Set an instance's time to this machine's, as its owner
    SetClock(OwnerAct),
    /// Hand on, take over, list and show profiles
    #[command(subcommand)]
    Profile(Profiles),
    /// List, create, show, change, reveal and delete secrets
    #[command(subcommand)]
    Secrets(Secrets),
    /// Create many secrets from a file: .env, JSON, or a Vault export
    Import(Import),
    /// Run a command with secrets in its environment
    Run(Run),
    /// Create, list, revoke and rotate API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Deploy, run, show and delete functions, and check their receipts
    #[command(subcommand)]
    Functions(Functions),
    /// Show who did what, newest first
    Audit(Audit),
    /// Create, list, show, change and delete accounts, with the owner's key
    #[command(subcommand)]
    Accounts(Accounts),
    /// Show how the store is sealed to its machine, with the owner's key
    Seal,
    /// Lead any HTTP client on this machine to the instance, over verified connections
    Proxy(proxy::Arguments),
    /// Bring an instance the certificates and the CRL of its evidence
    #[command(subcommand)]
    Endorsements(Endorsements),
    /// Show a raw attestation report, and check it against certificates, offline
    Report(Report),
    /// Print a shell's completions
    Completions(Completions),
    /// Print the manual, of all or of one command: neo-secrets man | man -l -
    Man(Man),
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// Don't ask on a terminal; without one nothing is asked
    #[arg(long)]
    pub(crate) yes: bool,
}
