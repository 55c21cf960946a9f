//! The seeds: good input of every kind, from the simulator's own vendor. Nothing of AMD's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use neo_secrets::profile::{Profile, ReceiptTrust};
use neo_secrets_attestation::binding::{
    Leaf, Nonce, Role, Tree, instance_message, leaf, report_data,
};
use neo_secrets_attestation::certificate_table::Guid;
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::evidence::{
    BatchBody, ClaimPhase, Claims, ConfigText, ImageVersion, SealedStore, StoreId,
};
use neo_secrets_attestation::fuzzing;
use neo_secrets_attestation::receipt::{
    ExecutionId, FunctionId, Receipt, SecretRead, Sha256Digest, SignedReceipt,
};
use neo_secrets_server::fuzzing::BODIES;
use neo_secrets_server::platform::Platform;
use neo_secrets_worker_protocol::{
    CompileError, Failure, FetchRequest, FetchResponse, Header, Level, Redirect, SecretAnswer,
    SecretText, Thrown, ToServer, ToWorker,
};
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
use snp_simulator::settings::{ReportVersion, Signer as ReportSigner};
use snp_simulator::{Chip, Machine, Product, client_files, testing, x509};
use time::OffsetDateTime;

use super::evidence::{CHANNEL, NONCE, now};
use super::{certificates, corpus, der, store, worker};

const CONFIG: &str =
    "seal = \"firmware\"\nreveal = \"off\"\nwitnesses = []\nquorum = 0\nowner_key = \"any\"\n";

/// The targets whose seeds are written; empty stands for all.
static ONLY: OnceLock<Vec<String>> = OnceLock::new();

/// Writes the seeds of these targets, or of all where none is named. Those of `evidence`, `chain`,
/// `certificate`, `policy` and `reference` belong together.
pub fn write(targets: Vec<String>) {
    ONLY.set(targets).unwrap();
    let machines = [Product::Milan, Product::Genoa, Product::Turin]
        .map(|product| Machine::launch(testing::chip(product, clock()), clock()).unwrap());
    let genoa = &machines[1];
    // Another chip under the same root, which is the one that the targets trust.
    let mut vlek = Chip::new(genoa.chip().vendor().clone()).unwrap();
    vlek.settings.signer = ReportSigner::Vlek;
    vlek.settings.csp_id = "CN=cc-test-1.provider.example".to_owned();
    let vlek = Machine::launch(vlek, clock()).unwrap();
    evidence(genoa);
    chain("vcek", genoa);
    chain("vlek", &vlek);
    reports(&machines);
    for (byte, machine) in (0..).zip(&machines) {
        certificates(byte, machine);
    }
    certificates(4 | 1, &vlek);
    files(genoa);
    records();
    worker();
    egress();
    requests();
}

fn clock() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(now().seconds()).unwrap()).unwrap()
}

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let only = ONLY.wait();
    if !only.is_empty() && !only.iter().any(|name| name == target) {
        return;
    }
    fs::create_dir_all(corpus::folder(target)).unwrap();
    fs::write(corpus::folder(target).join(name), bytes).unwrap();
}

fn endorsements(machine: &Machine) -> Endorsements {
    let given = machine.endorsements().unwrap();
    Endorsements { vek: given.vek, ask: given.ask, ark: given.ark, crl: given.crl }
}

