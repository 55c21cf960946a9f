//! Sealed records (STORE.md §2 and §6): where one stands, and what its bytes are.

use crate::keys::{
    AccountKey, CryptoError, DoesNotOpen, RecordRoot, TAG_BYTES, TokenHash, label, list,
};
use crate::limits::{RECORD_BYTES, RECORD_PADDED_BYTES_MIN};
use crate::model::{AccountId, ExecutionId, FunctionId, ID_BYTES, KeyId, SecretId, Version};
use crate::secret::random_array;
use crate::store::Header;
use crate::store::body::{
    AccountBody, AccountKeyBody, AuditBody, AuditStateBody, Body, ClockBody, CodeBody,
    DeletionBody, ExecutionBody, FunctionBody, FunctionNameBody, FunctionsStateBody, InstanceBody,
    KeyBody, NameBody, NamesBody, OwnerBody, OwnerBodyV1, SecretBody, StateBody, StateBodyV1,
    TokenBody, ValueBody,
};
use crate::store::error::StoreFailure;
use minicbor::encode::{Encode, Write};
use neo_secrets_attestation::evidence::StoreId;
use std::marker::PhantomData;
use zeroize::Zeroizing;

/// The table's name in the engine.
pub(super) const TABLE: &str = "neo-secrets";
/// The account under which the instance's own records stand.
pub(super) const SYSTEM: AccountId = AccountId::from_bytes([0; ID_BYTES]);
/// The hash that an unknown token is looked up by to its end; nobody has a token that hashes to it.
pub(super) const DECOY: TokenHash = TokenHash([0; 32]);

const FORMAT: u8 = 1;
const SALT_BYTES: usize = 32;
const PREFIX_BYTES: usize = 2 + SALT_BYTES;

/// The second part of an engine key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 0x00,
    Slots = 0x01,
    AccountKey = 0x02,
    Instance = 0x03,
    Owner = 0x04,
    Account = 0x05,
    Token = 0x06,
    Deletion = 0x07,
    Clock = 0x08,
    State = 0x10,
    ApiKey = 0x11,
    Secret = 0x20,
    Value = 0x21,
    Name = 0x22,
    Names = 0x23,
    Audit = 0x30,
    AuditState = 0x31,
    Function = 0x40,
    Code = 0x41,
    FunctionName = 0x42,
    Execution = 0x43,
    FunctionsState = 0x44,
}

impl Kind {
    /// For messages: what kind of record is at fault, never which one.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Slots => "slots",
            Self::AccountKey => "account key",
            Self::Instance => "instance",
            Self::Owner => "owner",
            Self::Account => "account",
            Self::Token => "token",
            Self::Deletion => "deletion",
            Self::Clock => "clock",
            Self::State => "state",
            Self::ApiKey => "API key",
            Self::Secret => "secret",
            Self::Value => "value",
            Self::Name => "name",
            Self::Names => "names",
            Self::Audit => "audit",
            Self::AuditState => "audit state",
            Self::Function => "function",
            Self::Code => "code",
            Self::FunctionName => "function name",
            Self::Execution => "execution",
            Self::FunctionsState => "functions state",
        }
    }
}

/// The engine key of the header.
pub(super) fn header_key() -> Vec<u8> {
    engine_key(SYSTEM, Kind::Header, &[])
}

/// The engine key of the slot table.
pub(super) fn slots_key() -> Vec<u8> {
    engine_key(SYSTEM, Kind::Slots, &[])
}

/// Whether what stands at this engine key can change whom a token admits: all but the kinds that say
/// nothing of accounts and keys.
pub(super) fn decides_access(key: &[u8]) -> bool {
    const CONTENT: [Kind; 12] = [
        Kind::State,
        Kind::Secret,
        Kind::Value,
        Kind::Name,
        Kind::Names,
        Kind::Audit,
        Kind::AuditState,
        Kind::Function,
        Kind::Code,
        Kind::FunctionName,
        Kind::Execution,
        Kind::FunctionsState,
    ];
    let kind = key.get(ID_BYTES);
    !kind.is_some_and(|kind| CONTENT.iter().any(|content| *content as u8 == *kind))
}

