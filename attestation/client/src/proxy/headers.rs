//! What of a message goes on: everything but what is about one connection only (RFC 9110 §7.6.1),
//! and `Host`, which names the instance.

use hyper::body::Body;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request;
use hyper::{Request, Version};

use crate::connection::http::Outgoing;

/// About one connection, whether `Connection` names them or not.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The request as it goes to the instance. Its framing is made anew from the body that hyper
/// decoded, so that nobody on the way can read it as anything else than one request.
pub(super) fn request(
    head: request::Parts,
    body: Outgoing,
    host: &HeaderValue,
) -> Request<Outgoing> {
    let request::Parts { method, uri, mut headers, .. } = head;
    let had_length = headers.contains_key(CONTENT_LENGTH);
    strip(&mut headers);
    // hyper asks the caller for the body itself, once the instance's connection takes it.
    headers.remove(EXPECT);
    headers.remove(CONTENT_LENGTH);
    headers.insert(HOST, host.clone());
    match body.size_hint().exact() {
        Some(0) if !had_length => {}
        Some(length) => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
    }
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// Takes away what is about one connection only.
pub(super) fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body_util::{BodyExt, Either, Full};
    use hyper::body::{Bytes, Frame};

    use super::*;
    use crate::connection::http::BoxError;

    fn forwarded(headers: &[(&str, &str)], body: Outgoing) -> HeaderMap {
        let mut request = Request::post("/a%2F?b=%00");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let forwarded = super::request(head, body, &HeaderValue::from_static("instance:8443"));
        assert_eq!(forwarded.uri(), "/a%2F?b=%00");
        forwarded.headers().clone()
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        headers.iter().map(pair).collect()
    }

    #[test]
    fn what_is_about_one_connection_stays_here() {
        let sent = [
            ("host", "localhost:8200"),
            ("authorization", "Bearer x"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("connection", "keep-alive, X-Hop"),
            ("connection", "upgrade"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
        ];
        let left = map(&[
            ("host", "instance:8443"),
            ("authorization", "Bearer x"),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ]);
        assert_eq!(forwarded(&sent, Either::Left(Full::default())), left);
    }

    /// A body of a length that nobody knows.
    struct Unknown;

    impl Body for Unknown {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(None)
        }
    }

    #[test]
    fn the_framing_is_the_bodys() {
        let host = ("host", "instance:8443");
        let claims = [("content-length", "007"), ("connection", "content-length")];
        let full = || Either::Left(Full::from("four"));
        let length = map(&[("content-length", "4"), host]);
        assert_eq!(forwarded(&claims, full()), length);
        assert_eq!(forwarded(&[("transfer-encoding", "chunked")], full()), length);
        let empty = || Either::Left(Full::default());
        assert_eq!(forwarded(&[], empty()), map(&[host]));
        let zero = map(&[("content-length", "0"), host]);
        assert_eq!(forwarded(&[("content-length", "0")], empty()), zero);
        let unknown = Either::Right(Unknown.boxed_unsync());
        assert_eq!(forwarded(&claims, unknown), map(&[("transfer-encoding", "chunked"), host]));
    }
}
