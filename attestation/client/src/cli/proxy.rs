//! `neo-secrets proxy`: a local port that leads to the instance over verified connections.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::Method;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::outcome::{Failure, Shown};
use crate::cli::page::Page;
use crate::cli::refusal;
use crate::cli::session::{announce_appraised, not_serving};
use crate::cli::settings::Settings;
use crate::cli::terminal;
use crate::files;
use crate::limits;
use crate::proxy::{Endpoint, Identity, ListenError, NoConnection, Reach, Served};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8200")]
    listen: SocketAddr,
    /// Speak HTTPS with this certificate (PEM, the chain behind it)
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak HTTPS with a certificate made now
    #[arg(long, requires = "write_cert")]
    tls: bool,
    /// Where to write it (PEM), for `curl --cacert`
    #[arg(long, value_name = "FILE", requires = "tls")]
    write_cert: Option<PathBuf>,
    /// Answer to this name too, beside localhost and the addresses; may be repeated
    #[arg(long = "host", value_name = "NAME", value_parser = parse_name)]
    hosts: Vec<String>,
    /// Listen beyond this machine without TLS: keys and values cross the network in the clear
    #[arg(long, conflicts_with_all = ["tls", "tls_cert"])]
    plain_http_on_network: bool,
    /// A line on stderr for each request, without ids, headers and bodies
    #[arg(long)]
    verbose: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    settings: Settings,
    json: bool,
) -> Result<Shown, Failure> {
    settings.check_instance_is_named()?;
    keep_out_of_core_files()?;
    // Caught from here on: a second one changes nothing.
    let mut signals = Signals::catch().map_err(Failure::error)?;
    let endpoint = listen(arguments).await?;
    let proxy = tokio::select! {
        proxy = settings.proxy() => proxy.map_err(|error| failure(&settings, error))?,
        () = signals.next() => return Err(Failure::error("ended before the instance was verified")),
    };
    announce_appraised(&settings.url, proxy.appraised());
    if settings.pin.is_none() && settings.pins_first_use() {
        settings.keep_pin(proxy.appraised())?;
    }
    let started = if json {
        let instance_key = proxy.instance_key().to_string();
        let shown = json!({
            "listening": endpoint.url(),
            "url": settings.url.to_string(),
            "instanceKey": instance_key,
            "simulated": settings.is_simulated(),
        });
        format!("{shown}\n")
    } else {
        let simulated = if settings.is_simulated() { ", which is SIMULATED" } else { "" };
        format!(
            "Listening on {}, for {}{simulated}. Ctrl-C ends it. Type in another shell:\n  {}\n",
            endpoint.url(),
            settings.url,
            what_to_type(arguments, &endpoint.url(), settings.key_file.as_deref()),
        )
    };
    terminal::print(started.as_bytes()).map_err(Failure::error)?;
    let proxy = proxy.with_names(arguments.hosts.clone());
    let proxy = if arguments.verbose { proxy.with_watcher(tell) } else { proxy };
    proxy.serve(endpoint, signals.next()).await;
    terminal::note("ended: nothing listens any more");
    Ok(Shown::new(Page::new(), &json!({ "ended": true })))
}

async fn listen(arguments: &Arguments) -> Result<Endpoint, Failure> {
    let Arguments { listen, tls_cert, tls_key, tls: _, write_cert, .. } = arguments;
    let endpoint = match (tls_cert, tls_key, write_cert) {
        (Some(certificate), Some(key), _) => {
            let read = |path: &Path| files::read_bounded(path, limits::INPUT_FILE_BYTES_MAX);
            let chain = read(certificate).map_err(Failure::error)?;
            let key = read(key).map_err(Failure::error)?;
            let identity = Identity::from_pem(&chain, &key).map_err(Failure::error)?;
            Endpoint::https(*listen, identity).await
        }
        (_, _, Some(path)) => {
            let made = Identity::make(listen.ip(), &arguments.hosts);
            let (identity, pem) = made.map_err(Failure::error)?;
            let endpoint = Endpoint::https(*listen, identity).await;
            if endpoint.is_ok() {
                files::replace(path, &pem).map_err(Failure::error)?;
            }
            endpoint
        }
        _ if arguments.plain_http_on_network => Endpoint::http(*listen, Reach::Network).await,
        _ => Endpoint::http(*listen, Reach::ThisMachine).await,
    };
    endpoint.map_err(|error| match error {
        ListenError::PlainOnNetwork { .. } => Failure::usage(error.to_string()).advice(
            "listen on 127.0.0.1, speak HTTPS (--tls --write-cert FILE, or --tls-cert and \
             --tls-key), or type --plain-http-on-network",
        ),
        ListenError::Io { .. } => {
            Failure::error(error).advice("--listen ADDRESS:PORT takes another port")
        }
    })
}

fn failure(settings: &Settings, error: NoConnection) -> Failure {
    match error {
        NoConnection::Open(error) => refusal::failure(error),
        NoConnection::NotServing { phase } => not_serving(&settings.url, phase),
        NoConnection::Tls(_) | NoConnection::TooManyWaiting | NoConnection::Late => {
            Failure::error(error)
        }
    }
}

/// A command that works when it is pasted.
fn what_to_type(arguments: &Arguments, url: &str, key_file: Option<&Path>) -> String {
    let quoted = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
    };
    let mut command = "curl -sS".to_owned();
    if let Some(certificate) = &arguments.write_cert {
        command.push_str(&format!(" --cacert {}", quoted(certificate)));
    }
    match key_file {
        Some(path) => {
            let key = quoted(path);
            command
                .push_str(&format!(" -H \"Authorization: Bearer $(cat {key})\" {url}/v1/secrets"));
        }
        None => command.push_str(&format!(" {url}/_proxy/status")),
    }
    command
}

fn tell(served: Served) {
    let Served { method, path, status, duration } = served;
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let method = if known.contains(&method) { method.as_str() } else { "*" };
    let milliseconds = duration.as_millis();
    terminal::note(&format!("{method} {path} {} {milliseconds} ms", status.as_u16()));
}

fn parse_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if (1..=253).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("expected a DNS name, without a port".to_owned())
}

/// The keys and values of its callers pass through this process for as long as it runs.
fn keep_out_of_core_files() -> Result<(), Failure> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Failure::error)
}

/// What ends the proxy.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
