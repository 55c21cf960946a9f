//! Why a request did not happen, in words for the author of the function's code: what was refused,
//! and nothing of what the server knows besides.

use neo_secrets_worker_protocol::{Failure, limits as protocol};

use crate::limits;

/// Why a fetch gave no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The URL does not parse.
    #[error("the URL is none")]
    Url,
    /// The URL is too long.
    #[error("the URL has more than {} bytes", protocol::URL.max)]
    UrlTooLong,
    /// Another scheme.
    #[error("only https:// URLs can be fetched")]
    NotHttps,
    /// A user's name or password in the URL.
    #[error("a URL to fetch may hold no credentials")]
    Credentials,
    /// An address in place of a host's name, in whatever spelling.
    #[error("a URL to fetch has a host's name, no address")]
    AddressLiteral,
    /// Another port.
    #[error("only port 443 can be reached, not {port}")]
    Port {
        /// The port.
        port: u16,
    },
    /// The host is not in the function's list.
    #[error("{host} is not in the function's egress list")]
    NotListed {
        /// The host.
        host: String,
    },
    /// The method is none, or CONNECT, TRACE or TRACK.
    #[error("the method can't be used")]
    Method,
    /// A GET or HEAD with a body.
    #[error("a GET or HEAD request has no body")]
    BodyOfGet,
    /// A header that is none, or whose value is none.
    #[error("the header {name} is malformed")]
    Header {
        /// Its name, as far as it can be shown.
        name: String,
    },
    /// A placeholder where none is replaced.
    #[error(
        "the placeholder of a use-only secret may stand in the value of a header only, not in the {place}"
    )]
    Misplaced {
        /// Where it stood.
        place: &'static str,
    },
    /// A placeholder without a name that secrets may have.
    #[error("after a placeholder there must be a character that no name has, or the header's end")]
    Placeholder,
    /// More placeholders than a request needs.
    #[error("a request may have {} placeholders", limits::USE_ONLY_PER_REQUEST)]
    Placeholders,
    /// The header is too long once the value stands in it.
    #[error("the header {name} is too long with the secret in it")]
    Filled {
        /// Its name.
        name: String,
    },
    /// The store did not give the value.
    #[error("the secret \"{name}\" {refused}")]
    UseOnly {
        /// The secret.
        name: String,
        /// Why.
        refused: UseRefused,
    },
    /// The host has no address, or its name could not be looked up.
    #[error("the host {host} was not found")]
    NotFound {
        /// The host.
        host: String,
    },
    /// Its name servers, or those of others, are slow.
    #[error("the host {host} could not be looked up within {} s", limits::EGRESS_LOOKUP_TIMEOUT.as_secs())]
    Lookup {
        /// The host.
        host: String,
    },
    /// One of the host's addresses is not public.
    #[error("the host {host} has an address that functions may not reach")]
    NotPublic {
        /// The host.
        host: String,
    },
    /// None of its addresses took a connection.
    #[error("no connection to {host}")]
    Connect {
        /// The host.
        host: String,
    },
    /// The handshake failed.
    #[error("no TLS 1.3 connection to {host}: {why}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The answer is not HTTP, or broke off.
    #[error("{host} gave no whole answer")]
    Broken {
        /// The host.
        host: String,
    },
    /// The answer's status is no final one.
    #[error("{host} answered with a status that is none")]
    Status {
        /// The host.
        host: String,
    },
    /// The answer's head, or one of its headers, is too long.
    #[error(
        "the answer's head has more than {} headers or {} bytes, or a header more than {}",
        protocol::HEADERS.max, limits::EGRESS_HEAD_BYTES, protocol::HEADER_VALUE.max
    )]
    Head,
    /// The answer's body is too long.
    #[error("the answer has more than {} bytes", protocol::BODY.max)]
    Body,
    /// Large answers fill the room that there is for them.
    #[error("too many large answers at a time: try again")]
    Busy,
    /// Not done in time.
    #[error("no whole answer within {} s", limits::EGRESS_TIMEOUT.as_secs())]
    Timeout,
    /// A redirect, where the code asked for none.
    #[error("{host} answered with a redirect")]
    Redirected {
        /// The host.
        host: String,
    },
    /// More redirects than are followed.
    #[error("more than {} redirects", limits::EGRESS_REDIRECTS)]
    Redirects,
    /// A redirect whose target is refused.
    #[error("{host} redirects to what can't be fetched: {why}")]
    RedirectTo {
        /// Who redirects.
        host: String,
        /// Why its target is refused.
        why: Box<Refusal>,
    },
    /// A redirect of a request that a use-only secret stood in.
    #[error(
        "{host} answered with a redirect, which a request with a use-only secret does not follow"
    )]
    RedirectedWithSecret {
        /// The host.
        host: String,
    },
}

/// Why a use-only secret's value was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UseRefused {
    /// The function has not declared it, or may not use it.
    #[error("may not be used by this function")]
    Denied,
    /// There is no such secret, or it has expired.
    #[error("is not there, or has expired")]
    NotFound,
    /// It is a secret that is read.
    #[error("is not use-only: read it with context.secrets.get")]
    Readable,
    /// It goes to other hosts.
    #[error("may not be sent to this host")]
    Host,
    /// It goes in another header.
    #[error("may not be sent in this header")]
    Header,
    /// The store failed, or what would tell of it has no room.
    #[error("can't be used now")]
    Unavailable,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let mut text = refusal.to_string();
        let end = text.floor_char_boundary(protocol::FAILURE.max);
        text.truncate(end);
        Self(text)
    }
}