/// Whether what stands at this engine key is a secret's metadata.
pub(super) fn holds_secret(key: &[u8]) -> bool {
    key.get(ID_BYTES) == Some(&(Kind::Secret as u8))
}

/// Whether what stands at this engine key says where names lead.
pub(super) fn holds_names(key: &[u8]) -> bool {
    key.get(ID_BYTES) == Some(&(Kind::Names as u8))
}

fn engine_key(account: AccountId, kind: Kind, rest: &[u8]) -> Vec<u8> {
    [account.as_bytes(), &[kind as u8][..], rest].concat()
}

/// Where a record with the body `B` stands. Its kind is `B`'s, so that no record is opened as
/// another kind.
pub(super) struct Address<B> {
    account: AccountId,
    key: Vec<u8>,
    body: PhantomData<fn() -> B>,
}

impl<B: Body> Address<B> {
    pub(super) fn new(account: AccountId, rest: &[u8]) -> Self {
        Self { account, key: engine_key(account, B::KIND, rest), body: PhantomData }
    }

    /// The engine key.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What every engine key of this account and kind begins with.
    pub(super) fn prefix(account: AccountId) -> Vec<u8> {
        engine_key(account, B::KIND, &[])
    }

    /// Context of the record's key and associated data of its cipher.
    fn context(&self, header: &Header, body_version: u8) -> Vec<u8> {
        list(&[
            label::RECORD,
            &[FORMAT],
            &[body_version],
            &Header::FORMAT.to_be_bytes(),
            &header.store_id.0,
            TABLE.as_bytes(),
            self.account.as_bytes(),
            &[B::KIND as u8],
            &self.key,
        ])
    }
}

impl Address<AccountKeyBody> {
    pub(super) fn account_key(account: AccountId) -> Self {
        Self::new(SYSTEM, account.as_bytes())
    }
}

impl Address<InstanceBody> {
    pub(super) fn instance() -> Self {
        Self::new(SYSTEM, &[])
    }
}

impl Address<OwnerBodyV1> {
    pub(super) fn owner_v1() -> Self {
        Self::new(SYSTEM, &[])
    }
}

impl Address<OwnerBody> {
    pub(super) fn owner() -> Self {
        Self::new(SYSTEM, &[])
    }
}

impl Address<ClockBody> {
    pub(super) fn clock() -> Self {
        Self::new(SYSTEM, &[])
    }
}

impl Address<AccountBody> {
    pub(super) fn account(account: AccountId) -> Self {
        Self::new(SYSTEM, account.as_bytes())
    }
}

impl Address<DeletionBody> {
    pub(super) fn deletion(account: AccountId) -> Self {
        Self::new(SYSTEM, account.as_bytes())
    }
}

impl Address<TokenBody> {
    pub(super) fn token(hash: &TokenHash) -> Self {
        Self::new(SYSTEM, &hash.0)
    }

    /// Where this engine key, from a scan, is one of a token.
    pub(super) fn token_at(key: &[u8]) -> Option<Self> {
        id_at_end(key).map(|hash| Self::token(&TokenHash(hash)))
    }
}

impl Address<StateBody> {
    pub(super) fn state(account: AccountId) -> Self {
        Self::new(account, &[])
    }
}

impl Address<StateBodyV1> {
    pub(super) fn state_v1(account: AccountId) -> Self {
        Self::new(account, &[])
    }
}

impl Address<KeyBody> {
    pub(super) fn api_key(account: AccountId, id: KeyId) -> Self {
        Self::new(account, id.as_bytes())
    }
}

impl Address<SecretBody> {
    pub(super) fn secret(account: AccountId, id: SecretId) -> Self {
        Self::new(account, id.as_bytes())
    }
}

