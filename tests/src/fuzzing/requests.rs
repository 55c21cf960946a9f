//! What a caller of the API sends.

use neo_secrets::url::InstanceUrl;
use neo_secrets_attestation::binding::Nonce;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_server::access::{Globs, Permissions, Scope, Token};
use neo_secrets_server::fuzzing::{self, JsonFields};
use neo_secrets_server::model::{
    AccountId, ContentHash, Description, ExecutionId, FunctionCode, FunctionId, FunctionName,
    HostName, KeyId, Label, SecretId, SecretName, SecretValue, Timestamp,
};
use serde_json::{Value, json};

use super::{presentable, refused};

/// A body that is accepted says to any reader of JSON what it says to the server's.
pub fn json(bytes: &[u8]) -> bool {
    let theirs = serde_json::from_slice::<Value>(bytes);
    let fields = match fuzzing::json_body(bytes) {
        Ok(fields) => fields,
        Err(answer) => {
            let message = message(&answer);
            // What names a field may begin with anything: the field's name.
            let malformed = message.starts_with("The body is not valid JSON (line ");
            assert!(!malformed || names_a_field(&answer) || theirs.is_err(), "{message}");
            return false;
        }
    };
    let JsonFields { text, integer, texts, pairs, boolean } = &fields;
    assert!(texts.as_ref().is_none_or(|texts| texts.len() <= 100));
    assert!(pairs.as_ref().is_none_or(|pairs| pairs.len() <= 100));
    let object = |pairs: &Vec<(String, String)>| {
        Value::Object(
            pairs.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect(),
        )
    };
    let mut ours = json!({ "text": text, "integer": integer, "texts": texts, "boolean": boolean });
    ours["pairs"] = pairs.as_ref().map_or(Value::Null, object);
    let mut theirs = theirs.unwrap();
    // A field that may be absent means the same as one that is null.
    for optional in ["text", "texts", "pairs", "boolean"] {
        theirs.as_object_mut().unwrap().entry(optional).or_insert(Value::Null);
    }
    assert_eq!(theirs, ours);
    assert_eq!(fuzzing::json_body(ours.to_string().as_bytes()).map(sorted), Ok(sorted(fields)));
    true
}

fn sorted(mut fields: JsonFields) -> JsonFields {
    fields.pairs.iter_mut().for_each(|pairs| pairs.sort());
    fields
}

/// The message of an error's answer.
fn message(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap();
    let message = answer["error"]["message"].as_str().unwrap().to_owned();
    presentable(&message);
    message
}

fn names_a_field(answer: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap();
    !answer["error"]["details"].is_null()
}

/// A query that is written from what was read reads as the same.
pub fn query(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let (a, b, number) = match fuzzing::query(text) {
        Ok(read) => read,
        Err(answer) => {
            message(&answer);
            return false;
        }
    };
    assert!(text.len() <= 1_024 && (1..=100).contains(&number));
    let encoded = |text: &str| Vec::from_iter(text.bytes().map(|it| format!("%{it:02x}"))).concat();
    let mut written = format!("number={number}");
    for (name, value) in [("a", &a), ("b", &b)] {
        if let Some(value) = value {
            written += &format!("&{name}={}", encoded(value));
        }
    }
    if written.len() <= 1_024 {
        assert_eq!(fuzzing::query(&written), Ok((a, b, number)));
    }
    true
}

/// A text that is accepted has one form.
pub fn texts(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let mut accepted = false;
    let mut same = |read: Option<String>| {
        accepted |= read.is_some();
        assert!(read.is_none_or(|read| read == text), "{text:?}");
    };
    same(text.parse::<SecretId>().ok().map(|it| it.to_string()));
    same(text.parse::<KeyId>().ok().map(|it| it.to_string()));
    same(text.parse::<AccountId>().ok().map(|it| it.to_string()));
    same(text.parse::<FunctionId>().ok().map(|it| it.to_string()));
    same(text.parse::<ExecutionId>().ok().map(|it| it.to_string()));
    same(text.parse::<ContentHash>().ok().map(|it| it.to_string()));
    same(FunctionName::parse(text.to_owned()).ok().map(|it| it.as_str().to_owned()));
    same(HostName::parse(text.to_owned()).ok().map(|it| it.as_str().to_owned()));
    same(text.parse::<Timestamp>().ok().map(|it| it.to_string()));
    same(text.parse::<UnixTime>().ok().map(|it| it.to_string()));
    same(text.parse::<PublicKey>().ok().map(|it| it.to_string()));
    same(text.parse::<Signature>().ok().map(|it| it.to_string()));
    same(text.parse::<StoreId>().ok().map(|it| it.to_string()));
    same(text.parse::<Nonce>().ok().map(|it| it.to_string()));
    same(Token::parse(text).map(|it| it.to_text().to_string()));
    same(SecretName::parse(text.to_owned()).ok().map(|it| it.as_str().to_owned()));
    if let Ok(description) = Description::parse(text.to_owned()) {
        assert_eq!(description.as_str(), text);
    }
    same(Label::parse(text.to_owned()).ok().map(|it| it.as_str().to_owned()));
    if let Ok(label) = Label::parse(text.to_owned()) {
        presentable(&label.as_str());
    }
    if let Ok(value) = SecretValue::parse(text.to_owned()) {
        assert!(value.expose() == bytes && (1..=65_536).contains(&bytes.len()));
    }
    if let Ok(code) = FunctionCode::parse(text.to_owned()) {
        assert!(code.as_str() == text && !bytes.contains(&0) && bytes.len() <= 262_144);
    }
    if let Ok(permissions) = Permissions::parse(text.split(',')) {
        assert!(permissions.lie_within(permissions) && permissions.iter().next().is_some());
    }
    match text.parse::<InstanceUrl>() {
        Err(error) => refused(&error) | accepted,
        Ok(url) => {
            assert_eq!(url.to_string().parse(), Ok(url));
            true
        }
    }
}

/// No key reaches what a key that it lies within does not. Three lines: patterns, wider patterns, a
/// name.
pub fn scope(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let mut lines = text.split('\n');
    let mut scope = || {
        let patterns = lines.next()?.split(',').map(str::to_owned).collect();
        Globs::parse(patterns).ok().map(Scope::Names)
    };
    let (Some(own), Some(wider)) = (scope(), scope()) else { return false };
    assert!(own.lies_within(&own) && own.lies_within(&Scope::All) && !Scope::All.lies_within(&own));
    let Some(Ok(name)) = lines.next().map(|name| SecretName::parse(name.to_owned())) else {
        return false;
    };
    for (scope, reaches) in [(&own, own.reaches(&name)), (&wider, wider.reaches(&name))] {
        let Scope::Names(globs) = scope else { unreachable!("made of patterns") };
        let mut globs = globs.iter();
        let plain = globs.any(|glob| matches(glob.as_str().as_bytes(), name.as_str().as_bytes()));
        assert_eq!(reaches, plain);
    }
    assert!(!own.lies_within(&wider) || !own.reaches(&name) || wider.reaches(&name));
    true
}

/// A pattern by its definition, in quadratic time.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let mut reached = vec![true];
    reached.resize(name.len() + 1, false);
    for want in pattern {
        let before = reached.clone();
        for at in 0..=name.len() {
            reached[at] = match want {
                b'*' => before[..=at].contains(&true),
                want => at > 0 && before[at - 1] && name[at - 1] == *want,
            };
        }
    }
    reached[name.len()]
}
