//! Every key of the store: one type and one label per purpose (STORE.md §5). Nothing else makes
//! keys.

use crate::access::Token;
use crate::model::{AccountId, FunctionName, SecretName};
use crate::secret::{KeyBytes, RandomError, fill_random};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use neo_secrets_attestation::binding::{ReportData, instance_message};
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::receipt::Receipt;
use openssl::pkey::{Id, PKey, Private};
use sha2::{Sha256, Sha512};

/// Every label: what keeps one purpose's bytes apart from another's.
pub(crate) mod label {
    pub(crate) const SLOT: &[u8] = b"neo-secrets slot v1";
    pub(crate) const IDENTITY_SLOT: &[u8] = b"neo-secrets identity slot v1";
    pub(crate) const SLOT_TABLE: &[u8] = b"neo-secrets slot table v1";
    pub(crate) const SLOT_TABLE_KEY: &[u8] = b"neo-secrets slot table key v1";
    pub(crate) const CHIP_ID: &[u8] = b"neo-secrets chip id v1";
    pub(crate) const ID_BLOCK: &[u8] = b"neo-secrets id block v1";
    pub(crate) const ACCOUNT_WRAP: &[u8] = b"neo-secrets account wrap v1";
    pub(crate) const TOKEN_INDEX: &[u8] = b"neo-secrets token index v1";
    pub(crate) const NAME_INDEX: &[u8] = b"neo-secrets name index v1";
    pub(crate) const FUNCTION_NAME_INDEX: &[u8] = b"neo-secrets function name index v1";
    pub(crate) const RECORD: &[u8] = b"neo-secrets record v1";
}

/// Bytes of an AES-256-GCM tag.
pub(crate) const TAG_BYTES: usize = 16;

/// The unambiguous join of fields: each as `u32(length) ‖ bytes`.
pub(crate) fn list(fields: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(fields.iter().map(|field| 4 + field.len()).sum());
    for field in fields {
        let length = u32::try_from(field.len()).expect("fields are bounded far below 4 GiB");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(field);
    }
    joined
}

/// OpenSSL, AWS-LC or the system's generator failed; no input of ours makes them.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// OpenSSL failed.
    #[error("OpenSSL failed: {0}")]
    OpenSsl(#[from] openssl::error::ErrorStack),
    /// AWS-LC refused to seal.
    #[error("the cipher refused to seal")]
    Cipher,
}

/// What was sealed does not open under this key and context.
#[derive(Debug)]
pub(crate) struct DoesNotOpen;

/// HKDF-SHA-256 of a key of the store: the store's id is the salt.
fn derive(key: &KeyBytes, salt: &[u8], info: &[u8]) -> KeyBytes {
    let okm =
        KeyBytes::filled(|okm| Hkdf::<Sha256>::new(Some(salt), key.expose()).expand(info, okm));
    okm.expect("32 bytes are one block of SHA-256")
}

fn hmac(key: &KeyBytes, message: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key.expose())
        .expect("HMAC takes keys of any length")
        .chain_update(message)
}

/// A key that seals one message: used up by it.
struct CipherKey(KeyBytes);

impl CipherKey {
    /// The nonce is zero because the key is derived with fresh random bytes and used once.
    fn cipher(&self) -> Result<(LessSafeKey, Nonce), CryptoError> {
        let key =
            UnboundKey::new(&AES_256_GCM, self.0.expose()).map_err(|_| CryptoError::Cipher)?;
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; NONCE_LEN])))
    }

    /// Turns plaintext into ciphertext where it lies, and gives the tag.
    fn seal(self, context: &[u8], bytes: &mut [u8]) -> Result<Tag, CryptoError> {
        let (cipher, nonce) = self.cipher()?;
        cipher
            .seal_in_place_separate_tag(nonce, Aad::from(context), bytes)
            .map_err(|_| CryptoError::Cipher)
    }

    /// Turns ciphertext and tag into plaintext where they lie.
    fn open<'a>(self, context: &[u8], bytes: &'a mut [u8]) -> Result<&'a [u8], DoesNotOpen> {
        let (cipher, nonce) = self.cipher().map_err(|_| DoesNotOpen)?;
        let opened = cipher.open_in_place(nonce, Aad::from(context), bytes);
        opened.map(|plaintext| &*plaintext).map_err(|_| DoesNotOpen)
    }
}

