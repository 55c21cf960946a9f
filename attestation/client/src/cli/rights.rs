//! What a key may do, as the server tells it where it refuses the key.

use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::cli::answer::{items, json_of};
use crate::cli::outcome::Failure;
use crate::cli::session::{self, Line};
use crate::cli::shell::quoted;

/// The permissions, in the order in which they are shown.
const PERMISSIONS: [&str; 5] = ["read", "write", "execute", "admin", "reveal"];

/// Permissions, and the patterns of the secrets that they are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rights {
    permissions: Vec<&'static str>,
    /// `None` for every secret.
    pub(crate) secrets: Option<Vec<String>>,
}

/// The permission that a key lacks, and what it has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    pub(crate) permission: &'static str,
    /// `None` where the server does not say.
    pub(crate) has: Option<Rights>,
}

impl Rights {
    /// These permissions for these secrets; `None` where one is none. What a server says goes into
    /// commands to paste, so nothing is taken over that is not known.
    pub(crate) fn new<'a>(
        permissions: impl IntoIterator<Item = &'a str>,
        secrets: Option<Vec<String>>,
    ) -> Option<Self> {
        let permissions = permissions.into_iter().map(known).collect::<Option<Vec<_>>>()?;
        let is_glob = |glob: &String| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"*_.-".contains(&byte);
            !glob.is_empty() && glob.bytes().all(fits)
        };
        let fit = secrets.iter().flatten().all(is_glob);
        fit.then_some(Self { permissions, secrets })
    }

    fn parse(told: &str) -> Option<Self> {
        let (permissions, secrets) = match told.split_once(" on secrets ") {
            Some((permissions, globs)) => {
                (permissions, Some(globs.split(", ").map(str::to_owned).collect()))
            }
            None => (told, None),
        };
        Self::new(permissions.split(", "), secrets)
    }

    pub(crate) fn may(&self, permission: &str) -> bool {
        let included = ["read", "write", "execute"].contains(&permission);
        let has = |name: &str| self.permissions.contains(&name);
        has(permission) || (included && has("admin"))
    }

    /// Whether these are for a secret of this name.
    pub(crate) fn reach(&self, name: &str) -> bool {
        let globs = self.secrets.as_ref();
        globs.is_none_or(|globs| globs.iter().any(|glob| covers(glob, name)))
    }

    /// The same with one more permission. Without `read` nobody finds a secret by its name.
    fn with(&self, permission: &'static str) -> Self {
        let wanted = |name: &&'static str| {
            self.permissions.contains(name)
                || *name == permission
                || (*name == "read" && permission == "reveal" && !self.may("read"))
        };
        let permissions = PERMISSIONS.into_iter().filter(wanted).collect();
        Self { permissions, secrets: self.secrets.clone() }
    }

    /// The options that issue a key of these.
    fn to_options(&self) -> String {
        let mut options = format!("--permission {}", self.permissions.join(","));
        for glob in self.secrets.iter().flatten() {
            options.push_str(&format!(" --secret {}", quoted(glob)));
        }
        options
    }
}

/// What the key in use may do, as far as a call that only reads tells.
pub(crate) async fn of(line: &mut Line) -> Result<Option<Rights>, Failure> {
    let answer = line.ask(Method::GET, "/v1/api-keys", None, None).await;
    let answer = answer.map_err(session::failure)?;
    let body = json_of(&answer).unwrap_or_default();
    Ok(match answer.status {
        StatusCode::OK => of_admin(items(&body, "apiKeys")),
        StatusCode::FORBIDDEN => {
            let told = body["error"]["message"].as_str().unwrap_or_default();
            Lacking::parse(told).and_then(|lacking| lacking.has)
        }
        _ => None,
    })
}

