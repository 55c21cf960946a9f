//! The server's TLS identity: a key born at each start that never leaves memory, and a certificate
//! that only carries it. What vouches for the key is the evidence, whose claims have its SHA-256.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use actix_tls::accept::rustls_0_23::TlsStream;
use neo_secrets_attestation::binding::Exporter;
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
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::NoServerSessionStorage;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::net::TcpStream;

use crate::config::ServerName;
use crate::secret::{RandomError, random_array};

/// The certificate's window is fixed: this machine's clock is the host's, and must not decide
/// whether a client accepts the certificate. The key itself dies with the process.
const NOT_BEFORE: &str = "20250101000000Z";
/// The last second that every X.509 library reads the same way (UTCTime ends with 2049).
const NOT_AFTER: &str = "20491231235959Z";

/// A key of this start, in a configuration that accepts TLS 1.3 only.
pub struct TlsIdentity {
    /// For the listener.
    pub server_config: rustls::ServerConfig,
    /// SHA-256 of the key's DER SubjectPublicKeyInfo: the claim `tlsSpkiSha256`.
    pub spki_sha256: [u8; 32],
}

/// Why there is no TLS identity.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// OpenSSL made no key or certificate.
    #[error("making the TLS certificate: {0}")]
    Certificate(#[from] ErrorStack),
    /// rustls refused them.
    #[error("setting up TLS: {0}")]
    Rustls(#[from] rustls::Error),
    /// No random serial number.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl TlsIdentity {
    /// Makes a P-256 key and its certificate, for localhost, 127.0.0.1, ::1 and these names.
    ///
    /// # Errors
    /// [`TlsError`], from the libraries.
    pub fn generate(names: &[ServerName]) -> Result<Self, TlsError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let certificate = certificate(&key, names)?.to_der()?;
        let spki_sha256 = Sha256::digest(key.public_key_to_der()?).into();

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server_config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivatePkcs8KeyDer::from(key.private_key_to_pkcs8()?).into(),
            )?;
        // No resumption and no early data: every connection is a full handshake that is verified
        // anew.
        server_config.session_storage = Arc::new(NoServerSessionStorage {});
        server_config.send_tls13_tickets = 0;
        server_config.max_early_data_size = 0;
        server_config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsIdentity { server_config, spki_sha256 })
    }
}

/// A leaf that is its own trust anchor. Its extensions are those that OpenSSL's strict mode, which
/// Python sets by default, asks for.
fn certificate(key: &PKey<Private>, names: &[ServerName]) -> Result<X509, TlsError> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "Neo Secrets")?;
    let name = name.build();
    let mut serial: [u8; 16] = random_array()?;
    serial[0] = serial[0] & 0x7f | 0x40; // positive, and of one length

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder
        .set_serial_number(Asn1Integer::from_bn(BigNum::from_slice(&serial)?.as_ref())?.as_ref())?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::from_str(NOT_BEFORE)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_str(NOT_AFTER)?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
    let subject_key = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(subject_key)?;
    let authority_key =
        AuthorityKeyIdentifier::new().keyid(true).build(&builder.x509v3_context(None, None))?;
    builder.append_extension(authority_key)?;
    let names = alternative_names(names).build(&builder.x509v3_context(None, None))?;
    builder.append_extension(names)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn alternative_names(names: &[ServerName]) -> SubjectAlternativeName {
    let always = [
        ServerName::Dns("localhost".to_owned()),
        ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ServerName::Address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    let mut extension = SubjectAlternativeName::new();
    for name in always.iter().chain(names.iter().filter(|name| !always.contains(name))) {
        match name {
            ServerName::Dns(name) => extension.dns(name),
            ServerName::Address(address) => extension.ip(&address.to_string()),
        };
    }
    extension
}

/// The exporter of one connection (RFC 9266), which binds evidence to it. `None` where rustls has
/// none.
pub fn exporter(stream: &TlsStream<TcpStream>) -> Option<Exporter> {
    let (_, session) = stream.get_ref();
    session.export_keying_material([0; 32], Exporter::LABEL, Some(&[])).ok().map(Exporter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::stack::Stack;
    use openssl::x509::store::X509StoreBuilder;
    use openssl::x509::verify::X509VerifyFlags;
    use openssl::x509::{X509PurposeId, X509StoreContext};

    #[test]
    fn the_certificate_is_its_own_anchor_under_strict_rules() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let names =
            [ServerName::Dns("vault.example.com".into()), ServerName::Dns("localhost".into())];
        let certificate = certificate(&key, &names).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(certificate.clone()).unwrap();
        store.set_flags(X509VerifyFlags::X509_STRICT | X509VerifyFlags::PARTIAL_CHAIN).unwrap();
        store.set_purpose(X509PurposeId::SSL_SERVER).unwrap();
        let store = store.build();
        let mut context = X509StoreContext::new().unwrap();
        let chain = Stack::new().unwrap();
        let verified = context.init(&store, &certificate, &chain, |context| context.verify_cert());
        assert!(verified.unwrap(), "{}", context.error());

        let alternatives = certificate.subject_alt_names().unwrap();
        let dns: Vec<_> = alternatives.iter().filter_map(|name| name.dnsname()).collect();
        let addresses: Vec<_> = alternatives.iter().filter_map(|name| name.ipaddress()).collect();
        assert_eq!(dns, ["localhost", "vault.example.com"]);
        assert_eq!(addresses, [&[127, 0, 0, 1][..], &Ipv6Addr::LOCALHOST.octets()]);
        assert!(certificate.verify(&key).unwrap());
    }

    #[test]
    fn each_start_has_its_own_key() {
        let keys = [(); 2].map(|()| TlsIdentity::generate(&[]).unwrap().spki_sha256);
        assert_ne!(keys[0], keys[1]);
    }
}