/// The key under which one slot wraps one key. From the firmware's derived key (STORE.md §4).
pub(crate) struct SlotKek(CipherKey);

impl SlotKek {
    /// `context` names the slot's kind, the store, and this boot's identity.
    pub(crate) fn new(derived: &KeyBytes, salt: &[u8; 32], context: &[u8]) -> Self {
        let hkdf = Hkdf::<Sha512>::new(Some(salt), derived.expose());
        let okm = KeyBytes::filled(|okm| hkdf.expand(context, okm));
        Self(CipherKey(okm.expect("32 bytes are less than one block of SHA-512")))
    }

    /// The key, wrapped: 32 bytes and a tag.
    pub(crate) fn wrap(self, context: &[u8], key: &KeyBytes) -> Result<[u8; 48], CryptoError> {
        let mut wrapped = [0; 48];
        let (bytes, tag_bytes) = wrapped.split_at_mut(32);
        bytes.copy_from_slice(key.expose());
        let tag = self.0.seal(context, bytes)?;
        tag_bytes.copy_from_slice(tag.as_ref());
        Ok(wrapped)
    }

    /// The key that was wrapped in this context.
    pub(crate) fn unwrap(
        self,
        context: &[u8],
        mut wrapped: [u8; 48],
    ) -> Result<KeyBytes, DoesNotOpen> {
        let opened = self.0.open(context, &mut wrapped).map(KeyBytes::copied);
        zeroize::Zeroize::zeroize(&mut wrapped);
        opened?.ok_or(DoesNotOpen)
    }
}

/// The store's root: wrapped by slots, wraps account keys.
pub(crate) struct RootKey(KeyBytes);

impl RootKey {
    pub(crate) fn random() -> Result<Self, CryptoError> {
        Ok(Self(KeyBytes::random()?))
    }

    /// Whoever unwraps a slot turns it into a root key by checking the table's MAC with it.
    pub(crate) fn from_slot(key: KeyBytes) -> Self {
        Self(key)
    }

    pub(crate) fn bytes(&self) -> &KeyBytes {
        &self.0
    }

    pub(crate) fn slot_table_key(&self, store: &StoreId) -> SlotTableKey {
        SlotTableKey(derive(&self.0, &store.0, &list(&[label::SLOT_TABLE_KEY])))
    }

    pub(crate) fn account_wrap_key(&self, store: &StoreId) -> AccountWrapKey {
        AccountWrapKey(derive(&self.0, &store.0, &list(&[label::ACCOUNT_WRAP])))
    }
}

/// Authenticates the slot table as a whole.
pub(crate) struct SlotTableKey(KeyBytes);

impl SlotTableKey {
    pub(crate) fn mac(&self, header: &[u8], table: &[u8]) -> [u8; 32] {
        let message = list(&[label::SLOT_TABLE, header, table]);
        hmac(&self.0, &message).finalize().into_bytes().into()
    }

    /// In constant time.
    pub(crate) fn verifies(&self, header: &[u8], table: &[u8], mac: &[u8; 32]) -> bool {
        let message = list(&[label::SLOT_TABLE, header, table]);
        hmac(&self.0, &message).verify(mac.into()).is_ok()
    }
}

/// A key from which record keys come.
pub(crate) trait RecordRoot {
    /// The key of one writing of one record; `context` is the record's associated data.
    fn record_key(&self, salt: &[u8; 32], context: &[u8]) -> RecordKey;
}

/// Seals the account keys.
pub(crate) struct AccountWrapKey(KeyBytes);

/// Seals an account's records; the system's own account has one too.
pub(crate) struct AccountKey(KeyBytes);

impl RecordRoot for AccountWrapKey {
    fn record_key(&self, salt: &[u8; 32], context: &[u8]) -> RecordKey {
        RecordKey(CipherKey(derive(&self.0, salt, context)))
    }
}

impl RecordRoot for AccountKey {
    fn record_key(&self, salt: &[u8; 32], context: &[u8]) -> RecordKey {
        RecordKey(CipherKey(derive(&self.0, salt, context)))
    }
}

impl AccountKey {
    pub(crate) fn random() -> Result<Self, CryptoError> {
        Ok(Self(KeyBytes::random()?))
    }

    /// From the account's key record, once it has opened.
    pub(crate) fn from_record(key: KeyBytes) -> Self {
        Self(key)
    }

    pub(crate) fn bytes(&self) -> &KeyBytes {
        &self.0
    }

