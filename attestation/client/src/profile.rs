//! Profiles: what a client must know about one instance, in one file.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::{ClaimPhase, StoreId};
use neo_secrets_attestation::explain::printable;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::limits;
use crate::url::InstanceUrl;

const VERSION: u8 = 1;

/// What a client must know about one instance to verify it: the file holds copies, so that it can
/// be handed on whole. It holds no key; `key_file` only says where one lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The instance's address.
    pub url: InstanceUrl,
    /// The exact text of reference.json.
    pub reference: String,
    /// The image builder's key: another reference.json must bear its signature.
    pub reference_key: Option<PublicKey>,
    /// The exact text of policy.json.
    pub policy: String,
    /// DER of the simulated root, where this instance runs on a simulated processor.
    pub simulated_root: Option<Vec<u8>>,
    /// The pin: the instance's Ed25519 key.
    pub instance_key: Option<PublicKey>,
    /// What the pinned instance's receipts are checked by, where its evidence was seen.
    pub receipts: Option<ReceiptTrust>,
    /// Where the API key lies; relative to the profile's folder in the file, joined with it here.
    pub key_file: Option<PathBuf>,
}

/// What the receipts of one instance are checked by. Both are made at the claim and last as long as
/// the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptTrust {
    /// The store that the receipts must be about.
    pub store_id: StoreId,
    /// The key that signs them.
    pub receipt_key: PublicKey,
}

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A name with other characters than letters, digits, `_`, `-` and `.`, or longer than 64.
    #[error(
        "expected a profile's name (1 to 64 letters, digits, `_`, `-`, `.`, no `.` first) or a \
         path with a `/`, got {name:?}"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Neither XDG_CONFIG_HOME nor HOME is set to an absolute path.
    #[error("a profile's name needs XDG_CONFIG_HOME or HOME: set one, or give a path with a `/`")]
    NoConfigFolder,
    /// Not the JSON of a profile.
    #[error("{} is not a profile: {}", path.display(), printable(&source.to_string()))]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser found, with line and column.
        source: serde_json::Error,
    },
    /// A field whose text does not parse.
    #[error("{} is not a profile: field {field}: {issue}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is expected.
        issue: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    version: u8,
    url: String,
    reference: String,
    reference_key: Option<String>,
    policy: String,
    simulated_root: Option<String>,
    instance_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<WireReceipts>,
    key_file: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireReceipts {
    store_id: String,
    receipt_key: String,
}

impl ReceiptTrust {
    /// What appraised evidence says; nothing where the instance does not serve, and so proves no
    /// key. It is about the caller's instance where the caller's pin was among what was appraised.
    pub fn of(appraised: &Appraised) -> Option<Self> {
        match appraised.claims().phase {
            ClaimPhase::Serving { store_id, receipt_key, .. } => {
                Some(Self { store_id, receipt_key })
            }
            ClaimPhase::Unclaimed | ClaimPhase::Sealed(_) => None,
        }
    }
}

impl Profile {
    /// Reads a profile.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        Self::parse(path, &files::read_bounded(path, limits::PROFILE_BYTES_MAX)?)
    }

    /// Parses the bytes of the file at `path`.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ProfileError> {
        let wire = serde_json::from_slice(bytes)
            .map_err(|source| ProfileError::Json { path: path.to_owned(), source })?;
        Self::from_wire(path, wire)
    }

    /// Replaces the profile's file as a whole, mode 0600.
    pub fn write(&self, path: &Path) -> Result<(), ProfileError> {
        Ok(files::replace(path, &self.to_json(path)?)?)
    }

    /// As `write`, but never over an existing file.
    pub fn create(&self, path: &Path) -> Result<(), ProfileError> {
        Ok(files::create(path, &self.to_json(path)?)?)
    }

    /// The bytes of the file at `path`: indented JSON and a newline.
    pub fn to_json(&self, path: &Path) -> Result<Vec<u8>, ProfileError> {
        let Self {
            url,
            reference,
            reference_key,
            policy,
            simulated_root,
            instance_key,
            receipts,
            key_file,
        } = self;
        let wire = Wire {
            version: VERSION,
            url: url.to_string(),
            reference: reference.clone(),
            reference_key: reference_key.map(|key| key.to_string()),
            policy: policy.clone(),
            simulated_root: simulated_root.as_ref().map(|der| BASE64.encode(der)),
            instance_key: instance_key.map(|key| key.to_string()),
            receipts: receipts.map(|ReceiptTrust { store_id, receipt_key }| WireReceipts {
                store_id: store_id.to_string(),
                receipt_key: receipt_key.to_string(),
            }),
            key_file: key_file.as_ref().map(|file| relative_to(folder_of(path), file)),
        };
        let failed = |source| ProfileError::Json { path: path.to_owned(), source };
        let mut text = serde_json::to_vec_pretty(&wire).map_err(failed)?;
        text.push(b'\n');
        Ok(text)
    }

    fn from_wire(path: &Path, wire: Wire) -> Result<Self, ProfileError> {
        let Wire { version, url, reference, policy, simulated_root, instance_key, .. } = wire;
        let Wire { reference_key, receipts, key_file, .. } = wire;
        let wrong = |field, issue: String| {
            let issue = printable(&issue);
            ProfileError::Field { path: path.to_owned(), field, issue }
        };
        if version != VERSION {
            let issue = format!("expected {VERSION}, got {version}; a newer neo-secrets wrote it");
            return Err(wrong("version", issue));
        }
        let url = url.parse().map_err(|error| wrong("url", format!("{error}")))?;
        let simulated_root = simulated_root
            .map(|text| BASE64.decode(text.as_bytes()))
            .transpose()
            .map_err(|error| wrong("simulatedRoot", format!("expected base64: {error}")))?;
        let key = |field, text: Option<String>| {
            text.map(|text| text.parse::<PublicKey>())
                .transpose()
                .map_err(|error| wrong(field, format!("{error}")))
        };
        let reference_key = key("referenceKey", reference_key)?;
        let instance_key = key("instanceKey", instance_key)?;
        let receipts = match receipts {
            None => None,
            Some(WireReceipts { store_id, receipt_key }) => Some(ReceiptTrust {
                store_id: store_id
                    .parse()
                    .map_err(|error| wrong("receipts.storeId", format!("{error}")))?,
                receipt_key: receipt_key
                    .parse()
                    .map_err(|error| wrong("receipts.receiptKey", format!("{error}")))?,
            }),
        };
        if receipts.is_some() && instance_key.is_none() {
            let issue = "expected an instanceKey beside it".to_owned();
            return Err(wrong("receipts", issue));
        }
        let key_file = key_file.map(|file| folder_of(path).join(file));
        Ok(Self {
            url,
            reference,
            reference_key,
            policy,
            simulated_root,
            instance_key,
            receipts,
            key_file,
        })
    }
}