/// Documents that the policy and the reference values accept, one in each phase, and some that they
/// refuse late.
fn evidence(machine: &Machine) {
    let config = AttestedConfig::parse(CONFIG.as_bytes()).unwrap();
    let reference = client_files::reference(machine.chip());
    seed("reference", "simulated", reference.to_json());
    seed("policy", "simulated", client_files::policy(machine.chip(), config, clock()).to_json());
    let (instance, public) = ed25519(1);
    let key = |byte| ed25519(byte).1;
    let serving = ClaimPhase::Serving {
        store_id: StoreId([0x51; 16]),
        instance_key: public,
        log_key: key(2),
        receipt_key: key(3),
    };
    let store = SealedStore { store_id: StoreId([0x51; 16]), instance_key: Some(public) };
    let nameless = SealedStore { instance_key: None, ..store.clone() };
    for (name, phase, debug, others) in [
        ("serving", serving.clone(), 0, 4),
        ("unclaimed", ClaimPhase::Unclaimed, 0, 0),
        ("sealed", ClaimPhase::Sealed(Some(store)), 0, 1),
        ("sealed-nameless", ClaimPhase::Sealed(Some(nameless)), 0, 0),
        ("sealed-unknown", ClaimPhase::Sealed(None), 0, 0),
        ("bad-debug", serving.clone(), 1 << 3, 0),
    ] {
        let claims = Claims {
            tls_spki_sha256: CHANNEL.tls_spki_sha256,
            config: ConfigText::new(CONFIG.as_bytes()).unwrap(),
            image_version: ImageVersion::new("0.1.0").unwrap(),
            phase,
        };
        let own = leaf(Role::Evidence, &Nonce::new(&NONCE).unwrap(), &CHANNEL.exporter);
        let leaves = Vec::from_iter((0..others).map(|byte| Leaf([byte; 32])).chain([own]));
        let tree = Tree::new(&leaves).unwrap();
        let data = report_data(&claims, &tree.root());
        let report = machine.forged_report(&data.0, |report| report[0x0A] |= debug).unwrap();
        let mut signer = Signer::new_without_digest(&instance).unwrap();
        let signature = signer.sign_oneshot_to_vec(&instance_message(&data)).unwrap();
        let signature = Signature(signature.try_into().unwrap());
        let serving = matches!(claims.phase, ClaimPhase::Serving { .. });
        let signature = serving.then_some(&signature);
        let batch = BatchBody::new(&report, &endorsements(machine), &claims, signature);
        seed("evidence", name, batch.document(&tree.path(leaves.len() - 1).unwrap()));
    }
    receipts(serving.store_id());
    seed(
        "evidence",
        "bad-error",
        r#"{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Too many"}}"#,
    );
}

/// Receipts of the store and the key that the evidence claims.
fn receipts(store_id: Option<StoreId>) {
    let (pair, _) = ed25519(3);
    let secret = |name, version: u64| SecretRead::new(name, version.try_into().unwrap()).unwrap();
    let none = Receipt {
        store_id: store_id.unwrap(),
        function_id: FunctionId([0x46; 18]),
        code_sha256: Sha256Digest::of(b"code"),
        execution_id: ExecutionId([0x45; 18]),
        params_sha256: Sha256Digest::of(b""),
        result_sha256: Sha256Digest::of(b"null"),
        secrets_read: [].into(),
        started_at: now(),
        completed_at: now(),
    };
    let secrets_read = [secret("api-key", 1), secret("api-key", 12), secret("b", u64::MAX)].into();
    let some = Receipt { secrets_read, ..none.clone() };
    for (name, receipt, label) in
        [("none", none, 0), ("some", some.clone(), 0), ("bad-label", some, 1)]
    {
        let mut message = receipt.message();
        message[0] ^= label;
        let mut signer = Signer::new_without_digest(&pair).unwrap();
        let signature = signer.sign_oneshot_to_vec(&message).unwrap().try_into().unwrap();
        let signed = SignedReceipt { receipt, signature: Signature(signature) };
        seed("receipt", name, signed.to_json());
    }
}

fn ed25519(byte: u8) -> (PKey<openssl::pkey::Private>, PublicKey) {
    let pair = PKey::private_key_from_raw_bytes(&[byte; 32], Id::ED25519).unwrap();
    let public = pair.raw_public_key().unwrap().try_into().unwrap();
    (pair, PublicKey(public))
}

fn chain(kind: &str, machine: &Machine) {
    let chain = if kind == "vlek" { 4 } else { 0 };
    let report = machine.forged_report(&[0x44; 64], |_| ()).unwrap();
    let Endorsements { vek, ask, ark: _, crl } = endorsements(machine);
    for (part, name, bytes) in
        [(0, "report", report.to_vec()), (1, "vek", vek), (2, "ask", ask), (3, "crl", crl.unwrap())]
    {
        seed("chain", &format!("{kind}-{name}"), [&[chain | part], &bytes[..]].concat());
    }
}

fn reports(machines: &[Machine]) {
    for machine in machines {
        let name = machine.chip().settings.product.name().to_lowercase();
        let report = machine.forged_report(&[0x44; 64], |_| ()).unwrap();
        seed("report", &name, report);
    }
    for (name, version) in [("v2", ReportVersion::V2), ("v3", ReportVersion::V3)] {
        let mut chip = testing::chip(Product::Milan, clock());
        chip.settings.report_version = version;
        let machine = Machine::launch(chip, clock()).unwrap();
        seed("report", name, machine.forged_report(&[0x44; 64], |_| ()).unwrap());
    }
}

