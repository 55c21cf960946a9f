//! Commands that work when they are pasted.

use crate::cli::args::Global;
use crate::cli::terminal::printable;

/// `neo-secrets`, with the profile that was named.
pub(crate) fn program(global: &Global) -> String {
    match &global.profile {
        None => "neo-secrets".to_owned(),
        Some(name) => format!("neo-secrets --profile {}", quoted(&name.to_string_lossy())),
    }
}

/// A word of a shell command, quoted where the shell would take it apart.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:=@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", printable(word).replace('\'', r"'\''"))
}
