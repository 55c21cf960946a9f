//! Step 0: documents, nonces and texts that are refused before anything in them is looked at.

use data_encoding::BASE64;
use neo_secrets_attestation::binding::{self, Leaf, Nonce, Path, Role, Tree};
use neo_secrets_attestation::config::AttestedConfig;
use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::{
    ConfigText, Document, DocumentError, ImageVersion, StoreId,
};
use neo_secrets_attestation::exchange::Refusal;
use neo_secrets_attestation::json::{JsonError, JsonProblem};
use neo_secrets_attestation::limits;
use neo_secrets_attestation::product::Product;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::evidence::scene::{EXPORTER, Scene, read_claims};

fn document() -> Value {
    let (key, digest) = (PublicKey([7; 32]).to_string(), "ab".repeat(32));
    json!({
        "version": 1,
        "platform": "sev-snp",
        "report": BASE64.encode(&[1; 1184]),
        "certificates": {"vek": "AQ==", "ask": "Ag==", "ark": "Aw==", "crl": "BA=="},
        "claims": {
            "storeId": "00".repeat(16), "instanceKey": key, "logKey": key, "receiptKey": key,
            "tlsSpkiSha256": digest, "config": "", "imageVersion": "1", "phase": "serving",
        },
        "freshness": {
            "path": {"index": 1, "size": 2, "hashes": [key]},
            "instanceSignature": Signature([8; 64]).to_string(),
        },
    })
}

fn parse(document: &Value) -> Result<Document, DocumentError> {
    Document::parse(document.to_string().as_bytes())
}

/// The value at a path such as `claims.phase`; the empty path is the whole document.
fn at<'a>(document: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').filter(|name| !name.is_empty()).fold(document, |value, name| &mut value[name])
}

fn problem(outcome: Result<Document, DocumentError>) -> (String, JsonProblem) {
    match outcome {
        Err(DocumentError::Json(JsonError { path, problem })) => (path, problem),
        other => panic!("{other:?}"),
    }
}

/// Every field with the kind of its value, but for what the phase decides.
const REQUIRED: [(&str, &str); 17] = [
    ("", "version"),
    ("", "platform"),
    ("", "report"),
    ("", "certificates"),
    ("certificates", "vek"),
    ("certificates", "ask"),
    ("certificates", "ark"),
    ("", "claims"),
    ("claims", "tlsSpkiSha256"),
    ("claims", "config"),
    ("claims", "imageVersion"),
    ("claims", "phase"),
    ("", "freshness"),
    ("freshness", "path"),
    ("freshness.path", "index"),
    ("freshness.path", "size"),
    ("freshness.path", "hashes"),
];

#[test]
fn a_document_is_read_field_by_field() {
    let read = parse(&document()).unwrap();
    assert_eq!(read.report, [1; 1184]);
    assert_eq!(read.certificates.vek, [1]);
    assert_eq!(read.certificates.ask, [2]);
    assert_eq!(read.certificates.ark, [3]);
    assert_eq!(read.certificates.crl, Some(vec![4]));
    assert_eq!(read.claims.tls_spki_sha256, [0xAB; 32]);
    assert_eq!(read.claims.phase.store_id(), Some(StoreId([0; 16])));
    assert_eq!(read.path, Path { index: 1, size: 2, hashes: vec![[7; 32]] });
    assert_eq!(read.instance_signature, Some(Signature([8; 64])));
    let mut without_crl = document();
    without_crl["certificates"].as_object_mut().unwrap().remove("crl");
    assert_eq!(parse(&without_crl).unwrap().certificates.crl, None);
}

#[test]
fn what_is_written_is_what_is_read() {
    let scene = Scene::new(Product::Turin);
    let (path, report) = scene.attest();
    let read = Document::parse(&scene.write(&report, &scene.claims, &path)).unwrap();
    assert_eq!(read.report, report);
    assert_eq!((read.claims, read.path), (scene.claims, path));
    assert_eq!(read.certificates, scene.endorsements);
}

