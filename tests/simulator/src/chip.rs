//! A simulated chip: its settings, its secret, and the vendor that endorses it.

use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use sha2::{Sha256, Sha384};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::product::{Product, Tcb};
use crate::settings::{Settings, SettingsError, Signer};
use crate::vendor::{LeafKind, Vendor, VendorError, VendorKeys};

const SETTINGS_FILE: &str = "chip.json";
const SECRET_FILE: &str = "chip.secret";
const VENDOR_FOLDER: &str = "vendor";

/// Why there is no chip.
#[derive(Debug, thiserror::Error)]
pub enum ChipError {
    /// `chip.json` is not as it must be.
    #[error("{folder}/{source}")]
    Settings {
        /// The chip's folder.
        folder: String,
        /// Which field and why.
        source: SettingsError,
    },
    /// The secret is not 64 hexadecimal digits.
    #[error("{folder}/chip.secret: expected 64 hexadecimal digits")]
    Secret {
        /// The chip's folder.
        folder: String,
    },
    /// Its vendor's keys or certificates.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key could not be made.
    #[error("OpenSSL: {0}")]
    Crypto(#[from] ErrorStack),
    /// The operating system gives no random bytes.
    #[error("random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// A simulated chip. It protects nothing: its secrets lie in plain files.
#[derive(Clone)]
pub struct Chip {
    /// What it says of itself and of its guest. Tests change it freely before a launch.
    pub settings: Settings,
    secret: Zeroizing<[u8; 32]>,
    vendor: Vendor,
}

impl Chip {
    /// A new chip of the vendor's product with a random id and secret, in memory only.
    ///
    /// # Errors
    /// `Random`.
    pub fn new(vendor: Vendor) -> Result<Self, ChipError> {
        let (mut secret, mut chip_id) = (Zeroizing::new([0; 32]), [0; 64]);
        getrandom::fill(secret.as_mut_slice())?;
        getrandom::fill(&mut chip_id)?;
        let settings = Settings::new(vendor.product(), &chip_id)
            .expect("64 bytes are enough for every product's chip id");
        Ok(Self { settings, secret, vendor })
    }

    /// Makes a folder with a new chip and new vendor keys, whole or not at all. Takes seconds.
    ///
    /// # Errors
    /// `File` (the folder is there already), `Vendor`, `Random`.
    pub fn create(folder: &Path, product: Product, now: OffsetDateTime) -> Result<(), ChipError> {
        let keys = Arc::new(VendorKeys::generate()?);
        Self::new(Vendor::certify(keys, product, now)?)?.store(folder, now)
    }

    /// Writes this chip into a new folder, whole or not at all.
    ///
    /// # Errors
    /// `File` (the folder is there already), `Vendor`.
    pub fn store(&self, folder: &Path, now: OffsetDateTime) -> Result<(), ChipError> {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = folder.with_file_name(name);
        files::remove_folder(&partial)?;
        files::create_folder(&partial.join(VENDOR_FOLDER))?;
        self.vendor.store(&partial.join(VENDOR_FOLDER))?;
        let secret = Zeroizing::new(HEXLOWER.encode(self.secret.as_slice()) + "\n");
        files::write(&partial.join(SECRET_FILE), secret.as_bytes())?;
        files::write(&partial.join(SETTINGS_FILE), &self.settings.to_json())?;
        Self::open(&partial, now)?;
        Ok(files::rename(&partial, folder)?)
    }

    /// Reads a chip's folder.
    ///
    /// # Errors
    /// `Settings`, `Secret`, `Vendor`, `File`.
    pub fn open(folder: &Path, now: OffsetDateTime) -> Result<Self, ChipError> {
        let shown = || folder.display().to_string();
        let settings = Settings::parse(&files::read(&folder.join(SETTINGS_FILE))?)
            .map_err(|source| ChipError::Settings { folder: shown(), source })?;
        let text = Zeroizing::new(files::read(&folder.join(SECRET_FILE))?);
        let secret = HEXLOWER.decode(text.trim_ascii_end()).ok().map(Zeroizing::new);
        let secret = secret.and_then(|bytes| bytes.as_slice().try_into().ok().map(Zeroizing::new));
        let secret = secret.ok_or_else(|| ChipError::Secret { folder: shown() })?;
        let vendor = Vendor::load(&folder.join(VENDOR_FOLDER), settings.product, now)?;
        Ok(Self { settings, secret, vendor })
    }

    /// The chip's vendor.
    pub fn vendor(&self) -> &Vendor {
        &self.vendor
    }

    /// What its leaf certifies.
    pub fn leaf_kind(&self) -> LeafKind {
        match self.settings.signer {
            Signer::Vcek => LeafKind::Vcek(self.settings.chip_id.0.clone()),
            Signer::Vlek => LeafKind::Vlek(self.settings.csp_id.clone()),
        }
    }

    /// The key that signs its reports at this TCB: always the same for the same chip (VLEK: the
    /// same provider) and TCB, another for each TCB.
    ///
    /// # Errors
    /// OpenSSL's.
    pub fn signing_key(&self, tcb: Tcb) -> Result<PKey<Private>, ErrorStack> {
        let root = self.endorsement_root(self.settings.signer)?;
        let hkdf = Hkdf::<Sha384>::new(Some(b"SIMULATED endorsement key"), root.as_slice());
        let group = EcGroup::from_curve_name(Nid::SECP384R1)?;
        let mut context = BigNumContext::new()?;
        let (mut order, zero) = (BigNum::new()?, BigNum::new()?);
        group.order(&mut order, &mut context)?;
        let product = self.settings.product;
        for attempt in 0..=u8::MAX {
            let mut scalar = Zeroizing::new([0; 48]);
            let tcb = tcb.encode(product);
            hkdf.expand_multi_info(&[product.name().as_bytes(), &tcb, &[attempt]], &mut *scalar)
                .expect("48 bytes are one block of SHA-384");
            let scalar = BigNum::from_slice(scalar.as_slice())?;
            if scalar > zero && scalar < order {
                let mut point = EcPoint::new(&group)?;
                point.mul_generator2(&group, &scalar, &mut context)?;
                let key = EcKey::from_private_components(&group, &scalar, &point)?;
                return PKey::from_ec_key(key);
            }
        }
        unreachable!("a scalar is out of range once in 2^190 attempts")
    }

    /// What derived keys and signing keys of this signer come from.
    pub(crate) fn endorsement_root(
        &self,
        signer: Signer,
    ) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
        match signer {
            Signer::Vlek => self.vendor.provider_secret(&self.settings.csp_id),
            Signer::Vcek => {
                let mut root = Zeroizing::new([0; 32]);
                Hkdf::<Sha256>::new(None, self.secret.as_slice())
                    .expand(b"SIMULATED chip root", root.as_mut_slice())
                    .expect("32 bytes are one block of SHA-256");
                Ok(root)
            }
        }
    }
}