/// The file of a profile: a path where `argument` has a `/`, else `NAME.json` in the profiles'
/// folder.
pub fn path_of(argument: &OsStr, config_folder: Option<&Path>) -> Result<PathBuf, ProfileError> {
    if argument.as_encoded_bytes().contains(&b'/') {
        return Ok(PathBuf::from(argument));
    }
    let name = argument.to_str().filter(|name| is_name(name));
    let name = name.ok_or_else(|| ProfileError::Name { name: argument.display().to_string() })?;
    let folder = config_folder.ok_or(ProfileError::NoConfigFolder)?;
    Ok(folder.join("profiles").join(format!("{name}.json")))
}

/// Whether a profile can have this name. Such a name is a file's, and leads to no other folder.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=64).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(fits)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A file in (or below) the profile's own folder is named relative to it, so that the folder can be
/// moved.
fn relative_to(folder: &Path, file: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (file, folder) = (absolute(file), absolute(folder.join(".").as_path()));
    file.strip_prefix(&folder).map(Path::to_owned).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::tests::Folder;

    fn example(key_file: Option<PathBuf>) -> Profile {
        Profile {
            url: "https://localhost:8443".parse().unwrap(),
            reference: "{\"a\": 1}\n".to_owned(),
            reference_key: Some(PublicKey([9; 32])),
            policy: "{}".to_owned(),
            simulated_root: Some(vec![0x30, 0x82]),
            instance_key: Some(PublicKey([7; 32])),
            receipts: Some(ReceiptTrust {
                store_id: StoreId([5; 16]),
                receipt_key: PublicKey([8; 32]),
            }),
            key_file,
        }
    }

    #[test]
    fn a_profile_reads_back_and_moves_with_its_folder() {
        let (folder, other) = (Folder::new(), Folder::new());
        let (path, moved) = (folder.join("p.json"), other.join("p.json"));
        let profile = example(Some(folder.join("admin.key")));
        profile.write(&path).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), profile);
        assert_eq!(files::mode_open_to_others(&path), None);
        fs::rename(&path, &moved).unwrap();
        let read = Profile::read(&moved).unwrap();
        assert_eq!(read.key_file, Some(other.join("admin.key")));
        let elsewhere = example(Some(PathBuf::from("/run/keys/admin.key")));
        elsewhere.write(&path).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), elsewhere);
    }

    #[test]
    fn a_damaged_profile_is_refused_with_its_field() {
        let folder = Folder::new();
        let path = folder.join("p.json");
        example(None).write(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(good.contains(from), "{good}");
            fs::write(&path, good.replace(from, to)).unwrap();
            Profile::read(&path).unwrap_err()
        };
        for (from, to, expected) in [
            ("https://", "http://", "url"),
            ("\"version\": 1", "\"version\": 2", "version"),
            ("\"MII=\"", "\"MII\"", "simulatedRoot"),
            ("\"BwcH", "\"!wcH", "instanceKey"),
            ("\"CAgI", "\"!AgI", "receipts.receiptKey"),
            ("\"0505", "\"050", "receipts.storeId"),
            ("\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\"", "null", "receipts"),
        ] {
            let error = refused(from, to);
            assert!(
                matches!(error, ProfileError::Field { field, .. } if field == expected),
                "{error}"
            );
        }
        assert!(matches!(refused("\"policy\"", "\"polizy\""), ProfileError::Json { .. }));
        assert!(matches!(refused("\"policy\"", "\"url\""), ProfileError::Json { .. }));
        let told = refused("\"policy\"", "\"\\u001b[2J\\n\"").to_string();
        assert!(told.contains("unknown field `\u{fffd}[2J\u{fffd}`"), "{told}");
        let absent = Profile::read(&folder.join("absent.json"));
        assert!(matches!(absent, Err(ProfileError::File(FileError::Io { .. }))));
    }

    #[test]
    fn a_name_lies_in_the_profiles_folder_and_a_path_anywhere() {
        let folder = Some(Path::new("/c/neo-secrets"));
        let of = |text: &str, folder| path_of(OsStr::new(text), folder);
        assert_eq!(of("prod", folder).unwrap(), Path::new("/c/neo-secrets/profiles/prod.json"));
        assert_eq!(of("./p.json", None).unwrap(), Path::new("./p.json"));
        assert!(matches!(of("prod", None), Err(ProfileError::NoConfigFolder)));
        for name in ["", ".", "..", ".x", "a b", "ä", &"a".repeat(65)] {
            assert!(matches!(of(name, folder), Err(ProfileError::Name { .. })), "{name}");
        }
    }
}