#[test]
fn missing_and_mistyped_fields_are_named() {
    for (parent, name) in REQUIRED {
        let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        let mut changed = document();
        at(&mut changed, parent).as_object_mut().unwrap().remove(name);
        assert_eq!(problem(parse(&changed)), (path.clone(), JsonProblem::Missing));
        for value in [json!(null), json!(true), json!(-1), json!(0.5), json!([[]])] {
            let mut changed = document();
            at(&mut changed, parent)[name] = value.clone();
            let (got, problem) = problem(parse(&changed));
            assert!(got == path || got == format!("{path}[0]"), "{got} for {path}: {value}");
            assert!(matches!(problem, JsonProblem::Expected(_)), "{path}: {problem}");
        }
    }
}

#[test]
fn unknown_and_repeated_fields_are_refused() {
    for parent in ["", "certificates", "freshness", "freshness.path"] {
        let mut changed = document();
        at(&mut changed, parent)["later"] = json!(1);
        let path = if parent.is_empty() { "later".to_owned() } else { format!("{parent}.later") };
        assert_eq!(problem(parse(&changed)), (path, JsonProblem::Unknown));
    }
    let text = document().to_string();
    for (field, path) in [
        ("\"version\":1", "version"),
        ("\"vek\":\"AQ==\"", "certificates.vek"),
        ("\"phase\":\"serving\"", "claims.phase"),
        ("\"index\":1", "freshness.path.index"),
    ] {
        assert!(text.contains(field));
        let repeated = text.replace(field, &format!("{field},{field}"));
        let error = Document::parse(repeated.as_bytes());
        assert_eq!(problem(error), (path.to_owned(), JsonProblem::Repeated));
    }
    // A name from outside cannot forge lines of a message.
    let mut changed = document();
    changed["a\n\u{1b}[31mb"] = json!(1);
    assert_eq!(problem(parse(&changed)).0, "a\\n\\u{1b}[31mb");
}

