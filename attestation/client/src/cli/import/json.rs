//! JSON: an object of strings, or what `vault kv get -format=json` prints.

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::entry::{FileProblem, Found};
use crate::cli::args::Format;
use crate::secret::Wiped;

/// A JSON value whose texts are wiped. Of what can't be a secret only the kind is kept.
enum Node {
    Text(Wiped),
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
    Other(&'static str),
}

/// Reads the whole file. Without a format that is told from the content.
pub(crate) fn parse(
    text: &str,
    format: Option<Format>,
    flatten: bool,
) -> Result<(Format, Vec<Found>), FileProblem> {
    let node: Node =
        serde_json::from_str(text).map_err(|error| FileProblem::Json(error.to_string()))?;
    let is_vault = match format {
        Some(format) => format == Format::Vault,
        None => looks_like_vault(&node),
    };
    let mut read = Read { flatten, found: Vec::new(), problems: Vec::new() };
    let format = if is_vault {
        read.vault(node);
        Format::Vault
    } else {
        read.object(node, String::new());
        Format::Json
    };
    FileProblem::all(read.problems).map_or(Ok((format, read.found)), Err)
}

/// What has been read, and what could not be.
struct Read {
    flatten: bool,
    found: Vec<Found>,
    problems: Vec<FileProblem>,
}

/// The fields that Vault puts beside the data.
const VAULT_FIELDS: [&str; 3] = ["request_id", "lease_id", "lease_duration"];

fn looks_like_vault(node: &Node) -> bool {
    match node {
        Node::Object(fields) => {
            let has = |name: &str| fields.iter().any(|(field, _)| field == name);
            has("data") && VAULT_FIELDS.iter().any(|field| has(field))
        }
        Node::List(nodes) => !nodes.is_empty() && nodes.iter().all(looks_like_vault),
        Node::Text(_) | Node::Other(_) => false,
    }
}

impl Read {
    /// One export, or a list of them.
    fn vault(&mut self, node: Node) {
        match node {
            Node::List(exports) => {
                for (index, export) in exports.into_iter().enumerate() {
                    self.one_export(export, &format!("[{index}].data"));
                }
            }
            export => self.one_export(export, "data"),
        }
    }

    fn one_export(&mut self, export: Node, path: &str) {
        match secrets(export) {
            Ok(secrets) => self.object(Node::Object(secrets), String::new()),
            Err(issue) => self.problems.push(FileProblem::Node { path: path.to_owned(), issue }),
        }
    }

