//! The simulated vendor: ARK, ASK and ASVK of its own, and what they sign.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use openssl::error::ErrorStack;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::der;
use crate::files::{self, FileError};
use crate::product::{Product, Tcb};
use crate::x509::{CertificateDraft, CrlDraft, Extension, SALT_BYTES, authority_key_id, name};

/// Bits of the CA keys.
const RSA_BITS: u32 = 4096;
/// How long a leaf is valid: seven years for a VCEK, one for a VLEK.
const VCEK_YEARS: i64 = 7;
const VLEK_YEARS: i64 = 1;
const CA_YEARS: i64 = 25;
/// AMD renews its CRLs about once a year.
const CRL_YEARS: i64 = 1;
/// Validity starts a day early, so that a client's clock may lag.
const BACKDATED: Duration = Duration::DAY;

/// Why a simulated vendor could not be made or loaded.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// A key or a signature could not be made.
    #[error("OpenSSL: {0}")]
    Crypto(#[from] ErrorStack),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key file holds no key.
    #[error("{file}: not an RSA private key: {source}")]
    Key {
        /// Its name in the folder.
        file: String,
        /// OpenSSL's reason.
        source: ErrorStack,
    },
}

/// The three CA keys, of RSA-4096. Making them takes seconds: make them once.
#[derive(Clone)]
pub struct VendorKeys {
    ark: PKey<Private>,
    ask: PKey<Private>,
    asvk: PKey<Private>,
}

impl VendorKeys {
    /// New keys.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn generate() -> Result<Self, ErrorStack> {
        let make = || PKey::from_rsa(Rsa::generate(RSA_BITS)?);
        thread::scope(|scope| {
            let (ark, ask) = (scope.spawn(make), scope.spawn(make));
            let asvk = make();
            let joined = |key: thread::ScopedJoinHandle<'_, _>| match key.join() {
                Ok(key) => key,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            Ok(Self { ark: joined(ark)?, ask: joined(ask)?, asvk: asvk? })
        })
    }

    /// Reads the keys that [`VendorKeys::store`] wrote.
    ///
    /// # Errors
    /// `File`, `Key`.
    pub fn load(folder: &Path) -> Result<Self, VendorError> {
        let key = |file: &str| {
            let pem = files::read(&folder.join(file))?;
            PKey::private_key_from_pem(&pem)
                .and_then(|key| key.rsa().map(|_| key))
                .map_err(|source| VendorError::Key { file: file.to_owned(), source })
        };
        Ok(Self { ark: key("ark.key")?, ask: key("ask.key")?, asvk: key("asvk.key")? })
    }

    /// Writes the keys as PEM into an existing folder.
    ///
    /// # Errors
    /// `File`, `Crypto`.
    pub fn store(&self, folder: &Path) -> Result<(), VendorError> {
        let Self { ark, ask, asvk } = self;
        for (file, key) in [("ark.key", ark), ("ask.key", ask), ("asvk.key", asvk)] {
            files::write(&folder.join(file), &key.private_key_to_pem_pkcs8()?)?;
        }
        Ok(())
    }
}

/// Which of the two leaves signs reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// The chip's own; the bytes are its HWID (64, Turin 8).
    Vcek(Vec<u8>),
    /// A cloud provider's; the text is its CSP_ID.
    Vlek(String),
}

/// One product's CA certificates, DER, with the keys that they belong to.
#[derive(Clone)]
pub struct Vendor {
    product: Product,
    keys: Arc<VendorKeys>,
    ark: Vec<u8>,
    ask: Vec<u8>,
    asvk: Vec<u8>,
}

