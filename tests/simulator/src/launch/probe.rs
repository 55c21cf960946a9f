//! One GET over TLS, to learn whether the server is ready and whether its certificate serves `curl
//! --cacert`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};

/// One request answers within this, or the server is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer of /readyz is a line; this bounds a wrong server's.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// The status and the body of an answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body, as text.
    pub body: String,
}

/// GET /readyz. With a certificate, the connection is verified against it for the name `localhost`,
/// as curl does; without one it only asks whether somebody is ready, and nothing rests on the
/// answer.
///
/// # Errors
/// What the network, TLS or HTTP say.
pub fn readiness(listening: SocketAddr, certificate: Option<&Path>) -> io::Result<Answer> {
    let address = match listening {
        SocketAddr::V4(at) if at.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, at.port()).into(),
        SocketAddr::V6(at) if at.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, at.port()).into(),
        reachable => reachable,
    };
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    match certificate {
        Some(file) => connector.set_ca_file(file)?,
        None => connector.set_verify(SslVerifyMode::NONE),
    }
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut tls = connector.build().connect("localhost", stream).map_err(io::Error::other)?;
    let host = format!("localhost:{}", address.port());
    write!(tls, "GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    tls.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::Error::other("not an HTTP answer"))
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}