/// Everything about certificates; `which` is the first byte of the target `extensions`.
fn certificates(which: u8, machine: &Machine) {
    let chip = machine.chip();
    let product = chip.settings.product.name().to_lowercase();
    let vlek = chip.settings.signer == ReportSigner::Vlek;
    let name = if vlek { format!("{product}-vlek") } else { product.clone() };
    let Endorsements { vek, ask, ark, crl } = endorsements(machine);
    let (crl, vek_guid) = (crl.unwrap(), if vlek { Guid::VLEK } else { Guid::VCEK });
    seed("certificate", &format!("ark-{product}"), &ark);
    seed("certificate", &format!("vek-{name}"), &vek);
    seed("certificate", &format!("ask-{name}"), &ask);
    let extensions = fuzzing::certificate(&vek).unwrap().extensions;
    seed("extensions", &name, [&[which], &der::extensions(&extensions)[..]].concat());
    let entries = [(vek_guid, &vek[..]), (Guid::ASK, &ask), (Guid::ARK, &ark), (Guid::CRL, &crl)];
    if product == "genoa" {
        seed("certificate-table", &name, certificates::written_table(&entries));
        let pem = [&ark, &ask, &vek].map(|der| certificates::pem("CERTIFICATE", der)).concat();
        seed("certificate-file", &name, pem);
    }
    if name == "genoa" {
        seed("certificate-file", "crl", certificates::pem("X509 CRL", &crl));
        seed("certificate-file", "der", &vek);
        let [mut draft, ..] = chip.vendor().ca_drafts(clock()).unwrap();
        draft.subject = x509::name(&"ARK".repeat(500));
        let long = draft.sign(chip.vendor().ark_key()).unwrap();
        seed("certificate", "bad-long-name", long);
        seed("certificate-table", "alone", certificates::written_table(&entries[..1]));
        let other = [(Guid([7; 16]), &b"other"[..]), (Guid([8; 16]), b"")];
        let padded = [certificates::written_table(&other), vec![0; 100]].concat();
        seed("certificate-table", "others", padded);
        seed("crl", "empty", &crl);
        let mut draft = chip.vendor().crl_draft(clock()).unwrap();
        draft.revoked = vec![vec![1], chip.vendor().ask_serial(), vec![0xFF; 20]];
        seed("crl", "revoked", draft.sign(chip.vendor().ark_key()).unwrap());
    }
}

fn files(machine: &Machine) {
    for product in [Product::Milan, Product::Turin] {
        let name = product.name().to_lowercase();
        let chip = testing::chip(product, clock());
        let config = AttestedConfig::parse(CONFIG.as_bytes()).unwrap();
        seed("reference", &name, client_files::reference(&chip).to_json());
        seed("policy", &name, client_files::policy(&chip, config, clock()).to_json());
    }
    let key = PublicKey([7; 32]);
    let whole = format!(
        "# with everything\nseal = \"unlock\"\nreveal = \"by-permission\"\nwitnesses = [\"w.example+1\"]\n\
         quorum = 1\nowner_key = \"{key}\"\nnames = [\"Vault.example.com\", \"10.0.0.7\", \"fd00::1\"]\n\n\
         [limits]\nversions_kept = 0x0b\nconnections = 1_000\n"
    );
    let served = CONFIG.to_owned() + &whole[whole.find("names").unwrap()..];
    seed("config", "smallest", CONFIG);
    seed("config", "bad-unavailable", &whole);
    seed("config", "served", served);
    let certificate = endorsements(machine).ark;
    let profile = Profile {
        url: "https://[::1]:8443".parse().unwrap(),
        reference: client_files::reference(machine.chip()).to_json(),
        reference_key: Some(key),
        policy: "{}".to_owned(),
        simulated_root: Some(certificate),
        instance_key: Some(key),
        receipts: Some(ReceiptTrust { store_id: StoreId([0x51; 16]), receipt_key: key }),
        key_file: Some("/folder/admin.key".into()),
    };
    let path = Path::new("/folder/profile.json");
    seed("profile", "simulated", profile.to_json(path).unwrap());
    let (reference_key, simulated_root, instance_key) = (None, None, None);
    let (receipts, key_file) = (None, None);
    let bare =
        Profile { reference_key, simulated_root, instance_key, receipts, key_file, ..profile };
    seed("profile", "bare", bare.to_json(path).unwrap());
    let firmware = "../attestation/tests/vectors/firmware.bin";
    let firmware = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(firmware)).unwrap();
    let used = firmware.iter().position(|byte| *byte != 0).unwrap_or_default();
    seed("firmware", "synthetic", &firmware[used..]);
}