#[test]
fn a_newer_server_is_recognised() {
    let newer = |document: Value| match parse(&document) {
        Err(error @ DocumentError::Newer { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let upgrade = "this server is newer than this program: upgrade";
    let mut changed = document();
    changed["version"] = json!(2);
    assert_eq!(newer(changed), format!("document version 2: {upgrade}"));
    for claim in ["sealedBoxKey", "recovery", "approvals", "log", "anything"] {
        let mut changed = document();
        changed["claims"][claim] = json!({"a": [1]});
        assert_eq!(newer(changed), format!("claim claims.{claim}: {upgrade}"));
    }
    // Even where it leaves out what this release requires.
    let mut changed = document();
    changed["claims"] = json!({"somethingElse": 1});
    assert_eq!(newer(changed), format!("claim claims.somethingElse: {upgrade}"));
    for phase in ["handover", "", "Serving"] {
        let mut changed = document();
        changed["claims"]["phase"] = json!(phase);
        assert_eq!(newer(changed), format!("phase {phase:?}: {upgrade}"));
    }
}

#[test]
fn presence_of_claims_follows_the_phase() {
    let all = ["storeId", "instanceKey", "logKey", "receiptKey"];
    let claims = |phase: &str, present: &[&str]| {
        let mut claims = document()["claims"].clone();
        claims["phase"] = json!(phase);
        claims
            .as_object_mut()
            .unwrap()
            .retain(|name, _| !all.contains(&name.as_str()) || present.contains(&name.as_str()));
        read_claims(&claims)
    };
    for set in 0..16u8 {
        let present: Vec<&str> =
            (0..).zip(all).filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, name)| name).collect();
        for (phase, allowed) in [
            ("unclaimed", vec![0b0000]),
            ("serving", vec![0b1111]),
            ("sealed", vec![0b0000, 0b0001, 0b0011]),
        ] {
            match claims(phase, &present) {
                Ok(claims) => {
                    assert!(allowed.contains(&set), "{phase} with {present:?}");
                    assert_eq!(claims.phase.as_str(), phase);
                }
                Err(DocumentError::ClaimMissing { phase: said, claim }) => {
                    assert_eq!((said, phase), ("serving", "serving"));
                    assert!(!present.contains(&claim));
                }
                Err(DocumentError::ClaimUnexpected { phase: said, claim }) => {
                    assert_eq!(said, phase);
                    assert!(present.contains(&claim) && !allowed.contains(&set));
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    let presence = Err(DocumentError::InstanceSignaturePresence);
    let mut changed = document();
    changed["freshness"].as_object_mut().unwrap().remove("instanceSignature");
    assert_eq!(parse(&changed), presence);
    let mut changed = document();
    changed["claims"] = json!({
        "tlsSpkiSha256": "ab".repeat(32), "config": "", "imageVersion": "1", "phase": "unclaimed",
    });
    assert_eq!(parse(&changed), presence);
}

#[test]
fn text_forms_are_canonical() {
    for (parent, name, values) in [
        ("", "report", &["A", "AA=", "AB==", "A-==", " AA==", "AA==\n", "AA"][..]),
        ("claims", "storeId", &["", "0", "AB", "zz"]),
        ("claims", "tlsSpkiSha256", &["", "ab"]),
        ("claims", "imageVersion", &["", "a b", "\u{e9}", "a\u{7f}"]),
        ("claims", "instanceKey", &["", "AA=="]),
        ("freshness", "instanceSignature", &["", "AA=="]),
        ("", "platform", &["", "SEV-SNP", "tdx"]),
    ] {
        for value in values {
            let mut changed = document();
            at(&mut changed, parent)[name] = json!(value);
            let (path, problem) = problem(parse(&changed));
            assert!(path.ends_with(name), "{path}");
            assert!(matches!(problem, JsonProblem::Expected(_)), "{name} {value:?}");
        }
    }
    let upper = document()["claims"]["tlsSpkiSha256"].as_str().unwrap().to_uppercase();
    let mut changed = document();
    changed["claims"]["tlsSpkiSha256"] = json!(upper);
    assert_eq!(problem(parse(&changed)).0, "claims.tlsSpkiSha256");
}

#[test]
fn limits_of_a_document() {
    let with = |pointer: &str, value: Value| {
        let mut changed = document();
        *changed.pointer_mut(pointer).unwrap() = value;
        parse(&changed)
    };
    let base64 = |bytes: usize| json!(BASE64.encode(&vec![0; bytes]));
    for (pointer, bytes_max) in [
        ("/report", limits::REPORT_FIELD_BYTES_MAX),
        ("/certificates/vek", limits::CERTIFICATE_BYTES_MAX),
        ("/certificates/ask", limits::CERTIFICATE_BYTES_MAX),
        ("/certificates/ark", limits::CERTIFICATE_BYTES_MAX),
        ("/certificates/crl", limits::CRL_BYTES_MAX),
    ] {
        with(pointer, base64(bytes_max)).unwrap();
        let expected = JsonProblem::Expected(format!("base64 of at most {bytes_max} bytes"));
        assert_eq!(problem(with(pointer, base64(bytes_max + 1))).1, expected);
    }
    let config = |bytes| with("/claims/config", json!("x".repeat(bytes)));
    config(limits::CONFIG_BYTES_MAX).unwrap();
    assert_eq!(problem(config(limits::CONFIG_BYTES_MAX + 1)).0, "claims.config");
    let version = |bytes| with("/claims/imageVersion", json!("x".repeat(bytes)));
    version(limits::IMAGE_VERSION_BYTES_MAX).unwrap();
    assert_eq!(problem(version(limits::IMAGE_VERSION_BYTES_MAX + 1)).0, "claims.imageVersion");
    let hash = document()["freshness"]["path"]["hashes"][0].clone();
    let hashes = |count: usize| with("/freshness/path/hashes", json!(vec![hash.clone(); count]));
    hashes(limits::PATH_HASHES_MAX).unwrap();
    let expected = JsonProblem::Expected("at most 16 items".to_owned());
    assert_eq!(problem(hashes(limits::PATH_HASHES_MAX + 1)).1, expected);
    with("/freshness/path/index", json!(u64::from(u32::MAX) + 1)).unwrap_err();

    let mut padded = document().to_string();
    padded += &" ".repeat(limits::DOCUMENT_BYTES_MAX - padded.len());
    Document::parse(padded.as_bytes()).unwrap();
    padded += " ";
    let (got, limit) = (padded.len(), limits::DOCUMENT_BYTES_MAX);
    let error = problem(Document::parse(padded.as_bytes()));
    assert_eq!(error, (String::new(), JsonProblem::TooLong { got, limit }));
    let scene = Scene::new(Product::Genoa);
    let refused = matches!(scene.judge(padded.as_bytes()), Err(Refusal::Document(_)));
    assert!(refused, "the exchange has the same limit");
}

/// A document with every part at its limit fits the limit of the whole.
#[test]
fn the_largest_document_fits() {
    let mut scene = Scene::new(Product::Genoa);
    let (_, report) = scene.attest();
    let endorsements = &mut scene.endorsements;
    for certificate in [&mut endorsements.vek, &mut endorsements.ask, &mut endorsements.ark] {
        *certificate = vec![0xFF; limits::CERTIFICATE_BYTES_MAX];
    }
    endorsements.crl = Some(vec![0xFF; limits::CRL_BYTES_MAX]);
    // TOML has no character that JSON writes as more than two.
    let config = "\"".repeat(limits::CONFIG_BYTES_MAX);
    scene.claims.config = ConfigText::new(config.as_bytes()).unwrap();
    let image_version = "\"".repeat(limits::IMAGE_VERSION_BYTES_MAX);
    scene.claims.image_version = ImageVersion::new(&image_version).unwrap();
    let path = Path { index: u32::MAX, size: u32::MAX, hashes: vec![[0xFF; 32]; 16] };
    let document = scene.write(&report, &scene.claims, &path);
    assert!(document.len() <= limits::DOCUMENT_BYTES_MAX, "{}", document.len());
    Document::parse(&document).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_leaf_has_its_path(size in 1usize..300, index in 0usize..300) {
        let index = index % size;
        let leaves: Vec<Leaf> = (0..size).map(|index| {
            let nonce = Nonce::new(&[&index.to_be_bytes()[..], &[0; 8]].concat()).unwrap();
            binding::leaf(Role::Evidence, &nonce, &EXPORTER)
        }).collect();
        let tree = Tree::new(&leaves).unwrap();
        let path = tree.path(index).unwrap();
        prop_assert_eq!(path.root(leaves[index]), Ok(tree.root()));
        let other = leaves[(index + 1) % size];
        prop_assert_eq!(path.root(other) == Ok(tree.root()), size == 1);
    }

    #[test]
    fn nothing_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(&bytes);
        let _ = AttestedConfig::parse(&bytes);
    }

    #[test]
    fn nothing_panics_on_almost_documents(position in 0usize..4000, byte in any::<u8>()) {
        let mut text = document().to_string().into_bytes();
        let position = position % text.len();
        text[position] = byte;
        let _ = Document::parse(&text);
        let _ = Document::parse(&text[..position]);
    }

    #[test]
    fn paths_of_any_shape_end(index: u32, size: u32, hashes in 0usize..40) {
        let path = Path { index, size, hashes: vec![[0; 32]; hashes] };
        let walked = path.root(Leaf([0; 32]));
        prop_assert!(walked.is_err() || index < size && size <= 65_536 && hashes <= 16);
    }
}
