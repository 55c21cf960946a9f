//! The command line's shape. No option and no argument carries a key or a secret's value.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::time::UnixTime;

use crate::cli::proxy;

/// Store secrets in a confidential virtual machine, after verifying that it is one.
///
/// Every command checks the machine's evidence on its own TLS connection before it sends a key or a
/// value.
#[derive(Parser, Debug)]
#[command(name = "neo-secrets", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 ok, 1 error, 2 usage, 3 evidence refused, 4 not authorised, 5 not \
        found or conflict.\nA flag goes before an environment variable, and that before the \
        profile: NEO_SECRETS_URL, NEO_SECRETS_KEY_FILE, NEO_SECRETS_PROFILE."
)]
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
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// reference.json: what the image build measured
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    /// policy.json: what you accept
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Trust this simulated root (DER or PEM) and none of AMD's: proves nothing
    #[arg(long, global = true, value_name = "ROOT")]
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
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Verify an instance's evidence
    Verify(Verify),
    /// Take an unclaimed instance into possession
    Claim(Claim),
    /// List, create, show, change and delete secrets
    #[command(subcommand)]
    Secrets(Secrets),
    /// Create, list, revoke and rotate API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Show a raw attestation report, and check it against certificates, offline
    Report(Report),
    /// Lead any HTTP client on this machine to the instance, over verified connections
    Proxy(proxy::Arguments),
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The instance: https://host:port
    #[arg(value_name = "URL")]
    pub(crate) instance: Option<String>,
    /// List every step with its facts
    #[arg(long)]
    pub(crate) explain: bool,
    /// Write the verified connection's certificate (PEM), for `curl --cacert`
    #[arg(long, value_name = "FILE")]
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
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key: PathBuf,
    /// Name of the first account
    #[arg(long, value_name = "NAME")]
    pub(crate) account_name: Option<String>,
    /// Folder for owner.key and admin.key [default: keys/PROFILE beside the profiles]
    #[arg(long, value_name = "DIR")]
    pub(crate) out_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Secrets {
    /// List secrets, newest first
    List(ListSecrets),
    /// Create a secret; its value comes from a file, from stdin, or from a prompt
    Create(CreateSecret),
    /// Show a secret's metadata, never its value
    Get(Object),
    /// Change a secret; without any option its value, read as `create` reads it
    Update(UpdateSecret),
    /// List the versions whose values are kept, newest first
    Versions(Object),
    /// Bring back a kept version: its value becomes a new version
    Rollback(RollbackSecret),
    /// Delete a secret with all its versions, for good
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(crate) struct ListSecrets {
    /// Items on this page
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
    #[arg(long, value_name = "FILE")]
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
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// When it expires, for example 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) expires_at: Option<UnixTime>,
    #[command(flatten)]
    pub(crate) stray: Stray,
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
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    #[arg(conflicts_with = "clear_tags")]
    pub(crate) tags: Vec<(String, String)>,
    /// Remove all tags
    #[arg(long)]
    pub(crate) clear_tags: bool,
    /// When it expires, for example 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339", conflicts_with = "clear_expires_at")]
    pub(crate) expires_at: Option<UnixTime>,
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
pub(crate) struct Delete {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// Don't ask on a terminal; without one nothing is asked
    #[arg(long)]
    pub(crate) yes: bool,
}

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
    /// When it expires, for example 2027-01-31T12:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) expires_at: Option<UnixTime>,
    /// Write the key to this new file, mode 0600, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct RotateKey {
    /// Name or id
    #[arg(value_name = "NAME|ID")]
    pub(crate) object: String,
    /// How long the old key still works, at most 604800 (a week)
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) overlap_seconds: u32,
    /// Write the new key to this file, mode 0600, instead of printing it; a file there is replaced
    #[arg(long, value_name = "FILE")]
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

#[derive(Args, Debug)]
pub(crate) struct Report {
    /// The raw report: 1184 bytes
    pub(crate) file: PathBuf,
    /// The VCEK or VLEK, DER or PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) vek: Option<PathBuf>,
    /// ARK, ASK or ASVK, in any order, DER or PEM, one or several in a file; may be repeated
    #[arg(long = "ca", value_name = "FILE")]
    pub(crate) authorities: Vec<PathBuf>,
    /// The root's revocation list, DER or PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
    /// Check at this time instead of now, for example 2025-06-01T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<UnixTime>,
}

/// What people type who want to give a value on the command line: taken so that it can be refused
/// without showing it.
#[derive(Args)]
pub(crate) struct Stray {
    #[arg(hide = true, value_name = "VALUE")]
    positional: Vec<OsString>,
    #[arg(long, hide = true, num_args = 0..=1)]
    value: Option<Vec<OsString>>,
}

impl std::fmt::Debug for Stray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stray")
    }
}

impl Stray {
    pub(crate) fn is_empty(&self) -> bool {
        self.positional.is_empty() && self.value.is_none()
    }
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if key.is_empty() {
        return Err("expected KEY=VALUE with a KEY".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The environment that a command reads, as values: a test passes its own. An empty variable counts
/// as absent.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) url: Option<OsString>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) profile: Option<OsString>,
    pub(crate) config_folder: Option<PathBuf>,
}

impl Environment {
    /// Reads the variables of this process through `variable`.
    pub(crate) fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let absolute = |name| set(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        Self {
            url: set("NEO_SECRETS_URL"),
            key_file: set("NEO_SECRETS_KEY_FILE").map(PathBuf::from),
            profile: set("NEO_SECRETS_PROFILE"),
            config_folder: base.map(|base| base.join("neo-secrets")),
        }
    }

    /// The variable that holds an API key, which none of them takes, where one does.
    pub(crate) fn variable_with_a_key(&self) -> Option<&'static str> {
        let Self { url, key_file, profile, config_folder: _ } = self;
        let key_file = key_file.as_ref().map(|path| path.as_os_str());
        let variables = [
            ("NEO_SECRETS_URL", url.as_deref()),
            ("NEO_SECRETS_KEY_FILE", key_file),
            ("NEO_SECRETS_PROFILE", profile.as_deref()),
        ];
        let mut variables = variables.into_iter();
        variables.find(|(_, value)| value.is_some_and(has_a_key)).map(|(name, _)| name)
    }
}

/// Whether an argument has an API key in it (`neo_` and 43 characters of base64url), so that no
/// message may repeat it.
pub(crate) fn has_a_key(argument: &OsStr) -> bool {
    const KEY_CHARACTERS: usize = 43;
    let bytes = argument.as_encoded_bytes();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    bytes
        .windows(4 + KEY_CHARACTERS)
        .any(|window| window.strip_prefix(b"neo_").is_some_and(|rest| rest.iter().all(fits)))
}
