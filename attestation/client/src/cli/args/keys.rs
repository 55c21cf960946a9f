//! `keys ..`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Delete;
use crate::cli::readable::{Moment, Overlap};

#[derive(Subcommand, Debug)]
pub(crate) enum Keys {
    /// Issue a key; it is shown, or written, this once
    Create(CreateKey),
    /// List keys, never the keys themselves
    List,
    /// Revoke a key at once
    Revoke(Delete),
    /// Replace a key by a new one of the same permissions
    Rotate(RotateKey),
}

#[derive(Args, Debug)]
pub(crate) struct CreateKey {
    /// The key's name
    pub(crate) name: String,
    /// What the key may do; may be repeated
    #[arg(long = "permission", value_name = "PERMISSION", required = true, value_delimiter = ',')]
    pub(crate) permissions: Vec<Permission>,
    /// Only secrets whose names match this glob, for example `db-*`; may be repeated
    #[arg(long = "secret", value_name = "GLOB")]
    pub(crate) secrets: Vec<String>,
    /// When it expires: 2027-01-31T12:00:00Z, 2027-01-31, or 90d from now
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<Moment>,
    /// Write the key to this new file, mode 0600, instead of printing it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RotateKey {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// How long the old key still works, at most a week: 90 (seconds), 15m, 24h, 7d
    #[arg(long, value_name = "DURATION", default_value = "0", alias = "overlap-seconds")]
    pub(crate) overlap: Overlap,
    /// Write the new key to this file, mode 0600, instead of printing it; a file there is replaced
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Permission {
    Read,
    Write,
    Execute,
    Admin,
    Reveal,
}

impl Permission {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Admin => "admin",
            Self::Reveal => "reveal",
        }
    }
}
