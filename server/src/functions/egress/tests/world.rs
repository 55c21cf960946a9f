//! Hosts in memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::super::*;
use super::{FetchRequest, REFERENCE, host};

/// What a host does with each request, given its text.
pub(super) type Script = dyn Fn(&str) -> Act + Send + Sync;

/// What a host sends.
pub(super) enum Act {
    /// This, and then the orderly end of TLS.
    Send(Vec<u8>),
    /// This, and then the connection is gone.
    Break(Vec<u8>),
    /// This, and then nothing.
    Hang(Vec<u8>),
    /// This, and then the second again and again.
    Endless(Vec<u8>, Vec<u8>),
}

/// A host's certificate and behaviour.
#[derive(Clone)]
pub(super) struct Site {
    tls: Arc<ServerConfig>,
    script: Arc<Script>,
}

/// An answer with a length.
pub(super) fn answer(head: &str, body: &str) -> Act {
    let head = head.replace('\n', "\r\n");
    Act::Send(format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into())
}

/// An authority, hosts, and what was asked of them.
pub(super) struct World {
    key: PKey<Private>,
    certificate: X509,
    names: HashMap<String, Vec<Vec<IpAddr>>>,
    sites: HashMap<IpAddr, Site>,
    seen: Arc<Mutex<Vec<String>>>,
    dialed: Arc<Mutex<Vec<IpAddr>>>,
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

impl World {
    pub(super) fn new() -> Self {
        let key = new_key();
        let certificate = certificate(&key, None, &[], ["20250101000000Z", "20491231235959Z"]);
        let (names, sites) = (HashMap::new(), HashMap::new());
        let (seen, dialed) = (Arc::default(), Arc::default());
        Self { key, certificate, names, sites, seen, dialed }
    }

    /// With one host.
    pub(super) fn with(script: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        let mut world = Self::new();
        world.host("api.test", "1.1.1.1", script);
        world
    }

    /// Adds a host as it should be.
    pub(super) fn host(
        &mut self,
        name: &str,
        address: &str,
        script: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) {
        let site = self.site(&[name], ["20250101000000Z", "20491231235959Z"], script);
        self.names(name, &[&[address]]);
        self.put(address, site);
    }

    pub(super) fn put(&mut self, address: &str, site: Site) {
        self.sites.insert(address.parse().unwrap(), site);
    }

    /// What the lookups of a name answer, one after the other; the last one again and again.
    pub(super) fn names(&mut self, name: &str, answers: &[&[&str]]) {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        self.names.insert(name.to_owned(), answers.iter().map(parse).collect());
    }

    /// A certificate of this authority for these names, and a behaviour.
    pub(super) fn site(
        &self,
        names: &[&str],
        times: [&str; 2],
        script: impl Fn(&str) -> Act + Send + Sync + 'static,
    ) -> Site {
        let key = new_key();
        let certificate = certificate(&key, Some((&self.key, &self.certificate)), names, times);
        Site { tls: server_config(&key, &certificate), script: Arc::new(script) }
    }

    pub(super) fn network(&self) -> Network {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.certificate.to_der().unwrap())).unwrap();
        let names = Mutex::new(self.names.clone());
        let (sites, seen) = (self.sites.clone(), Arc::clone(&self.seen));
        let dialer = Sites { sites, seen, dialed: Arc::clone(&self.dialed) };
        Network {
            resolver: Arc::new(Names(names)),
            dialer: Arc::new(dialer),
            roots: Arc::new(roots),
        }
    }

    /// By this clock.
    pub(super) fn egress_at(&self, clock: Arc<Clock>) -> Egress {
        Egress::new(self.network(), clock).unwrap()
    }

    pub(super) fn egress(&self) -> Egress {
        self.egress_at(clock())
    }

    /// A fetch by a function that may reach all hosts here.
    pub(super) async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, Failure> {
        self.fetch_with(&super::Nobody, request).await
    }

    pub(super) async fn fetch_with(
        &self,
        secrets: &impl UseOnlySecrets,
        request: FetchRequest,
    ) -> Result<FetchResponse, Failure> {
        self.egress().fetch(&self.rules(), secrets, request).await
    }

    pub(super) async fn fetch_within(
        &self,
        limit: Duration,
        request: FetchRequest,
    ) -> Result<FetchResponse, Failure> {
        let egress = Egress { timeout: limit, ..self.egress() };
        egress.fetch(&self.rules(), &super::Nobody, request).await
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules_of(super::ACCOUNT)
    }

    pub(super) fn rules_of(&self, account: AccountId) -> Rules {
        let hosts = self.names.keys().map(|name| host(name)).collect();
        Rules::new(account, hosts, REFERENCE.to_owned())
    }

    /// The requests that were sent.
    pub(super) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The addresses that were dialed.
    pub(super) fn dialed(&self) -> Vec<String> {
        self.dialed.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

struct Names(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a HostName) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(async move {
            let mut names = self.0.lock().unwrap();
            let answers = names.get_mut(host.as_str()).ok_or(std::io::ErrorKind::NotFound)?;
            Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
        })
    }
}

