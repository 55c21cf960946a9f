//! A body whose fields may hold whatever JSON there is: their bytes are kept as they were sent.

use std::cell::RefCell;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ApiError, Sent, printable};

/// A body whose fields are all known, unread.
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads one object with no other fields than the `known` ones.
    ///
    /// # Errors
    /// 400, naming the field where there is one.
    pub fn parse(body: &[u8], known: &[&str]) -> Result<Self, ApiError> {
        let text = super::text_of(body)?;
        if !text.trim_start().starts_with('{') {
            // What is no JSON at all is told as such.
            return match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Err(super::no_object()),
                Err(error) => Err(super::no_json(&error)),
            };
        }
        let fault = RefCell::new(None);
        let mut reader = serde_json::Deserializer::from_str(text);
        let parsed = reader
            .deserialize_map(Fields { known, fault: &fault })
            .and_then(|fields| reader.end().map(|()| fields));
        match (fault.into_inner(), parsed) {
            (Some(fault), _) => Err(fault),
            (None, Err(error)) => Err(super::no_json(&error)),
            (None, Ok(fields)) => Ok(Self(fields)),
        }
    }

    /// Takes a field out; `null` is a value as any other.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Takes out what is true or false.
    ///
    /// # Errors
    /// 400 where it is neither.
    pub fn boolean(&mut self, name: &str) -> Result<Sent<bool>, ApiError> {
        match self.take(name).as_deref().map(RawValue::get) {
            None => Ok(Sent::Absent),
            Some("null") => Ok(Sent::Null),
            Some("true") => Ok(Sent::Value(true)),
            Some("false") => Ok(Sent::Value(false)),
            Some(_) => Err(ApiError::field(name, "must be true or false")),
        }
    }
}

/// Reads the fields; a rule of ours that one breaks is left in `fault`.
struct Fields<'a> {
    known: &'a [&'a str],
    fault: &'a RefCell<Option<ApiError>>,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let issue = if !self.known.contains(&name.as_str()) {
                "is not a field of this call"
            } else if fields.iter().any(|(field, _)| *field == name) {
                "is there more than once"
            } else {
                fields.push((name, map.next_value()?));
                continue;
            };
            *self.fault.borrow_mut() = Some(ApiError::field(&printable(&name), issue));
            return Err(A::Error::custom("rule"));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<RawObject, ApiError> {
        RawObject::parse(body.as_bytes(), &["params", "async"])
    }

    #[test]
    fn the_bytes_of_a_field_are_those_that_were_sent() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for params in [r#"{"a" : 1.0, "a":"\u00e4ä"}"#, "null", "-0", "1e999", "\"\\ud800\"", &deep]
        {
            let mut object =
                parse(&format!(" {{ \"params\" : {params} , \"async\":true}}\n")).unwrap();
            assert_eq!(object.take("params").unwrap().get(), params);
            assert!(matches!(object.boolean("async"), Ok(Sent::Value(true))));
            assert!(matches!(object.boolean("async"), Ok(Sent::Absent)));
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let field = |name, issue: &str| Some(ApiError::field(name, issue));
        let unknown = "is not a field of this call";
        assert_eq!(parse(r#"{"param":1}"#).err(), field("param", unknown));
        let twice = "is there more than once";
        assert_eq!(parse(r#"{"params":1,"p\u0061rams":2}"#).err(), field("params", twice));
        for wrong in ["1", "\"true\"", "[]"] {
            let error = parse(&format!("{{\"async\":{wrong}}}")).unwrap().boolean("async").err();
            assert_eq!(error, field("async", "must be true or false"), "{wrong}");
        }
        let object = Some(ApiError::invalid("The body must be a JSON object."));
        for body in ["[]", "1", "null"] {
            assert_eq!(parse(body).err(), object, "{body}");
        }
        for body in ["{", "{}x", "{\"params\":}", "{\"params\":01}", "x", "{\"params\":[}"] {
            let Err(ApiError::Invalid { message, field: None }) = parse(body) else {
                panic!("{body}")
            };
            assert!(message.starts_with("The body is not valid JSON (line "), "{body}: {message}");
        }
        let empty = ApiError::invalid("The body is empty; it must be a JSON object.");
        assert_eq!(parse(" ").err(), Some(empty));
    }
}
