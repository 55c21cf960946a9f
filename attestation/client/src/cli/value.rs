//! Where a secret's value comes from: a file, stdin, or a prompt. Never the command line.

use std::io;
use std::path::Path;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::cli::args::{Stray, ValueSource};
use crate::cli::outcome::{Exit, Failure};
use crate::cli::terminal;
use crate::files;
use crate::limits;
use crate::secret::{SecretValue, push_json_string, read_wiped};

/// Refuses a value on the command line, without repeating it.
pub(crate) fn refuse_stray(stray: &Stray, command: &str) -> Result<(), Failure> {
    if stray.is_empty() {
        return Ok(());
    }
    Err(on_command_line(command))
}

/// The refusal of a value on the command line.
pub(crate) fn on_command_line(command: &str) -> Failure {
    Failure::usage(
        "a value is never taken from the command line, which other users of this machine and your \
         shell's history can read",
    )
    .advice(format!(
        "type: printf %s \"$VALUE\" | neo-secrets {command} NAME   or: neo-secrets {command} NAME \
         --from-file FILE   or, on a terminal, neo-secrets {command} NAME and then the value. A \
         value that was just typed here should be replaced."
    ))
}

/// Reads the value that a command asks for: bytes exactly as they are, but for the Enter that ends
/// a prompt.
pub(crate) fn read(source: &ValueSource) -> Result<SecretValue, Failure> {
    let ValueSource { from_file, strip_newline } = source;
    let value = match from_file.as_deref() {
        Some(path) if path != Path::new("-") => {
            let bytes = files::read_bounded(path, limits::VALUE_BYTES_MAX);
            let named = |error| Failure::error(format!("{}: {error}", path.display()));
            SecretValue::new(bytes.map_err(Failure::error)?).map_err(named)?
        }
        None if terminal::stdin_is_terminal() => prompt()?,
        _ => {
            let bytes = read_wiped(io::stdin(), limits::VALUE_BYTES_MAX)
                .map_err(|error| Failure::error(format!("cannot read stdin: {error}")))?;
            let value = SecretValue::new(bytes)
                .map_err(|error| Failure::error(format!("stdin: {error}")))?;
            if value.ends_in_newline() && !strip_newline {
                terminal::note(
                    "note: the value from stdin ends in a newline, which is stored with it; \
                     --strip-newline leaves it out",
                );
            }
            value
        }
    };
    if *strip_newline { value.strip_newline().map_err(Failure::error) } else { Ok(value) }
}

fn prompt() -> Result<SecretValue, Failure> {
    let ask = |question| {
        terminal::ask_hidden(question)
            .map_err(|error| Failure::error(format!("cannot ask on the terminal: {error}")))?
            .ok_or_else(|| Failure::new(Exit::Error, "nothing was sent: the prompt was ended"))
    };
    let value = ask("Value (not shown, Enter ends it): ")?;
    let again = ask("The same value again: ")?;
    if *value != *again {
        return Err(Failure::new(Exit::Error, "nothing was sent: the two values differ"));
    }
    SecretValue::new(value).map_err(Failure::error)
}

/// A JSON object for a request.
pub(crate) struct Body(Zeroizing<Vec<u8>>);

impl Body {
    /// An object whose secret field, if any, will be `value`.
    pub(crate) fn new(value: Option<&SecretValue>) -> Self {
        // Escaped, a byte has at most six. With this capacity the value is never moved, so no copy
        // stays behind.
        let secret = value.map_or(0, |value| 6 * value.expose().len());
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret + limits::HEAD_BYTES_MAX));
        bytes.push(b'{');
        if let Some(value) = value {
            bytes.extend_from_slice(b"\"value\":");
            push_json_string(&mut bytes, value.expose());
            bytes.push(b',');
        }
        Self(bytes)
    }

    pub(crate) fn field(&mut self, name: &str, value: &Value) {
        let text = format!("{}:{value},", Value::from(name));
        if self.0.capacity() - self.0.len() < text.len() {
            let mut larger = Zeroizing::new(Vec::with_capacity(2 * (self.0.len() + text.len())));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        match self.0.last_mut() {
            Some(comma) if *comma == b',' => *comma = b'}',
            // Nothing but the brace that `new` wrote, with room behind it.
            _ => self.0.push(b'}'),
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::files::tests::Folder;

    #[test]
    fn a_body_is_the_object_of_its_fields() {
        let value = SecretValue::new(Zeroizing::new(b"a\"\n".to_vec())).ok().unwrap();
        let mut body = Body::new(Some(&value));
        body.field("name", &json!("x"));
        body.field("description", &json!("y".repeat(100_000)));
        let read: Value = serde_json::from_slice(&body.finish()).unwrap();
        assert_eq!(read["value"], "a\"\n");
        assert_eq!(read["name"], "x");
        assert_eq!(read["description"].as_str().unwrap().len(), 100_000);
        assert_eq!(Body::new(None).finish().as_slice(), b"{}");
    }

    #[test]
    fn a_file_is_taken_byte_for_byte() {
        let folder = Folder::new();
        let path = folder.join("value");
        let take = |bytes: &[u8], strip_newline| {
            fs::write(&path, bytes).unwrap();
            read(&ValueSource { from_file: Some(path.clone()), strip_newline })
        };
        assert_eq!(take(b"a\n", false).ok().unwrap().expose(), b"a\n");
        assert_eq!(take(b"a\n", true).ok().unwrap().expose(), b"a");
        let failure = take(b"secret\xff", false).err().unwrap();
        assert!(failure.message.contains("offset 6"), "{}", failure.message);
        assert!(!failure.to_text().contains("secret\u{fffd}"));
        assert_eq!(take(&[b'a'; 65_536], false).ok().unwrap().expose().len(), 65_536);
        for len in [65_537, 65_538, 100_000] {
            assert!(take(&vec![b'a'; len], false).err().unwrap().message.contains("at most 65"));
        }
    }
}
