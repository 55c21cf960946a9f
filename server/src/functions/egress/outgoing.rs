//! What a function's code asks to be sent, checked; and what of it goes to which host.

use std::ops::Range;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use memchr::memmem;
use neo_secrets_worker_protocol::{FetchRequest, Header, limits as protocol};
use zeroize::Zeroizing;

use super::mask::Masks;
use super::refusal::Refusal;
use super::{Use, UseOnlySecrets};
use crate::limits;
use crate::model::use_only::is_own_header;
use crate::model::{HostName, SecretName, SecretValue, is_name_byte};

/// A request without its target.
#[derive(Debug)]
pub(super) struct Outgoing {
    method: Method,
    headers: Vec<Field>,
    body: Option<Bytes>,
}

/// A header, and the placeholders in its value.
#[derive(Debug)]
struct Field {
    name: HeaderName,
    value: Vec<u8>,
    placeholders: Vec<(Range<usize>, SecretName)>,
}

/// Headers that go on to another host: none of them carries a credential.
const FOR_ANY_HOST: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::RANGE,
    header::USER_AGENT,
];

/// Headers about a body: they go with it (Fetch standard, "request-body-header name").
const ABOUT_BODY: [HeaderName; 4] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LOCATION,
    header::CONTENT_TYPE,
];

impl Outgoing {
    /// Checks all but the URL. Headers that are the server's own are left out, as the Fetch standard
    /// does with its forbidden ones.
    pub(super) fn check(request: FetchRequest, reference: &str) -> Result<Self, Refusal> {
        let FetchRequest { method, url, headers, body, redirect: _ } = request;
        let find = |bytes: &[u8]| {
            !reference.is_empty() && memmem::find(bytes, reference.as_bytes()).is_some()
        };
        let misplaced = |place| Err(Refusal::Misplaced { place });
        if find(url.as_bytes()) {
            return misplaced("URL");
        }
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Method)?;
        if ["CONNECT", "TRACE", "TRACK"].iter().any(|no| method.as_str().eq_ignore_ascii_case(no)) {
            return Err(Refusal::Method);
        }
        if body.is_some() && matches!(method, Method::GET | Method::HEAD) {
            return Err(Refusal::BodyOfGet);
        }
        if body.as_ref().is_some_and(|body| find(body)) {
            return misplaced("body");
        }
        let mut fields = Vec::with_capacity(headers.len());
        for Header { name, value } in headers {
            let own = is_own_header(&name);
            if own && find(&value) {
                return misplaced("value of a header that the server sets");
            }
            if !own {
                fields.push(Field::check(&name, value, reference)?);
            }
        }
        if fields.iter().map(|field| field.placeholders.len()).sum::<usize>()
            > limits::USE_ONLY_PER_REQUEST
        {
            return Err(Refusal::Placeholders);
        }
        Ok(Self { method, headers: fields, body: body.map(Bytes::from) })
    }

    /// Whether the value of a use-only secret will stand in it.
    pub(super) fn has_placeholders(&self) -> bool {
        self.headers.iter().any(|field| !field.placeholders.is_empty())
    }

    /// What is left of it for the next request after a redirect (Fetch standard, "HTTP-redirect
    /// fetch").
    pub(super) fn redirect(&mut self, status: StatusCode, same_host: bool) {
        let becomes_get = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => self.method == Method::POST,
            StatusCode::SEE_OTHER => !matches!(self.method, Method::GET | Method::HEAD),
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            self.headers.retain(|field| !ABOUT_BODY.contains(&field.name));
        }
        if !same_host {
            self.headers.retain(|field| FOR_ANY_HOST.contains(&field.name));
        }
    }

    /// The method.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The body; none is empty.
    pub(super) fn body(&self) -> Bytes {
        self.body.clone().unwrap_or_default()
    }

    /// The headers for one host, each placeholder replaced by the value that the store gives for
    /// this host and header; these values become masks.
    pub(super) async fn fill(
        &self,
        host: &HostName,
        secrets: &impl UseOnlySecrets,
        masks: &mut Masks,
    ) -> Result<HeaderMap, Refusal> {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 5);
        for Field { name, value, placeholders } in &self.headers {
            let value = if placeholders.is_empty() {
                plain(name, value)?
            } else {
                let mut filled = Zeroizing::new(Vec::with_capacity(protocol::HEADER_VALUE.max));
                let mut rest = 0;
                for (range, secret) in placeholders {
                    let usage = Use { secret, host, header: name.as_str() };
                    let taken = secrets.take(usage).await.map_err(|refused| Refusal::UseOnly {
                        name: secret.as_str().to_owned(),
                        refused,
                    })?;
                    masks.add(&taken);
                    push(&mut filled, name, value.get(rest..range.start).unwrap_or_default())?;
                    push_value(&mut filled, name, &taken)?;
                    rest = range.end;
                }
                push(&mut filled, name, value.get(rest..).unwrap_or_default())?;
                // What is wiped when the request is gone; nothing of it is copied here.
                let value = HeaderValue::from_maybe_shared(Bytes::from_owner(filled));
                let mut value = value.map_err(|_| malformed(name))?;
                value.set_sensitive(true);
                value
            };
            headers.append(name.clone(), value);
        }
        let ours = |text: &'static str| HeaderValue::from_static(text);
        headers.entry(header::ACCEPT).or_insert(ours("*/*"));
        headers.entry(header::USER_AGENT).or_insert(ours("neo-secrets"));
        // Nothing here decodes: a small answer that unfolds into a large one is the code's own affair.
        headers.insert(header::ACCEPT_ENCODING, ours("identity"));
        headers.insert(header::CONNECTION, ours("close"));
        let host = HeaderValue::from_str(host.as_str()).map_err(|_| malformed(&header::HOST))?;
        headers.insert(header::HOST, host);
        Ok(headers)
    }
}

