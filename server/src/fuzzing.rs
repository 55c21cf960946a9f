//! Doors for `tests/fuzz` to the parsers that are private here: bytes in, what was read out. They
//! reach no store, platform or key in use.

use crate::api::error::ApiError;
use crate::api::json::{Object, Sent};
use crate::api::query::Query;
use crate::seal::SlotTable;
use crate::store::{Header, body};

/// Kind and version of every body that a sealed record can have.
pub const BODIES: &[(u8, u8)] = body::BODIES;

/// A header, read and written again.
pub fn header(bytes: &[u8]) -> Result<Vec<u8>, String> {
    Header::parse(bytes)
        .map(|header| header.to_bytes().to_vec())
        .map_err(|error| format!("{error:?}"))
}

/// A slot table, read and written again.
pub fn slot_table(bytes: &[u8]) -> Result<Vec<u8>, String> {
    SlotTable::parse(bytes).map(|table| table.to_bytes()).map_err(|error| error.to_string())
}

/// The plaintext of a record with a body of this kind and version, read and written again. `rest`
/// stands behind account and kind in the engine key; the account is the system's.
pub fn record(of: (u8, u8), rest: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    body::rewritten(of, rest, plaintext)
}

/// Whether bytes open as a sealed record under a key that was never used.
pub fn record_opens_by_chance(of: (u8, u8), rest: &[u8], sealed: &[u8]) -> bool {
    body::opens_by_chance(of, rest, sealed)
}

/// A request's body with five fields, each of the type that it is named after.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonFields {
    /// A string.
    pub text: Option<String>,
    /// An integer that must be there.
    pub integer: u64,
    /// A list of strings.
    pub texts: Option<Vec<String>>,
    /// An object of strings, in the order in which they came.
    pub pairs: Option<Vec<(String, String)>>,
    /// True or false.
    pub boolean: Option<bool>,
}

/// A request's body, or the answer that refuses it.
pub fn json_body(body: &[u8]) -> Result<JsonFields, String> {
    let read = || -> Result<_, ApiError> {
        let mut object = Object::parse(body, &["text", "integer", "texts", "pairs", "boolean"])?;
        Ok(JsonFields {
            text: object.text("text")?.optional().map(|text| text.to_string()),
            integer: object.required_integer("integer")?,
            texts: match object.texts("texts")? {
                Sent::Absent | Sent::Null => None,
                Sent::Value(texts) => Some(texts),
            },
            pairs: object.text_pairs("pairs")?.optional(),
            boolean: object.boolean("boolean")?.optional(),
        })
    };
    read().map_err(|error| error.body("r"))
}

/// A query's parameters `a`, `b` and `number`, or the answer that refuses it.
pub fn query(text: &str) -> Result<(Option<String>, Option<String>, u64), String> {
    let read = || -> Result<_, ApiError> {
        let query = Query::parse(text, &["a", "b", "number"])?;
        let value = |name| query.value(name).map(str::to_owned);
        Ok((value("a"), value("b"), query.number("number", 1..=100, 20)?))
    };
    read().map_err(|error| error.body("r"))
}
