//! A plain HTTPS client for tests: OpenSSL, one certificate trusted, raw HTTP/1.1. It verifies no
//! evidence, as curl does not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
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
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder.set_verify(openssl::ssl::SslVerifyMode::NONE);
        Self::over(&builder.build(), addr)
    }

    fn over(connector: &SslConnector, addr: SocketAddr) -> Connection {
        let tcp = TcpStream::connect(addr).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.set_nodelay(true).unwrap();
        Connection { stream: connector.connect("localhost", tcp).unwrap() }
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
        let text = String::from_utf8(buffer[..head].to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers
            .iter()
            .find(|(key, _)| key == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        while buffer.len() < head + length && !request.starts_with(b"HEAD ") {
            self.fill(&mut buffer)?;
        }
        Ok(Answer { status, headers, body: buffer.split_off(head) })
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

/// The key exchange that the server picks where the client offers all that rustls has.
pub fn negotiated_group(addr: SocketAddr) -> rustls::NamedGroup {
    use std::sync::Arc;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut tcp = TcpStream::connect(addr).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut tcp).unwrap();
    }
    session.negotiated_key_exchange_group().unwrap().name()
}

fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider())
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
