//! The fields of the API's answers as cells of a page.

use neo_secrets_attestation::time::UnixTime;
use serde_json::Value;

use crate::cli::outcome::Failure;
use crate::cli::page::{Cell, Page};
use crate::connection::Answer;

/// The answer's body as JSON. Used only where it holds no key and no value.
pub(crate) fn json_of(answer: &Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::error(format!("the server's answer is not the API's: {error}")))
}

/// The items of a list.
pub(crate) fn items<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A field that is a text.
pub(crate) fn text(object: &Value, name: &str) -> Cell {
    object[name].as_str().unwrap_or("-").into()
}

/// A field that is a number.
pub(crate) fn number(object: &Value, name: &str) -> Cell {
    object[name].as_u64().map_or("-".into(), |number| number.to_string().into())
}

/// A field that is a time.
pub(crate) fn time(object: &Value, name: &str) -> Cell {
    let text = object[name].as_str();
    let parsed = text.and_then(|text| text.parse::<UnixTime>().ok());
    parsed.map_or_else(|| text.unwrap_or("-").into(), Cell::Time)
}

/// When it expires, or `never`.
pub(crate) fn expiry(object: &Value) -> Cell {
    match object["expiresAt"].as_str() {
        None => Cell::Until(None),
        Some(text) => text.parse().map_or_else(|_| text.into(), |time| Cell::Until(Some(time))),
    }
}

/// A field that is a list of texts, with commas between them.
pub(crate) fn list(object: &Value, name: &str) -> Option<String> {
    let texts = object[name].as_array()?.iter().filter_map(Value::as_str);
    Some(texts.collect::<Vec<_>>().join(","))
}

/// The page with a line below it that says which part of the whole it shows.
pub(crate) fn with_position(page: Page, body: &Value, shown: usize, offset: u64) -> Page {
    let total = body["pagination"]["total"].as_u64().unwrap_or_default();
    page.hint(position(shown, offset, total))
}

fn position(shown: usize, offset: u64, total: u64) -> String {
    let next = offset.saturating_add(u64::try_from(shown).unwrap_or(u64::MAX));
    match (shown, next < total) {
        (0, _) => format!("none of {total}"),
        (_, true) => format!("{}-{next} of {total}; more: --offset {next}", offset + 1),
        (_, false) => format!("{}-{next} of {total}", offset + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_comes_next() {
        assert_eq!(position(0, 0, 0), "none of 0");
        assert_eq!(position(20, 0, 45), "1-20 of 45; more: --offset 20");
        assert_eq!(position(5, 40, 45), "41-45 of 45");
        assert_eq!(position(0, 60, 45), "none of 45");
    }
}
