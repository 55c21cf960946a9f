//! What a request's headers say.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName};

use neo_secrets_attestation::config::Reveal;

use tokio::sync::oneshot;

use super::body::Body;
use super::error::ApiError;
use super::json::{Object, RawObject};
use super::query::Query;
use super::{Api, store_failure};
use crate::access::{Caller, Glob, Grant, OwnerCaller, Permission, Right, Scope, Token};
use crate::audit::{Act, Origin, PeerAddress, RequestId};
use crate::connection::Framing;
use crate::limits;
use crate::model::{Revision, Timestamp};
use crate::peer::Peer;
use crate::phase::Serving;
use crate::secret::random_array;
use crate::store::{Store, StoreFailure};

/// A call that has authenticated.
pub struct Call<'a> {
    /// What all requests share.
    pub api: &'a Api,
    /// The open store.
    pub serving: &'a Arc<Serving>,
    /// Who calls.
    pub caller: Caller,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The raw query.
    pub query: &'a str,
    /// The body, unread.
    pub body: &'a mut Body,
    /// The ids in the path, unparsed: of the object, and of what is part of it.
    pub ids: [&'a str; 2],
    /// When it came.
    pub now: Timestamp,
}

impl Call<'_> {
    /// The caller's right.
    ///
    /// # Errors
    /// 403, naming the permission.
    pub fn grant<R: Right>(&self) -> Result<Grant<R>, ApiError> {
        self.caller.grant().map_err(|denied| {
            let (permission, has) = (denied.permission.as_str(), has(&self.caller));
            ApiError::Forbidden(
                format!("This key lacks the permission {permission}: it {has}.").into(),
            )
        })
    }

    /// What the caller does by this right, for the log.
    ///
    /// # Errors
    /// 403, naming the permission.
    pub fn act<R: Right>(&self) -> Result<Act<Grant<R>>, ApiError> {
        Ok(Act { by: self.grant()?, origin: self.origin.clone(), now: self.now })
    }

    /// The owner, whom no account's key can stand in for.
    ///
    /// # Errors
    /// 403
    pub fn owner(&self) -> Result<&OwnerCaller, ApiError> {
        match &self.caller {
            Caller::Owner(owner) => Ok(owner),
            Caller::Key(_) => Err(ApiError::Forbidden("Only the owner's key may do this.".into())),
        }
    }

    /// What the owner does, for the log.
    ///
    /// # Errors
    /// 403
    pub fn owner_act(&self) -> Result<Act<OwnerCaller>, ApiError> {
        Ok(Act { by: self.owner()?.clone(), origin: self.origin.clone(), now: self.now })
    }

    /// Whether the configuration lets values out at all.
    ///
    /// # Errors
    /// 403
    pub fn reveal_is_on(&self) -> Result<(), ApiError> {
        match self.api.reveal {
            Reveal::ByPermission => Ok(()),
            Reveal::Off => {
                Err(ApiError::Forbidden("Reveal is off in this instance's configuration.".into()))
            }
        }
    }

    /// The body of a call that takes no query.
    ///
    /// # Errors
    /// 415, 413, 400
    pub async fn json(&mut self, known: &[&str]) -> Result<Object, ApiError> {
        let object = self.body.json(known, limits::BODY_BYTES).await?;
        Query::parse(self.query, &[])?;
        Ok(object)
    }

    /// As [`Call::json`]; the fields may hold whatever JSON there is.
    ///
    /// # Errors
    /// 415, 413, 400
    pub async fn raw_json(&mut self, known: &[&str]) -> Result<RawObject, ApiError> {
        let object = self.body.raw_json(known, limits::BODY_BYTES).await?;
        Query::parse(self.query, &[])?;
        Ok(object)
    }

    /// The query of a call that takes no body.
    ///
    /// # Errors
    /// 413, 400
    pub async fn query(&mut self, known: &[&str]) -> Result<Query, ApiError> {
        self.body.none().await?;
        Query::parse(self.query, known)
    }

    /// Reads much of the store in a thread of its own, so that short calls do not wait for it. There
    /// are few for all accounts together, and always one for the owner.
    ///
    /// # Errors
    /// The store's, and 500 where reading panicked.
    pub async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreFailure> + Send + 'static,
    ) -> Result<T, ApiError> {
        let scanned = self.blocking(read).await?;
        scanned.map_err(|failure| store_failure(self.serving, &failure))
    }

    /// As [`Call::scan`], for what may fail in ways of its own.
    ///
    /// # Errors
    /// 500 where reading panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let serving = self.serving.clone();
        let read = move || read(&serving.store);
        let scanned = match &self.caller {
            Caller::Owner(_) => in_own_thread(read).await,
            Caller::Key(_) => tokio::task::spawn_blocking(read).await.ok(),
        };
        scanned.ok_or(ApiError::Internal)
    }

    /// The object in the path. What is no id is an object that there is not.
    ///
    /// # Errors
    /// 404
    pub fn object<T: std::str::FromStr>(&self) -> Result<T, ApiError> {
        let [id, _] = self.ids;
        id.parse().map_err(|_| ApiError::NotFound)
    }

    /// What is part of the object in the path, likewise.
    ///
    /// # Errors
    /// 404
    pub fn part<T: std::str::FromStr>(&self) -> Result<T, ApiError> {
        let [_, id] = self.ids;
        id.parse().map_err(|_| ApiError::NotFound)
    }
}

