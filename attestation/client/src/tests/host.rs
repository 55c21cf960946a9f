//! A scripted TLS server with a simulated chip. It records every byte that comes in.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use neo_secrets_attestation::appraise::Pin;
use neo_secrets_attestation::binding::{
    Exporter, Nonce, Role, Tree, instance_message, leaf, report_data,
};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore, StoreId,
};
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::receipt::{Receipt, SignedReceipt};
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_server::platform::{Endorsements as FromPlatform, Platform};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::{X509, X509Builder};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, NamedGroup, ServerConfig};
use snp_simulator::{Machine, Product, client_files, testing};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::url::InstanceUrl;

const CONFIG: &[u8] =
    b"seal = \"firmware\"\nreveal = \"off\"\nwitnesses = []\nquorum = 0\nowner_key = \"any\"\n";

/// One that lets values out.
pub const REVEALING: &[u8] =
    b"seal = \"firmware\"\nreveal = \"by-permission\"\nwitnesses = []\nquorum = 0\nowner_key = \"any\"\n";

/// The store of every host.
pub const STORE: StoreId = StoreId([1; 16]);

/// Signs as every host does.
pub fn sign_receipt(receipt: Receipt) -> SignedReceipt {
    let mut signature = [0; 64];
    let pair = receipt_pair();
    let mut signer = Signer::new_without_digest(&pair).unwrap();
    signer.sign_oneshot(&mut signature, &receipt.message()).unwrap();
    SignedReceipt { receipt, signature: Signature(signature) }
}

fn receipt_pair() -> PKey<Private> {
    PKey::private_key_from_raw_bytes(&[3; 32], Id::ED25519).unwrap()
}

/// The time of every test.
pub fn clock() -> UnixTime {
    UnixTime::try_from(std::time::SystemTime::now()).unwrap()
}

/// What the server shows on a connection; the last one holds for all that follow.
#[derive(Clone, Copy, Debug)]
pub enum Evidence {
    Genuine,
    OtherNonce,
    OtherExporter,
    OtherTlsKey,
    OtherInstance,
    Debug,
    /// Nobody has claimed it.
    Unclaimed,
    /// Its store is closed; it names its key, and signs nothing with it.
    Sealed,
    Garbage,
    Endless,
}

/// What the server answers to requests other than for evidence, one after the other; the last one
/// repeats.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Ok(&'static str),
    /// Another status than 200.
    Status(u16, &'static str),
    OkAndClose(&'static str),
    CloseUnanswered,
    Endless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    Full,
    Resumed,
}

/// One connection as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub requests: Vec<String>,
    /// Bytes behind the last whole request.
    pub unfinished: Vec<u8>,
    pub resumed: Resumption,
    pub key_exchange: NamedGroup,
    pub protocol: Option<Vec<u8>>,
    pub closed: bool,
}

pub struct Host {
    pub url: InstanceUrl,
    shared: Arc<Shared>,
    changed: Arc<tokio::sync::Notify>,
}

struct Shared {
    config: &'static [u8],
    machine: Arc<Machine>,
    certificate: X509,
    instance: PKey<Private>,
    evidence: Vec<Evidence>,
    replies: Mutex<Vec<Reply>>,
    seen: Mutex<Vec<Seen>>,
}

impl Host {
    pub async fn start(evidence: Vec<Evidence>, replies: Vec<Reply>) -> Self {
        Self::start_with(CONFIG, evidence, replies).await
    }

    /// With another configuration than the usual one.
    pub async fn start_with(
        config: &'static [u8],
        evidence: Vec<Evidence>,
        mut replies: Vec<Reply>,
    ) -> Self {
        let (key, certificate) = certificate();
        replies.reverse();
        Self::serve(config, &key, certificate, evidence, replies).await
    }

    /// The certificate is another key's than the one that signs the handshake.
    pub async fn start_with_foreign_certificate() -> Self {
        let (_, certificate) = certificate();
        let (key, _) = self::certificate();
        Self::serve(CONFIG, &key, certificate, vec![Evidence::Genuine], vec![]).await
    }

