//! A host that functions call: HTTPS with a certificate of a root of its own, on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name};

/// A request as it came. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The host; it ends when dropped.
pub struct Upstream {
    address: SocketAddr,
    root: X509,
    received: Arc<Mutex<Vec<Received>>>,
    ended: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// A host of this name. `answer` gives the status and the body, JSON.
    pub fn start(
        host: &str,
        answer: impl Fn(&Received) -> (u16, String) + Send + 'static,
    ) -> Upstream {
        let (root_key, root) = root();
        let (key, leaf) = leaf(host, &root_key, &root);
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
        acceptor.set_private_key(&key).unwrap();
        acceptor.set_certificate(&leaf).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (received, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
        let (requests, ends) = (received.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if *ends.lock().unwrap() {
                    return;
                }
                // A caller that goes away, or does not like the certificate, is the caller's affair.
                let _ = serve(&acceptor, stream, &requests, &answer);
            }
        });
        Upstream { address, root, received, ended, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root of its certificate, PEM.
    pub fn root_pem(&self) -> Vec<u8> {
        self.root.to_pem().unwrap()
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        *self.ended.lock().unwrap() = true;
        // It waits for a connection; this is the last.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    acceptor: &SslAcceptor,
    stream: TcpStream,
    requests: &Mutex<Vec<Received>>,
    answer: &impl Fn(&Received) -> (u16, String),
) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut stream = BufReader::new(acceptor.accept(stream)?);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut headers, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let (name, value) = (name.to_lowercase(), value.trim().to_owned());
        if name == "content-length" {
            length = value.parse()?;
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let request = Received { method, target, headers, body };
    let (status, body) = answer(&request);
    requests.lock().unwrap().push(request);
    let head = format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let stream = stream.get_mut();
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    stream.shutdown()?;
    Ok(())
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn draft(name: &str, key: &PKey<Private>) -> X509Builder {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let mut draft = X509::builder().unwrap();
    draft.set_version(2).unwrap();
    let serial = BigNum::from_u32(name.len().try_into().unwrap()).unwrap();
    draft.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    draft.set_subject_name(&subject.build()).unwrap();
    draft.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    draft.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    draft.set_pubkey(key).unwrap();
    draft
}

fn root() -> (PKey<Private>, X509) {
    let key = key();
    let mut draft = draft("a test's root", &key);
    draft.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let usage = KeyUsage::new().critical().key_cert_sign().build().unwrap();
    draft.append_extension(usage).unwrap();
    let mut issuer = X509Name::builder().unwrap();
    issuer.append_entry_by_nid(Nid::COMMONNAME, "a test's root").unwrap();
    draft.set_issuer_name(&issuer.build()).unwrap();
    draft.sign(&key, MessageDigest::sha256()).unwrap();
    (key, draft.build())
}

fn leaf(host: &str, root_key: &PKey<Private>, root: &X509) -> (PKey<Private>, X509) {
    let key = key();
    let mut draft = draft(host, &key);
    draft.set_issuer_name(root.subject_name()).unwrap();
    let mut names = SubjectAlternativeName::new();
    let names = names.dns(host).build(&draft.x509v3_context(Some(root), None)).unwrap();
    draft.append_extension(names).unwrap();
    draft.sign(root_key, MessageDigest::sha256()).unwrap();
    (key, draft.build())
}
