//! Where a request may go: a URL's text becomes a [`Target`] or a refusal. Everything after this is
//! made from the target, so that nothing reads the text a second time, in another way.

use hyper::Uri;
use neo_secrets_worker_protocol::limits as protocol;
use url::{Host, Position, Url};

use super::refusal::Refusal;
use crate::model::HostName;

/// An `https` URL on port 443 of a host in the function's list, without credentials.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    url: Url,
    host: HostName,
}

impl Target {
    /// What this text, an absolute URL by the URL standard, leads to.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn parse(text: &str, allowed: &[HostName]) -> Result<Self, Refusal> {
        if text.len() > protocol::URL.max {
            return Err(Refusal::UrlTooLong);
        }
        Self::check(Url::parse(text).map_err(|_| Refusal::Url)?, allowed)
    }

    /// What a `Location` leads to, seen from here.
    ///
    /// # Errors
    /// As of [`Target::parse`].
    pub fn join(&self, location: &[u8], allowed: &[HostName]) -> Result<Self, Refusal> {
        let location = str::from_utf8(location).map_err(|_| Refusal::Url)?;
        if location.len() > protocol::URL.max {
            return Err(Refusal::UrlTooLong);
        }
        Self::check(self.url.join(location).map_err(|_| Refusal::Url)?, allowed)
    }

    fn check(mut url: Url, allowed: &[HostName]) -> Result<Self, Refusal> {
        if url.scheme() != "https" {
            return Err(Refusal::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name,
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(Refusal::AddressLiteral),
            None => return Err(Refusal::Url),
        };
        let host = allowed.iter().find(|allowed| allowed.as_str() == host);
        let not_listed = || Refusal::NotListed { host: shown(url.host_str().unwrap_or_default()) };
        let host = host.ok_or_else(not_listed)?.clone();
        // `None` is 443, however it was written.
        if let Some(port) = url.port() {
            return Err(Refusal::Port { port });
        }
        url.set_fragment(None);
        if url.as_str().len() > protocol::URL.max {
            return Err(Refusal::UrlTooLong);
        }
        Ok(Self { url, host })
    }

    /// The host, to look up, to be in the certificate, and to be named in the request.
    #[must_use]
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// The URL, without its fragment.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Path and query, as the request's first line has them.
    ///
    /// # Errors
    /// [`Refusal::Url`] where HTTP has no such path.
    pub fn path_and_query(&self) -> Result<Uri, Refusal> {
        let text = &self.url[Position::BeforePath..Position::AfterQuery];
        let uri: Uri = text.parse().map_err(|_| Refusal::Url)?;
        // Never a whole URL in the first line: the path begins with a slash.
        (uri.authority().is_none() && text.starts_with('/')).then_some(uri).ok_or(Refusal::Url)
    }
}

