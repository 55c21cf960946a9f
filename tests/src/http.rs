//! A plain HTTPS client for tests: OpenSSL, one certificate trusted, raw HTTP/1.1. It verifies no
//! evidence, as curl does not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream};
use serde_json::Value;

/// One answer. Header names are in lower case.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts an error body as http-api documents it, and returns it.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
        assert!(body["error"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
        assert_eq!(body["error"]["requestId"].as_str(), self.header("x-request-id"), "{body}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let object = body["error"].as_object().unwrap();
        let known = ["code", "message", "details", "requestId"];
        assert!(object.keys().all(|key| known.contains(&key.as_str())), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["error"].clone()
    }

    /// Asserts a 400 that names this field.
    #[track_caller]
    pub fn invalid(&self, field: &str) -> Value {
        let error = self.error(400, "INVALID_REQUEST");
        assert_eq!(error["details"]["field"], field, "{error}");
        assert!(error["details"]["issue"].as_str().is_some_and(|i| !i.is_empty()), "{error}");
        error
    }
}

impl Answer {
    /// The answers of which these bytes are made, and nothing else: an interim one counts as none.
    /// The `n`th request was a `HEAD` where `heads` has `n`.
    ///
    /// # Panics
    /// Where the bytes are anything else.
    #[track_caller]
    pub fn parse_all(mut bytes: &[u8], heads: &[usize]) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            let end = end.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(bytes)));
            let (status, headers) = parse_head(&bytes[..end + 4]);
            bytes = &bytes[end + 4..];
            if (100..200).contains(&status) {
                continue;
            }
            let length = if heads.contains(&answers.len()) { 0 } else { body_bytes(&headers) };
            let (body, rest) = bytes.split_at_checked(length).unwrap_or_else(|| {
                panic!("of {length}: {:?}", String::from_utf8_lossy(bytes));
            });
            answers.push(Answer { status, headers, body: body.to_vec() });
            bytes = rest;
        }
        answers
    }
}

fn parse_head(head: &[u8]) -> (u16, Vec<(String, String)>) {
    let text = str::from_utf8(head).unwrap();
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap();
    assert!(line.starts_with("HTTP/1."), "{line:?}");
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (status, headers)
}

fn body_bytes(headers: &[(String, String)]) -> usize {
    let length = headers.iter().find(|(key, _)| key == "content-length");
    length.map_or(0, |(_, value)| value.parse().unwrap())
}

/// One TLS connection that stays open.
pub struct Connection {
    stream: SslStream<TcpStream>,
}

impl Connection {
    /// Connects to the address as `localhost`, trusting the certificate in this PEM file only.
    pub fn open(addr: SocketAddr, certificate: &Path) -> Connection {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_ca_file(certificate).unwrap();
        Self::over(&builder.build(), addr)
    }

    /// Connects without a look at the certificate: for instances that nobody has verified yet.
    pub fn open_unchecked(addr: SocketAddr) -> Connection {
        Self::over(unchecked(), addr)
    }

    fn over(connector: &SslConnector, addr: SocketAddr) -> Connection {
        Self::on(connector, TcpStream::connect(addr).unwrap()).unwrap()
    }

    /// Over this TCP connection, without a look at the certificate; fails where the server does not
    /// want it.
    pub fn try_on(tcp: TcpStream) -> std::io::Result<Connection> {
        Self::on(unchecked(), tcp)
    }

    fn on(connector: &SslConnector, tcp: TcpStream) -> std::io::Result<Connection> {
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.set_nodelay(true).unwrap();
        let stream = connector.connect("localhost", tcp).map_err(std::io::Error::other)?;
        Ok(Connection { stream })
    }

    /// RFC 9266's exporter of this connection.
    pub fn exporter(&self) -> [u8; 32] {
        let mut out = [0; 32];
        self.stream
            .ssl()
            .export_keying_material(&mut out, "EXPORTER-Channel-Binding", Some(b""))
            .unwrap();
        out
    }

    /// The certificate that the server showed.
    pub fn peer_certificate_pem(&self) -> Vec<u8> {
        self.stream.ssl().peer_certificate().unwrap().to_pem().unwrap()
    }

    /// Sends these bytes as they are and reads one answer.
    pub fn raw(&mut self, request: &[u8]) -> Answer {
        self.try_raw(request).unwrap()
    }

