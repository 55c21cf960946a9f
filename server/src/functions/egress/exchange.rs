//! One request over one connection, and what comes back within its bounds.

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::LOCATION;
use hyper::http::response::Parts;
use hyper::{Request, StatusCode};
use neo_secrets_worker_protocol::{Header, limits as protocol};
use tokio::task::JoinSet;

use super::UseOnlySecrets;
use super::mask::Masks;
use super::network::Connector;
use super::outgoing::Outgoing;
use super::pieces::Pieces;
use super::refusal::Refusal;
use super::target::Target;
use crate::limits;
use crate::model::AccountId;

/// A response whose body has not been read.
pub(super) struct Response {
    head: Parts,
    body: Incoming,
    host: String,
    masks: Masks,
    /// What drives the connection; it ends with this.
    _connection: JoinSet<()>,
}

/// A response, whole and masked.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) status_text: String,
    pub(super) headers: Vec<Header>,
    pub(super) body: Vec<u8>,
}

/// Sends a request. The connection stands, and the host has shown its certificate, before a value is
/// taken from the store.
pub(super) async fn send(
    (connector, account): (&Connector, AccountId),
    target: &Target,
    outgoing: &Outgoing,
    secrets: &impl UseOnlySecrets,
) -> Result<Response, Refusal> {
    let host = target.host().as_str().to_owned();
    let mut request = Request::new(Full::new(outgoing.body()));
    *request.method_mut() = outgoing.method().clone();
    *request.uri_mut() = target.path_and_query()?;
    let stream = connector.connect(account, target.host()).await?;
    let broken = |error: hyper::Error| refusal(&error, &host);
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(protocol::HEADERS.max)
        .max_header_size(limits::EGRESS_HEAD_BYTES)
        .max_buf_size(limits::EGRESS_BUFFER_BYTES)
        .handshake(stream)
        .await
        .map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async {
        // What goes wrong here, the request hears of.
        let _ = connection.await;
    });
    let mut masks = Masks::default();
    *request.headers_mut() = outgoing.fill(target.host(), secrets, &mut masks).await?;
    let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
    let status = head.status.as_u16();
    if !protocol::STATUS.contains(&status) {
        return Err(Refusal::Status { host });
    }
    Ok(Response { head, body, host, masks, _connection: driver })
}

fn refusal(error: &hyper::Error, host: &str) -> Refusal {
    match error.is_parse_too_large() {
        true => Refusal::Head,
        false => Refusal::Broken { host: host.to_owned() },
    }
}

impl Response {
    /// Where a redirect leads, where this is one.
    pub(super) fn redirect(&self) -> Result<Option<(StatusCode, Vec<u8>)>, Refusal> {
        let status = self.head.status;
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let mut locations = self.head.headers.get_all(LOCATION).iter();
        match (locations.next(), locations.next()) {
            (None, _) => Ok(None),
            (Some(location), None) => Ok(Some((status, location.as_bytes().to_vec()))),
            (Some(_), Some(_)) => {
                let (host, why) = (self.host.clone(), Box::new(Refusal::Url));
                Err(Refusal::RedirectTo { host, why })
            }
        }
    }

    /// Reads the body.
    pub(super) async fn whole(
        self,
        pieces: &Arc<Pieces>,
        account: AccountId,
    ) -> Result<Whole, Refusal> {
        let Self { head, body, host, masks, _connection } = self;
        let mut headers = Vec::with_capacity(head.headers.len());
        for (name, value) in &head.headers {
            let (name, value) = (name.as_str().to_owned(), masks.apply(value.as_bytes().to_vec()));
            if name.len() > protocol::HEADER_NAME.max || value.len() > protocol::HEADER_VALUE.max {
                return Err(Refusal::Head);
            }
            headers.push(Header { name, value });
        }
        let body = read(body, &host, (pieces, account)).await?;
        let status_text = status_text(&head, &masks);
        let body = if masks.is_empty() { body } else { masks.apply(body) };
        Ok(Whole { status: head.status.as_u16(), status_text, headers, body })
    }
}

async fn read(
    mut body: Incoming,
    host: &str,
    (pieces, account): (&Arc<Pieces>, AccountId),
) -> Result<Vec<u8>, Refusal> {
    let max = protocol::BODY.max;
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(Refusal::Body);
    }
    let mut whole = Vec::new();
    let mut held = pieces.none(account);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refusal(&error, host))?;
        let Ok(data): Result<Bytes, _> = frame.into_data() else { continue };
        if whole.len() + data.len() > max {
            return Err(Refusal::Body);
        }
        whole.extend_from_slice(&data);
        // The first piece is free: most answers are no larger, and none of them waits for others.
        held.grow(whole.len() / limits::EGRESS_PIECE_BYTES).map_err(|_| Refusal::Busy)?;
    }
    Ok(whole)
}

/// The reason phrase, as far as it is text.
fn status_text(head: &Parts, masks: &Masks) -> String {
    let phrase = head.extensions.get::<hyper::ext::ReasonPhrase>();
    let phrase = match phrase {
        Some(phrase) => masks.apply(phrase.as_bytes().to_vec()),
        None => head.status.canonical_reason().unwrap_or_default().as_bytes().to_vec(),
    };
    let mut text = String::from_utf8_lossy(&phrase).into_owned();
    let end = text.floor_char_boundary(protocol::STATUS_TEXT.max);
    text.truncate(end);
    text
}
