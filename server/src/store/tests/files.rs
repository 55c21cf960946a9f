//! Stores on real files.

use super::super::engine::{Changes, Commit, Engine};
use super::super::record::{header_key, slots_key};
use super::super::room;
use super::executions::failed;
use super::functions::new_function;
use super::*;
use neo_secrets_attestation::tcb::Tcb;
use redb::backends::FileBackend;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

struct Folder {
    folder: TempDir,
    chip: Chip,
    runtime: Runtime,
}

impl Folder {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), chip: Chip::new(1), runtime }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.redb")
    }

    fn create(&self) -> Result<(Store, ClaimAnswer), CreateError> {
        let sealer = self.chip.sealer();
        let account_name = label("the-first-account");
        let founding = Founding {
            owner: OWNER,
            config: config(),
            account_name,
            sealer: &sealer,
            clock: clock(),
        };
        Store::create(&Place::File(self.path()), founding, LIMITS)
    }

    fn closed(&self) -> ClosedStore {
        match Store::open(&Place::File(self.path())) {
            Ok(Found::Closed(closed)) => closed,
            Ok(Found::Nothing) => panic!("there is no store"),
            Err(error) => panic!("{error}"),
        }
    }

    fn unseal(&self, chip: &Chip) -> Result<Unsealed, Box<StillSealed<Infallible>>> {
        self.closed().unseal(
            &chip.boot(),
            |request| chip.derive(request),
            LIMITS,
            &config(),
            &clock(),
        )
    }

    fn open_error(&self) -> OpenError {
        Store::open(&Place::File(self.path())).err().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn caller(&self, store: &Store, token: &Token) -> Caller {
        self.runtime.block_on(store.authenticate(token, at(1))).unwrap()
    }
}

