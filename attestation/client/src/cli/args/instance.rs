//! Commands about an instance as a whole, and about evidence.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use neo_secrets_attestation::time::UnixTime;

use crate::cli::readable::Moment;

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The instance: https://host:port
    #[arg(value_name = "URL")]
    pub(crate) instance: Option<String>,
    /// List every step with its facts
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write the verified connection's certificate (PEM), for `curl --cacert`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) write_cert: Option<PathBuf>,
    /// Keep URL, reference, policy, root and pin in the profile named by --profile
    #[arg(long)]
    pub(crate) save_profile: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Claim {
    /// The instance: https://host:port
    #[arg(value_name = "URL")]
    pub(crate) instance: Option<String>,
    /// Your Ed25519 key pair (PEM); made, with mode 0600, where the file is absent
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) owner_key: PathBuf,
    /// Name of the first account
    #[arg(long, value_name = "NAME")]
    pub(crate) account_name: Option<String>,
    /// Folder for owner.key and admin.key [default: keys/PROFILE beside the profiles, or the
    /// folder of a profile that lies elsewhere]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) out_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct OwnerAct {
    /// The instance: https://host:port
    #[arg(value_name = "URL")]
    pub(crate) instance: Option<String>,
    /// Your Ed25519 key pair (PEM), which has claimed the instance
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) owner_key: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// The raw report: 1184 bytes
    pub(crate) file: PathBuf,
    /// The VCEK or VLEK, DER or PEM
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) vek: Option<PathBuf>,
    /// ARK, ASK or ASVK, in any order, DER or PEM, one or several in a file; may be repeated
    #[arg(long = "ca", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) authorities: Vec<PathBuf>,
    /// The host's table of certificates, such as `auxblob` of configfs-tsm: stands in for --vek, --ca
    /// and --crl, or adds to them
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) cert_table: Option<PathBuf>,
    /// The root's revocation list, DER or PEM
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) crl: Option<PathBuf>,
    /// Check at this time instead of now, for example 2025-06-01T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<UnixTime>,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// The instance: https://host:port
    #[arg(value_name = "URL")]
    pub(crate) instance: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// Only events at or after this time: 2026-01-31T12:00:00Z, 2026-01-31, or 24h ago
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<Moment>,
    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<Moment>,
    /// Only this action, for example secret.reveal or key.create
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Only about this secret
    #[arg(long, value_name = "NAME|ID")]
    pub(crate) secret: Option<String>,
    /// Items on this page, at most 100
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Items to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
    /// All pages
    #[arg(long, conflicts_with_all = ["limit", "offset"])]
    pub(crate) all: bool,
    /// The instance's own log, about accounts, with the owner's key
    #[arg(long)]
    pub(crate) owner: bool,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Accounts {
    /// Create an account; its admin key is written, or shown, this once
    Create(CreateAccount),
    /// List accounts, newest first
    List(ListAccounts),
    /// Show an account: its quotas and what it uses
    Show(Account),
    /// Change an account's name or quotas
    Update(UpdateAccount),
    /// Delete an account with all its secrets and keys, for good
    Delete(DeleteAccount),
}

#[derive(Args, Debug)]
pub(crate) struct DeleteAccount {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// Don't ask; without a terminal it is required
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ListAccounts {
    /// Items on this page, at most 100
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Items to skip
    #[arg(long, default_value_t = 0)]
    pub(crate) offset: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Account {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
}

/// An account's quotas: a number, or `default` for the configuration's.
#[derive(Args, Debug, Default)]
pub(crate) struct Quotas {
    /// Quota: secrets [a number, or `default`]
    #[arg(long, value_name = "N")]
    pub(crate) secrets: Option<Quota>,
    /// Quota: bytes of all kept values
    #[arg(long, value_name = "N")]
    pub(crate) value_bytes: Option<Quota>,
    /// Quota: API keys
    #[arg(long, value_name = "N")]
    pub(crate) api_keys: Option<Quota>,
    /// Quota: events in the audit log
    #[arg(long, value_name = "N")]
    pub(crate) audit_events: Option<Quota>,
    /// Quota: functions
    #[arg(long, value_name = "N")]
    pub(crate) functions: Option<Quota>,
}

/// One quota as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    Default,
    Number(u64),
}

impl std::str::FromStr for Quota {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "default" => Ok(Self::Default),
            _ => text.parse().map(Self::Number).map_err(|_| "expected a number, or `default`"),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct CreateAccount {
    /// The account's name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) quotas: Quotas,
    /// Write the admin key to this new file, mode 0600 [default: keys/PROFILE/NAME.key beside the
    /// profiles; for a profile that lies elsewhere, NAME.key beside it]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct UpdateAccount {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// New name
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) quotas: Quotas,
}