impl Address<ValueBody> {
    pub(super) fn value(account: AccountId, id: SecretId, version: Version) -> Self {
        Self::new(account, &[id.as_bytes(), &version.0.to_be_bytes()[..]].concat())
    }
}

impl Address<NameBody> {
    pub(super) fn name(account: AccountId, hash: &[u8; 32]) -> Self {
        Self::new(account, hash)
    }
}

impl Address<NamesBody> {
    /// The record of names with this number.
    pub(super) fn names(account: AccountId, number: u64) -> Self {
        Self::new(account, &number.to_be_bytes())
    }
}

impl Address<AuditBody> {
    /// The record whose first event has this number.
    pub(super) fn audit(account: AccountId, first: u64) -> Self {
        Self::new(account, &first.to_be_bytes())
    }
}

impl Address<AuditStateBody> {
    pub(super) fn audit_state(account: AccountId) -> Self {
        Self::new(account, &[])
    }
}

impl Address<FunctionBody> {
    pub(super) fn function(account: AccountId, id: FunctionId) -> Self {
        Self::new(account, id.as_bytes())
    }
}

impl Address<CodeBody> {
    pub(super) fn code(account: AccountId, id: FunctionId) -> Self {
        Self::new(account, id.as_bytes())
    }
}

impl Address<FunctionNameBody> {
    pub(super) fn function_name(account: AccountId, hash: &[u8; 32]) -> Self {
        Self::new(account, hash)
    }
}

impl Address<ExecutionBody> {
    pub(super) fn execution(account: AccountId, of: FunctionId, id: ExecutionId) -> Self {
        Self::new(account, &[*of.as_bytes(), *id.as_bytes()].concat())
    }

    /// What every engine key of this function's executions begins with.
    pub(super) fn executions(account: AccountId, of: FunctionId) -> Vec<u8> {
        engine_key(account, Kind::Execution, of.as_bytes())
    }
}

impl Address<FunctionsStateBody> {
    pub(super) fn functions_state(account: AccountId) -> Self {
        Self::new(account, &[])
    }
}

/// The version that a record says its body has; it opens as that one only.
pub(super) fn body_version(record: &[u8]) -> Option<u8> {
    record.get(1).copied()
}

/// The id, or the number, that ends an engine key of a scanned kind.
pub(super) fn id_at_end<const N: usize>(key: &[u8]) -> Option<[u8; N]> {
    key.get(ID_BYTES + 1..)?.try_into().ok()
}

/// The execution that an engine key of its kind ends with.
pub(super) fn execution_at(key: &[u8]) -> Option<ExecutionId> {
    let (_, id) = key.get(ID_BYTES + 1..)?.split_at_checked(ID_BYTES)?;
    id.try_into().ok().map(ExecutionId::from_bytes)
}

/// Seals a body for its place. Every call draws a new salt, and so a new key.
pub(super) fn seal<B: Body>(
    header: &Header,
    root: &impl RecordRoot,
    address: &Address<B>,
    body: &B,
) -> Result<Vec<u8>, CryptoError> {
    let body_bytes = encoded_length(body);
    let padded = padded_length(content_length(address, body_bytes));
    if PREFIX_BYTES + padded + TAG_BYTES > RECORD_BYTES {
        return Err(CryptoError::Cipher);
    }
    // Plaintext is written where the ciphertext will stand; nothing is allocated in between.
    let mut record = Zeroizing::new(vec![0; PREFIX_BYTES + padded + TAG_BYTES]);
    let (prefix, rest) = record.split_at_mut(PREFIX_BYTES);
    let (plaintext, tag_bytes) = rest.split_at_mut(padded);
    let salt = random_array()?;
    prefix[..2].copy_from_slice(&[FORMAT, B::VERSION]);
    prefix[2..].copy_from_slice(&salt);
    write_plaintext(address, body, body_bytes, plaintext).ok_or(CryptoError::Cipher)?;
    let context = address.context(header, B::VERSION);
    let tag = root.record_key(&salt, &context).seal(&context, plaintext)?;
    tag_bytes.copy_from_slice(tag.as_ref());
    Ok(std::mem::take(&mut record))
}