    /// Of the system's account only.
    pub(crate) fn token_index_key(&self, store: &StoreId) -> TokenIndexKey {
        TokenIndexKey(derive(&self.0, &store.0, &list(&[label::TOKEN_INDEX])))
    }

    pub(crate) fn name_index_key(&self, store: &StoreId, account: AccountId) -> NameIndexKey {
        let info = list(&[label::NAME_INDEX, account.as_bytes()]);
        NameIndexKey(derive(&self.0, &store.0, &info))
    }

    pub(crate) fn function_name_index_key(
        &self,
        store: &StoreId,
        account: AccountId,
    ) -> FunctionNameIndexKey {
        let info = list(&[label::FUNCTION_NAME_INDEX, account.as_bytes()]);
        FunctionNameIndexKey(derive(&self.0, &store.0, &info))
    }
}

/// Seals one writing of one record.
pub(crate) struct RecordKey(CipherKey);

impl RecordKey {
    /// Turns plaintext into ciphertext where it lies, and gives the tag.
    pub(crate) fn seal(self, context: &[u8], bytes: &mut [u8]) -> Result<Tag, CryptoError> {
        self.0.seal(context, bytes)
    }

    /// Turns ciphertext and tag into plaintext where they lie.
    pub(crate) fn open<'a>(
        self,
        context: &[u8],
        bytes: &'a mut [u8],
    ) -> Result<&'a [u8], DoesNotOpen> {
        self.0.open(context, bytes)
    }
}

/// What a token is kept as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenHash(..)")
    }
}

/// Hashes bearer tokens.
pub(crate) struct TokenIndexKey(KeyBytes);

impl TokenIndexKey {
    pub(crate) fn hash(&self, token: &Token) -> TokenHash {
        TokenHash(hmac(&self.0, token.expose()).finalize().into_bytes().into())
    }
}

/// Hashes the names of one account's secrets.
pub(crate) struct NameIndexKey(KeyBytes);

impl NameIndexKey {
    pub(crate) fn hash(&self, name: &SecretName) -> [u8; 32] {
        hmac(&self.0, name.as_str().as_bytes()).finalize().into_bytes().into()
    }
}

/// Hashes the names of one account's functions.
pub(crate) struct FunctionNameIndexKey(KeyBytes);

impl FunctionNameIndexKey {
    pub(crate) fn hash(&self, name: &FunctionName) -> [u8; 32] {
        hmac(&self.0, name.as_str().as_bytes()).finalize().into_bytes().into()
    }
}

/// An Ed25519 key pair, kept as its seed.
pub(crate) struct SigningKey {
    seed: KeyBytes,
    pair: PKey<Private>,
    public: PublicKey,
}

impl SigningKey {
    pub(crate) fn random() -> Result<Self, CryptoError> {
        Self::from_seed(KeyBytes::filled(fill_random)?)
    }

    pub(crate) fn from_seed(seed: KeyBytes) -> Result<Self, CryptoError> {
        let pair = PKey::private_key_from_raw_bytes(seed.expose(), Id::ED25519)?;
        let public = pair.raw_public_key()?.try_into().map_err(|_| CryptoError::Cipher)?;
        Ok(Self { seed, pair, public: PublicKey(public) })
    }

    pub(crate) fn seed(&self) -> &KeyBytes {
        &self.seed
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        let mut signature = [0; 64];
        openssl::sign::Signer::new_without_digest(&self.pair)?
            .sign_oneshot(&mut signature, message)?;
        Ok(Signature(signature))
    }
}

/// The instance's three keys, one per use; each signs only what its own verb says.
pub(crate) struct SigningKeys {
    pub(crate) instance: SigningKey,
    pub(crate) log: SigningKey,
    pub(crate) receipt: SigningKey,
}

impl SigningKeys {
    pub(crate) fn random() -> Result<Self, CryptoError> {
        let (instance, log) = (SigningKey::random()?, SigningKey::random()?);
        Ok(Self { instance, log, receipt: SigningKey::random()? })
    }

    /// The instance key's signature over one batch's REPORT_DATA (SPEC.md §4).
    pub(crate) fn sign_evidence(&self, report_data: &ReportData) -> Result<Signature, CryptoError> {
        self.instance.sign(&instance_message(report_data))
    }

