//! Where the proxy listens, and who can reach it there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509NameBuilder};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// An address that the proxy listens on.
pub struct Endpoint {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

/// Who may reach a port without TLS, and read on the way what keys and values pass there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Programs on this machine.
    ThisMachine,
    /// Whoever the network lets, in the clear.
    Network,
}

/// Why the proxy does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is on the network, and the port would be without TLS.
    #[error(
        "{address} can be reached from other machines, and plain HTTP would carry keys and values \
         there in the clear"
    )]
    PlainOnNetwork {
        /// The address.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// Its answer.
        source: io::Error,
    },
}

/// Why there is no TLS identity for the proxy's own port.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's PEM text does not parse.
    #[error("the certificate is no PEM text: {0}")]
    Certificate(rustls::pki_types::pem::Error),
    /// The key's PEM text does not parse.
    #[error("the key is no PEM text of a private key without a passphrase: {0}")]
    Key(rustls::pki_types::pem::Error),
    /// rustls does not take them, for example since they do not belong together.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// OpenSSL made none.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl Endpoint {
    /// Listens for plain HTTP.
    pub async fn http(address: SocketAddr, reach: Reach) -> Result<Self, ListenError> {
        if reach == Reach::ThisMachine && !address.ip().to_canonical().is_loopback() {
            return Err(ListenError::PlainOnNetwork { address });
        }
        Self::bind(address, None).await
    }

    /// Listens for HTTPS.
    pub async fn https(address: SocketAddr, identity: Identity) -> Result<Self, ListenError> {
        Self::bind(address, Some(TlsAcceptor::from(identity.0))).await
    }

    async fn bind(address: SocketAddr, tls: Option<TlsAcceptor>) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Io { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, tls, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The URL for clients on this machine.
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        format!("{}://{ip}:{}", self.scheme(), self.address.port())
    }
}

/// A certificate and its key, for TLS 1.3 on the proxy's own port.
pub struct Identity(Arc<ServerConfig>);

impl Identity {
    /// From PEM texts: a chain, the leaf first, and the leaf's key.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(IdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(IdentityError::Certificate(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        Self::new(chain, key)
    }

    /// A new key, which never leaves this process, and its certificate as PEM: for localhost, the
    /// loopback addresses, the address listened on, and these names.
    pub fn make(address: IpAddr, names: &[String]) -> Result<(Self, Vec<u8>), IdentityError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let certificate = certificate(&key, address, names)?;
        let chain = vec![CertificateDer::from(certificate.to_der()?)];
        let der = PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8()?);
        Ok((Self::new(chain, der.into())?, certificate.to_pem()?))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// A leaf that is its own trust anchor, with the extensions that OpenSSL's strict mode asks for.
fn certificate(key: &PKey<Private>, address: IpAddr, names: &[String]) -> Result<X509, ErrorStack> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "neo-secrets proxy")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, openssl::bn::MsbOption::ONE, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(Asn1Integer::from_bn(&serial)?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    // The key dies with the process; no clock should end it before.
    builder.set_not_before(Asn1Time::from_str("20250101000000Z")?.as_ref())?;
    builder.set_not_after(Asn1Time::from_str("20491231235959Z")?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let subject_key = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(subject_key)?;
    let authority_key =
        AuthorityKeyIdentifier::new().keyid(true).build(&builder.x509v3_context(None, None))?;
    builder.append_extension(authority_key)?;
    let mut alternatives = SubjectAlternativeName::new();
    alternatives.dns("localhost").ip("127.0.0.1").ip("::1");
    if !address.is_loopback() && !address.is_unspecified() {
        alternatives.ip(&address.to_string());
    }
    for name in names {
        alternatives.dns(name);
    }
    let alternatives = alternatives.build(&builder.x509v3_context(None, None))?;
    builder.append_extension(alternatives)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_http_is_for_this_machine_unless_told_otherwise() {
        for network in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let refused = Endpoint::http(network.parse().unwrap(), Reach::ThisMachine).await;
            assert!(matches!(refused, Err(ListenError::PlainOnNetwork { .. })), "{network}");
        }
        let here = Endpoint::http("127.0.0.1:0".parse().unwrap(), Reach::ThisMachine).await;
        let here = here.ok().unwrap();
        assert_eq!(here.url(), format!("http://127.0.0.1:{}", here.address().port()));
        let taken = Endpoint::http(here.address(), Reach::ThisMachine).await;
        assert!(matches!(taken, Err(ListenError::Io { .. })));
        let anywhere = Endpoint::http("0.0.0.0:0".parse().unwrap(), Reach::Network).await;
        let anywhere = anywhere.ok().unwrap();
        assert_eq!(anywhere.url(), format!("http://127.0.0.1:{}", anywhere.address().port()));
    }

    #[test]
    fn a_made_certificate_names_what_it_is_called_by() {
        let names = ["vault.internal".to_owned()];
        let (_, pem) = Identity::make("192.0.2.1".parse().unwrap(), &names).ok().unwrap();
        let certificate = X509::from_pem(&pem).unwrap();
        let alternatives = certificate.subject_alt_names().unwrap();
        let dns: Vec<_> = alternatives.iter().filter_map(|name| name.dnsname()).collect();
        let addresses: Vec<_> = alternatives.iter().filter_map(|name| name.ipaddress()).collect();
        assert_eq!(dns, ["localhost", "vault.internal"]);
        let loopback = std::net::Ipv6Addr::LOCALHOST.octets();
        assert_eq!(addresses, [&[127, 0, 0, 1][..], &loopback, &[192, 0, 2, 1]]);
    }

    #[test]
    fn a_certificate_and_a_key_that_do_not_belong_together_are_refused() {
        let make = || {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
            let address = "127.0.0.1".parse().unwrap();
            let certificate = certificate(&key, address, &[]).unwrap().to_pem().unwrap();
            (certificate, key.private_key_to_pem_pkcs8().unwrap())
        };
        let ((certificate, key), (_, other)) = (make(), make());
        assert!(Identity::from_pem(&certificate, &key).is_ok());
        let refused = |certificate, key| Identity::from_pem(certificate, key).err().unwrap();
        assert!(matches!(refused(&certificate, &other), IdentityError::Rustls(_)));
        assert!(matches!(refused(&key, &key), IdentityError::Certificate(_)));
        assert!(matches!(refused(b"", &key), IdentityError::Certificate(_)));
        assert!(matches!(refused(&certificate, &certificate), IdentityError::Key(_)));
    }
}
