//! A strict reader of query strings: every parameter is known and there once.

use serde::Serialize;

use super::error::ApiError;
use super::text::printable;
use crate::limits;

/// Which part of a list is asked for, by `limit` and `offset`.
#[derive(Clone, Copy)]
pub struct Part {
    /// At most so many items.
    pub limit: u64,
    /// So many are left out before them.
    pub offset: u64,
}

/// Where a page stands in its list.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub struct Pagination {
    total: u64,
    limit: u64,
    offset: u64,
}

impl Part {
    /// The limit as a number of things in memory.
    pub fn items(self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    /// This part of a list that has so many items in all.
    pub fn of(self, total: u64) -> Pagination {
        let Part { limit, offset } = self;
        Pagination { total, limit, offset }
    }
}

/// The parameters of one call.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Reads a query string (without its `?`) with no other parameters than the `known` ones.
    ///
    /// # Errors
    /// 400, naming the parameter where there is one.
    pub fn parse(query: &str, known: &[&str]) -> Result<Self, ApiError> {
        if query.len() > limits::QUERY_BYTES {
            return Err(ApiError::invalid("The query is too long."));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let malformed = || ApiError::invalid("The query is not valid percent-encoded UTF-8.");
            let name = decode(name).ok_or_else(malformed)?;
            if !known.contains(&name.as_str()) {
                return Err(ApiError::field(&name, "is not a parameter of this call"));
            }
            if parameters.iter().any(|(seen, _)| *seen == name) {
                return Err(ApiError::field(&name, "is there more than once"));
            }
            let value = decode(value)
                .ok_or_else(|| ApiError::field(&name, "is not valid percent-encoded UTF-8"))?;
            parameters.push((name, value));
        }
        Ok(Query { parameters })
    }

    /// A parameter's decoded value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `limit` and `offset`.
    ///
    /// # Errors
    /// 400 with the range.
    pub fn part(&self) -> Result<Part, ApiError> {
        let limit = self.number("limit", limits::PAGE_ITEMS, limits::PAGE_ITEMS_DEFAULT)?;
        let offset = self.number("offset", 0..=limits::PAGE_OFFSET_MAX, 0)?;
        Ok(Part { limit, offset })
    }

    /// A number: decimal digits, and in the range.
    ///
    /// # Errors
    /// 400 with the range.
    pub fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> Result<u64, ApiError> {
        let Some(text) = self.value(name) else { return Ok(default) };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(number),
            _ => {
                let rule = format!("must be an integer from {} to {}", range.start(), range.end());
                Err(ApiError::field(&printable(name), rule))
            }
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => 16 * hex(rest.next()?)? + hex(rest.next()?)?,
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_known_parameters() {
        let query = Query::parse("limit=5&o%66fset=%31+", &["limit", "offset"]).unwrap();
        assert_eq!((query.value("limit"), query.value("offset")), (Some("5"), Some("1 ")));
        assert_eq!(query.number("limit", 1..=100, 20), Ok(5));
        assert!(Query::parse("", &[]).is_ok());
    }

    #[test]
    fn names_the_parameter_at_fault() {
        let fault = |query| Query::parse(query, &["limit"]).err().unwrap();
        let unknown = ApiError::field("x", "is not a parameter of this call");
        assert_eq!(fault("limit=1&x"), unknown);
        assert_eq!(fault("limit=1&limit=1"), ApiError::field("limit", "is there more than once"));
        assert_eq!(
            fault("limit=%f"),
            ApiError::field("limit", "is not valid percent-encoded UTF-8")
        );
        assert_eq!(
            fault("%ff=1"),
            ApiError::invalid("The query is not valid percent-encoded UTF-8.")
        );
        assert_eq!(fault(&"a".repeat(1_025)), ApiError::invalid("The query is too long."));
    }

    #[test]
    fn numbers_are_digits_in_their_range() {
        let rule = Err(ApiError::field("limit", "must be an integer from 1 to 100"));
        for text in ["", "0", "101", "-1", "%2B5", "5 ", "1e1", "0x5", "18446744073709551617"] {
            let query = Query::parse(&format!("limit={text}"), &["limit"]).unwrap();
            assert_eq!(query.number("limit", 1..=100, 20), rule, "{text}");
        }
        assert_eq!(Query::parse("", &[]).unwrap().number("limit", 1..=100, 20), Ok(20));
    }
}