impl Vendor {
    /// Certifies the keys for a product, from a day before `now` on.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn certify(
        keys: Arc<VendorKeys>,
        product: Product,
        now: OffsetDateTime,
    ) -> Result<Self, ErrorStack> {
        let [ark, ask, asvk] = ca_drafts(&keys, product, now)?;
        let (ark, ask, asvk) = (ark.sign(&keys.ark)?, ask.sign(&keys.ark)?, asvk.sign(&keys.ark)?);
        Ok(Self { product, keys, ark, ask, asvk })
    }

    /// Reads keys and certificates; certificates that the folder lacks for this product are issued
    /// and written there, so that the root stays the same over restarts.
    ///
    /// # Errors
    /// `File`, `Key`, `Crypto`.
    pub fn load(folder: &Path, product: Product, now: OffsetDateTime) -> Result<Self, VendorError> {
        let keys = Arc::new(VendorKeys::load(folder)?);
        let [ark, ask, asvk] = certificate_files(folder, product);
        if !ark.exists() {
            Self::certify(keys.clone(), product, now)?.store_certificates(folder)?;
        }
        let (ark, ask, asvk) = (files::read(&ark)?, files::read(&ask)?, files::read(&asvk)?);
        Ok(Self { product, keys, ark, ask, asvk })
    }

    /// Writes keys and certificates into an existing folder.
    ///
    /// # Errors
    /// `File`, `Crypto`.
    pub fn store(&self, folder: &Path) -> Result<(), VendorError> {
        self.keys.store(folder)?;
        Ok(self.store_certificates(folder)?)
    }

    /// The root comes last: where it is, the others are.
    fn store_certificates(&self, folder: &Path) -> Result<(), FileError> {
        let [ark, ask, asvk] = certificate_files(folder, self.product);
        files::write(&asvk, &self.asvk)?;
        files::write(&ask, &self.ask)?;
        files::write(&ark, &self.ark)
    }

    /// The product that the certificates name.
    pub fn product(&self) -> Product {
        self.product
    }

    /// The root, DER.
    pub fn ark(&self) -> &[u8] {
        &self.ark
    }

    /// What certifies VCEKs, DER.
    pub fn ask(&self) -> &[u8] {
        &self.ask
    }

    /// What certifies VLEKs, DER.
    pub fn asvk(&self) -> &[u8] {
        &self.asvk
    }

    /// The root's key, for forgeries.
    pub fn ark_key(&self) -> &PKeyRef<Private> {
        &self.keys.ark
    }

    /// The VCEKs' issuer's key, for forgeries.
    pub fn ask_key(&self) -> &PKeyRef<Private> {
        &self.keys.ask
    }

    /// The VLEKs' issuer's key, for forgeries.
    pub fn asvk_key(&self) -> &PKeyRef<Private> {
        &self.keys.asvk
    }

    /// The key that signs leaves of this kind.
    pub fn issuer_key(&self, kind: &LeafKind) -> &PKeyRef<Private> {
        match kind {
            LeafKind::Vcek(_) => &self.keys.ask,
            LeafKind::Vlek(_) => &self.keys.asvk,
        }
    }

    /// What a provider's VLEK seeds come from: the same on all its chips.
    pub(crate) fn provider_secret(&self, csp_id: &str) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
        let mut hash = Sha256::new_with_prefix(b"SIMULATED provider secret");
        hash.update(self.keys.asvk.private_key_to_der()?);
        hash.update(csp_id);
        Ok(Zeroizing::new(hash.finalize().into()))
    }

    /// Drafts of ARK, ASK and ASVK (all signed by the ARK), for forgeries.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn ca_drafts(&self, now: OffsetDateTime) -> Result<[CertificateDraft; 3], ErrorStack> {
        ca_drafts(&self.keys, self.product, now)
    }

    /// A draft of a leaf in AMD's form; sign it with [`Vendor::issuer_key`].
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn leaf_draft<T: HasPublic>(
        &self,
        kind: &LeafKind,
        key: &PKeyRef<T>,
        tcb: Tcb,
        now: OffsetDateTime,
    ) -> Result<CertificateDraft, ErrorStack> {
        let product = self.product.name();
        let (issuer, subject, years) = match kind {
            LeafKind::Vcek(_) => (format!("SEV-{product}"), "SEV-VCEK", VCEK_YEARS),
            LeafKind::Vlek(_) => (format!("SEV-VLEK-{product}"), "SEV-VLEK", VLEK_YEARS),
        };
        Ok(CertificateDraft {
            serial: vec![0],
            issuer: name(&issuer),
            subject: name(subject),
            not_before: now - BACKDATED,
            not_after: now - BACKDATED + Duration::days(365 * years),
            public_key: key.public_key_to_der()?,
            extensions: leaf_extensions(self.product, kind, tcb),
            salt_bytes: SALT_BYTES,
        })
    }

    /// A draft of the CRL, valid around `now` and empty; sign it with [`Vendor::ark_key`].
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn crl_draft(&self, now: OffsetDateTime) -> Result<CrlDraft, ErrorStack> {
        Ok(CrlDraft {
            issuer: name(&format!("ARK-{}", self.product.name())),
            this_update: now - BACKDATED,
            next_update: now - BACKDATED + Duration::days(365 * CRL_YEARS),
            revoked: Vec::new(),
            authority_key_id: key_id(&self.keys.ark)?,
            number: 1,
        })
    }

    /// The serial of the ASK, for a CRL that revokes it.
    pub fn ask_serial(&self) -> Vec<u8> {
        (self.product.serial_base() + ASK_SERIAL).to_be_bytes().to_vec()
    }

    /// The serial of the ASVK, for a CRL that revokes it.
    pub fn asvk_serial(&self) -> Vec<u8> {
        (self.product.serial_base() + ASVK_SERIAL).to_be_bytes().to_vec()
    }
}