/// An admin key's, from the keys that it sees: itself, and those that lie within it.
fn of_admin(keys: &[Value]) -> Option<Rights> {
    let globs = |key: &Value| -> Option<Vec<String>> {
        let globs = key["secrets"].as_array()?.iter().filter_map(Value::as_str);
        Some(globs.map(str::to_owned).collect())
    };
    let globs: Option<Vec<_>> = keys.iter().map(globs).collect();
    let found = !keys.is_empty();
    Rights::new(["admin"], globs.map(|globs| globs.concat())).filter(|_| found)
}

impl Lacking {
    /// Reads the server's refusal of a key that lacks a permission.
    pub(crate) fn parse(told: &str) -> Option<Self> {
        let (_, rest) = told.split_once(" the permission ")?;
        let rest = rest.trim_end_matches('.');
        let (permission, has) = match rest.split_once(": it has ") {
            Some((permission, has)) => (permission, Rights::parse(has)),
            None => (rest, None),
        };
        Some(Self { permission: known(permission)?, has })
    }

    /// The options that issue a key which has that permission as well, and else no more.
    pub(crate) fn options(&self) -> String {
        let nothing = Rights { permissions: Vec::new(), secrets: None };
        self.has.as_ref().unwrap_or(&nothing).with(self.permission).to_options()
    }
}

fn known(permission: &str) -> Option<&'static str> {
    PERMISSIONS.into_iter().find(|known| *known == permission)
}

/// Whether a pattern, in which `*` stands for anything, matches the whole name.
fn covers(glob: &str, name: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is the best one: it leaves the most for what follows.
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_is_advised_to_get_what_it_lacks_and_no_more() {
        let options = |told: &str| Lacking::parse(told).unwrap().options();
        for (has, expected) in [
            (": it has read on secrets db-*, web", "read,admin --secret 'db-*' --secret web"),
            (": it has reveal", "admin,reveal"),
            ("", "admin"),
            // What is not known is not taken over.
            (": it has read on secrets $(reboot)", "admin"),
            (": it has read, root", "admin"),
        ] {
            let told = format!("This key lacks the permission admin{has}.");
            assert_eq!(options(&told), format!("--permission {expected}"), "{told}");
        }
        let told = "This key lacks the permission read: it has reveal.";
        assert_eq!(options(told), "--permission read,reveal");
        let told = "This key lacks the permission reveal: it has write.";
        assert_eq!(options(told), "--permission read,write,reveal");
        let told = "This key lacks the permission reveal: it has admin.";
        assert_eq!(options(told), "--permission admin,reveal");
        assert_eq!(
            options("Deciding what reads a function's secrets takes the permission admin."),
            "--permission admin"
        );
        assert_eq!(Lacking::parse("This key lacks the permission $(reboot)."), None);
    }

    #[test]
    fn an_admin_key_reaches_what_the_keys_within_it_reach() {
        let of = |keys: Value| of_admin(keys.as_array().unwrap());
        let every = of(json!([{"secrets": ["db-*"]}, {"secrets": null}])).unwrap();
        assert!(every.reach("web-1") && every.may("write"));
        let some = of(json!([{"secrets": ["db-*"]}, {"secrets": ["web"]}])).unwrap();
        assert!(some.reach("db-1") && some.reach("web") && !some.reach("web-1"));
        assert_eq!(of(json!([])), None);
    }

    #[test]
    fn patterns_match_whole_names() {
        for (glob, name, expected) in [
            ("db-*", "db-1", true),
            ("db-*", "db-", true),
            ("db-*", "web-db-1", false),
            ("*", "a", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-c-b-b-c", true),
            ("a*b*c", "acb", false),
            ("*a", "aba", true),
            ("a*a", "a", false),
            ("web", "web", true),
            ("web", "webs", false),
        ] {
            assert_eq!(covers(glob, name), expected, "{glob} {name}");
        }
        let rights = Rights::new(["admin"], Some(vec!["db-*".to_owned()])).unwrap();
        assert!(rights.may("write") && !rights.may("reveal"));
        assert!(rights.reach("db-1") && !rights.reach("web-1"));
    }
}
