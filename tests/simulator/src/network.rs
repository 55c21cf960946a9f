//! A SIMULATED way out for functions: a few hosts by names of one's own, at addresses of this machine,
//! under roots of one's own. What the server checks, it checks all the same: to it, each host has a
//! public address.
//!
//! A folder `network` beside the chip's other files turns it on: `hosts` has a line `HOST ADDRESS:PORT`
//! for each, `roots.pem` the certificates of the authorities. Then no other host is found, and no other
//! authority known.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use neo_secrets_server::egress::{Bytes, Dialer, Network, Pending, PublicAddress, Resolver};
use neo_secrets_server::model::HostName;
use openssl::x509::X509;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use crate::files::{self, FileError};

/// The folder's name.
pub const FOLDER: &str = "network";

/// Why there is no such network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of `hosts` is none.
    #[error("network/hosts, line {line}: must be HOST ADDRESS:PORT")]
    Hosts {
        /// Its number, from 1.
        line: usize,
    },
    /// More hosts than there are addresses to make up.
    #[error("network/hosts has more than 255 lines")]
    TooMany,
    /// `roots.pem` holds no certificates.
    #[error("network/roots.pem: {0}")]
    Roots(String),
}

/// The network of a simulated machine: the simulated one where its folder is there, else the
/// internet.
///
/// # Errors
/// What is wrong with the folder's files.
pub fn open(chip: &Path) -> Result<Network, NetworkError> {
    let folder = chip.join(FOLDER);
    if !folder.exists() {
        return Ok(Network::internet());
    }
    let hosts = String::from_utf8_lossy(&files::read(&folder.join("hosts"))?).into_owned();
    let (mut names, mut places) = (HashMap::new(), HashMap::new());
    for (number, text) in hosts.lines().enumerate() {
        let place = text.split_once(' ').and_then(|(host, place)| {
            Some((HostName::parse(host.to_owned()).ok()?, place.trim().parse::<SocketAddr>().ok()?))
        });
        let (host, place) = place.ok_or(NetworkError::Hosts { line: number + 1 })?;
        let last = u8::try_from(number + 1).map_err(|_| NetworkError::TooMany)?;
        let address = IpAddr::from([1, 0, 0, last]);
        names.insert(host, address);
        places.insert(address, place);
    }
    let roots = Arc::new(roots(&files::read(&folder.join("roots.pem"))?)?);
    Ok(Network { resolver: Arc::new(Names(names)), dialer: Arc::new(Places(places)), roots })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, NetworkError> {
    let failed = |error: &dyn std::fmt::Display| NetworkError::Roots(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in X509::stack_from_pem(pem).map_err(|error| failed(&error))? {
        let der = certificate.to_der().map_err(|error| failed(&error))?;
        roots.add(CertificateDer::from(der)).map_err(|error| failed(&error))?;
    }
    match roots.is_empty() {
        true => Err(failed(&"no certificate")),
        false => Ok(roots),
    }
}

struct Names(HashMap<HostName, IpAddr>);

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a HostName) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(async move { Ok(self.0.get(host).copied().into_iter().collect()) })
    }
}

struct Places(HashMap<IpAddr, SocketAddr>);

impl Dialer for Places {
    fn dial(&self, address: PublicAddress) -> Pending<'_, Box<dyn Bytes>> {
        Box::pin(async move {
            let place = self.0.get(&address.get()).ok_or(io::ErrorKind::HostUnreachable)?;
            Ok(Box::new(TcpStream::connect(place).await?) as Box<dyn Bytes>)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(open(folder.path()).is_ok(), "none: the internet");
        let network = folder.path().join(FOLDER);
        std::fs::create_dir(&network).unwrap();
        assert!(matches!(open(folder.path()), Err(NetworkError::File(_))));
        let hosts = |text: &str| std::fs::write(network.join("hosts"), text).unwrap();
        for (text, wrong) in
            [("a.test", 1), ("a.test 127.0.0.1:1\nb.test x", 2), ("A 127.0.0.1:1", 1)]
        {
            hosts(text);
            let refused = open(folder.path()).err();
            assert!(
                matches!(refused, Some(NetworkError::Hosts { line }) if line == wrong),
                "{text}"
            );
        }
        hosts(&"a.test 127.0.0.1:1\n".repeat(256));
        assert!(matches!(open(folder.path()), Err(NetworkError::TooMany)));
        hosts("a.test 127.0.0.1:1\nb.test [::1]:2\n");
        std::fs::write(network.join("roots.pem"), "no certificate").unwrap();
        assert!(matches!(open(folder.path()), Err(NetworkError::Roots(_))));
    }
}
