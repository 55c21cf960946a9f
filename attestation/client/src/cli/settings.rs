//! What is known before anything is sent: flags, environment, profile.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use neo_secrets_attestation::appraise::Appraised;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::ClaimPhase;
use neo_secrets_attestation::exchange::Trust;
use neo_secrets_attestation::policy::AnyOf;
use neo_secrets_attestation::reference::{Covers, signed_message};
use neo_secrets_attestation::roots::{Provenance, Roots};
use neo_secrets_attestation::time::UnixTime;
use openssl::x509::X509;

use crate::cli::args::Global;
use crate::cli::environment::Environment;
use crate::cli::outcome::Failure;
use crate::cli::shell;
use crate::cli::terminal;
use crate::cli::trust::{Origins, trust};
use crate::client::AttestedClient;
use crate::connection::FirmwareOnly;
use crate::files::{self, FileError};
use crate::limits;
use crate::profile::{self, Profile, ProfileError, ReceiptTrust};
use crate::proxy::{NoConnection, Proxy};
use crate::url::InstanceUrl;

/// What is known before anything is sent: a flag goes before the environment, and that before the
/// profile.
pub(crate) struct Settings {
    pub(crate) url: InstanceUrl,
    reference: String,
    reference_key: Option<PublicKey>,
    policy: String,
    simulated_root: Option<Vec<u8>>,
    pub(crate) pin: Option<PublicKey>,
    pin_first_use: bool,
    firmware_only: FirmwareOnly,
    pub(crate) key_file: Option<PathBuf>,
    /// Whether it is the environment that names the key file.
    key_file_by_variable: bool,
    /// The profile's file, and what it holds where it exists.
    pub(crate) profile: Option<(PathBuf, Option<Profile>)>,
    /// How a command with the same settings begins.
    pub(crate) program: String,
    /// The same, once the profile has them.
    pub(crate) program_with_profile: String,
    pub(crate) trust: Trust,
}

/// What a failure should say beside what failed: the settings behind it.
pub(crate) struct Background {
    program: String,
    simulated: bool,
    /// The profile that the pin stands in.
    pinned_by: Option<String>,
}

impl Background {
    pub(crate) fn complete(self, failure: Failure) -> Failure {
        let Self { program, simulated, pinned_by } = self;
        let failure = failure.with_program(&program).simulated(simulated);
        match pinned_by {
            Some(path) if failure.by_pin => failure.detail(format!("the pin stands in {path}")),
            _ => failure,
        }
    }
}

/// Which profile a command takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProfileUse {
    /// One that exists.
    Read,
    /// One that exists, or one that will be written.
    Write,
}

impl Settings {
    /// Puts the settings together. `url` is the command's own argument.
    pub(crate) fn resolve(
        global: &Global,
        url: Option<&str>,
        environment: &Environment,
        profile_use: ProfileUse,
    ) -> Result<Self, Failure> {
        let named = url;
        let url = given_url(global, url, environment)?;
        let profile = find_profile(global, url.as_ref(), environment, profile_use)?;
        let found = profile.as_ref().and_then(|(_, profile)| profile.as_ref());
        let url = url.or_else(|| found.map(|profile| profile.url.clone()));
        let url = url.ok_or_else(no_instance)?;
        let embedded = |text: fn(&Profile) -> &String| found.map(text).cloned();
        let reference =
            text_of(&global.reference, embedded(|profile| &profile.reference), REFERENCE)?;
        let reference_key =
            global.reference_key.or_else(|| found.and_then(|profile| profile.reference_key));
        check_signature(global, reference_key, &reference)?;
        let policy = text_of(&global.policy, embedded(|profile| &profile.policy), POLICY)?;
        let simulated_root = match &global.trust_simulated {
            Some(path) => Some(read_root(path)?),
            None => found.and_then(|profile| profile.simulated_root.clone()),
        };
        let pin = global.pin.or_else(|| found.and_then(|profile| profile.instance_key));
        let key_file = global.key_file.clone().or_else(|| environment.key_file.clone());
        let key_file_by_variable = global.key_file.is_none() && key_file.is_some();
        let key_file = key_file.or_else(|| found.and_then(|profile| profile.key_file.clone()));
        let origins = Origins::new(global, profile.as_ref().map(|(path, _)| path.as_path()));
        let trust = trust(&reference, &policy, simulated_root.as_deref(), pin, &origins)?;
        let firmware_only =
            if global.accept_firmware_only { FirmwareOnly::Accept } else { FirmwareOnly::Refuse };
        let pin_first_use = global.pin_first_use;
        Ok(Self {
            url,
            reference,
            reference_key,
            policy,
            simulated_root,
            pin,
            pin_first_use,
            firmware_only,
            key_file,
            key_file_by_variable,
            profile,
            program: shell::program(global, named),
            program_with_profile: shell::with_profile(global),
            trust,
        })
    }

