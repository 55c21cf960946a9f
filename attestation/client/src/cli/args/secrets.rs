//! `secrets ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, Stray};
use crate::cli::readable::Moment;

#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    /// List secrets, newest first
    List(ListSecrets),
    /// Create a secret; its value comes from a file, from stdin, or from a prompt
    Create(CreateSecret),
    /// Show a secret's metadata, never its value
    #[command(visible_alias = "show")]
    Get(Object),
    /// Change a secret; without any option its value, read as `create` reads it
    Update(UpdateSecret),
    /// List the versions whose values are kept, newest first
    Versions(Object),
    /// Bring back a kept version: its value becomes a new version
    Rollback(RollbackSecret),
    /// Take a secret's value out, where the configuration and the key allow it
    Value(RevealSecret),
    /// Delete a secret with all its versions, for good
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(crate) struct ListSecrets {
    /// Items on this page, at most 100
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Items to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
    /// Only names that begin so
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Description, version, tags and expiry as well
    #[arg(long)]
    pub(crate) detail: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Object {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    #[command(flatten)]
    pub(crate) stray: Stray,
}

/// Where a value comes from: never the command line, which other users can read.
#[derive(Args, Debug)]
pub(crate) struct ValueSource {
    /// Take the value from this file (`-`: stdin), byte for byte [default: stdin, or a prompt on a
    /// terminal]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) from_file: Option<PathBuf>,
    /// Leave out one newline at the value's end (a prompt's Enter is never part of the value)
    #[arg(long)]
    pub(crate) strip_newline: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CreateSecret {
    /// Name: letters, digits, `_`, `.`, `-`; at most 100
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) source: ValueSource,
    /// Description, at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) tags: Vec<(String, String)>,
    /// When it expires: 2027-01-31T12:00:00Z, 2027-01-31, or 90d from now
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Moment>,
    #[command(flatten)]
    pub(crate) use_only: UseOnly,
    #[command(flatten)]
    pub(crate) stray: Stray,
}

/// Where the value of a secret that nobody may read is sent by functions; can't be changed later.
#[derive(Args, Debug)]
pub(crate) struct UseOnly {
    /// Let nobody read the value: functions send it, in one header, to the hosts named here. For good
    #[arg(long, requires_all = ["allow_hosts", "header"])]
    pub(crate) use_only: bool,
    /// With --use-only: a host that the value may be sent to, like api.example.com; may be repeated
    #[arg(long = "allow-host", value_name = "HOST", requires = "use_only")]
    pub(crate) allow_hosts: Vec<String>,
    /// With --use-only: the header that the value is sent in
    #[arg(long, value_name = "NAME", requires = "use_only")]
    pub(crate) header: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct UpdateSecret {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    #[command(flatten)]
    pub(crate) source: ValueSource,
    /// New description
    #[arg(long, value_name = "TEXT", conflicts_with = "clear_description")]
    pub(crate) description: Option<String>,
    /// Remove the description
    #[arg(long)]
    pub(crate) clear_description: bool,
    /// A tag; all tags given replace all that were there
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_pair)]
    #[arg(conflicts_with = "clear_tags")]
    pub(crate) tags: Vec<(String, String)>,
    /// Remove all tags
    #[arg(long)]
    pub(crate) clear_tags: bool,
    /// When it expires: 2027-01-31T12:00:00Z, 2027-01-31, or 90d from now
    #[arg(long, value_name = "TIME", conflicts_with = "clear_expires_at")]
    pub(crate) expires_at: Option<Moment>,
    /// Let it never expire
    #[arg(long)]
    pub(crate) clear_expires_at: bool,
    /// Only where the secret is still at this revision, as `secrets get` shows it
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_match: Option<u64>,
    #[command(flatten)]
    pub(crate) stray: Stray,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackSecret {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// The version, as `secrets versions` shows it
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) to: u64,
    /// Only where the secret is still at this revision, as `secrets get` shows it
    #[arg(long, value_name = "REVISION")]
    pub(crate) if_match: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct RevealSecret {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// A kept version, as `secrets versions` shows it [default: the newest]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) version: Option<u64>,
    /// Write the value to this new file, mode 0600, instead of printing it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
    /// With --out: replace the file where it exists
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() {
        return Err("expected KEY=VALUE with a KEY".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
