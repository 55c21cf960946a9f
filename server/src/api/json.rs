//! A strict reader of request bodies: one JSON object in UTF-8 whose every field is known, present
//! once, and of its type. Errors name the field and the rule, which serde's derive does not.

mod raw;

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::error::ApiError;
use super::text::printable;
use crate::limits;
pub use raw::RawObject;

/// A field as the caller sent it.
pub enum Sent<T> {
    /// Not in the body.
    Absent,
    /// `null`.
    Null,
    /// A value of the right type.
    Value(T),
}

impl<T> Sent<T> {
    /// The value of a field that may be absent or `null`, which mean the same.
    pub fn optional(self) -> Option<T> {
        match self {
            Sent::Absent | Sent::Null => None,
            Sent::Value(value) => Some(value),
        }
    }
}

/// A body whose fields are all known. Texts are wiped when dropped: one of them may be a secret.
pub struct Object {
    /// Before the names of its fields in messages: empty, or the object that it stands in and a dot.
    path: String,
    fields: Vec<(String, Json)>,
}

enum Json {
    Null,
    Boolean(bool),
    Integer(u64),
    Number,
    Text(Zeroizing<String>),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Object {
    /// Reads one object with no other fields than the `known` ones.
    ///
    /// # Errors
    /// 400, naming the field where there is one.
    pub fn parse(body: &[u8], known: &[&str]) -> Result<Self, ApiError> {
        let text = text_of(body)?;
        let fault = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_str(text);
        let parsed = Seed { fault: &fault, path: String::new(), depth: 0 }
            .deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value));
        match (fault.into_inner(), parsed) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(no_json(&error)),
            (None, Ok(Json::Object(fields))) => Self::of(String::new(), fields, known),
            (None, Ok(_)) => Err(no_object()),
        }
    }

    fn of(path: String, fields: Vec<(String, Json)>, known: &[&str]) -> Result<Self, ApiError> {
        match fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => {
                let name = format!("{path}{}", printable(name));
                Err(ApiError::field(&name, "is not a field of this call"))
            }
            None => Ok(Object { path, fields }),
        }
    }

    /// Whether the caller sent no field at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn take(&mut self, name: &str) -> Option<Json> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.swap_remove(at).1)
    }

    /// Takes a string out.
    ///
    /// # Errors
    /// 400 where it is of another type.
    pub fn text(&mut self, name: &str) -> Result<Sent<Zeroizing<String>>, ApiError> {
        self.typed(name, "must be a string", |json| match json {
            Json::Text(text) => Some(text),
            _ => None,
        })
    }

    /// Takes out a string that must be there.
    ///
    /// # Errors
    /// 400 where it is absent, `null` or of another type.
    pub fn required_text(&mut self, name: &str) -> Result<Zeroizing<String>, ApiError> {
        required(name, self.text(name)?)
    }

    /// Takes out an integer that must be there.
    ///
    /// # Errors
    /// 400 where it is absent, `null`, of another type, negative or over 64 bits.
    pub fn required_integer(&mut self, name: &str) -> Result<u64, ApiError> {
        required(name, self.integer(name)?)
    }

    /// Takes a boolean out.
    ///
    /// # Errors
    /// 400 where it is of another type.
    pub fn boolean(&mut self, name: &str) -> Result<Sent<bool>, ApiError> {
        self.typed(name, "must be true or false", |json| match json {
            Json::Boolean(value) => Some(value),
            _ => None,
        })
    }

    /// Takes an integer out.
    ///
    /// # Errors
    /// 400 where it is of another type, negative or over 64 bits.
    pub fn integer(&mut self, name: &str) -> Result<Sent<u64>, ApiError> {
        self.typed(name, "must be an integer, zero or more", |json| match json {
            Json::Integer(integer) => Some(integer),
            _ => None,
        })
    }

    /// Takes out an object with no other fields than the `known` ones.
    ///
    /// # Errors
    /// 400 where it is of another type, naming the field where one is unknown.
    pub fn object(&mut self, name: &str, known: &[&str]) -> Result<Sent<Object>, ApiError> {
        let sent = self.typed(name, "must be an object", |json| match json {
            Json::Object(fields) => Some(fields),
            _ => None,
        })?;
        Ok(match sent {
            Sent::Absent => Sent::Absent,
            Sent::Null => Sent::Null,
            Sent::Value(fields) => Sent::Value(Self::of(format!("{name}."), fields, known)?),
        })
    }

    /// Takes a list of strings out.
    ///
    /// # Errors
    /// 400 where it, or a member, is of another type.
    pub fn texts(&mut self, name: &str) -> Result<Sent<Vec<String>>, ApiError> {
        self.typed(name, "must be a list of strings", |json| match json {
            Json::List(items) => items.into_iter().map(plain_text).collect(),
            _ => None,
        })
    }

    /// Takes out a list of strings that must be there.
    ///
    /// # Errors
    /// 400 where it is absent, `null` or of another type.
    pub fn required_texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        required(name, self.texts(name)?)
    }

    /// Takes out an object whose members are all strings.
    ///
    /// # Errors
    /// 400 where it, or a member, is of another type.
    pub fn text_pairs(&mut self, name: &str) -> Result<Sent<Vec<(String, String)>>, ApiError> {
        self.typed(name, "must be an object whose values are strings", |json| match json {
            Json::Object(fields) => {
                fields.into_iter().map(|(key, value)| Some((key, plain_text(value)?))).collect()
            }
            _ => None,
        })
    }

    fn typed<T>(
        &mut self,
        name: &str,
        rule: &str,
        read: impl FnOnce(Json) -> Option<T>,
    ) -> Result<Sent<T>, ApiError> {
        match self.take(name) {
            None => Ok(Sent::Absent),
            Some(Json::Null) => Ok(Sent::Null),
            Some(json) => {
                let wrong = || ApiError::field(&format!("{}{name}", self.path), rule);
                read(json).map(Sent::Value).ok_or_else(wrong)
            }
        }
    }
}