/// Bodies after STORE.md section 6, written without the server's code.
fn records() {
    let (id, hash) = (bytes(&[5; 18]), bytes(&[6; 32]));
    let time = number(1_700_000_000_000);
    let name = text("database-url");
    let version = |n| map([(0, number(n)), (1, time.clone()), (2, id.clone())]);
    let tags = [head(5, 1), text("env"), text("prod")].concat();
    let previous = map([(0, hash.clone()), (1, time.clone())]);
    let ids = [(0, id.clone()), (1, id.clone())];
    let counters = [(0, id.clone()), (1, number(1)), (2, number(300)), (3, number(70_000))];
    let keys = [(0, hash.clone()), (1, id.clone()), (2, id.clone()), (3, id.clone())];
    let owner: Vec<_> = keys.into_iter().chain([(4, vec![0xF5])]).collect();
    let bodies = BTreeMap::from([
        ((0x02, 1), map([(0, hash.clone())])),
        ((0x03, 1), map([(0, hash.clone()), (1, hash.clone()), (2, hash.clone())])),
        ((0x04, 1), map(owner.clone())),
        ((0x04, 3), {
            let config = [(0, number(1)), (1, number(2)), (2, head(4, 0)), (3, number(0))];
            let config = config.into_iter().chain([(4, hash.clone())]);
            map(owner.into_iter().chain([(5, map(config)), (6, number(3)), (7, vec![0xF5])]))
        }),
        ((0x05, 1), map([(0, text("first")), (1, time.clone())])),
        ((0x06, 1), map(ids)),
        ((0x07, 1), map([(0, time.clone())])),
        ((0x08, 1), map([(0, time.clone())])),
        ((0x10, 1), map(counters.clone())),
        ((0x10, 3), {
            let quotas = map([(0, number(1_000)), (3, number(100_000))]);
            map(counters.into_iter().chain([
                (4, number(9)),
                (5, quotas),
                (6, number(1)),
                (7, number(2)),
            ]))
        }),
        ((0x11, 1), {
            let globs = [head(4, 2), text("db-*"), text("*")].concat();
            let fields = [text("ci"), number(3), globs, time.clone(), time.clone(), hash, previous];
            map((0..).zip(fields))
        }),
        ((0x20, 2), {
            let hosts = [head(4, 1), text("api.example.com")].concat();
            let use_only = map([(0, hosts), (1, text("Authorization"))]);
            let versions = [head(4, 2), version(3), version(4)].concat();
            let times = [time.clone(), time.clone(), time.clone()];
            let fields = [name.clone(), text("é"), tags].into_iter().chain(times);
            map((0..).zip(fields.chain([number(9), versions, use_only])))
        }),
        ((0x21, 1), map([(0, bytes(b"sesame"))])),
        ((0x22, 1), map([(0, name.clone()), (1, id.clone())])),
        ((0x23, 1), map([(0, bytes(&[7; 2 * 34]))])),
        ((0x30, 1), {
            let choice = |number, fields| [head(4, 2), self::number(number), fields].concat();
            let actor = choice(1, map([(0, id.clone())]));
            let secret = map([(0, id.clone()), (1, name), (2, number(2))]);
            let key = map([(0, id), (1, text("ci")), (2, number(3))]);
            let event = |action, object, peer| {
                let (actor, request) = (actor.clone(), text("r-1"));
                map((0..).zip([time.clone(), number(action), actor, object, peer, request]))
            };
            let first = event(1, choice(1, secret), bytes(&[192, 0, 2, 1]));
            let second = event(6, choice(2, key), bytes(&[0xFD; 16]));
            map([(0, [head(4, 2), first, second].concat())])
        }),
        ((0x31, 1), map([(0, number(2))])),
        ((0x40, 1), function(&time)),
        ((0x41, 1), map([(0, text("async function main() {}"))])),
        ((0x42, 1), map([(0, text("caller-1")), (1, bytes(&[5; 18]))])),
        ((0x43, 1), execution(&time)),
        ((0x44, 2), map([(0, number(2)), (1, number(70_000))])),
    ]);
    for (index, of) in (0..).zip(BODIES) {
        let (kind, version) = of;
        let body = bodies.get(of).unwrap_or_else(|| panic!("no seed for records {of:#04x?}"));
        let name = format!("{kind:02x}-v{version}");
        seed("record-body", &name, [&[index], &body[..]].concat());
        seed("record", &name, [&[index], &store::framed(*kind, body)[..]].concat());
    }
    let vector = |name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/vectors").join(name);
        let hex = fs::read_to_string(path).unwrap().replace('\n', "");
        data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
    };
    seed("record", "bad-sealed", [&[9], &vector("record.hex")[..]].concat());
    seed("slots", "table", vector("slots.hex"));
    seed("slots", "header", [&b"neo-secrets\0\0\x01"[..], &[7; 16]].concat());
}

