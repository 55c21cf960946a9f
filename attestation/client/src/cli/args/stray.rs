//! Keys and values where none belongs: on the command line.

use std::ffi::{OsStr, OsString};

use clap::Args;

/// A second word where people type a value on the command line: taken so that it can be refused
/// without showing it. (Completions would offer an option for that, however hidden; `--value` is
/// refused where clap does not know it.)
#[derive(Args)]
pub(crate) struct Stray {
    #[arg(hide = true, value_name = "VALUE")]
    positional: Vec<OsString>,
}

impl std::fmt::Debug for Stray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stray")
    }
}

impl Stray {
    pub(crate) fn is_empty(&self) -> bool {
        self.positional.is_empty()
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