fn text_of(body: &[u8]) -> Result<&str, ApiError> {
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| ApiError::invalid("The body is not valid UTF-8."))?;
    match text.trim_ascii().is_empty() {
        true => Err(ApiError::invalid("The body is empty; it must be a JSON object.")),
        false => Ok(text),
    }
}

fn no_json(error: &serde_json::Error) -> ApiError {
    let (line, column) = (error.line(), error.column());
    ApiError::invalid(format!("The body is not valid JSON (line {line}, column {column})."))
}

fn no_object() -> ApiError {
    ApiError::invalid("The body must be a JSON object.")
}

fn required<T>(name: &str, sent: Sent<T>) -> Result<T, ApiError> {
    match sent {
        Sent::Value(value) => Ok(value),
        Sent::Absent => Err(ApiError::field(name, "is required")),
        Sent::Null => Err(ApiError::field(name, "is required and must not be null")),
    }
}

fn plain_text(json: Json) -> Option<String> {
    match json {
        Json::Text(mut text) => Some(std::mem::take(&mut *text)),
        _ => None,
    }
}

/// Reads one value at `path`; a rule of ours that it breaks is left in `fault`.
struct Seed<'a> {
    fault: &'a RefCell<Option<ApiError>>,
    path: String,
    depth: usize,
}