fn function(time: &[u8]) -> Vec<u8> {
    let hash = bytes(&[6; 32]);
    let pair = |name, value| [head(5, 1), text(name), text(value)].concat();
    let one = |item| [head(4, 1), text(item)].concat();
    map((0..).zip([
        text("caller-1"),
        text("é"),
        pair("env", "prod"),
        time.to_vec(),
        time.to_vec(),
        number(30),
        number(128),
        one("database-url"),
        pair("REGION", "eu"),
        one("api.example.com"),
        vec![0xF5],
        hash.clone(),
        hash,
    ]))
}

fn execution(time: &[u8]) -> Vec<u8> {
    let hash = bytes(&[6; 32]);
    let read = map([(0, text("database-url")), (1, number(2))]);
    let reads = [head(4, 1), read].concat();
    let receipt = [hash.clone(), hash.clone(), reads, bytes(&[7; 64])];
    let result = map([(0, text("{\"a\":1}")), (1, map((0..).zip(receipt)))]);
    let outcome = [head(4, 2), number(1), result].concat();
    let line = map([(0, number(2)), (1, time.to_vec()), (2, text("called"))]);
    let logs = [head(4, 1), line].concat();
    let end = map((0..).zip([time.to_vec(), number(7), outcome, logs]));
    let opening = bytes(&[8; 16]);
    map((0..).zip([hash, bytes(&[5; 18]), time.to_vec(), opening, end]))
}

fn head(major: u8, number: u64) -> Vec<u8> {
    let short = u8::try_from(number).unwrap_or(u8::MAX);
    let bytes = number.to_be_bytes();
    match number {
        0..24 => vec![major << 5 | short],
        24..0x100 => vec![major << 5 | 24, short],
        0x100..0x1_0000 => [&[major << 5 | 25], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major << 5 | 26], &bytes[4..]].concat(),
        _ => [&[major << 5 | 27], &bytes[..]].concat(),
    }
}

fn number(number: u64) -> Vec<u8> {
    head(0, number)
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    [&head(2, bytes.len() as u64), bytes].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&head(3, text.len() as u64), text.as_bytes()].concat()
}

fn map(fields: impl IntoIterator<Item = (u64, Vec<u8>)>) -> Vec<u8> {
    let fields: Vec<_> =
        fields.into_iter().map(|(key, value)| [number(key), value].concat()).collect();
    [head(5, fields.len() as u64), fields.concat()].concat()
}

fn egress() {
    seed("egress", "plain", "https://api.example.com/v1/items?limit=5#top");
    seed("egress", "names", "HTTPS://BÜCHER.example:443/ä b\0//API.example.com/x\0?y\0../z");
    seed("egress", "odd-spelling", " https:\\\\%61pi.ex\nample.com\\a\\..\\b'|^`{}\0https:c");
    for (name, text) in [
        ("bad-address", "https://0x7f.1/"),
        ("bad-address-6", "https://[::ffff:127.0.0.1]/"),
        ("bad-port", "https://api.example.com:8443/"),
        ("bad-credentials", "https://api.example.com@evil.example/"),
        ("bad-host", "https://api.example.com.evil.example/"),
        ("bad-dot", "https://api.example.com./"),
        ("bad-scheme", "http://api.example.com/"),
        ("bad-redirect", "https://api.example.com/\0//127.1/"),
    ] {
        seed("egress", name, text);
    }
}