#[test]
fn a_store_appears_whole_in_its_place() {
    let folder = Folder::new();
    assert!(matches!(Store::open(&Place::File(folder.path())), Ok(Found::Nothing)));
    assert!(folder.names().is_empty(), "looking writes nothing");
    fs::write(folder.folder.path().join("store.redb.new-0badcafe"), b"of a killed claim").unwrap();
    assert!(matches!(Store::open(&Place::File(folder.path())), Ok(Found::Nothing)));
    let (store, claim) = folder.create().unwrap();
    assert_eq!(folder.names(), ["store.redb"]);
    let mode = fs::metadata(folder.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(store.store_id(), claim.store_id);
    assert_eq!(store.instance_keys().instance, claim.instance_key);
    assert_eq!(claim.account_name.as_str(), "the-first-account");
    // While it is open, nobody else gets it; nothing ever replaces it.
    assert!(matches!(folder.open_error(), OpenError::Locked));
    assert!(matches!(folder.create(), Err(CreateError::Exists)));
    drop(store);
    let before = fs::read(folder.path()).unwrap();
    assert!(matches!(folder.create(), Err(CreateError::Exists)));
    assert_eq!(fs::read(folder.path()).unwrap(), before);
    let Unsealed { store, rewrap, .. } = folder.unseal(&folder.chip).ok().unwrap();
    let store = store.opened();
    assert!(matches!(rewrap, Rewrap::NotNeeded));
    assert_eq!(store.store_id(), claim.store_id);
    assert_eq!(store.instance_keys().instance, claim.instance_key);
    assert!(matches!(folder.caller(&store, &claim.owner_token), Caller::Owner(_)));
    let admin = folder.caller(&store, &claim.admin_token);
    assert_eq!(admin.account_id(), Some(claim.account));
    assert_eq!(folder.names(), ["store.redb"]);
}

#[test]
fn only_what_a_claim_left_is_removed() {
    let folder = Folder::new();
    let others = [
        "store.redb.new-backup00",
        "store.redb.new-0badcafe0",
        "store.redb.old",
        "other.new-0badcafe",
    ];
    for other in others {
        fs::write(folder.folder.path().join(other), b"not ours").unwrap();
    }
    // A leftover is a link to something else: the link goes, what it leads to stays.
    let link = folder.folder.path().join("store.redb.new-deadbeef");
    std::os::unix::fs::symlink(folder.folder.path().join("store.redb.old"), link).unwrap();
    folder.create().unwrap();
    let mut names = folder.names();
    names.sort();
    let mut expected: Vec<_> = others.into_iter().chain(["store.redb"]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn nothing_at_the_place_is_followed_or_overwritten() {
    use std::os::unix::fs::symlink;
    let folder = Folder::new();
    let elsewhere = folder.folder.path().join("elsewhere");
    symlink(&elsewhere, folder.path()).unwrap();
    // A dangling link: there is no store, and none is made through it.
    assert!(matches!(Store::open(&Place::File(folder.path())), Ok(Found::Nothing)));
    assert!(matches!(folder.create(), Err(CreateError::Exists)));
    assert!(!elsewhere.exists());
    fs::write(&elsewhere, b"").unwrap();
    assert!(matches!(folder.open_error(), OpenError::Foreign));
    assert_eq!(fs::read(&elsewhere).unwrap(), b"");
    fs::remove_file(folder.path()).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.path(), fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(folder.open_error(), OpenError::Foreign));
    assert!(matches!(folder.create(), Err(CreateError::Exists)));
    fs::remove_file(folder.path()).unwrap();
    // Sparse and huge: named, without reading what is not there.
    let sparse = fs::File::create(folder.path()).unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(matches!(folder.open_error(), OpenError::Foreign));
}

#[test]
fn of_claims_at_once_one_wins() {
    for _ in 0..10 {
        let folder = Folder::new();
        let (path, sealers) =
            (Place::File(folder.path()), [folder.chip.sealer(), folder.chip.sealer()]);
        let outcomes = std::thread::scope(|scope| {
            let start = |sealer| {
                let path = &path;
                scope.spawn(move || {
                    let account_name = label("a");
                    let founding = Founding {
                        owner: OWNER,
                        config: config(),
                        account_name,
                        sealer,
                        clock: clock(),
                    };
                    Store::create(path, founding, LIMITS).map(|(_, answer)| answer.store_id)
                })
            };
            let claims = sealers.each_ref().map(start);
            claims.map(|claim| claim.join().unwrap())
        });
        let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        assert!(won.len() <= 1, "two stores in one place");
        let Some(id) = won.first() else { continue };
        assert_eq!(folder.names(), ["store.redb"]);
        assert_eq!(folder.unseal(&folder.chip).ok().unwrap().store.opened().store_id(), **id);
    }
}

#[test]
fn two_claims_share_no_key() {
    let (one, two) = (Folder::new(), Folder::new());
    let ((one_store, one_claim), (two_store, two_claim)) =
        (one.create().unwrap(), two.create().unwrap());
    assert_ne!(one_claim.store_id, two_claim.store_id);
    let (one_keys, two_keys) = (one_store.instance_keys(), two_store.instance_keys());
    let all = [
        one_keys.instance,
        one_keys.log,
        one_keys.receipt,
        two_keys.instance,
        two_keys.log,
        two_keys.receipt,
    ];
    assert!((1..all.len()).all(|last| !all[..last].contains(&all[last])));
    assert_ne!(one_claim.admin_token.to_text(), two_claim.admin_token.to_text());
    assert_ne!(one_claim.owner_token.to_text(), one_claim.admin_token.to_text());
    let unknown = one.runtime.block_on(one_store.authenticate(&two_claim.admin_token, at(0)));
    assert_eq!(unknown.unwrap_err(), AuthError::Unauthorized);
}

#[test]
fn what_is_not_a_store_is_named() {
    let folder = Folder::new();
    for foreign in [&b""[..], b"x", &[0x5A; 100_000]] {
        fs::write(folder.path(), foreign).unwrap();
        assert!(matches!(folder.open_error(), OpenError::Foreign));
        assert_eq!(fs::read(folder.path()).unwrap(), foreign);
        assert!(matches!(folder.create(), Err(CreateError::Exists)));
    }
    fs::remove_file(folder.path()).unwrap();
    let database = redb::Database::create(folder.path()).unwrap();
    drop(database);
    assert!(matches!(folder.open_error(), OpenError::Foreign));
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    assert!(Store::open(&Place::File(folder.path())).is_err());
    assert!(matches!(folder.create(), Err(CreateError::Exists)));
}

/// Writes records past the store.
fn tamper(folder: &Folder, changes: Changes) {
    let file = fs::OpenOptions::new().read(true).write(true).open(folder.path()).unwrap();
    let space = room::of_file(&file).unwrap();
    let engine = Engine::open(FileBackend::new(file).unwrap(), space).unwrap();
    engine.write(|batch| Ok((batch.apply(&changes)?, Commit::Yes))).unwrap();
}

#[test]
fn other_formats_are_refused_by_number() {
    let folder = Folder::new();
    let (store, claim) = folder.create().unwrap();
    drop(store);
    let with_header = |bytes: &[u8]| {
        let mut changes = Changes::default();
        changes.put(header_key(), bytes.to_vec());
        tamper(&folder, changes);
    };
    let header = Header { store_id: claim.store_id }.to_bytes();
    let mut newer = header;
    newer[13] = 2;
    with_header(&newer);
    assert!(matches!(folder.open_error(), OpenError::NewerFormat { found: 2, known: 1 }));
    with_header(&header[..20]);
    assert!(matches!(folder.open_error(), OpenError::Damaged(_)));
    // A header with another store's id opens no slot.
    with_header(&Header { store_id: StoreId([1; 16]) }.to_bytes());
    let still = folder.unseal(&folder.chip).err().unwrap();
    assert!(matches!(still.error, UnsealError::Key { .. }));
    drop(still);
    with_header(&header);
    let mut changes = Changes::default();
    changes.remove(slots_key());
    tamper(&folder, changes);
    let still = folder.unseal(&folder.chip).err().unwrap();
    assert!(matches!(still.error, UnsealError::Table(_)));
    assert_eq!(still.store.store_id(), claim.store_id);
}

#[test]
fn a_copied_folder_stays_closed_elsewhere_and_is_not_harmed() {
    let folder = Folder::new();
    drop(folder.create().unwrap());
    let elsewhere = Chip::new(2).with(|report| report.host_data = [1; 32]);
    let still = folder.unseal(&elsewhere).err().unwrap();
    let text = still.error.to_string();
    assert!(text.ends_with("differs: chip, host_data"), "{text}");
    assert_eq!(still.instance_key, None);
    // The closed store can be tried again, and still opens at home.
    let again = still.store.unseal(
        &elsewhere.boot(),
        |request| elsewhere.derive(request),
        LIMITS,
        &config(),
        &clock(),
    );
    drop(again.err().unwrap());
    assert!(folder.unseal(&folder.chip).is_ok());
}

#[test]
fn a_raised_tcb_is_wrapped_anew_in_the_file() {
    let folder = Folder::new();
    let (store, claim) = folder.create().unwrap();
    drop(store);
    let raised = Chip::new(1).with_tcb(Tcb { snp: 24, ..crate::seal::tests::GENOA });
    let opened = folder.unseal(&raised).ok().unwrap();
    assert!(matches!(opened.rewrap, Rewrap::Done));
    assert_eq!(raised.requests.borrow().len(), 2);
    let store = opened.store.opened();
    folder.caller(&store, &claim.admin_token);
    drop(store);
    let opened = folder.unseal(&raised).ok().unwrap();
    assert!(matches!(opened.rewrap, Rewrap::NotNeeded));
    assert_eq!(raised.requests.borrow().len(), 3);
    drop(opened);
    let still = folder.unseal(&folder.chip).err().unwrap();
    assert!(matches!(still.error, UnsealError::TcbAboveFirmware { .. }));
}

#[test]
fn the_file_shows_no_name_value_description_or_key() {
    let folder = Folder::new();
    let (store, claim) = folder.create().unwrap();
    let admin = folder.caller(&store, &claim.admin_token);
    let wait = |future| folder.runtime.block_on(future);
    let secret = wait(store.create_secret(
        act(&admin, 1),
        NewSecret {
            description: Some(Description::parse("needle-description".to_owned()).unwrap()),
            tags: tags(&[("needle-tag-key", "needle-tag-value")]),
            ..new_secret("needle-name", "needle-value-1")
        },
    ));
    let change = new_value("needle-value-2");
    let id = secret.unwrap().id;
    folder.runtime.block_on(store.update_secret(act(&admin, 2), id, change, None)).unwrap();
    let new = NewKey {
        name: label("needle-key-name"),
        ..new_key(&[Permission::Read], globs(&["needle-glob-*"]))
    };
    let (key, token) = folder.runtime.block_on(store.create_key(act(&admin, 2), new)).unwrap();
    folder.runtime.block_on(store.delete_secret(act(&admin, 5), id)).unwrap();
    let public_keys = store.instance_keys();
    let function = NewFunction {
        code: FunctionCode::parse("// needle-code".to_owned()).unwrap(),
        ..new_function("needle-function", &["needle-name"])
    };
    let made = folder.runtime.block_on(store.create_function(act(&admin, 2), function)).unwrap();
    let run = store.invocable(admin.grant().unwrap(), made.id, at(2)).ok().unwrap().run;
    let end = store.end_execution(run, at(2), failed("needle-error"));
    folder.runtime.block_on(end).unwrap();
    let mut needles: Vec<Vec<u8>> = ["needle", "the-first-account", "admin", "owner"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    for token in [&token, &claim.owner_token, &claim.admin_token] {
        needles.push(token.expose().to_vec());
        needles.push(token.to_text().as_bytes()[..12].to_vec());
    }
    for public in [public_keys.instance, public_keys.log, public_keys.receipt, OWNER] {
        needles.push(public.0.to_vec());
    }
    let core = &store.writer.shared.core;
    needles.push(core.system().key().bytes().expose().to_vec());
    needles.push(core.signing.instance.seed().expose().to_vec());
    let visible =
        [key.id.as_bytes().to_vec(), claim.store_id.0.to_vec(), core.hash(&token).0.to_vec()];
    let bytes = fs::read(folder.path()).unwrap();
    let contains = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    for needle in &needles {
        assert!(!contains(needle), "{:?}", String::from_utf8_lossy(needle));
    }
    for needle in &visible {
        assert!(contains(needle), "the search finds what is there");
    }
}
