//! `fetch` in a function's code: what it may reach, and how. The worker only asks; here is decided
//! what leaves, over connections of this process, to hosts whose certificates hold.
//!
//! No connection is kept: each request, and each redirect, takes a lookup and two round trips more
//! than one over a kept connection would. In exchange no function or account learns by timing or by
//! an error what another one has fetched, and no host can join two accounts' requests into one
//! session.

mod address;
mod exchange;
mod mask;
mod network;
mod outgoing;
mod pieces;
mod refusal;
mod run;
mod target;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use neo_secrets_worker_protocol::{Failure, FetchRequest, FetchResponse, Redirect};
use tokio::time::timeout;

pub use address::PublicAddress;
pub use network::{Bytes, Dialer, Network, Pending, Resolver};
pub use refusal::{Refusal, UseRefused};
pub use run::RunSecrets;
pub use target::Target;

use crate::clock::Clock;
use crate::limits;
use crate::model::{AccountId, HostName, SecretName, SecretValue};
use exchange::Whole;
use network::Connector;
use outgoing::Outgoing;
use pieces::Pieces;

/// Where functions' requests leave the server. One for the whole process.
pub struct Egress {
    connector: Connector,
    /// For the pieces of answers beyond each one's first.
    pieces: Arc<Pieces>,
    timeout: Duration,
}

/// What the requests of one invocation may reach. How many of them run at a time is the invocation's
/// to bound.
pub struct Rules {
    /// Whose function it is.
    account: AccountId,
    /// The hosts that the function has declared.
    hosts: Vec<HostName>,
    /// What begins the placeholders of this invocation.
    reference: String,
}

/// A use of a use-only secret: what the store checks, records, and gives the value for.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The secret.
    pub secret: &'a SecretName,
    /// The host that the value goes to, by a connection that stands and is verified.
    pub host: &'a HostName,
    /// The header that it stands in, in lower case.
    pub header: &'a str,
}

/// The use-only secrets of one invocation.
pub trait UseOnlySecrets: Sync {
    /// The value of a secret for this host and header, once it is durably recorded that it leaves.
    fn take(&self, usage: Use<'_>) -> impl Future<Output = Result<SecretValue, UseRefused>> + Send;
}

impl Rules {
    /// For an invocation whose function is this account's and declared these hosts, and whose placeholders begin with this
    /// reference.
    #[must_use]
    pub fn new(account: AccountId, hosts: Vec<HostName>, reference: String) -> Self {
        Self { account, hosts, reference }
    }
}

impl Egress {
    /// Over this network. Certificates have to be valid by this clock.
    ///
    /// # Errors
    /// Where TLS can't be set up.
    pub fn new(network: Network, clock: Arc<Clock>) -> Result<Self, rustls::Error> {
        let pieces = Pieces::new(limits::EGRESS_PIECES);
        let connector = Connector::new(network, clock)?;
        Ok(Self { connector, pieces, timeout: limits::EGRESS_TIMEOUT })
    }

    /// Does what the code asks for, where the rules allow it.
    ///
    /// # Errors
    /// For the code's author: what was refused, or what failed.
    pub async fn fetch(
        &self,
        rules: &Rules,
        secrets: &impl UseOnlySecrets,
        request: FetchRequest,
    ) -> Result<FetchResponse, Failure> {
        let followed = self.follow(rules, secrets, request);
        let answered = timeout(self.timeout, followed).await;
        Ok(answered.unwrap_or(Err(Refusal::Timeout))?)
    }

    /// Sends a request, and what its redirects make of it.
    async fn follow(
        &self,
        rules: &Rules,
        secrets: &impl UseOnlySecrets,
        request: FetchRequest,
    ) -> Result<FetchResponse, Refusal> {
        let (mode, url) = (request.redirect, request.url.clone());
        let mut outgoing = Outgoing::check(request, &rules.reference)?;
        let mut target = Target::parse(&url, &rules.hosts)?;
        let mut redirects = 0;
        loop {
            let by = (&self.connector, rules.account);
            let host = || target.host().as_str().to_owned();
            let response = exchange::send(by, &target, &outgoing, secrets).await?;
            let redirect = response.redirect()?;
            let (status, location) = match (redirect, mode) {
                (None, _) | (Some(_), Redirect::Manual) => {
                    let Whole { status, status_text, headers, body } =
                        response.whole(&self.pieces, rules.account).await?;
                    let (url, redirected) = (target.as_str().to_owned(), redirects > 0);
                    return Ok(FetchResponse {
                        status,
                        status_text,
                        url,
                        redirected,
                        headers,
                        body,
                    });
                }
                (Some(_), _) if outgoing.has_placeholders() => {
                    return Err(Refusal::RedirectedWithSecret { host: host() });
                }
                (Some(_), Redirect::Error) => return Err(Refusal::Redirected { host: host() }),
                (Some(found), Redirect::Follow) => found,
            };
            redirects += 1;
            if redirects > limits::EGRESS_REDIRECTS {
                return Err(Refusal::Redirects);
            }
            let next = target.join(&location, &rules.hosts);
            let next =
                next.map_err(|why| Refusal::RedirectTo { host: host(), why: Box::new(why) })?;
            outgoing.redirect(status, next.host() == target.host());
            target = next;
        }
    }
}