/// What a caller has instead of what it lacks: its own permissions and patterns are no secret to it.
fn has(caller: &Caller) -> String {
    let Caller::Key(key) = caller else { return "is the owner's".to_owned() };
    let permissions: Vec<_> = key.permissions.iter().map(Permission::as_str).collect();
    let permissions = permissions.join(", ");
    match &key.scope {
        Scope::All => format!("has {permissions}"),
        Scope::Names(globs) => {
            let globs: Vec<_> = globs.iter().map(Glob::as_str).collect();
            format!("has {permissions} on secrets {}", globs.join(", "))
        }
    }
}

/// What `work` gives, unless it panics.
async fn in_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("owner-scan".to_owned());
    // Whoever asked may have gone.
    thread.spawn(move || drop(sender.send(work()))).ok()?;
    receiver.await.ok()
}

/// The peer of a request.
pub fn peer(request: &HttpRequest) -> Peer {
    Peer::at(peer_address(request))
}

fn peer_address(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip())
}

/// Where a request comes from.
pub fn origin(request: &HttpRequest) -> Origin {
    let peer = PeerAddress::new(peer_address(request));
    Origin { peer, request: request_id(request.headers()) }
}

/// What follows the head with these headers: the HTTP library has refused the ambiguous ones.
pub fn framing(headers: &HeaderMap) -> Framing {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Framing::Chunked;
    }
    Framing::Length(declared_bytes(headers).unwrap_or_default())
}