fn certificate_files(folder: &Path, product: Product) -> [PathBuf; 3] {
    ["ark", "ask", "asvk"].map(|name| folder.join(format!("{name}-{}.der", product.name())))
}

const ASK_SERIAL: u32 = 1;
const ASVK_SERIAL: u32 = 0x101;

/// The OID of AMD's certificate extensions.
pub const AMD_EXTENSIONS: &str = "1.3.6.1.4.1.3704.1";

/// AMD's extensions in AMD's order: struct version, product, patch levels (the unused ones of each
/// product's layout are zero), and HWID raw, without an inner tag, or CSP_ID.
fn leaf_extensions(product: Product, kind: &LeafKind, tcb: Tcb) -> Vec<Extension> {
    let Tcb { fmc, boot_loader, tee, snp, microcode } = tcb;
    let levels: &[(u8, u8)] = match product {
        Product::Milan | Product::Genoa => {
            &[(1, boot_loader), (2, tee), (4, 0), (5, 0), (6, 0), (7, 0), (3, snp), (8, microcode)]
        }
        Product::Turin => &[
            (9, fmc.unwrap_or(0)),
            (1, boot_loader),
            (2, tee),
            (3, snp),
            (5, 0),
            (6, 0),
            (7, 0),
            (8, microcode),
        ],
    };
    let struct_version = u8::from(product == Product::Turin);
    let product_name = match kind {
        LeafKind::Vcek(_) => product.name_in_vcek(),
        LeafKind::Vlek(_) => product.name(),
    };
    let amd = |arc: &str, value| Extension::plain(&format!("{AMD_EXTENSIONS}.{arc}"), value);
    let mut extensions =
        vec![amd("1", der::integer(&[struct_version])), amd("2", der::ia5_string(product_name))];
    let levels =
        levels.iter().map(|(arc, level)| amd(&format!("3.{arc}"), der::integer(&[*level])));
    extensions.extend(levels);
    extensions.push(match kind {
        LeafKind::Vcek(hwid) => amd("4", hwid.clone()),
        LeafKind::Vlek(csp_id) => amd("5", der::ia5_string(csp_id)),
    });
    extensions
}

fn ca_drafts(
    keys: &VendorKeys,
    product: Product,
    now: OffsetDateTime,
) -> Result<[CertificateDraft; 3], ErrorStack> {
    let ark_name = format!("ARK-{}", product.name());
    let draft = |subject: String, serial: u32, key: &PKey<Private>, extensions| {
        Ok::<_, ErrorStack>(CertificateDraft {
            serial: (product.serial_base() + serial).to_be_bytes().to_vec(),
            issuer: name(&ark_name),
            subject: name(&subject),
            not_before: now - BACKDATED,
            not_after: now - BACKDATED + Duration::days(365 * CA_YEARS),
            public_key: key.public_key_to_der()?,
            extensions,
            salt_bytes: SALT_BYTES,
        })
    };
    let any_path = der::sequence([der::boolean_true()]);
    let last_ca = der::sequence([der::boolean_true(), der::integer(&[0])]);
    // Key usage: certificate signing is bit 5, CRL signing bit 6.
    let signs_crls = Extension::critical("2.5.29.15", der::value(0x03, &[1, 0x06]));
    let signs_certificates = Extension::critical("2.5.29.15", der::value(0x03, &[2, 0x04]));
    let subject_id =
        |key| Ok::<_, ErrorStack>(Extension::plain("2.5.29.14", der::octet_string(&key_id(key)?)));
    let issuer = |key| {
        Ok::<_, ErrorStack>(vec![
            subject_id(key)?,
            authority_key_id(&key_id(&keys.ark)?),
            Extension::critical("2.5.29.19", last_ca.clone()),
            signs_certificates.clone(),
        ])
    };
    let root = vec![signs_crls, subject_id(&keys.ark)?, Extension::critical("2.5.29.19", any_path)];
    let ask_name = format!("SEV-{}", product.name());
    let asvk_name = format!("SEV-VLEK-{}", product.name());
    Ok([
        draft(ark_name.clone(), 0, &keys.ark, root)?,
        draft(ask_name, ASK_SERIAL, &keys.ask, issuer(&keys.ask)?)?,
        draft(asvk_name, ASVK_SERIAL, &keys.asvk, issuer(&keys.asvk)?)?,
    ])
}

/// RFC 7093 §2, method 1, over the whole SubjectPublicKeyInfo.
fn key_id(key: &PKeyRef<Private>) -> Result<Vec<u8>, ErrorStack> {
    Ok(Sha256::digest(key.public_key_to_der()?)[..20].to_vec())
}