    pub(crate) fn is_simulated(&self) -> bool {
        self.trust.roots.provenance() == Provenance::Simulated
    }

    pub(crate) fn background(&self, global: &Global) -> Background {
        let pinned = |(path, profile): &(PathBuf, Option<Profile>)| {
            profile.as_ref()?.instance_key.map(|_| path.display().to_string())
        };
        let pinned_by = self.profile.as_ref().and_then(pinned).filter(|_| global.pin.is_none());
        let program = self.program.clone();
        Background { program, simulated: self.is_simulated(), pinned_by }
    }

    /// The file with the owner's key: the one that was named, or else the one that the claim left
    /// beside the profile's admin key.
    pub(crate) fn owner_key_file(&self) -> Option<PathBuf> {
        let found = self.profile.as_ref().and_then(|(_, profile)| profile.as_ref());
        let kept = found.and_then(|profile| profile.key_file.as_ref());
        if self.key_file.as_ref() != kept {
            return self.key_file.clone();
        }
        let beside = kept.map(|file| file.with_file_name("owner.key"));
        beside.filter(|file| file.exists()).or_else(|| self.key_file.clone())
    }

    /// Says of a key file that can't be read who has named it.
    pub(crate) fn about_key_file(&self, file: &Path, failure: Failure) -> Failure {
        let by_variable = self.key_file_by_variable && self.key_file.as_deref() == Some(file);
        match by_variable {
            true => failure.detail("NEO_SECRETS_KEY_FILE names it".to_owned()),
            false => failure,
        }
    }

    pub(crate) fn pins_first_use(&self) -> bool {
        self.pin_first_use
    }

    /// The profile that a claim writes: not one that is about another instance.
    pub(crate) fn profile_to_claim(&self) -> Result<PathBuf, Failure> {
        let (path, profile) = self.profile.as_ref().ok_or_else(|| {
            Failure::usage("a claim keeps the instance's pin in a profile")
                .advice("type --profile NAME or --profile ./FILE.json, or set HOME")
        })?;
        match profile {
            Some(profile) if profile.instance_key.is_some() && profile.url != self.url => {
                Err(self.is_about_another(path, profile))
            }
            _ => Ok(path.clone()),
        }
    }

    /// Fails where saving would give a profile, and its key file, to another instance than it was
    /// about. The same instance, told by its pin, may have moved.
    pub(crate) fn check_profile_to_save(&self) -> Result<(), Failure> {
        match &self.profile {
            Some((path, Some(profile)))
                if profile.url != self.url
                    && (self.pin.is_none() || profile.instance_key != self.pin) =>
            {
                Err(self.is_about_another(path, profile))
            }
            _ => Ok(()),
        }
    }

    fn is_about_another(&self, path: &Path, profile: &Profile) -> Failure {
        let (path, other) = (path.display(), &profile.url);
        Failure::usage(format!("the profile {path} is about {other}, not {}", self.url))
            .advice("name another with --profile NAME")
    }

    /// A client that verifies against these settings; not connected yet.
    pub(crate) fn client(&self) -> Result<AttestedClient, Failure> {
        AttestedClient::new(self.url.clone(), self.trust.clone(), self.firmware_only, system_time)
            .map_err(Failure::error)
    }

    /// A proxy that has verified a connection against these settings.
    pub(crate) async fn proxy(&self) -> Result<Proxy, NoConnection> {
        Proxy::connect(self.url.clone(), self.trust.clone(), self.firmware_only, system_time).await
    }

    /// A profile of these settings with this pin, what its receipts are checked by, and this key
    /// file.
    pub(crate) fn to_profile(
        &self,
        instance_key: Option<PublicKey>,
        receipts: Option<ReceiptTrust>,
        key_file: Option<PathBuf>,
    ) -> Profile {
        Profile {
            url: self.url.clone(),
            reference: self.reference.clone(),
            reference_key: self.reference_key,
            policy: self.policy.clone(),
            simulated_root: self.simulated_root.clone(),
            instance_key,
            receipts,
            key_file: key_file.or_else(|| self.key_file.clone()),
        }
    }

    /// What the profile in use keeps to check receipts by, where it is about the instance that is
    /// pinned.
    pub(crate) fn kept_receipts(&self) -> Option<ReceiptTrust> {
        let (_, profile) = self.profile.as_ref()?;
        let profile = profile.as_ref()?;
        profile.receipts.filter(|_| profile.instance_key == self.pin)
    }