/// The body's length, where the head says it.
fn declared_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether the HTTP library takes all that follows on the connection for this request's body: it
/// does so for another protocol, which this server has none of.
pub fn takes_all_that_follows(request: &HttpRequest, framing: Framing) -> bool {
    let headers = request.headers();
    let web_socket = headers
        .get_all(header::UPGRADE)
        .any(|protocol| protocol.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket"));
    request.method() == Method::CONNECT || (web_socket && framing != Framing::Chunked)
}

/// The caller's request id, where it is one, else a new one.
pub fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(super::REQUEST_ID).map(|id| id.as_bytes()).unwrap_or_default();
    let given = str::from_utf8(given).ok();
    given
        .filter(|id| (1..=limits::REQUEST_ID_BYTES).contains(&id.len()))
        .and_then(|id| RequestId::parse(id.to_owned()).ok())
        // Without randomness a request still is answered; its id only finds it in the log.
        .unwrap_or_else(|| RequestId::generated(random_array().unwrap_or_default()))
}

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The token that a request presents, if it has the form of one.
///
/// # Errors
/// 400 where two headers present different keys.
pub fn presented_key(headers: &HeaderMap) -> Result<Option<Token>, ApiError> {
    let bearer = headers.get_all(header::AUTHORIZATION).filter_map(|value| {
        let (scheme, key) = value.as_bytes().split_first_chunk::<7>()?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    let plain = headers.get_all(API_KEY).map(|value| value.as_bytes().trim_ascii());
    let mut keys = bearer.chain(plain);
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.any(|other| other != key) {
        return Err(ApiError::invalid("The request presents two different API keys."));
    }
    Ok(str::from_utf8(key).ok().and_then(Token::parse))
}

/// The `ETag` of a revision.
pub fn entity_tag(revision: Revision) -> String {
    ["\"", itoa::Buffer::new().format(revision.0), "\""].concat()
}

/// The revision that `If-Match` asks for; `None` where any will do. A well-formed tag that is not
/// one of ours (a weak one, too) asks for revision 0, which no secret has.
///
/// # Errors
/// 400 for what is not one entity tag or `*`.
pub fn expected_revision(headers: &HeaderMap) -> Result<Option<Revision>, ApiError> {
    let mut values = headers.get_all(header::IF_MATCH);
    let Some(value) = values.next() else { return Ok(None) };
    let malformed = || ApiError::field("If-Match", "must be one entity tag, such as \"3\", or *");
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?.trim_ascii();
    if value == "*" {
        return Ok(None);
    }
    let (weak, tag) = match value.strip_prefix("W/") {
        Some(tag) => (true, tag),
        None => (false, value),
    };
    let opaque = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let opaque = opaque.filter(|opaque| !opaque.contains('"')).ok_or_else(malformed)?;
    let revision = opaque.parse().map_or(Revision(0), Revision);
    let ours = !weak && entity_tag(revision) == tag;
    Ok(Some(if ours { revision } else { Revision(0) }))
}

/// Every name that [`known_method`] gives.
pub const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "other"];

/// The method's name for the log, where nothing that a peer made up may stand.
pub fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let request = list.iter().fold(TestRequest::default(), |request, (name, value)| {
            request.append_header((*name, *value))
        });
        request.to_http_request().headers().clone()
    }

    #[test]
    fn keeps_the_callers_request_id_where_it_is_one() {
        let id = |value: &str| request_id(&headers(&[("x-request-id", value)])).as_str().to_owned();
        assert_eq!(id("abc-1"), "abc-1");
        let longest = "x".repeat(128);
        assert_eq!(id(&longest), longest);
        for bad in ["", "a b", "x".repeat(129).as_str()] {
            assert!(id(bad).starts_with("req_"), "{bad}");
        }
        let ids: std::collections::HashSet<_> = (0..1_000).map(|_| id("")).collect();
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn a_key_is_found_in_either_header_and_must_be_one() {
        let token = format!("neo_{}", "A".repeat(43));
        let other = format!("neo_{}", "E".repeat(43));
        let bearer = format!("Bearer {token}");
        let found = |list: &[(&str, &str)]| presented_key(&headers(list)).map(|key| key.is_some());
        assert_eq!(found(&[("authorization", &bearer)]), Ok(true));
        assert_eq!(found(&[("authorization", &format!("bEARER  {token}"))]), Ok(true));
        assert_eq!(found(&[("x-api-key", &token)]), Ok(true));
        assert_eq!(found(&[("x-api-key", &token), ("authorization", &bearer)]), Ok(true));
        let two = Err(ApiError::invalid("The request presents two different API keys."));
        assert_eq!(found(&[("x-api-key", &other), ("authorization", &bearer)]), two);
        assert_eq!(found(&[("x-api-key", &other), ("x-api-key", &token)]), two);
        for nothing in ["", "Bearer", "Bearer ", "Basic Zm9vOmJhcg==", "Bearer neo_x", &token] {
            assert_eq!(found(&[("authorization", nothing)]), Ok(false), "{nothing}");
        }
        assert_eq!(found(&[]), Ok(false));
    }

    #[test]
    fn if_match_takes_one_tag() {
        let expected = |value: &str| expected_revision(&headers(&[("if-match", value)]));
        assert_eq!(expected_revision(&HeaderMap::new()), Ok(None));
        assert_eq!(expected("*"), Ok(None));
        assert_eq!(expected("\"3\""), Ok(Some(Revision(3))));
        for foreign in ["W/\"3\"", "\"03\"", "\"x\"", "\"\"", "\"99999999999999999999\"", "\"+3\""]
        {
            assert_eq!(expected(foreign), Ok(Some(Revision(0))), "{foreign}");
        }
        for malformed in ["3", "\"3", "\"1\", \"2\"", "", "\"", "W/3"] {
            let Err(ApiError::Invalid { field: Some(_), .. }) = expected(malformed) else {
                panic!("{malformed}");
            };
        }
    }
}