    /// The texts of an object. The path is the names that lead there, with dots between them.
    fn object(&mut self, node: Node, path: String) {
        let below = |name: &str| match path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let is_top = path.is_empty();
        let issue = match node {
            Node::Object(fields) if is_top || self.flatten => {
                for (name, node) in fields {
                    self.object(node, below(&name));
                }
                return;
            }
            Node::List(nodes) if self.flatten && !is_top => {
                for (index, node) in nodes.into_iter().enumerate() {
                    self.object(node, below(&index.to_string()));
                }
                return;
            }
            Node::Text(value) if !is_top => {
                self.found.push(Found { source: path, value });
                return;
            }
            Node::Text(_) => "expected an object of strings, got a string",
            Node::Object(_) => "a nested object: --flatten takes it, with a `.` between names",
            Node::List(_) => "expected a string, got a list",
            Node::Other(kind) => kind,
        };
        let path = if is_top { "the top".to_owned() } else { path };
        self.problems.push(FileProblem::Node { path, issue });
    }
}

/// The secrets in what `vault kv get` prints.
fn secrets(export: Node) -> Result<Vec<(String, Node)>, &'static str> {
    let Node::Object(fields) = export else {
        return Err("expected what `vault kv get -format=json` prints");
    };
    let data = fields.into_iter().find(|(name, _)| name == "data");
    let Some((_, Node::Object(mut data))) = data else {
        return Err("expected an object of secrets: what `vault kv get` prints has one");
    };
    // Version 2 of the engine puts the secrets beside `metadata`, one level down.
    let has_metadata =
        data.iter().any(|(name, node)| name == "metadata" && matches!(node, Node::Object(_)));
    match data.iter().position(|(name, _)| name == "data" && has_metadata) {
        Some(index) => match data.swap_remove(index) {
            (_, Node::Object(secrets)) => Ok(secrets),
            _ => Err("expected an object of secrets: is this version deleted?"),
        },
        None => Ok(data),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

const NUMBER: &str = "expected a string, got a number: put it in quotes";

impl<'de> Visitor<'de> for Any {
    type Value = Node;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(Wiped::new(text)))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other("expected a string, got true or false: put it in quotes"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other(NUMBER))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other(NUMBER))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other(NUMBER))
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Other("expected a string, got null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = object.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, flatten: bool) -> Result<(Format, Vec<(String, String)>), String> {
        let (format, found) = parse(text, None, flatten).map_err(|problem| problem.to_string())?;
        let found = found.into_iter().map(|found| (found.source, found.value.expose().to_owned()));
        Ok((format, found.collect()))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_object_of_strings_is_read_and_anything_else_named_by_its_path() {
        let (format, found) = read(r#"{"a":"1\n","b.c":"ä"}"#, false).unwrap();
        assert_eq!((format, found), (Format::Json, pairs(&[("a", "1\n"), ("b.c", "ä")])));
        for (text, expected) in [
            (r#"{"a":{"b":{"c":"sesame"}}}"#, "at a: a nested object: --flatten"),
            (r#"{"a":4711}"#, "at a: expected a string, got a number"),
            (r#"{"a":true}"#, "at a: expected a string, got true or false"),
            (r#"{"a":null}"#, "at a: expected a string, got null"),
            (r#"{"a":["sesame"]}"#, "at a: expected a string, got a list"),
            (r#"["sesame"]"#, "at the top: expected a string, got a list"),
            (r#""sesame""#, "at the top: expected an object"),
            (r#"{"a":"sesame"#, "it is not JSON: EOF while parsing a string at line 1"),
            (r#"{"a":"sesame",}"#, "it is not JSON: trailing comma"),
            ("", "it is not JSON"),
        ] {
            let told = read(text, false).unwrap_err();
            assert!(told.starts_with(expected), "{text}: {told}");
            assert!(!told.contains("sesame") && !told.contains("4711"), "{told}");
        }
    }

    #[test]
    fn all_mistakes_are_told() {
        let told = read(r#"{"a":1,"b":"x","c":{"d":"sesame"}}"#, false).unwrap_err();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(lines[0] == "2 mistakes" && lines[1].starts_with("  at a: "), "{told}");
        assert!(lines[2].starts_with("  at c: a nested object") && !told.contains("sesame"));
    }

    #[test]
    fn nested_objects_are_flattened_where_that_was_asked_for() {
        let (_, found) = read(r#"{"a":{"b":"1","c":["2","3"]},"d":"4"}"#, true).unwrap();
        assert_eq!(found, pairs(&[("a.b", "1"), ("a.c.0", "2"), ("a.c.1", "3"), ("d", "4")]));
        assert!(read(r#"{"a":{"b":5}}"#, true).unwrap_err().starts_with("at a.b: expected"));
    }

    #[test]
    fn vaults_exports_of_both_engines_and_lists_of_them_are_known() {
        let v2 = r#"{"request_id":"r","lease_id":"","lease_duration":0,"renewable":false,"data":
            {"data":{"user":"u","password":"p"},"metadata":{"version":3}},"warnings":null}"#;
        let v1 = r#"{"request_id":"r","lease_duration":2764800,"data":{"data":"x","y":"z"}}"#;
        assert_eq!(
            read(v2, false).unwrap(),
            (Format::Vault, pairs(&[("user", "u"), ("password", "p")]))
        );
        assert_eq!(read(v1, false).unwrap(), (Format::Vault, pairs(&[("data", "x"), ("y", "z")])));
        let (format, found) = read(&format!("[{v2},{v1}]"), false).unwrap();
        assert_eq!((format, found.len()), (Format::Vault, 4));
        let deleted = v2.replace(r#"{"user":"u","password":"p"}"#, "null");
        assert!(read(&deleted, false).unwrap_err().contains("is this version deleted?"));
        let number = v2.replace(r#""p""#, "5");
        assert!(read(&number, false).unwrap_err().starts_with("at password: expected a string"));
        // Without Vault's own fields it is an object like any other.
        assert!(read(r#"{"data":{"a":"b"}}"#, false).unwrap_err().contains("at data: a nested"));
    }
}
