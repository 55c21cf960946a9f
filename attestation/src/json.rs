//! A strict JSON reader: every field is asked for by name, none may be missing, unknown or
//! repeated, and every error names the path of the field.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct JsonError {
    /// Such as `measurements[0].digest`; empty for the text as a whole.
    pub path: String,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// More bytes than a text of this kind may have.
    #[error("{got} bytes are too many; the limit is {limit}")]
    TooLong {
        /// Bytes there are.
        got: usize,
        /// Bytes there may be.
        limit: usize,
    },
    /// Not JSON.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// A required field is not there.
    #[error("the field is missing")]
    Missing,
    /// A field that this format does not have.
    #[error("there is no such field")]
    Unknown,
    /// A field that stands there twice.
    #[error("the field is repeated")]
    Repeated,
    /// The value is not what the field takes.
    #[error("expected {0}")]
    Expected(String),
}

impl JsonProblem {
    pub(crate) fn at(self, path: impl Into<String>) -> JsonError {
        JsonError { path: path.into(), problem: self }
    }
}

enum Json {
    Null,
    Bool,
    Unsigned(u64),
    OtherNumber,
    String(String),
    Array(Vec<Json>),
    Object { fields: BTreeMap<String, Json>, repeated: Option<String> },
}

/// A value and where it stands.
pub(crate) struct Node {
    path: String,
    value: Json,
}

/// An object whose fields are being taken.
pub(crate) struct Object {
    path: String,
    fields: BTreeMap<String, Json>,
}

/// Parses a whole text of at most `limit` bytes.
pub(crate) fn parse(text: &[u8], limit: usize) -> Result<Node, JsonError> {
    if text.len() > limit {
        return Err(JsonProblem::TooLong { got: text.len(), limit }.at(""));
    }
    let value = serde_json::from_slice(text)
        .map_err(|error| JsonProblem::Syntax(error.to_string()).at(""))?;
    Ok(Node { path: String::new(), value })
}

/// A file: indented JSON and a newline.
pub(crate) fn file(value: &impl serde::Serialize) -> String {
    #[derive(serde::Serialize)]
    struct Versioned<'value, T> {
        version: u32,
        #[serde(flatten)]
        value: &'value T,
    }
    let text = serde_json::to_string_pretty(&Versioned { version: 1, value });
    text.expect("named fields of strings, numbers and lists always serialise") + "\n"
}

impl Node {
    pub(crate) fn expected(&self, what: impl Into<String>) -> JsonError {
        JsonProblem::Expected(what.into()).at(self.path.as_str())
    }

    pub(crate) fn object(self) -> Result<Object, JsonError> {
        match self.value {
            Json::Object { fields, repeated: None } => Ok(Object { path: self.path, fields }),
            Json::Object { repeated: Some(name), .. } => {
                Err(JsonProblem::Repeated.at(join(&self.path, &name)))
            }
            _ => Err(self.expected("an object")),
        }
    }

    pub(crate) fn array(self, items_max: usize) -> Result<Vec<Node>, JsonError> {
        let Json::Array(items) = self.value else {
            return Err(self.expected("an array"));
        };
        if items.len() > items_max {
            return Err(JsonProblem::Expected(format!("at most {items_max} items")).at(self.path));
        }
        let node = |(index, value)| Node { path: format!("{}[{index}]", self.path), value };
        Ok(items.into_iter().enumerate().map(node).collect())
    }

    /// Every item of an array through `read`.
    pub(crate) fn list<T>(
        self,
        items_max: usize,
        read: impl FnMut(Node) -> Result<T, JsonError>,
    ) -> Result<Vec<T>, JsonError> {
        self.array(items_max)?.into_iter().map(read).collect()
    }