/// Length of what [`seal`] makes of a body.
pub(super) fn sealed_length<B: Body>(address: &Address<B>, body: &B) -> usize {
    PREFIX_BYTES + padded_length(content_length(address, encoded_length(body))) + TAG_BYTES
}

/// Length of the plaintext without its padding.
fn content_length<B: Body>(address: &Address<B>, body_bytes: usize) -> usize {
    1 + address.key.len() + 4 + body_bytes
}

/// Writes a body of so many bytes with its address to the front of `plaintext`, which has room.
fn write_plaintext<B: Body>(
    address: &Address<B>,
    body: &B,
    body_bytes: usize,
    plaintext: &mut [u8],
) -> Option<()> {
    let mut unwritten = plaintext.get_mut(..content_length(address, body_bytes))?;
    let key_length = u8::try_from(address.key.len()).expect("engine keys have at most 55 bytes");
    let body_length = u32::try_from(body_bytes).ok()?;
    unwritten.write_all(&[key_length]).ok()?;
    unwritten.write_all(&address.key).ok()?;
    unwritten.write_all(&body_length.to_be_bytes()).ok()?;
    minicbor::encode(body, unwritten).ok()
}

/// Opens what stands at an address, where it lies. Everything else than what [`seal`] writes there is
/// damage.
pub(super) fn open<B: Body>(
    header: &Header,
    root: &impl RecordRoot,
    address: &Address<B>,
    record: Vec<u8>,
) -> Result<B, StoreFailure> {
    open_checked(header, root, address, record)
        .ok_or(StoreFailure::Damaged { kind: B::KIND.name() })
}

fn open_checked<B: Body>(
    header: &Header,
    root: &impl RecordRoot,
    address: &Address<B>,
    record: Vec<u8>,
) -> Option<B> {
    // From here on it may hold plaintext.
    let mut record = Zeroizing::new(record);
    if record.len() > RECORD_BYTES {
        return None;
    }
    let (prefix, sealed) = record.split_first_chunk_mut::<PREFIX_BYTES>()?;
    let (version, salt) = prefix.strip_prefix(&[FORMAT])?.split_first()?;
    if !(B::OLDEST..=B::VERSION).contains(version) {
        return None;
    }
    let (salt, context) = (salt.try_into().ok()?, address.context(header, *version));
    let plaintext = root.record_key(salt, &context).open(&context, sealed).ok()?;
    read_plaintext(address, plaintext)
}

/// The body in a plaintext, which must be this address' own.
fn read_plaintext<B: Body>(address: &Address<B>, plaintext: &[u8]) -> Option<B> {
    let (key_length, rest) = plaintext.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*key_length))?;
    let (body_length, rest) = rest.split_first_chunk()?;
    let body_length = usize::try_from(u32::from_be_bytes(*body_length)).ok()?;
    let (body, padding) = rest.split_at_checked(body_length)?;
    // All bytes together: a loop that ends at the first takes them one by one.
    let canonical = plaintext.len() == padded_length(plaintext.len() - padding.len())
        && padding.iter().fold(0, |all, byte| all | byte) == 0;
    // What opened is what was asked for.
    if key != address.key || !canonical {
        return None;
    }
    let decoded = minicbor::decode(body).ok()?;
    // CBOR has many forms of one content, and room for fields that nobody would miss.
    let mut unmatched = Matcher(body);
    minicbor::encode(&decoded, &mut unmatched).ok()?;
    unmatched.0.is_empty().then_some(decoded)
}

/// For [`crate::fuzzing`]: a plaintext read as the record with this body at the place with this
/// `rest`, and written again.
pub(super) fn rewritten<B: Body>(rest: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let address = Address::<B>::new(SYSTEM, rest);
    let body = read_plaintext(&address, plaintext)?;
    let body_bytes = encoded_length(&body);
    let mut written = vec![0; padded_length(content_length(&address, body_bytes))];
    write_plaintext(&address, &body, body_bytes, &mut written)?;
    Some(written)
}

