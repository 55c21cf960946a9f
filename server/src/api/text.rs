//! What a caller sent, made fit to be repeated to it.

use crate::limits;

/// At most [`limits::ECHO_CHARACTERS`] characters, none of them a control character.
pub fn printable(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(limits::ECHO_CHARACTERS)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(limits::ECHO_CHARACTERS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_little_and_no_control_characters() {
        assert_eq!(printable("a\u{1b}[31m\n"), "a\u{fffd}[31m\u{fffd}");
        assert_eq!(printable(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
        assert_eq!(printable(&"é".repeat(64)), "é".repeat(64));
    }
}
