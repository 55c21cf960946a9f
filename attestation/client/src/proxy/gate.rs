//! Whose requests are let in: those of programs on purpose, and not those of web pages that a
//! browser on this machine shows.
//!
//! A page of somebody else's can make a browser send requests to any address, this one too, and by
//! DNS rebinding it can even read the answers: its own name then leads here. Three things tell
//! such requests: the name in `Host`, `Origin`, and `Sec-Fetch-Site`.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Method, Request};

use crate::proxy::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The names by which this proxy may be called.
pub(super) struct Gate {
    /// Where it listens.
    pub(super) address: IpAddr,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// Further names, in lower case.
    pub(super) names: Vec<String>,
}

impl Gate {
    /// Refuses what no program that means this proxy sends.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let uri = request.uri();
        if *request.method() == Method::CONNECT
            || uri.authority().is_some()
            || !uri.path().starts_with('/')
        {
            return Err(Problem::Invalid(
                "The request's target must be a path: this is a gateway to one instance, not a \
                 forward proxy.",
            ));
        }
        let headers = request.headers();
        let host = self.check_host(headers)?;
        self.check_origin(headers, host)?;
        check_coding(headers)
    }

    /// The name rebinding tells itself by: a browser sends the page's own. An address is no name,
    /// so nobody can make it lead elsewhere.
    fn check_host<'a>(&self, headers: &'a HeaderMap) -> Result<&'a HeaderValue, Problem> {
        let malformed = Problem::Invalid("The request needs one Host header: a name or an address");
        let host = match only(headers, &HOST) {
            Ok(Some(host)) => host,
            Ok(None) | Err(Several) => return Err(malformed),
        };
        let Ok(authority) = Authority::try_from(host.as_bytes()) else { return Err(malformed) };
        if authority.as_str().contains('@') {
            return Err(malformed);
        }
        if self.is_own(authority.host()) {
            return Ok(host);
        }
        Err(Problem::Forbidden(
            "The Host header names somebody else. This proxy answers to localhost, to loopback \
             addresses, to the address it listens on, and to names given by --host.",
        ))
    }

    fn is_own(&self, host: &str) -> bool {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bracketed.unwrap_or(host).parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback()
                || address == self.address.to_canonical()
                || self.address.is_unspecified();
        }
        host.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
    }

    /// What a browser sends for a page of somebody else's: `Origin` with what is not a plain
    /// GET, and `Sec-Fetch-Site` always.
    fn check_origin(&self, headers: &HeaderMap, host: &HeaderValue) -> Result<(), Problem> {
        let foreign = Problem::Forbidden("Web pages of other origins cannot use this proxy.");
        match only(headers, &ORIGIN) {
            Ok(None) => {}
            Ok(Some(origin)) if self.is_own_origin(origin.as_bytes(), host.as_bytes()) => {}
            Ok(Some(_)) | Err(Several) => return Err(foreign),
        }
        match only(headers, &SEC_FETCH_SITE) {
            Ok(None) => Ok(()),
            Ok(Some(site)) if site == "same-origin" || site == "none" => Ok(()),
            Ok(Some(_)) | Err(Several) => Err(foreign),
        }
    }

    fn is_own_origin(&self, origin: &[u8], host: &[u8]) -> bool {
        let rest = origin.strip_prefix(self.scheme.as_bytes());
        let rest = rest.and_then(|rest| rest.strip_prefix(b"://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    }
}

/// The body goes on as the bytes that it is, so any coding but `chunked` would be lost. hyper reads
/// a body by `chunked` or by its length, never by both.
fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    match only(headers, &TRANSFER_ENCODING) {
        Ok(None) => Ok(()),
        Ok(Some(coding)) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Ok(Some(_)) | Err(Several) => {
            Err(Problem::Invalid("Transfer-Encoding: chunked, once, is all that is understood."))
        }
    }
}

struct Several;

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Several> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(Several),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::HeaderValue;

    use super::*;

    fn gate(address: &str) -> Gate {
        let names = vec!["vault.internal".to_owned()];
        Gate { address: address.parse().unwrap(), scheme: "http", names }
    }

    fn status(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match gate.check(&request.body(()).unwrap()) {
            Ok(()) => StatusCode::OK.as_u16(),
            Err(problem) => problem.into_response(&HeaderValue::from_static("r")).status().as_u16(),
        }
    }

    #[test]
    fn only_names_of_its_own_lead_to_the_proxy() {
        let local = gate("127.0.0.1");
        let host = |gate: &Gate, host| status(gate, "/", &[("host", host)]);
        for own in [
            "localhost",
            "LocalHost:8200",
            "localhost:1",
            "127.0.0.1:8200",
            "127.9.9.9",
            "[::1]:8200",
            "[::ffff:127.0.0.1]",
            "vault.internal",
        ] {
            assert_eq!(host(&local, own), 200, "{own}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "[2001:db8::1]",
            "localhost.",
            "0.0.0.0",
        ] {
            assert_eq!(host(&local, other), 403, "{other}");
        }
        for odd in ["", "a b", "localhost@evil.example", "localhost/", "[::1", "localhost, x"] {
            assert_eq!(host(&local, odd), 400, "{odd}");
        }
        assert_eq!(status(&local, "/", &[]), 400);
        assert_eq!(status(&local, "/", &[("host", "localhost"), ("host", "localhost")]), 400);
        assert_eq!(host(&gate("192.0.2.1"), "192.0.2.1:8200"), 200);
        assert_eq!(host(&gate("192.0.2.1"), "192.0.2.2:8200"), 403);
        assert_eq!(host(&gate("0.0.0.0"), "192.0.2.2:8200"), 200);
        assert_eq!(host(&gate("0.0.0.0"), "evil.example"), 403);
    }

    #[test]
    fn web_pages_of_others_are_refused() {
        let local = gate("127.0.0.1");
        let with = |name, value| status(&local, "/", &[("host", "localhost:8200"), (name, value)]);
        assert_eq!(with("origin", "http://localhost:8200"), 200);
        for other in [
            "null",
            "",
            "http://localhost",
            "http://localhost:3000",
            "https://localhost:8200",
            "http://127.0.0.1:8200",
            "http://evil.example",
        ] {
            assert_eq!(with("origin", other), 403, "{other}");
        }
        assert_eq!(with("sec-fetch-site", "none"), 200);
        assert_eq!(with("sec-fetch-site", "same-origin"), 200);
        for other in ["cross-site", "same-site", "", "x"] {
            assert_eq!(with("sec-fetch-site", other), 403, "{other}");
        }
        // Node's fetch sends this one, and is no browser.
        assert_eq!(with("sec-fetch-mode", "cors"), 200);
    }

    #[test]
    fn targets_are_paths_and_bodies_are_chunked_or_plain() {
        let local = gate("127.0.0.1");
        let target = |target| status(&local, target, &[("host", "localhost")]);
        assert_eq!(target("/v1/secrets?limit=1"), 200);
        assert_eq!(target("//evil.example/x"), 200);
        assert_eq!(target("*"), 400);
        assert_eq!(target("http://localhost/v1/secrets"), 400);
        assert_eq!(target("localhost:8200"), 400);
        let coding =
            |coding| status(&local, "/", &[("host", "localhost"), ("transfer-encoding", coding)]);
        assert_eq!(coding("Chunked"), 200);
        for other in ["gzip, chunked", "chunked, chunked", "identity", "", "\tchunked\u{b}"] {
            if HeaderValue::from_str(other).is_ok() {
                assert_eq!(coding(other), 400, "{other}");
            }
        }
    }
}
