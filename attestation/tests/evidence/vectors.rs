//! The vectors of SPEC.md, in tests/vectors: computed anew and compared with the files, which an
//! independent program wrote.

use std::fs;

use data_encoding::{BASE64, HEXLOWER};
use neo_secrets_attestation::binding::{
    self, Exporter, Leaf, Nonce, Path, ReportData, Role, Root, Tree, claim_message,
    instance_message,
};
use neo_secrets_attestation::evidence::Claims;
use neo_secrets_attestation::measure::{KernelHashes, Launch, Shape};
use neo_secrets_attestation::receipt::{Expectations, Expected, Sha256Digest, SignedReceipt};
use serde_json::{Value, json};

use crate::evidence::scene::{self, sign};
use crate::support::vectors::read;

/// A file of tests/vectors, which names the test that asks for it.
fn file(name: &str, test: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let text = fs::read(format!("{folder}/{name}")).unwrap();
    let value: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(value["test"], format!("evidence::vectors::{test}"));
    value
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn number(value: &Value) -> usize {
    value.as_u64().unwrap().try_into().unwrap()
}

/// Leaf `index` of every tree in tree.json.
fn numbered_leaf(index: usize) -> Leaf {
    let index = u64::try_from(index).unwrap().to_be_bytes();
    let nonce = Nonce::new(&[index, [0xA5; 8]].concat()).unwrap();
    binding::leaf(Role::Evidence, &nonce, &scene::EXPORTER)
}

#[test]
fn leaves_trees_and_paths() {
    let vectors = file("tree.json", "leaves_trees_and_paths");
    for vector in list(&vectors["leaves"]) {
        let role = [Role::Evidence, Role::HandoverOld, Role::HandoverSuccessor];
        let role = role[number(&vector["role"])];
        let nonce = Nonce::new(&bytes(&vector["nonce"])).unwrap();
        let leaf = binding::leaf(role, &nonce, &Exporter(array(&vector["exporter"])));
        assert_eq!(leaf.0, array(&vector["leaf"]));
    }
    let mut sizes = Vec::new();
    for vector in list(&vectors["trees"]) {
        let size = number(&vector["size"]);
        sizes.push(size);
        let leaves: Vec<Leaf> = (0..size).map(numbered_leaf).collect();
        let tree = Tree::new(&leaves).unwrap();
        let root = Root(array(&vector["root"]));
        assert_eq!(tree.root(), root, "{size}");
        for path in list(&vector["paths"]) {
            let index = number(&path["index"]);
            let expected = Path {
                index: index.try_into().unwrap(),
                size: size.try_into().unwrap(),
                hashes: list(&path["hashes"]).iter().map(array).collect(),
            };
            assert_eq!(tree.path(index).as_ref(), Some(&expected), "{index} of {size}");
            assert_eq!(expected.root(leaves[index]), Ok(root), "{index} of {size}");
        }
        assert_eq!(tree.path(size), None);
    }
    assert_eq!(sizes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 65_535, 65_536]);
}

#[test]
fn claims_and_report_data() {
    let vectors = file("claims.json", "claims_and_report_data");
    let root = Root(array(&vectors["root"]));
    assert_eq!(list(&vectors["cases"]).len(), 6);
    for vector in list(&vectors["cases"]) {
        let claims: Claims = scene::read_claims(&vector["claims"]).unwrap();
        assert_eq!(claims.encode(), bytes(&vector["encoded"]), "{}", vector["name"]);
        assert_eq!(json!(claims), vector["claims"], "{}", vector["name"]);
        assert_eq!(binding::report_data(&claims, &root).0, array(&vector["reportData"]));
    }
}

#[test]
fn signatures() {
    let vectors = file("signatures.json", "signatures");
    let (instance, claim) = (&vectors["instance"], &vectors["claim"]);
    let of_instance = instance_message(&ReportData(array(&instance["reportData"])));
    let of_claim = claim_message(&Exporter(array(&claim["exporter"])));
    for (vector, message) in [(instance, of_instance), (claim, of_claim)] {
        assert_eq!(message, bytes(&vector["message"]));
        let (key, signature) = sign(array(&vector["seed"]), &message);
        assert_eq!(key.to_string(), vector["publicKey"]);
        assert_eq!(signature.to_string(), vector["signature"]);
        assert_eq!(key.verify(&message, &signature), Ok(()));
        key.verify(&message[1..], &signature).unwrap_err();
    }
    assert_eq!(
        BASE64.decode(instance["signature"].as_str().unwrap().as_bytes()).unwrap().len(),
        64
    );
}

#[test]
fn receipts() {
    let vectors = file("receipts.json", "receipts");
    let sha256 = |value: &Value| Sha256Digest::of(value.as_str().unwrap().as_bytes());
    assert_eq!(list(&vectors["cases"]).len(), 3);
    for vector in list(&vectors["cases"]) {
        let signed = SignedReceipt::parse(vector["receipt"].to_string().as_bytes()).unwrap();
        assert_eq!(json!(signed), vector["receipt"], "{}", vector["name"]);
        let message = signed.receipt.message();
        assert_eq!(message, bytes(&vector["message"]), "{}", vector["name"]);
        let (key, signature) = sign(array(&vectors["seed"]), &message);
        assert_eq!(key.to_string(), vectors["publicKey"]);
        assert_eq!(signature, signed.signature, "{}", vector["name"]);
        let expectations = Expectations {
            store_id: signed.receipt.store_id,
            function_id: Expected::Exactly(signed.receipt.function_id),
            code_sha256: Expected::Exactly(sha256(&vectors["code"])),
            params_sha256: Expected::Exactly(sha256(&vector["params"])),
            result_sha256: Expected::Exactly(sha256(&vector["result"])),
        };
        let verified = signed.clone().verify(&key, &expectations).unwrap();
        assert_eq!(*verified.receipt(), signed.receipt);
    }
}

#[test]
fn launch_digests() {
    let vectors = file("launch-digest.json", "launch_digests");
    let synthetic = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/firmware.bin");
    let mut compared = 0;
    for vector in list(&vectors["cases"]) {
        let firmware = match vector["firmware"].as_str().unwrap() {
            "synthetic" => fs::read(synthetic).unwrap(),
            name => {
                let path = format!("launch-digest/ovmf_{name}_suffix.bin");
                let Some(firmware) = read("launch_digests", &path) else { continue };
                firmware
            }
        };
        let hashes = vector["kernel"].as_str().map(|kernel| {
            let (initrd, line) = (&vector["initrd"], &vector["commandLine"]);
            let initrd = initrd.as_str().unwrap().as_bytes();
            KernelHashes::new(kernel.as_bytes(), initrd, line.as_str().unwrap()).unwrap()
        });
        let shape = Shape {
            vcpus: vector["vcpus"].as_u64().unwrap().try_into().unwrap(),
            vcpu_type: vector["vcpuType"].as_str().unwrap().parse().unwrap(),
            sev_features: vector["sevFeatures"].as_u64().unwrap(),
        };
        let launch = Launch::new(&firmware, hashes.as_ref()).unwrap();
        assert_eq!(launch.digest(&shape), Ok(array(&vector["digest"])), "{vector}");
        compared += 1;
    }
    assert!(compared >= 4, "at least those of the synthetic firmware");
}