/// Adds to a buffer that has room for a whole header, and so never moves what it holds.
fn push(filled: &mut Vec<u8>, name: &HeaderName, bytes: &[u8]) -> Result<(), Refusal> {
    if filled.len() + bytes.len() > protocol::HEADER_VALUE.max {
        return Err(Refusal::Filled { name: name.to_string() });
    }
    filled.extend_from_slice(bytes);
    Ok(())
}

fn push_value(filled: &mut Vec<u8>, name: &HeaderName, value: &SecretValue) -> Result<(), Refusal> {
    push(filled, name, value.expose())
}

fn plain(name: &HeaderName, value: &[u8]) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(value).map_err(|_| malformed(name))
}

fn malformed(name: &HeaderName) -> Refusal {
    Refusal::Header { name: name.to_string() }
}

impl Field {
    fn check(name: &str, value: Vec<u8>, reference: &str) -> Result<Self, Refusal> {
        let shown = || name.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed = parsed.map_err(|_| Refusal::Header { name: shown() })?;
        if !reference.is_empty() && parsed.as_str().contains(&reference.to_ascii_lowercase()) {
            return Err(Refusal::Misplaced { place: "name of a header" });
        }
        // No line break: one header can't become two, nor a request.
        plain(&parsed, &value)?;
        if value.len() > protocol::HEADER_VALUE.max {
            return Err(Refusal::Header { name: shown() });
        }
        let placeholders = placeholders(&value, reference)?;
        Ok(Self { name: parsed, value, placeholders })
    }
}

/// The placeholders in a header's value: the reference, and after it as many characters as can stand
/// in a secret's name.
fn placeholders(value: &[u8], reference: &str) -> Result<Vec<(Range<usize>, SecretName)>, Refusal> {
    let mut found = Vec::new();
    if reference.is_empty() {
        return Ok(found);
    }
    let mut from = 0;
    while let Some(place) =
        memmem::find(value.get(from..).unwrap_or_default(), reference.as_bytes())
    {
        let start = from + place;
        let name_start = start + reference.len();
        let rest = value.get(name_start..).unwrap_or_default();
        let name: Vec<u8> = rest.iter().copied().take_while(|byte| is_name_byte(*byte)).collect();
        let end = name_start + name.len();
        let name = String::from_utf8(name).map_err(|_| Refusal::Placeholder)?;
        let name = SecretName::parse(name).map_err(|_| Refusal::Placeholder)?;
        found.push((start..end, name));
        from = end;
    }
    Ok(found)
}
