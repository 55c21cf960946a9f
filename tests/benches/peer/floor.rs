//! The floor: a route of actix-web that does nothing, over TLS 1.3, in a process of its own.

use std::io::{BufRead, BufReader, Error};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// What makes this program the floor's server.
pub const ARGUMENT: &str = "--serve-the-empty-route";

/// Serves it until it is killed.
///
/// # Errors
/// No listener.
pub fn serve() -> Result<(), Error> {
    let (key, certificate) = super::self_signed();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::other)?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivatePkcs8KeyDer::from(key).into(),
        )
        .map_err(Error::other)?;
    // As the appliance's: every connection is a full handshake.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    actix_web::rt::System::new().block_on(async {
        let app = || App::new().route("/", web::get().to(HttpResponse::Ok));
        let server = HttpServer::new(app).bind_rustls_0_23("127.0.0.1:0", config)?;
        println!("{}", server.addrs()[0]);
        server.run().await
    })
}

/// That server. Killed when dropped.
pub struct Floor {
    pub addr: SocketAddr,
    child: Child,
}

impl Floor {
    /// Starts this program again, as the floor's server.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> Result<Floor, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg(ARGUMENT).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or_else(|| Error::other("no output"))?;
        BufReader::new(out).read_line(&mut line)?;
        let addr = line.trim().parse().map_err(Error::other)?;
        Ok(Floor { addr, child })
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.addr)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