    /// Whether the user has said which instance a key or a value may go to.
    pub(crate) fn check_instance_is_named(&self) -> Result<(), Failure> {
        let listed = matches!(self.trust.policy.instance_keys, AnyOf::Listed(_));
        if self.pin.is_some() || self.pin_first_use || listed {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "no instance key is pinned for {}: genuine evidence alone does not tell your instance \
             from somebody else's of the same image, so no key and no value is sent",
            self.url
        ))
        .advice(
            "use the profile that the instance's owner gave you (--profile), type --pin BASE64 \
             with the key that the owner told you (`neo-secrets verify` shows the one you meet), \
             or type --pin-first-use",
        ))
    }

    /// Keeps the pin of a first use in the profile, where there is one without a pin.
    pub(crate) fn keep_pin(&self, appraised: &Appraised) -> Result<(), Failure> {
        let ClaimPhase::Serving { instance_key, .. } = appraised.claims().phase else {
            return Ok(()); // It proves no key.
        };
        let receipts = receipts_to_keep(appraised);
        match &self.profile {
            Some((path, Some(profile)))
                if profile.instance_key.is_none() && profile.url == self.url =>
            {
                let pinned =
                    Profile { instance_key: Some(instance_key), receipts, ..profile.clone() };
                pinned.write(path).map_err(Failure::error)?;
                terminal::note(&format!("pinned {instance_key} in {}", path.display()));
            }
            _ => terminal::note(&format!(
                "note: trusting instance {instance_key} this once; keep it with --pin \
                 {instance_key}, or in a profile (neo-secrets --profile NAME verify --save-profile)"
            )),
        }
        Ok(())
    }
}

/// What a profile keeps of evidence to check receipts by later, without evidence: only what
/// evidence that covers the image has shown, since nobody says FIRMWARE ONLY then.
pub(crate) fn receipts_to_keep(appraised: &Appraised) -> Option<ReceiptTrust> {
    match appraised.covers() {
        Covers::Image => ReceiptTrust::of(appraised),
        Covers::Firmware => None,
    }
}

/// The system's clock. A time that is none (before 1970) makes every certificate not yet valid.
pub(crate) fn system_time() -> UnixTime {
    let epoch = || UnixTime::from_seconds(0).expect("the epoch is a time");
    UnixTime::try_from(SystemTime::now()).unwrap_or_else(|_| epoch())
}

const REFERENCE: (&str, &str) = (
    "--reference",
    "reference.json comes with the image: whoever built the image has it, and `scripts/run` leaves \
     one in DIR/client/reference.json",
);
const POLICY: (&str, &str) = (
    "--policy",
    "policy.json is yours: SPEC.md section 8 describes it, and `scripts/run` leaves one in \
     DIR/client/policy.json",
);

fn text_of(
    path: &Option<PathBuf>,
    embedded: Option<String>,
    (option, origin): (&str, &str),
) -> Result<String, Failure> {
    let Some(path) = path else {
        let missing = format!("no {option} FILE is given, and no profile in use has one");
        return embedded.ok_or_else(|| Failure::usage(missing).advice(origin));
    };
    let bytes = files::read_bounded(path, limits::INPUT_FILE_BYTES_MAX).map_err(Failure::error)?;
    String::from_utf8(bytes.to_vec())
        .map_err(|error| Failure::error(format!("{option} {}: {error}", path.display())))
}

/// A reference.json that replaces the profile's, or that there is no profile for, bears the
/// signature of the key that is pinned for it. The profile's own copy was checked when it was made.
fn check_signature(
    global: &Global,
    key: Option<PublicKey>,
    reference: &str,
) -> Result<(), Failure> {
    let (path, key) = match (&global.reference, key) {
        (Some(path), Some(key)) => (path, key),
        (None, _) if global.reference_key.is_some() => {
            return Err(Failure::usage("--reference-key is about a file: add --reference FILE"));
        }
        _ => return Ok(()),
    };
    let mut file = path.clone().into_os_string();
    file.push(".sig");
    let file = PathBuf::from(file);
    let text = files::read_bounded(&file, limits::SIGNATURE_FILE_BYTES_MAX)
        .map_err(Failure::error)
        .map_err(|failure| failure.advice(UNSIGNED))?;
    let signature = std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().parse().ok());
    let signature: Signature = signature.ok_or_else(|| {
        Failure::error(format!("{}: expected padded base64 of 64 bytes", file.display()))
    })?;
    key.verify(&signed_message(reference.as_bytes()), &signature).map_err(|_| {
        let message = format!(
            "{} is not a signature of the reference key {key} over {}",
            file.display(),
            path.display()
        );
        Failure::error(message).advice(UNSIGNED)
    })
}

const UNSIGNED: &str = "take reference.json and reference.json.sig from whoever built the image, and the key from where \
     you trust them; the key stands in the profile as referenceKey, or is typed as --reference-key";