/// For [`crate::fuzzing`]: whether a record opens as one with this body under a key that was never
/// used.
pub(super) fn opens_by_chance<B: Body>(rest: &[u8], record: &[u8]) -> bool {
    let (header, address) =
        (Header { store_id: StoreId([0; 16]) }, Address::<B>::new(SYSTEM, rest));
    AccountKey::random().is_ok_and(|key| open(&header, &key, &address, record.to_vec()).is_ok())
}

/// Padmé: of the length's low bits only log log n show; at most 12 % more.
pub(super) fn padded_length(length: usize) -> usize {
    let length = length.max(RECORD_PADDED_BYTES_MIN);
    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1_usize << (exponent - kept)) - 1;
    (length + mask) & !mask
}

/// Counts what an encoder writes.
struct Counter(usize);

impl Write for Counter {
    type Error = std::convert::Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Takes only the bytes that it holds, in their order.
struct Matcher<'a>(&'a [u8]);

impl Write for Matcher<'_> {
    type Error = DoesNotOpen;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), DoesNotOpen> {
        self.0 = self.0.strip_prefix(bytes).ok_or(DoesNotOpen)?;
        Ok(())
    }
}

pub(super) fn encoded_length(body: &impl Encode<()>) -> usize {
    let mut counter = Counter(0);
    // An encoder into a counter can't fail; a body that fails to encode fails again in `seal`.
    let _ = minicbor::encode(body, &mut counter);
    counter.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IdSequence, Quotas, SecretName};
    use crate::secret::KeyBytes;
    use data_encoding::HEXLOWER;

    #[test]
    fn padding_follows_padme() {
        // From the Padmé definition: the length's low (E - S) bits are zero.
        let expected = [(0, 256), (1, 256), (256, 256), (257, 272), (272, 272), (273, 288)];
        for (length, padded) in expected {
            assert_eq!(padded_length(length), padded, "{length}");
        }
        assert_eq!(padded_length(65_536), 65_536);
        assert_eq!(padded_length(65_537), 67_584);
        for length in 256..100_000 {
            let padded = padded_length(length);
            assert!(padded >= length && padded * 100 <= length * 112);
            assert_eq!(padded_length(padded), padded);
        }
    }

    /// Made from STORE.md by another program: Python with the `cryptography` package.
    #[test]
    fn the_vector_opens() {
        let hex = include_str!("../../vectors/record.hex").replace('\n', "");
        let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
        let header = Header { store_id: StoreId([7; 16]) };
        let account = AccountId::from_bytes([3; 18]);
        let key = AccountKey::from_record(KeyBytes::copied(&[2; 32]).unwrap());
        let name = SecretName::parse("database-url".to_owned()).unwrap();
        let hash = key.name_index_key(&header.store_id, account).hash(&name);
        let address = Address::name(account, &hash);
        let body = open(&header, &key, &address, bytes.clone()).unwrap();
        assert_eq!((body.name, body.secret), (name, SecretId::from_bytes([5; 18])));
        let elsewhere = Address::name(AccountId::from_bytes([4; 18]), &hash);
        let damaged = StoreFailure::Damaged { kind: "name" };
        assert_eq!(open(&header, &key, &elsewhere, bytes).err(), Some(damaged));
    }

    /// What was sealed before names shared records: the same fields but the last one, as version 2.
    #[test]
    fn a_state_of_the_version_before_opens() {
        let header = Header { store_id: StoreId([7; 16]) };
        let key = AccountKey::from_record(KeyBytes::copied(&[2; 32]).unwrap());
        let address = Address::state(AccountId::from_bytes([3; 18]));
        let body = StateBody { secrets: 5, ..StateBody::new(Quotas::default()) };
        let mut record = seal(&header, &key, &address, &body).unwrap();
        assert_eq!((record[1], body.names), (3, None));
        let salt = <[u8; 32]>::try_from(&record[2..34]).unwrap();
        let context = address.context(&header, 3);
        let mut plaintext = record[34..].to_vec();
        let length = key.record_key(&salt, &context).open(&context, &mut plaintext).unwrap().len();
        plaintext.truncate(length);
        let context = address.context(&header, 2);
        let tag = key.record_key(&salt, &context).seal(&context, &mut plaintext).unwrap();
        record[1] = 2;
        record.splice(34.., [&plaintext[..], tag.as_ref()].concat());
        let opened = open(&header, &key, &address, record).unwrap();
        assert_eq!((opened.secrets, opened.names), (5, None));
    }

    /// Whoever has the key seals as STORE.md says, or nothing opens: length, padding, echo, exact
    /// end.
    #[test]
    fn what_is_sealed_differently_does_not_open() {
        let header = Header { store_id: StoreId([7; 16]) };
        let account = AccountId::from_bytes([3; 18]);
        let key = AccountKey::from_record(KeyBytes::copied(&[2; 32]).unwrap());
        let address = Address::state(account);
        let body = |last_id| StateBody {
            last_id,
            secrets: 1,
            keys: 2,
            lasting_admins: 3,
            ..StateBody::new(Quotas { api_keys: Some(4), ..Quotas::default() })
        };
        let record = seal(&header, &key, &address, &body(IdSequence([9; 18]))).unwrap();
        let opened = open(&header, &key, &address, record.clone()).unwrap();
        assert_eq!((opened.secrets, opened.keys, opened.lasting_admins), (1, 2, 3));
        assert_eq!(opened.quotas, Quotas { api_keys: Some(4), ..Quotas::default() });
        let context = address.context(&header, StateBody::VERSION);
        let salt = <[u8; 32]>::try_from(&record[2..34]).unwrap();
        let resealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut plaintext = record[34..].to_vec();
            let length =
                key.record_key(&salt, &context).open(&context, &mut plaintext).unwrap().len();
            plaintext.truncate(length);
            change(&mut plaintext);
            let tag = key.record_key(&salt, &context).seal(&context, &mut plaintext).unwrap();
            let sealed = [&record[..34], &plaintext, tag.as_ref()].concat();
            open(&header, &key, &address, sealed).is_ok()
        };
        assert!(resealed(&|_| {}));
        assert!(!resealed(&|plaintext| *plaintext.last_mut().unwrap() = 1), "padding");
        assert!(!resealed(&|plaintext| plaintext.extend([0; 16])), "too much padding");
        assert!(!resealed(&|plaintext| plaintext.truncate(240)), "too little padding");
        assert!(!resealed(&|plaintext| plaintext[1] ^= 1), "another engine key");
        assert!(!resealed(&|plaintext| plaintext[0] -= 1), "a shorter engine key");
        let body_length = 1 + address.key.len() + 3;
        assert!(!resealed(&|plaintext| plaintext[body_length] += 1), "a byte after the CBOR");
        assert!(!resealed(&|plaintext| plaintext[body_length] -= 1), "a cut body");
        assert!(
            !resealed(&|plaintext| plaintext[body_length - 3] = 0xFF),
            "a length beyond the end"
        );
        assert!(!resealed(&|plaintext| plaintext[body_length + 1] = 0xFF), "not CBOR");
        // The body's last byte is the number 3, of field 3.
        let last = body_length + 27;
        let longer = |plaintext: &mut Vec<u8>, bytes: &[u8]| {
            plaintext[body_length] += u8::try_from(bytes.len()).unwrap();
            plaintext.splice(last + 1..last + 1 + bytes.len(), bytes.iter().copied());
        };
        assert!(
            !resealed(&|plaintext| {
                plaintext[last] = 0x18;
                longer(plaintext, &[3]);
            }),
            "a number that is longer than need be"
        );
        assert!(
            !resealed(&|plaintext| {
                plaintext[body_length + 1] += 1;
                longer(plaintext, &[4, 0]);
            }),
            "a field that there is not"
        );
        assert!(!resealed(&Vec::clear));
    }
}
