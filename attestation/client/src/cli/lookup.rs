//! From the name that the user typed to the id that the API takes.

use hyper::{Method, StatusCode};

use crate::cli::answer::json_of;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::session::Line;
use crate::limits;

pub(crate) const SECRETS: &str = "/v1/secrets";
pub(crate) const FUNCTIONS: &str = "/v1/functions";

/// A list of the API in which a name stands at most once.
struct Listed {
    path: &'static str,
    /// The answer's field with the items.
    items: &'static str,
    id_prefix: &'static str,
    /// Whether the list can be narrowed to names that begin so.
    by_prefix: bool,
}

const LISTED_SECRETS: Listed =
    Listed { path: SECRETS, items: "secrets", id_prefix: "sec_", by_prefix: true };
const LISTED_FUNCTIONS: Listed =
    Listed { path: FUNCTIONS, items: "functions", id_prefix: "func_", by_prefix: false };

/// The id of the secret that the user named: the argument itself where it has an id's form, else
/// found by its name.
pub(crate) async fn find(line: &mut Line, object: &str) -> Result<String, Failure> {
    if is_id(LISTED_SECRETS.id_prefix, object) {
        return Ok(object.to_owned());
    }
    search(line, object).await?.ok_or_else(|| {
        let message = format!("there is no secret named {object:?} that this key may see");
        Failure::new(Exit::NotFoundOrConflict, message)
            .advice("neo-secrets secrets list --prefix TEXT shows the names")
    })
}

/// The id of the secret of this name, where there is one that the key may see.
pub(crate) async fn search(line: &mut Line, name: &str) -> Result<Option<String>, Failure> {
    if !is_name(name) {
        return Ok(None);
    }
    search_in(&LISTED_SECRETS, line, name).await
}

/// The id of the function that the user named, as [`find`].
pub(crate) async fn find_function(line: &mut Line, object: &str) -> Result<String, Failure> {
    if is_id(LISTED_FUNCTIONS.id_prefix, object) {
        return Ok(object.to_owned());
    }
    search_function(line, object).await?.ok_or_else(|| {
        Failure::new(Exit::NotFoundOrConflict, format!("there is no function named {object:?}"))
            .advice("neo-secrets functions list shows the names")
    })
}

/// The id of the function of this name, where there is one.
pub(crate) async fn search_function(
    line: &mut Line,
    name: &str,
) -> Result<Option<String>, Failure> {
    search_in(&LISTED_FUNCTIONS, line, name).await
}

async fn search_in(
    listed: &Listed,
    line: &mut Line,
    name: &str,
) -> Result<Option<String>, Failure> {
    for _ in 0..limits::WALKS_MAX {
        if let Walk::Ended(found) = walk(listed, line, name).await? {
            return Ok(found);
        }
    }
    let message = format!("the list of {} changes faster than it can be searched", listed.items);
    Err(Failure::new(Exit::Error, message).advice("name it by its id"))
}

enum Walk {
    /// All pages were seen: the id, where the name was among them.
    Ended(Option<String>),
    /// The total changed, so that an item may have moved to a page already read.
    Disturbed,
}

async fn walk(listed: &Listed, line: &mut Line, name: &str) -> Result<Walk, Failure> {
    let Listed { path, items, id_prefix, by_prefix } = *listed;
    let limit = limits::PAGE_ITEMS_MAX;
    let narrowed =
        if by_prefix { format!("&prefix={}", percent_encode(name)) } else { String::new() };
    let (mut offset, mut first_total) = (0, None);
    loop {
        let path = format!("{path}?limit={limit}&offset={offset}{narrowed}");
        let answer = line.call(Method::GET, &path, None, None, StatusCode::OK).await?;
        let body = json_of(&answer)?;
        let items = body[items].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(item) = items.iter().find(|item| item["name"] == name) {
            let id = item["id"].as_str().filter(|id| is_id(id_prefix, id));
            let id = id.ok_or_else(|| Failure::error("the server's list has a malformed id"))?;
            return Ok(Walk::Ended(Some(id.to_owned())));
        }
        let total = body["pagination"]["total"].as_u64();
        if *first_total.get_or_insert(total) != total {
            return Ok(Walk::Disturbed);
        }
        offset += items.len();
        let seen = u64::try_from(offset).unwrap_or(u64::MAX);
        if items.is_empty() || total.is_none_or(|total| seen >= total) {
            return Ok(Walk::Ended(None));
        }
    }
}

/// Whether a text has the form of an id: the prefix and 18 bytes in base64url. Only such a text
/// enters a path.
pub(crate) fn is_id(prefix: &str, text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == 24 && rest.bytes().all(fits))
}

/// Whether a secret can have this name.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && text.len() <= 100 && text.bytes().all(fits)
}

/// A query's value: everything but unreserved characters as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_ids_exact_form_is_an_id() {
        assert!(is_id("sec_", "sec_AbCdEfGhIjKlMnOpQrStUv-_"));
        for text in [
            "sec_",
            "sec_AbC",
            "key_AbCdEfGhIjKlMnOpQrStUv-_",
            "sec_AbCdEfGhIjKlMnOpQrSt/../",
            "sec_AbCdEfGhIjKlMnOpQrStUv-_x",
            "db-password",
        ] {
            assert!(!is_id("sec_", text), "{text}");
        }
    }

    #[test]
    fn a_query_takes_any_text() {
        assert_eq!(percent_encode("db-1_a.b~"), "db-1_a.b~");
        assert_eq!(percent_encode("a b&c=ü"), "a%20b%26c%3D%C3%BC");
    }
}