fn given_url(
    global: &Global,
    argument: Option<&str>,
    environment: &Environment,
) -> Result<Option<InstanceUrl>, Failure> {
    let parse = |text: &str| {
        text.parse::<InstanceUrl>()
            .map_err(|error| Failure::usage(format!("URL {text:?}: {error}")))
    };
    let argument = argument.map(parse).transpose()?;
    let flag = global.url.as_deref().map(parse).transpose()?;
    match (argument, flag, &environment.url) {
        (Some(argument), Some(flag), _) if argument != flag => {
            Err(Failure::usage(format!("two instances are named: {argument} and --url {flag}")))
        }
        (Some(url), _, _) | (None, Some(url), _) => Ok(Some(url)),
        (None, None, Some(text)) => parse(&text.to_string_lossy()).map(Some),
        (None, None, None) => Ok(None),
    }
}

/// The instance alone, for commands that trust nobody.
pub(crate) fn instance(global: &Global, environment: &Environment) -> Result<InstanceUrl, Failure> {
    if let Some(url) = given_url(global, None, environment)? {
        return Ok(url);
    }
    let profile = find_profile(global, None, environment, ProfileUse::Read)?;
    let found = profile.and_then(|(_, profile)| profile);
    found.map(|profile| profile.url).ok_or_else(no_instance)
}

fn no_instance() -> Failure {
    Failure::usage("no instance is named").advice(
        "a profile has it: `neo-secrets profile import FILE` takes one over, `neo-secrets profile \
         list` shows yours, --profile NAME takes one. Or type --url https://host:port, or set \
         NEO_SECRETS_URL",
    )
}

/// The profile that is named; or else `default`, where it exists and is not about another instance.
fn find_profile(
    global: &Global,
    url: Option<&InstanceUrl>,
    environment: &Environment,
    profile_use: ProfileUse,
) -> Result<Option<(PathBuf, Option<Profile>)>, Failure> {
    let named = global.profile.as_deref().or(environment.profile.as_deref());
    let folder = environment.config_folder.as_deref();
    if named.is_none() && folder.is_none() {
        return Ok(None);
    }
    let path = profile::path_of(named.unwrap_or(OsStr::new("default")), folder);
    let path = path.map_err(|error| Failure::usage(error.to_string()))?;
    let profile = match Profile::read(&path) {
        Ok(profile) => Some(profile),
        Err(error) if !is_absent(&error) => return Err(Failure::error(error)),
        Err(_) if named.is_some() && profile_use == ProfileUse::Read => {
            let message = format!("there is no profile at {}", path.display());
            return Err(Failure::usage(message).advice(match named.and_then(file_here) {
                Some(file) => format!("the file in this folder is meant by --profile ./{file}"),
                None => "`claim` writes one; so do `profile import FILE`, and `verify \
                         --save-profile` with --url, --reference and --policy"
                    .to_owned(),
            }));
        }
        Err(_) => None,
    };
    if profile.is_some() {
        warn_where_others_write(&path);
    }
    match (&profile, url) {
        (None, _) if named.is_none() && profile_use == ProfileUse::Read => Ok(None),
        (Some(profile), Some(url))
            if named.is_none() && profile.url != *url && profile_use == ProfileUse::Read =>
        {
            Ok(None)
        }
        _ => Ok(Some((path, profile))),
    }
}

/// A name that was typed, where it is also that of a file in this folder.
fn file_here(name: &OsStr) -> Option<&str> {
    name.to_str().filter(|name| !name.contains('/') && Path::new(name).is_file())
}

fn is_absent(error: &ProfileError) -> bool {
    match error {
        ProfileError::File(FileError::Io { source, .. }) => {
            source.kind() == io::ErrorKind::NotFound
        }
        _ => false,
    }
}

fn warn_where_others_write(path: &Path) {
    if let Some(mode) = files::mode_open_to_others(path).filter(|mode| mode & 0o022 != 0) {
        terminal::warn(&format!(
            "warning: {} has mode {mode:04o}: others can change what you trust; chmod 600 it",
            path.display()
        ));
    }
}

fn read_root(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read_bounded(path, limits::INPUT_FILE_BYTES_MAX).map_err(Failure::error)?;
    if bytes.starts_with(b"-----BEGIN") {
        let named = |error| Failure::error(format!("{}: {error}", path.display()));
        return X509::from_pem(&bytes).and_then(|root| root.to_der()).map_err(named);
    }
    Ok(bytes.to_vec())
}

/// The roots for a simulated one in a file.
pub(crate) fn simulated_roots(path: &Path) -> Result<Roots, Failure> {
    Roots::simulated(&read_root(path)?)
        .map_err(|error| Failure::error(format!("--trust-simulated {}: {error}", path.display())))
}
