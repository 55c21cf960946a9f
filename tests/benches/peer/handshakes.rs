//! New connections a second, by rustls with X25519MLKEM768: neither wrk nor curl has that.

use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use neo_secrets_tests::http::any_certificate;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, NamedGroup};

use super::load::Figures;

/// As many at a time.
const CALLERS: usize = 8;

/// Full handshakes, each with one GET of this path and its answer's first bytes, for this long.
///
/// # Errors
/// A connection that fails, or another key exchange.
pub fn run(addr: SocketAddr, path: &str, time: Duration) -> Result<Figures, Error> {
    let mut config = any_certificate().with_no_client_auth();
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let begun = Instant::now();
    let loops: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (config, path) = (config.clone(), path.to_owned());
            std::thread::spawn(move || {
                let mut times = Vec::new();
                while begun.elapsed() < time {
                    let one = Instant::now();
                    connect(addr, &path, config.clone())?;
                    times.push(one.elapsed());
                }
                Ok::<_, Error>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for one in loops {
        times.extend(one.join().map_err(|_| Error::other("a thread panicked"))??);
    }
    Ok(Figures::of(times, 1, begun.elapsed()))
}

fn connect(addr: SocketAddr, path: &str, config: Arc<ClientConfig>) -> Result<(), Error> {
    let name = ServerName::try_from("localhost").map_err(Error::other)?;
    let mut session = ClientConnection::new(config, name).map_err(Error::other)?;
    let mut tcp = TcpStream::connect(addr)?;
    tcp.set_nodelay(true)?;
    let mut stream = rustls::Stream::new(&mut session, &mut tcp);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 512];
    let read = stream.read(&mut answer)?;
    let group = session.negotiated_key_exchange_group().map(|group| group.name());
    let good = answer[..read].starts_with(b"HTTP/1.1 200 ");
    match group {
        Some(NamedGroup::X25519MLKEM768) if good => Ok(()),
        _ => Err(Error::other(format!("{group:?}: {}", String::from_utf8_lossy(&answer[..read])))),
    }
}