    pub(crate) fn str(&self) -> Result<&str, JsonError> {
        match &self.value {
            Json::String(text) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    /// A string that `read` understands; `what` says which strings those are.
    pub(crate) fn text<T>(
        &self,
        what: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, JsonError> {
        read(self.str()?).ok_or_else(|| self.expected(what))
    }

    /// A string in the text form of `T`.
    pub(crate) fn parsed<T: std::str::FromStr>(&self, what: &str) -> Result<T, JsonError> {
        self.text(what, |text| text.parse().ok())
    }

    pub(crate) fn hex<const N: usize>(&self) -> Result<[u8; N], JsonError> {
        self.text(&format!("{} lower-case hexadecimal digits", 2 * N), crate::encoding::from_hex)
    }

    /// Base64 of exactly `N` bytes.
    pub(crate) fn base64_array<const N: usize>(&self) -> Result<[u8; N], JsonError> {
        self.text(&format!("base64 of {N} bytes"), crate::encoding::from_base64)
    }

    /// Base64 of at most `bytes_max` bytes.
    pub(crate) fn base64(&self, bytes_max: usize) -> Result<Vec<u8>, JsonError> {
        self.text(&format!("base64 of at most {bytes_max} bytes"), |text| {
            let bytes = crate::encoding::decode_base64(text)?;
            (bytes.len() <= bytes_max).then_some(bytes)
        })
    }

    /// 1 to `bytes_max` visible ASCII characters.
    pub(crate) fn visible(&self, bytes_max: usize) -> Result<String, JsonError> {
        self.text(&format!("1 to {bytes_max} visible ASCII characters"), |text| {
            let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
            (visible && (1..=bytes_max).contains(&text.len())).then(|| text.to_owned())
        })
    }

    /// The number 1, which is the version of every file so far.
    pub(crate) fn is_version_1(&self) -> Result<(), JsonError> {
        match self.number::<u64>() {
            Ok(1) => Ok(()),
            _ => Err(self.expected("1: another version needs another program")),
        }
    }

    /// An unsigned number that fits `T`.
    pub(crate) fn number<T: TryFrom<u64>>(&self) -> Result<T, JsonError> {
        let number = match self.value {
            Json::Unsigned(number) => T::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| self.expected("an unsigned whole number in range"))
    }

    /// Whether this is the word `any`.
    pub(crate) fn is_any(&self) -> bool {
        matches!(&self.value, Json::String(text) if text == "any")
    }
}

impl Object {
    /// Takes a required field.
    pub(crate) fn take(&mut self, name: &str) -> Result<Node, JsonError> {
        self.take_optional(name).ok_or_else(|| JsonProblem::Missing.at(join(&self.path, name)))
    }

    /// Takes a field that may be absent; `null` is a value and never means absent.
    pub(crate) fn take_optional(&mut self, name: &str) -> Option<Node> {
        let value = self.fields.remove(name)?;
        Some(Node { path: join(&self.path, name), value })
    }

    /// A string field, where it is one.
    pub(crate) fn peek(&self, name: &str) -> Option<&str> {
        match self.fields.get(name)? {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// The name of a field that nobody has taken.
    pub(crate) fn left_over(&self) -> Option<&str> {
        self.fields.keys().next().map(String::as_str)
    }

    /// Ends the reading: whatever was not taken is refused.
    pub(crate) fn end(self) -> Result<(), JsonError> {
        match self.left_over() {
            None => Ok(()),
            Some(name) => Err(JsonProblem::Unknown.at(join(&self.path, name))),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    // A name from outside can hold anything: it must not forge lines on a terminal.
    let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json, E> {
        Ok(Json::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Unsigned(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let (mut fields, mut repeated) = (BTreeMap::new(), None);
        while let Some((name, value)) = map.next_entry::<String, Json>()? {
            match fields.entry(name) {
                Entry::Occupied(field) => drop(repeated.get_or_insert_with(|| field.key().clone())),
                Entry::Vacant(field) => drop(field.insert(value)),
            }
        }
        Ok(Json::Object { fields, repeated })
    }
}