fn worker() {
    let fetch = FetchRequest {
        method: "POST".to_owned(),
        url: "https://example.com/".to_owned(),
        headers: vec![Header { name: "accept".to_owned(), value: b"*/*".to_vec() }],
        body: Some(b"body".to_vec()),
        redirect: Redirect::Follow,
    };
    let thrown = Thrown {
        name: "TypeError".to_owned(),
        message: "x is not a function".to_owned(),
        stack: "at main:1:2".to_owned(),
    };
    let compile_error = CompileError { message: "unexpected".to_owned(), line: 1, column: 2 };
    let life = |messages: &[ToServer]| {
        messages.iter().flat_map(|it| it.encode().unwrap().as_bytes().to_vec()).collect::<Vec<u8>>()
    };
    let log = ToServer::Log { level: Level::Info, text: "hello".to_owned() };
    let (ready, loaded) = (ToServer::Ready, ToServer::Loaded);
    let done = ToServer::Done { result: "{}".to_owned() };
    let secret = ToServer::ReadSecret { request: 1, name: "database-url".to_owned() };
    let fetch = ToServer::Fetch { request: 2, fetch: Box::new(fetch) };
    let first = [ready.clone(), loaded.clone(), log, secret, fetch, done.clone()];
    seed("worker", "whole", life(&[&first[..], &[done, ToServer::Thrown(thrown)]].concat()));
    let late = [ready.clone(), loaded.clone(), ToServer::TimedOut];
    seed("worker", "late", life(&late));
    seed("worker", "refused-code", life(&[ready, ToServer::CompileError(compile_error)]));
    seed("worker", "bad-order", life(&[loaded]));

    let told = |name: &str, message: &ToWorker| {
        seed("worker-input", name, message.encode().unwrap().body());
    };
    let response = FetchResponse {
        status: 200,
        status_text: "OK".to_owned(),
        url: "https://example.com/".to_owned(),
        redirected: true,
        headers: vec![Header { name: "a".to_owned(), value: b"b".to_vec() }],
        body: b"body".to_vec(),
    };
    let value = SecretAnswer::Value(SecretText::new("sesame".to_owned()));
    told("load", &ToWorker::Load { code: "export default () => 1".to_owned() });
    told("invoke", &worker::invoke());
    told("secret", &ToWorker::Secret { request: 1, answer: value });
    told("fetched", &ToWorker::Fetched { request: 2, answer: Ok(response) });
    let failure = Failure("no".to_owned());
    told("failed", &ToWorker::Fetched { request: 2, answer: Err(failure) });
}

fn requests() {
    let whole = r#"{"text":"a\u00e9\ud83d\ude00\"","integer":7,"texts":["read","write"],"pairs":{"env":"prod","":""},"boolean":true}"#;
    seed("json", "whole", whole);
    seed(
        "json",
        "nulls",
        r#"{ "text": null, "integer": 18446744073709551615, "texts": null, "pairs": null }"#,
    );
    seed("json", "smallest", r#"{"integer":0}"#);
    seed("json", "bad-unknown", r#"{"integer":0,"other":[{"a":[1.5e3,-1,true]}]}"#);
    seed("query", "whole", "a=x&b=%C3%A9+%25&number=100");
    seed("query", "bare", "a&number=1");
    let id = data_encoding::BASE64URL_NOPAD.encode(&[5; 18]);
    let token = data_encoding::BASE64URL_NOPAD.encode(&[5; 32]);
    for (name, text) in [
        ("secret-id", format!("sec_{id}")),
        ("key-id", format!("key_{id}")),
        ("account-id", format!("acc_{id}")),
        ("function-id", format!("func_{id}")),
        ("execution-id", format!("exec_{id}")),
        ("sha256", "0a".repeat(32)),
        ("host", "api.example.com".to_owned()),
        ("token", format!("neo_{token}")),
        ("nonce", token),
        ("time", "2026-01-31T12:00:00Z".to_owned()),
        ("key", PublicKey([7; 32]).to_string()),
        ("signature", Signature([7; 64]).to_string()),
        ("store-id", StoreId([7; 16]).to_string()),
        ("name", "database-url_1.x".to_owned()),
        ("permissions", "read,write,execute,admin,reveal".to_owned()),
        ("url", "https://vault.example.com:8443/".to_owned()),
        ("url-v6", "HTTPS://[fd00::1]".to_owned()),
    ] {
        seed("texts", name, text);
    }
    seed("scope", "narrower", "db-*-url,x\n*-*\ndb-main-url");
    seed("scope", "other", "a*b*c\na**c,*b\naxbxc");
}