impl Seed<'_> {
    fn fail<E: de::Error>(&self, path: &str, issue: &str) -> E {
        let fault = match path {
            "" => ApiError::invalid(format!("The body {issue}.")),
            field => ApiError::field(field, issue),
        };
        *self.fault.borrow_mut() = Some(fault);
        E::custom("rule")
    }

    fn member(&self, path: String) -> Self {
        Seed { fault: self.fault, path, depth: self.depth + 1 }
    }

    fn open<E: de::Error>(&self) -> Result<(), E> {
        if self.depth >= limits::JSON_DEPTH {
            return Err(self.fail(&self.path, "is nested too deeply"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Boolean(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(Zeroizing::new(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        self.open()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.member(self.path.clone()))? {
            if items.len() == limits::JSON_MEMBERS {
                return Err(self.fail(&self.path, "has too many members"));
            }
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        self.open()?;
        let mut fields: Vec<(String, Json)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = match self.path.as_str() {
                "" => printable(&name),
                parent => format!("{parent}.{}", printable(&name)),
            };
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(self.fail(&path, "is there more than once"));
            }
            if fields.len() == limits::JSON_MEMBERS {
                return Err(self.fail(&self.path, "has too many members"));
            }
            let value = map.next_value_seed(self.member(path))?;
            fields.push((name, value));
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["name", "value", "tags", "count", "list"];

    fn error(body: &[u8]) -> ApiError {
        Object::parse(body, KNOWN).err().expect("refused")
    }

    fn parse(body: &str) -> Object {
        Object::parse(body.as_bytes(), KNOWN).unwrap_or_else(|error| panic!("{error:?}"))
    }

    #[test]
    fn reads_each_type_once() {
        let mut object = parse(
            r#"{"name":"a\u00e9\ud83d\ude00","value":null,"tags":{"k":"v","":""},"count":7,"list":["x"]}"#,
        );
        assert_eq!(object.required_text("name").unwrap().as_str(), "aé😀");
        assert!(matches!(object.text("value").unwrap(), Sent::Null));
        let tags = object.text_pairs("tags").unwrap().optional().unwrap();
        assert_eq!(tags, [("k".to_owned(), "v".to_owned()), (String::new(), String::new())]);
        assert_eq!(object.required_integer("count").unwrap(), 7);
        assert_eq!(object.required_texts("list").unwrap(), ["x"]);
        assert!(object.is_empty());
        assert!(matches!(object.text("name").unwrap(), Sent::Absent));
    }

    #[test]
    fn names_the_field_that_is_unknown_repeated_or_too_deep() {
        let unknown = ApiError::field("other", "is not a field of this call");
        assert_eq!(error(br#"{"name":"a","other":1}"#), unknown);
        let twice = ApiError::field("name", "is there more than once");
        assert_eq!(error(br#"{"name":"a","name":"a"}"#), twice);
        assert_eq!(error(br#"{"name":"a","na\u006de":"a"}"#), twice);
        let inner = ApiError::field("tags.k", "is there more than once");
        assert_eq!(error(br#"{"tags":{"k":"1","k":"2"}}"#), inner);
        let deep = ApiError::field("tags.a.b.c", "is nested too deeply");
        assert_eq!(error(br#"{"tags":{"a":{"b":{"c":{"d":1}}}}}"#), deep);
        assert_eq!(
            error(format!("{{\"list\":{}", "[".repeat(200_000)).as_bytes()),
            ApiError::field("list", "is nested too deeply")
        );
        let whole = ApiError::invalid("The body is nested too deeply.");
        assert_eq!(error("[".repeat(200_000).as_bytes()), whole);
    }

    #[test]
    fn bounds_the_members() {
        let body = format!("{{\"list\":[{}0]}}", "0,".repeat(100));
        assert_eq!(error(body.as_bytes()), ApiError::field("list", "has too many members"));
        let members: String = (0..100).map(|number| format!("\"{number}\":\"\",")).collect();
        let body = format!("{{\"tags\":{{{members}\"100\":\"\"}}}}");
        assert_eq!(error(body.as_bytes()), ApiError::field("tags", "has too many members"));
    }

    #[test]
    fn refuses_what_is_not_one_object() {
        let object = ApiError::invalid("The body must be a JSON object.");
        for body in ["[]", "\"name\"", "1", "null", "true"] {
            assert_eq!(error(body.as_bytes()), object, "{body}");
        }
        let utf8 = ApiError::invalid("The body is not valid UTF-8.");
        assert_eq!(error(b"{\"name\":\"\xff\"}"), utf8);
        assert_eq!(error(b"{\"name\":\"\xed\xa0\x80\"}"), utf8);
        let empty = ApiError::invalid("The body is empty; it must be a JSON object.");
        assert_eq!(error(b" \n"), empty);
        let broken = [
            "{",
            "{}x",
            "{} {}",
            "{\"name\":}",
            "{\"name\" \"a\"}",
            "{'name':1}",
            "\u{feff}{}",
            "{\"name\":\"\\ud800\"}",
            "{\"name\":\"a\nb\"}",
            "{\"count\":1e999}",
            "{\"count\":01}",
            "{\"count\":NaN}",
            "{\"name\":\"a\",}",
            "// {}",
        ];
        for body in broken {
            let ApiError::Invalid { message, field: None } = error(body.as_bytes()) else {
                panic!("{body}");
            };
            assert!(message.starts_with("The body is not valid JSON (line "), "{body}: {message}");
        }
    }

    #[test]
    fn refuses_wrong_types_by_field_and_rule() {
        let wrong = |body: &str, name: &str| {
            let mut object = parse(body);
            match name {
                "name" => object.required_text(name).err(),
                "count" => object.required_integer(name).err(),
                "list" => object.required_texts(name).err(),
                _ => object.text_pairs(name).err(),
            }
        };
        let text = Some(ApiError::field("name", "must be a string"));
        for body in [r#"{"name":1}"#, r#"{"name":["a"]}"#, r#"{"name":{}}"#, r#"{"name":false}"#] {
            assert_eq!(wrong(body, "name"), text);
        }
        assert_eq!(wrong("{}", "name"), Some(ApiError::field("name", "is required")));
        let null = Some(ApiError::field("name", "is required and must not be null"));
        assert_eq!(wrong(r#"{"name":null}"#, "name"), null);
        let integer = Some(ApiError::field("count", "must be an integer, zero or more"));
        for number in ["-1", "1.0", "1e2", "18446744073709551616", "\"1\""] {
            assert_eq!(wrong(&format!("{{\"count\":{number}}}"), "count"), integer, "{number}");
        }
        let boolean = |body: &str| parse(body).boolean("value").map(Sent::optional);
        let neither = ApiError::field("value", "must be true or false");
        for other in ["1", "0", "\"true\"", "[]"] {
            assert_eq!(boolean(&format!("{{\"value\":{other}}}")), Err(neither.clone()), "{other}");
        }
        assert_eq!(boolean(r#"{"value":true}"#), Ok(Some(true)));
        assert_eq!(boolean(r#"{"value":null}"#), Ok(None));
        let list = Some(ApiError::field("list", "must be a list of strings"));
        assert_eq!(wrong(r#"{"list":["a",1]}"#, "list"), list);
        let tags = |body: &str, known: &[&str]| {
            parse(body)
                .object("tags", known)
                .map(|sent| sent.optional().map(|mut inner| inner.integer("a").map(Sent::optional)))
        };
        let object = ApiError::field("tags", "must be an object");
        assert_eq!(tags(r#"{"tags":[]}"#, &["a"]), Err(object));
        let inner = ApiError::field("tags.b", "is not a field of this call");
        assert_eq!(tags(r#"{"tags":{"b":1}}"#, &["a"]), Err(inner));
        let integer = ApiError::field("tags.a", "must be an integer, zero or more");
        assert_eq!(tags(r#"{"tags":{"a":"1"}}"#, &["a"]), Ok(Some(Err(integer))));
        assert_eq!(tags(r#"{"tags":{"a":1}}"#, &["a"]), Ok(Some(Ok(Some(1)))));
        assert_eq!(tags(r#"{"tags":null}"#, &["a"]), Ok(None));
        let pairs = Some(ApiError::field("tags", "must be an object whose values are strings"));
        assert_eq!(wrong(r#"{"tags":{"a":null}}"#, "tags"), pairs);
    }
}