    async fn serve(
        config: &'static [u8],
        key: &PKey<Private>,
        certificate: X509,
        evidence: Vec<Evidence>,
        replies: Vec<Reply>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
        let shared = Arc::new(Shared {
            config,
            machine: machine(),
            certificate,
            instance: PKey::generate_ed25519().unwrap(),
            evidence,
            replies: Mutex::new(replies),
            seen: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(self::config(key, &shared.certificate));
        let changed = Arc::new(tokio::sync::Notify::new());
        tokio::spawn(accept(listener, acceptor, shared.clone(), changed.clone()));
        Self { url, shared, changed }
    }

    pub fn trust(&self) -> Trust {
        let (chip, now) = (self.shared.machine.chip(), OffsetDateTime::now_utc());
        let config = AttestedConfig::parse(self.shared.config).unwrap();
        Trust {
            roots: Roots::simulated(chip.vendor().ark()).unwrap(),
            reference: client_files::reference(chip),
            policy: client_files::policy(chip, config, now),
            pin: Pin::Unpinned,
        }
    }

    /// A report of the chip that the trust's roots are about, with its certificates.
    pub fn report(&self) -> (Vec<u8>, Endorsements) {
        let report = self.shared.machine.forged_report(&[0; 64], |_| {}).unwrap();
        (report.to_vec(), endorsements(&self.shared))
    }

    /// The same as files, and the command line's options for them.
    pub fn files(&self, folder: &Path) -> Vec<String> {
        let Trust { reference, policy, .. } = self.trust();
        let files = [
            ("--reference", reference.to_json().into_bytes()),
            ("--policy", policy.to_json().into_bytes()),
            ("--trust-simulated", self.shared.machine.chip().vendor().ark().to_vec()),
        ];
        let write = |(option, bytes): (&str, Vec<u8>)| {
            let path = folder.join(option);
            std::fs::write(&path, bytes).unwrap();
            [option.to_owned(), path.to_str().unwrap().to_owned()]
        };
        files.into_iter().flat_map(write).collect()
    }

    pub fn instance_key(&self) -> PublicKey {
        public(&self.shared.instance)
    }

    pub fn certificate(&self) -> Vec<u8> {
        self.shared.certificate.to_der().unwrap()
    }

    pub fn connections(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// All connections, once so many have come and all of them have ended.
    pub async fn closed_connections(&self, count: usize) -> Vec<Seen> {
        loop {
            let changed = self.changed.notified();
            let seen = self.connections();
            if seen.len() == count && seen.iter().all(|connection| connection.closed) {
                return seen;
            }
            changed.await;
        }
    }

    /// How many requests began so.
    pub fn count(&self, beginning: &str) -> usize {
        let seen = self.connections();
        let requests = seen.iter().flat_map(|connection| &connection.requests);
        requests.filter(|request| request.starts_with(beginning)).count()
    }
}

pub fn first_line(request: &str) -> String {
    request.lines().next().unwrap_or_default().to_owned()
}

/// One chip for all tests: making its certificates takes longer than any of them.
fn machine() -> Arc<Machine> {
    static MACHINE: OnceLock<Arc<Machine>> = OnceLock::new();
    let launch = || {
        let now = OffsetDateTime::now_utc();
        Arc::new(Machine::launch(testing::chip(Product::Genoa, now), now).unwrap())
    };
    MACHINE.get_or_init(launch).clone()
}

fn certificate() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (key, builder.build())
}

fn config(key: &PKey<Private>, certificate: &X509) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8().unwrap()));
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = vec![certificate.to_der().unwrap().into()];
    let resolver = rustls::sign::SingleCertAndKey::from(CertifiedKey::new(chain, key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn public(pair: &PKey<Private>) -> PublicKey {
    PublicKey(pair.raw_public_key().unwrap().try_into().unwrap())
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    changed: Arc<tokio::sync::Notify>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        // A client that does not like the certificate ends the handshake.
        let Ok(stream) = acceptor.accept(tcp).await else { continue };
        let (shared, changed) = (shared.clone(), changed.clone());
        tokio::spawn(async move {
            let (_, session) = stream.get_ref();
            let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            let seen = Seen {
                requests: Vec::new(),
                unfinished: Vec::new(),
                resumed: if resumed { Resumption::Resumed } else { Resumption::Full },
                key_exchange: session.negotiated_key_exchange_group().unwrap().name(),
                protocol: session.alpn_protocol().map(<[u8]>::to_vec),
                closed: false,
            };
            let index = {
                let mut all = shared.seen.lock().unwrap();
                all.push(seen);
                all.len() - 1
            };
            talk(stream, &shared, index).await;
            shared.seen.lock().unwrap()[index].closed = true;
            changed.notify_waiters();
        });
    }
}

/// Answers requests until one end closes.
async fn talk(mut stream: TlsStream<TcpStream>, shared: &Shared, index: usize) {
    let exporter = stream.get_ref().1.export_keying_material([0; 32], Exporter::LABEL, Some(b""));
    let exporter = Exporter(exporter.unwrap());
    let mut received = Vec::new();
    loop {
        let Some(end) = whole_request(&received) else {
            let read = stream.read_buf(&mut received).await.unwrap_or(0);
            shared.seen.lock().unwrap()[index].unfinished = received.clone();
            if read == 0 {
                return;
            }
            continue;
        };
        let request = String::from_utf8(received.drain(..end).collect()).unwrap();
        {
            let seen = &mut shared.seen.lock().unwrap()[index];
            seen.requests.push(request.clone());
            seen.unfinished = received.clone();
        }
        let nonce = first_line(&request);
        let nonce = nonce.strip_prefix("GET /v1/attestation?nonce=");
        let goes_on = match nonce.and_then(|rest| rest.split(' ').next()) {
            Some(nonce) => show(&mut stream, shared, index, nonce, &exporter).await,
            None => reply(&mut stream, shared).await,
        };
        if !goes_on {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

fn whole_request(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    (received.len() >= head + length).then_some(head + length)
}

async fn reply(stream: &mut TlsStream<TcpStream>, shared: &Shared) -> bool {
    let reply = {
        let mut replies = shared.replies.lock().unwrap();
        if replies.len() > 1 { replies.pop() } else { replies.last().copied() }
    };
    match reply.unwrap() {
        Reply::Ok(body) => send(stream, body.as_bytes()).await,
        Reply::Status(status, body) => send_status(stream, status, body.as_bytes()).await,
        Reply::OkAndClose(body) => {
            send(stream, body.as_bytes()).await;
            false
        }
        Reply::CloseUnanswered => false,
        Reply::Endless => endless(stream).await,
    }
}

async fn send(stream: &mut TlsStream<TcpStream>, body: &[u8]) -> bool {
    send_status(stream, 200, body).await
}

async fn send_status(stream: &mut TlsStream<TcpStream>, status: u16, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status} Told\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.is_ok()
        && stream.flush().await.is_ok()
}

/// A body without an end, until the client has had enough.
async fn endless(stream: &mut TlsStream<TcpStream>) -> bool {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [&b"4000\r\n"[..], &[b'a'; 0x4000], b"\r\n"].concat();
    let mut written = stream.write_all(head).await;
    while written.is_ok() {
        written = stream.write_all(&chunk).await;
    }
    false
}

async fn show(
    stream: &mut TlsStream<TcpStream>,
    shared: &Shared,
    index: usize,
    nonce: &str,
    exporter: &Exporter,
) -> bool {
    let evidence = shared.evidence.get(index).or(shared.evidence.last()).unwrap();
    match evidence {
        Evidence::Garbage => send(stream, b"<html>").await,
        Evidence::Endless => endless(stream).await,
        _ => send(stream, &document(shared, *evidence, nonce, exporter)).await,
    }
}

/// Genuine evidence, but for the one thing that `evidence` names.
fn document(shared: &Shared, evidence: Evidence, nonce: &str, exporter: &Exporter) -> Vec<u8> {
    let nonce: Nonce = match evidence {
        Evidence::OtherNonce => Nonce::new(&[7; 32]).unwrap(),
        _ => nonce.parse().unwrap(),
    };
    let exporter = match evidence {
        Evidence::OtherExporter => &Exporter([7; 32]),
        _ => exporter,
    };
    let other = PKey::generate_ed25519().unwrap();
    let instance = match evidence {
        Evidence::OtherInstance => &other,
        _ => &shared.instance,
    };
    let spki = shared.certificate.public_key().unwrap().public_key_to_der().unwrap();
    let claims = Claims {
        tls_spki_sha256: match evidence {
            Evidence::OtherTlsKey => [7; 32],
            _ => sha256(&spki),
        },
        config: ConfigText::new(shared.config).unwrap(),
        image_version: ImageVersion::new("0.1.0").unwrap(),
        phase: match evidence {
            Evidence::Unclaimed => ClaimPhase::Unclaimed,
            Evidence::Sealed => ClaimPhase::Sealed(Some(SealedStore {
                store_id: STORE,
                instance_key: Some(public(instance)),
            })),
            _ => ClaimPhase::Serving {
                store_id: STORE,
                instance_key: public(instance),
                log_key: PublicKey([2; 32]),
                receipt_key: public(&receipt_pair()),
            },
        },
    };
    let tree = Tree::new(&[leaf(Role::Evidence, &nonce, exporter)]).unwrap();
    let data = report_data(&claims, &tree.root());
    let forge = |report: &mut [u8; 1184]| {
        if matches!(evidence, Evidence::Debug) {
            report[0x008 + 2] |= 1 << 3;
        }
    };
    let report = shared.machine.forged_report(&data.0, forge).unwrap();
    let mut signature = [0; 64];
    let mut signer = Signer::new_without_digest(instance).unwrap();
    signer.sign_oneshot(&mut signature, &instance_message(&data)).unwrap();
    let serving = matches!(claims.phase, ClaimPhase::Serving { .. });
    let signature = serving.then_some(Signature(signature));
    let body = BatchBody::new(&report, &endorsements(shared), &claims, signature.as_ref());
    body.document(&tree.path(0).unwrap())
}

fn endorsements(shared: &Shared) -> Endorsements {
    let FromPlatform { vek, ask, ark, crl } = shared.machine.endorsements().unwrap();
    Endorsements { vek, ask, ark, crl }
}