/// A host's name in a message: that of one that is listed has at most 253 bytes.
fn shown(host: &str) -> String {
    match host.char_indices().nth(253) {
        Some((end, _)) => format!("{}..", &host[..end]),
        None => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALLOWED: [&str; 3] = ["api.test", "xn--bcher-kva.test", "sub.api.test"];

    fn allowed() -> Vec<HostName> {
        ALLOWED.map(|host| HostName::parse(host.to_owned()).unwrap()).to_vec()
    }

    fn parse(text: &str) -> Result<Target, Refusal> {
        Target::parse(text, &allowed())
    }

    #[test]
    fn what_leads_to_a_listed_host() {
        for (text, expected) in [
            ("https://api.test", "https://api.test/"),
            ("https://api.test:443/a?b=c#d", "https://api.test/a?b=c"),
            ("HTTPS://API.Test/A", "https://api.test/A"),
            ("https://bücher.test/", "https://xn--bcher-kva.test/"),
            ("https://BÜCHER.test/", "https://xn--bcher-kva.test/"),
            ("https://ａｐｉ.test/", "https://api.test/"),
            ("https://api。test/", "https://api.test/"),
            // By the URL standard these are the same host, and what goes on is its normal form.
            ("https:\\\\api.test\\a", "https://api.test/a"),
            ("https:api.test/a", "https://api.test/a"),
            ("https:////api.test/a", "https://api.test/a"),
            (" \thttps://api\n.test/\r\na ", "https://api.test/a"),
            ("https://%61pi.test/", "https://api.test/"),
            ("https://@api.test/", "https://api.test/"),
            ("https://api.test:/", "https://api.test/"),
            ("https://api.test:0443/", "https://api.test/"),
            ("https://api.test/../../x y", "https://api.test/x%20y"),
            ("https://api.test//evil.test/", "https://api.test//evil.test/"),
        ] {
            let target = parse(text).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
            assert_eq!(target.as_str(), expected, "{text}");
            assert!(ALLOWED.contains(&target.host().as_str()));
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let listed = |host: &str| Refusal::NotListed { host: host.to_owned() };
        for (text, expected) in [
            ("", Refusal::Url),
            ("api.test", Refusal::Url),
            ("//api.test/", Refusal::Url),
            ("/path", Refusal::Url),
            ("https://", Refusal::Url),
            ("https://api.test:x/", Refusal::Url),
            ("https://api.test:65536/", Refusal::Url),
            ("https://a b.test/", Refusal::Url),
            ("https://api.test%00.evil/", Refusal::Url),
            ("https://api.test%2F.evil/", Refusal::Url),
            ("https://xn--a.test/", Refusal::Url),
            ("https://[::1", Refusal::Url),
            ("http://api.test/", Refusal::NotHttps),
            ("ftp://api.test/", Refusal::NotHttps),
            ("file://api.test/etc/passwd", Refusal::NotHttps),
            ("file:///etc/passwd", Refusal::NotHttps),
            ("wss://api.test/", Refusal::NotHttps),
            ("data:text/plain,x", Refusal::NotHttps),
            ("blob:https://api.test/x", Refusal::NotHttps),
            ("javascript:1", Refusal::NotHttps),
            ("https+unix://api.test/", Refusal::NotHttps),
            ("https://user@api.test/", Refusal::Credentials),
            ("https://user:pass@api.test/", Refusal::Credentials),
            ("https://:pass@api.test/", Refusal::Credentials),
            ("https://api.test@evil.test/", Refusal::Credentials),
            ("https://api.test:443@evil.test/", Refusal::Credentials),
            ("https://127.0.0.1/", Refusal::AddressLiteral),
            ("https://127.1/", Refusal::AddressLiteral),
            ("https://2130706433/", Refusal::AddressLiteral),
            ("https://0x7f000001/", Refusal::AddressLiteral),
            ("https://0x7f.1/", Refusal::AddressLiteral),
            ("https://017700000001/", Refusal::AddressLiteral),
            ("https://127.0.0.1./", Refusal::AddressLiteral),
            ("https://%31%32%37.0.0.1/", Refusal::AddressLiteral),
            ("https://１２７.0.0.1/", Refusal::AddressLiteral),
            ("https://①②⑦.0.0.1/", Refusal::AddressLiteral),
            ("https://[::1]/", Refusal::AddressLiteral),
            ("https://[::ffff:127.0.0.1]/", Refusal::AddressLiteral),
            ("https://0/", Refusal::AddressLiteral),
            ("https://api.test:80/", Refusal::Port { port: 80 }),
            ("https://api.test:8443/", Refusal::Port { port: 8443 }),
            ("https://api.test:0/", Refusal::Port { port: 0 }),
            ("https://api.test./", listed("api.test.")),
            ("https://api.test../", listed("api.test..")),
            ("https://evil.test/", listed("evil.test")),
            ("https://evil.test/https://api.test/", listed("evil.test")),
            ("https://evil.test\\@api.test/", listed("evil.test")),
            ("https://evil.test#@api.test/", listed("evil.test")),
            ("https://evil.test?@api.test/", listed("evil.test")),
            ("https://api.test.evil.test/", listed("api.test.evil.test")),
            ("https://notapi.test/", listed("notapi.test")),
            ("https://x.api.test/", listed("x.api.test")),
            ("https://test/", listed("test")),
            ("https://localhost/", listed("localhost")),
            ("https://аpi.test/", listed("xn--pi-6kc.test")), // a Cyrillic letter
            ("https://api.te\u{17F}t.evil/", listed("api.test.evil")),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        let long = format!("https://api.test/{}", "x".repeat(8_192));
        assert_eq!(parse(&long), Err(Refusal::UrlTooLong));
        // Each of these becomes three bytes.
        let grows = format!("https://api.test/{}", " x".repeat(3_000));
        assert_eq!(parse(&grows), Err(Refusal::UrlTooLong));
        assert_eq!(Target::parse("https://api.test/", &[]), Err(listed("api.test")));
    }

    #[test]
    fn redirects_are_seen_from_where_they_are() {
        let from = parse("https://api.test/a/b?c#d").unwrap();
        let to = |location: &str| from.join(location.as_bytes(), &allowed());
        for (location, expected) in [
            ("x", "https://api.test/a/x"),
            ("/x?y", "https://api.test/x?y"),
            ("", "https://api.test/a/b?c"),
            ("?z", "https://api.test/a/b?z"),
            ("//sub.api.test/x", "https://sub.api.test/x"),
            ("\\\\sub.api.test\\x", "https://sub.api.test/x"),
            ("https:x", "https://api.test/a/x"),
        ] {
            assert_eq!(to(location).unwrap().as_str(), expected, "{location}");
        }
        let listed = |host: &str| Err(Refusal::NotListed { host: host.to_owned() });
        assert_eq!(to("//evil.test"), listed("evil.test"));
        assert_eq!(to("https://127.0.0.1/"), Err(Refusal::AddressLiteral));
        assert_eq!(to("http://api.test/"), Err(Refusal::NotHttps));
        assert_eq!(to("//u:p@api.test/"), Err(Refusal::Credentials));
        assert_eq!(to("//api.test:22/"), Err(Refusal::Port { port: 22 }));
        assert_eq!(from.join(b"/\xff", &allowed()), Err(Refusal::Url));
    }

    #[test]
    fn the_first_line_has_a_path() {
        let path = |text: &str| parse(text).unwrap().path_and_query().unwrap().to_string();
        assert_eq!(path("https://api.test"), "/");
        assert_eq!(path("https://api.test?a=b c\r\nX: y"), "/?a=b%20cX:%20y");
        assert_eq!(path("https://api.test//evil.test/a|b^{}`[]"), "//evil.test/a|b^%7B%7D%60[]");
        assert_eq!(path("https://api.test/ä\u{0}x"), "/%C3%A4%00x");
        assert_eq!(path("https://api.test/*"), "/*");
    }

    proptest! {
        /// Whatever the text is: what comes of it is https, on 443, of a listed host, and no line
        /// break or blank reaches the request's first line.
        #[test]
        fn a_target_is_always_a_listed_host(
            text in "(https?:)?[/\\\\]{0,3}[a-z.@:%\\[\\]\\\\/#?0-9äﬀ\u{200d}\r\n\t ]{0,20}(api\\.test)?[a-z.@:%\\\\/#?0-9\r\n]{0,20}",
        ) {
            if let Ok(target) = parse(&text) {
                prop_assert!(ALLOWED.contains(&target.host().as_str()));
                let rest = target.as_str().strip_prefix("https://").unwrap();
                let rest = rest.strip_prefix(target.host().as_str()).unwrap();
                prop_assert!(rest.starts_with('/'));
                let path = target.path_and_query().unwrap().to_string();
                prop_assert_eq!(&path, rest);
                prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
