//! Fetches against hosts in memory, with a test authority. All checks are the real ones: the
//! hosts have public addresses, and only the dialer knows that nobody is there.

mod answers;
mod lookups;
mod reach;
mod redirects;
mod secrets;
mod world;

use neo_secrets_worker_protocol::{Failure, FetchRequest, FetchResponse, Header, Redirect};

use super::*;
use world::{World, answer};

/// What begins placeholders.
const REFERENCE: &str = "ref-0123456789abcdef-";

fn host(name: &str) -> HostName {
    HostName::parse(name.to_owned()).unwrap()
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.as_bytes().to_vec() }
}

fn request(method: &str, url: &str) -> FetchRequest {
    FetchRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: None,
        redirect: Redirect::Follow,
    }
}

fn get(url: &str) -> FetchRequest {
    request("GET", url)
}

/// Whose functions fetch.
const ACCOUNT: AccountId = AccountId::from_bytes([1; 18]);

/// Nobody's secrets.
struct Nobody;

impl UseOnlySecrets for Nobody {
    async fn take(&self, usage: Use<'_>) -> Result<SecretValue, UseRefused> {
        panic!("asked for {usage:?}")
    }
}

fn refused(refusal: Refusal) -> Failure {
    refusal.into()
}

fn name(host: &str) -> String {
    host.to_owned()
}

fn find<'a>(response: &'a FetchResponse, name: &str) -> Vec<&'a [u8]> {
    let found = response.headers.iter().filter(|header| header.name == name);
    found.map(|header| header.value.as_slice()).collect()
}