struct Sites {
    sites: HashMap<IpAddr, Site>,
    seen: Arc<Mutex<Vec<String>>>,
    dialed: Arc<Mutex<Vec<IpAddr>>>,
}

impl Dialer for Sites {
    fn dial(&self, address: PublicAddress) -> Pending<'_, Box<dyn Bytes>> {
        Box::pin(async move {
            self.dialed.lock().unwrap().push(address.get());
            let site =
                self.sites.get(&address.get()).ok_or(std::io::ErrorKind::ConnectionRefused)?;
            let (near, far) = duplex(16 * 1_024);
            tokio::spawn(serve(site.clone(), far, Arc::clone(&self.seen)));
            Ok(Box::new(near) as Box<dyn Bytes>)
        })
    }
}

async fn serve(site: Site, stream: DuplexStream, seen: Arc<Mutex<Vec<String>>>) {
    // Where the client refuses the certificate, that is the test.
    let Ok(mut stream) = TlsAcceptor::from(site.tls).accept(stream).await else { return };
    let mut request = Vec::new();
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        body.len() >= length.map_or(0, |length| length.parse().unwrap())
    };
    while !whole(&request) {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    seen.lock().unwrap().push(request.clone());
    // A client that has heard enough goes.
    let _gone = match (site.script)(&request) {
        Act::Send(bytes) => {
            async {
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            }
            .await
        }
        Act::Break(bytes) => {
            async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            .await
        }
        Act::Hang(bytes) => {
            let sent = async {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            .await;
            std::future::pending::<()>().await;
            sent
        }
        Act::Endless(first, more) => {
            async {
                stream.write_all(&first).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            }
            .await
        }
    };
}

fn server_config(key: &PKey<Private>, certificate: &X509) -> Arc<ServerConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8().unwrap());
    let chain = vec![CertificateDer::from(certificate.to_der().unwrap())];
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key.into());
    Arc::new(config.unwrap())
}

/// A certificate for these names; without an issuer, an authority's own.
fn certificate(
    key: &PKey<Private>,
    issuer: Option<(&PKey<Private>, &X509)>,
    names: &[&str],
    [from, to]: [&str; 2],
) -> X509 {
    let subject = |text: &str| {
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, text).unwrap();
        name.build()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if issuer.is_some() { 2 } else { 1 }).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder
        .set_subject_name(&subject(if issuer.is_some() { "host" } else { "authority" }))
        .unwrap();
    builder.set_issuer_name(&subject("authority")).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.set_not_before(&Asn1Time::from_str_x509(from).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_str_x509(to).unwrap()).unwrap();
    match issuer {
        None => builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()),
        Some((_, issuer)) => {
            let mut alternative = SubjectAlternativeName::new();
            for name in names {
                alternative.dns(name);
            }
            let context = builder.x509v3_context(Some(issuer), None);
            let extension = alternative.build(&context).unwrap();
            builder.append_extension(extension)
        }
    }
    .unwrap();
    builder.sign(issuer.map_or(key, |(key, _)| key), MessageDigest::sha256()).unwrap();
    builder.build()
}

/// A clock that was started so many seconds after 1970.
pub(super) fn clock_at(seconds: u64) -> Arc<Clock> {
    Arc::new(Clock::start(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

/// One at which what is valid here is valid: of September 2026.
pub(super) fn clock() -> Arc<Clock> {
    clock_at(1_790_000_000)
}