    /// As [`Connection::raw`], for servers that may be gone.
    pub fn try_raw(&mut self, request: &[u8]) -> std::io::Result<Answer> {
        self.stream.write_all(request)?;
        self.stream.flush()?;
        let mut buffer = Vec::new();
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill(&mut buffer)?;
        };
        let (status, headers) = parse_head(&buffer[..head]);
        let length = body_bytes(&headers);
        while buffer.len() < head + length && !request.starts_with(b"HEAD ") {
            self.fill(&mut buffer)?;
        }
        Ok(Answer { status, headers, body: buffer.split_off(head) })
    }

    /// Sends these bytes, as far as they are wanted, and gives all that is sent until the server
    /// closes.
    pub fn until_closed(&mut self, request: &[u8]) -> Vec<u8> {
        // A server that has refused the first half may not take the second.
        let _ = self.stream.write_all(request).and_then(|()| self.stream.flush());
        self.rest()
    }

    /// All that is sent until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before a hard end counts.
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Sends bytes and waits for nothing.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush())
    }

    /// Closes this side's half, of TLS and of TCP.
    pub fn close_half(&mut self) {
        self.stream.shutdown().unwrap();
        self.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    }

    fn fill(&mut self, buffer: &mut Vec<u8>) -> std::io::Result<()> {
        let mut chunk = [0; 16384];
        match self.stream.read(&mut chunk)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    /// One request; `body` is sent as JSON.
    pub fn call(&mut self, method: &str, target: &str, key: &str, body: Option<&Value>) -> Answer {
        self.try_call(method, target, key, body).unwrap()
    }

    /// As [`Connection::call`], for servers that may be gone.
    pub fn try_call(
        &mut self,
        method: &str,
        target: &str,
        key: &str,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        let mut headers = String::new();
        if !key.is_empty() {
            headers += &format!("Authorization: Bearer {key}\r\n");
        }
        let text = body.map(Value::to_string);
        if text.is_some() {
            headers += "Content-Type: application/json\r\n";
        }
        self.try_send(method, target, &headers, text.as_deref().map(str::as_bytes))
    }

    /// One request with these header lines (each ended by CR LF) and body bytes.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: Option<&[u8]>,
    ) -> Answer {
        self.try_send(method, target, headers, body).unwrap()
    }

    fn try_send(
        &mut self,
        method: &str,
        target: &str,
        headers: &str,
        body: Option<&[u8]>,
    ) -> std::io::Result<Answer> {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
        if let Some(body) = body {
            request.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
        }
        request.extend(b"\r\n");
        request.extend(body.unwrap_or_default());
        self.try_raw(&request)
    }
}

/// Trusts whatever certificate it is shown. One for all: making one reads the system's roots.
pub fn unchecked() -> &'static SslConnector {
    static CONNECTOR: OnceLock<SslConnector> = OnceLock::new();
    CONNECTOR.get_or_init(|| {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(openssl::ssl::SslVerifyMode::NONE);
        builder.build()
    })
}

/// A TCP connection from this address of the loopback network, for peers that are not one.
pub fn tcp_from(source: [u8; 4], to: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((source, 0)))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// The key exchange that the server picks where the client offers all that rustls has.
pub fn negotiated_group(addr: SocketAddr) -> rustls::NamedGroup {
    let session = handshake(addr, Arc::default());
    session.negotiated_key_exchange_group().unwrap().name()
}

/// Whether the server asks its clients for certificates.
pub fn asks_for_a_client_certificate(addr: SocketAddr) -> bool {
    let asked = Arc::<AtomicBool>::default();
    handshake(addr, asked.clone());
    asked.load(Ordering::Relaxed)
}

fn handshake(addr: SocketAddr, asked: Arc<AtomicBool>) -> rustls::ClientConnection {
    let config = any_certificate().with_client_cert_resolver(Arc::new(NoCertificate { asked }));
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(addr).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp).unwrap();
    }
    session
}

/// Has no certificate, and notes that it was asked for one.
#[derive(Debug)]
struct NoCertificate {
    asked: Arc<AtomicBool>,
}

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// A client of TLS 1.3 with all key exchanges that rustls has, to whom any certificate will do.
pub fn any_certificate()
-> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: OnceLock<Arc<rustls::crypto::CryptoProvider>> = OnceLock::new();
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    PROVIDER.get_or_init(provider).clone()
}

#[derive(Debug)]
struct AnyCertificate;

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let schemes = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
