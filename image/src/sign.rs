//! Signatures by keys that are kept offline: an ID block for the secure processor, and a detached
//! signature over reference.json for clients.

use std::path::Path;

use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::measure::{LaunchDigest, Shape};
use neo_secrets_attestation::reference::{Identity, ReferenceValues, signed_message};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::EcKey;
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::sign::Signer;
use sha2::{Digest, Sha384};

use crate::error::ImageError;
use crate::files;

/// An ID block (SEV-SNP Firmware ABI, SNP_LAUNCH_FINISH).
pub const ID_BLOCK_BYTES: usize = 96;

/// Its authentication information: a page.
pub const ID_AUTH_BYTES: usize = 4096;

const ECDSA_P384_SHA384: u32 = 1;
const CURVE_P384: u32 = 2;
const NUMBER_BYTES: usize = 72;
const SIGNATURE_BYTES: usize = 512;
const PUBLIC_KEY_BYTES: usize = 0x404;

/// What QEMU gives to the secure processor, and what the report then says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// `id-block`.
    pub block: [u8; ID_BLOCK_BYTES],
    /// `id-auth`.
    pub auth: Vec<u8>,
    /// ID_KEY_DIGEST.
    pub key_digest: [u8; 48],
}

/// An offline P-384 key that signs ID blocks.
pub struct IdKey {
    key: EcKey<Private>,
}

impl IdKey {
    /// Reads a private key in PEM.
    ///
    /// # Errors
    /// It can't be read, or is of another kind.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let key = private_key(path)?.ec_key().ok();
        match key.filter(|key| key.group().curve_name() == Some(Nid::SECP384R1)) {
            Some(key) => Ok(Self { key }),
            None => Err(problem(path, "expected a P-384 key")),
        }
    }

    /// The report's ID_KEY_DIGEST: SHA-384 of the public key as the secure processor takes it.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn digest(&self) -> Result<[u8; 48], ImageError> {
        Ok(Sha384::digest(self.public()?).into())
    }

    /// Signs that a launch of this digest, under this guest policy, is the image's.
    ///
    /// # Errors
    /// OpenSSL fails.
    pub fn identify(
        &self,
        digest: &LaunchDigest,
        reference: &ReferenceValues,
        guest_svn: u32,
        policy: u64,
    ) -> Result<Identification, ImageError> {
        // Where reference.json takes any, zeros stand.
        let id = |identity: &Identity<16>| match identity {
            Identity::Any => [0; 16],
            Identity::Exactly(id) => *id,
        };
        let mut block = Vec::with_capacity(ID_BLOCK_BYTES);
        block.extend(digest);
        block.extend(id(&reference.family_id));
        block.extend(id(&reference.image_id));
        block.extend(1u32.to_le_bytes()); // Version.
        block.extend(guest_svn.to_le_bytes());
        block.extend(policy.to_le_bytes());
        let public = self.public()?;
        let mut auth = Vec::with_capacity(ID_AUTH_BYTES);
        auth.extend(ECDSA_P384_SHA384.to_le_bytes());
        auth.extend([0; 60]); // No author key; reserved.
        auth.extend(self.sign(&block)?);
        auth.extend(&public);
        auth.resize(ID_AUTH_BYTES, 0);
        let block = block.try_into().expect("48, 16, 16, 4, 4 and 8 bytes");
        Ok(Identification { block, auth, key_digest: Sha384::digest(&public).into() })
    }

    /// Curve, x, y: little-endian, then zeros.
    fn public(&self) -> Result<Vec<u8>, ImageError> {
        let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
        let mut context = BigNumContext::new()?;
        self.key.public_key().affine_coordinates(self.key.group(), &mut x, &mut y, &mut context)?;
        let mut out = CURVE_P384.to_le_bytes().to_vec();
        out.extend(little_endian(&x)?);
        out.extend(little_endian(&y)?);
        out.resize(PUBLIC_KEY_BYTES, 0);
        Ok(out)
    }

    /// r, s: little-endian, then zeros.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ImageError> {
        let signature = EcdsaSig::sign(&Sha384::digest(message), &self.key)?;
        let mut out = little_endian(signature.r())?;
        out.extend(little_endian(signature.s())?);
        out.resize(SIGNATURE_BYTES, 0);
        Ok(out)
    }
}

/// Signs a reference.json with an offline Ed25519 key: the text of reference.json.sig, and the
/// key's public half.
///
/// # Errors
/// The key can't be read or is of another kind.
pub fn reference(key: &Path, text: &[u8]) -> Result<(String, PublicKey), ImageError> {
    let pair = private_key(key)?;
    if pair.id() != Id::ED25519 {
        return Err(problem(key, "expected an Ed25519 key"));
    }
    let mut signature = [0; 64];
    let mut signer = Signer::new_without_digest(&pair)?;
    signer.sign_oneshot(&mut signature, &signed_message(text))?;
    let public = pair.raw_public_key()?.try_into().expect("an Ed25519 public key has 32 bytes");
    Ok((format!("{}\n", Signature(signature)), PublicKey(public)))
}

fn private_key(path: &Path) -> Result<PKey<Private>, ImageError> {
    let pem = files::read(path)?;
    // An empty answer to the question for a passphrase keeps OpenSSL from asking the terminal.
    PKey::private_key_from_pem_callback(&pem, |_| Ok(0))
        .map_err(|_| problem(path, "no private key in PEM that can be read"))
}

fn problem(path: &Path, problem: &str) -> ImageError {
    ImageError::Key { path: path.to_owned(), problem: problem.to_owned() }
}

fn little_endian(number: &BigNumRef) -> Result<Vec<u8>, ImageError> {
    let mut bytes = number.to_vec();
    bytes.reverse();
    bytes.resize(NUMBER_BYTES, 0);
    Ok(bytes)
}

/// The names of the files that an ID block of this shape has.
pub fn file_names(shape: &Shape) -> [String; 2] {
    let Shape { vcpus, vcpu_type, sev_features } = shape;
    ["id-block", "id-auth"].map(|kind| format!("{vcpus}x{vcpu_type}-{sev_features:#x}.{kind}"))
}