    /// The receipt key's signature over a receipt (SPEC.md §9).
    pub(crate) fn sign_receipt(&self, receipt: &Receipt) -> Result<Signature, CryptoError> {
        self.receipt.sign(&receipt.message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn key(byte: u8) -> KeyBytes {
        KeyBytes::copied(&[byte; 32]).unwrap()
    }

    #[test]
    fn lists_are_unambiguous() {
        assert_eq!(list(&[b"ab", b""]), b"\0\0\0\x02ab\0\0\0\0");
        assert_ne!(list(&[b"ab", b"c"]), list(&[b"a", b"bc"]));
        assert_ne!(list(&[b"a"]), list(&[b"a", b""]));
    }

    /// Known answers, computed with Python's hmac and hashlib from STORE.md.
    #[test]
    fn derivations_match_the_vectors() {
        let store = StoreId([7; 16]);
        let root = RootKey(key(1));
        let hex = |key: &KeyBytes| HEXLOWER.encode(key.expose());
        assert_eq!(hex(&root.slot_table_key(&store).0), VECTORS[0]);
        assert_eq!(hex(&root.account_wrap_key(&store).0), VECTORS[1]);
        let account = AccountKey(key(2));
        assert_eq!(hex(&account.token_index_key(&store).0), VECTORS[2]);
        let id = AccountId::from_bytes([3; 18]);
        assert_eq!(hex(&account.name_index_key(&store, id).0), VECTORS[3]);
        assert_eq!(hex(&account.record_key(&[4; 32], b"context").0.0), VECTORS[4]);
        assert_eq!(hex(&SlotKek::new(&key(5), &[6; 32], b"context").0.0), VECTORS[5]);
        let name = SecretName::parse("database-url".to_owned()).unwrap();
        let hash = account.name_index_key(&store, id).hash(&name);
        assert_eq!(HEXLOWER.encode(&hash), VECTORS[6]);
        let names = account.function_name_index_key(&store, id);
        assert_eq!(hex(&names.0), VECTORS[7]);
        let name = FunctionName::parse("database-url".to_owned()).unwrap();
        assert_eq!(HEXLOWER.encode(&names.hash(&name)), VECTORS[8]);
    }

    const VECTORS: [&str; 9] = [
        "68947b5156fef395e029f97065f19c26f83f222c78257e9a31b4bc41af517cbc",
        "9f4028b5a320825a33ce2d6d0b254756bd9ca96d79351ba371931af7aa3fa5df",
        "8ec9f20df24285d5fa4f4b524a4328b418c559be5b11bd44fcb501ecf8b33762",
        "b98d46a3b39d541b7d106fc7c017fc1ccfa395fc399df3ce38509b954865bc34",
        "4dbb639db1085e9dc42fc7de018c84f0b5080c19c5f827af823c9593aedf7c1c",
        "840ad1275ce3ed16181a299c41702f3c9eb82066f903355ba2d3b73a47ee4f4d",
        "e024b40229ca45e25bb8e1d52dce3f58e15c5eb202e8a5a20cf435d6303c10fc",
        "191b6800118c336e5b78ec81f89306ee37b20f622f334133feb3c5bc33b91db0",
        "661764789bbeb175960cd5ba1bc3a470106cf37c94e3ad58426f510258e42f64",
    ];

    #[test]
    fn wrapped_keys_open_in_their_context_only() {
        let kek = |derived| SlotKek::new(&key(derived), &[0; 32], b"kind 1");
        let wrapped = kek(1).wrap(b"context", &key(9)).unwrap();
        assert_eq!(kek(1).unwrap(b"context", wrapped).unwrap().expose(), &[9; 32]);
        assert!(kek(1).unwrap(b"other", wrapped).is_err());
        assert!(kek(2).unwrap(b"context", wrapped).is_err());
        for bit in 0..48 * 8 {
            let mut flipped = wrapped;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(kek(1).unwrap(b"context", flipped).is_err());
        }
    }

    #[test]
    fn evidence_signatures_verify() {
        let keys = SigningKeys::random().unwrap();
        let report_data = ReportData([5; 64]);
        let signature = keys.sign_evidence(&report_data).unwrap();
        let public = keys.instance.public();
        assert!(public.verify(&instance_message(&report_data), &signature).is_ok());
        let restored = SigningKey::from_seed(KeyBytes::copied(keys.log.seed().expose()).unwrap());
        assert_eq!(restored.unwrap().public(), keys.log.public());
    }
}
