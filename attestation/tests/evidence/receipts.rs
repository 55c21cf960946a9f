//! Read receipts: what is refused, and why.

use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::StoreId;
use neo_secrets_attestation::json::JsonProblem;
use neo_secrets_attestation::limits;
use neo_secrets_attestation::receipt::{
    ExecutionId, Expectations, Expected, FunctionId, Receipt, ReceiptError, SecretRead,
    Sha256Digest, SignedReceipt,
};
use neo_secrets_attestation::time::UnixTime;
use serde_json::{Value, json};

use crate::evidence::scene::sign;

const SEED: [u8; 32] = [3; 32];

fn secret(name: &str, version: u64) -> SecretRead {
    SecretRead::new(name, version.try_into().unwrap()).unwrap()
}

fn receipt() -> Receipt {
    Receipt {
        store_id: StoreId([5; 16]),
        function_id: FunctionId([6; 18]),
        code_sha256: Sha256Digest::of(b"code"),
        execution_id: ExecutionId([7; 18]),
        params_sha256: Sha256Digest::of(b"{}"),
        result_sha256: Sha256Digest::of(b"null"),
        secrets_read: [secret("a", 1), secret("b", 2)].into(),
        started_at: UnixTime::from_seconds(1_800_000_000).unwrap(),
        completed_at: UnixTime::from_seconds(1_800_000_001).unwrap(),
    }
}

fn signed(receipt: Receipt) -> SignedReceipt {
    let (_, signature) = sign(SEED, &receipt.message());
    SignedReceipt { receipt, signature }
}

fn key() -> PublicKey {
    sign(SEED, b"").0
}

/// All that [`receipt`] says.
fn expectations() -> Expectations {
    let receipt = receipt();
    Expectations {
        store_id: receipt.store_id,
        function_id: Expected::Exactly(receipt.function_id),
        code_sha256: Expected::Exactly(receipt.code_sha256),
        params_sha256: Expected::Exactly(receipt.params_sha256),
        result_sha256: Expected::Exactly(receipt.result_sha256),
    }
}

/// Every way in which one field can say something else.
fn changed() -> Vec<(&'static str, Receipt)> {
    type Change = fn(&mut Receipt);
    let changes: [(&str, Change); 11] = [
        ("storeId", |it| it.store_id.0[15] ^= 1),
        ("functionId", |it| it.function_id.0[17] ^= 1),
        ("codeSha256", |it| it.code_sha256.0[0] ^= 1),
        ("executionId", |it| it.execution_id.0[0] ^= 1),
        ("paramsSha256", |it| it.params_sha256.0[31] ^= 1),
        ("resultSha256", |it| it.result_sha256.0[31] ^= 1),
        ("one secret less", |it| drop(it.secrets_read.pop_last())),
        ("one secret more", |it| assert!(it.secrets_read.insert(secret("c", 1)))),
        ("a version", |it| {
            it.secrets_read.pop_last();
            it.secrets_read.insert(secret("b", 3));
        }),
        ("startedAt", |it| it.started_at = UnixTime::from_seconds(1).unwrap()),
        ("completedAt", |it| it.completed_at = UnixTime::from_seconds(1).unwrap()),
    ];
    let change = |(what, change): (&'static str, Change)| {
        let mut changed = receipt();
        change(&mut changed);
        (what, changed)
    };
    changes.into_iter().map(change).collect()
}

#[test]
fn a_changed_field_breaks_the_signature() {
    let good = signed(receipt());
    assert_eq!(*good.clone().verify(&key(), &expectations()).unwrap().receipt(), receipt());
    for (what, receipt) in changed() {
        let signature = good.signature;
        let forged = SignedReceipt { receipt, signature };
        let refused = forged.verify(&key(), &expectations());
        assert_eq!(refused, Err(ReceiptError::Signature), "{what}");
    }
    let mut forged = good;
    forged.signature.0[63] ^= 1;
    assert_eq!(forged.verify(&key(), &expectations()), Err(ReceiptError::Signature));
}

#[test]
fn a_signed_receipt_must_say_what_is_expected() {
    let refusal = |what| {
        let (_, changed) = changed().into_iter().find(|(name, _)| *name == what).unwrap();
        (signed(changed.clone()).verify(&key(), &expectations()), changed, receipt())
    };
    let (refused, Receipt { store_id: got, .. }, Receipt { store_id: expected, .. }) =
        refusal("storeId");
    assert_eq!(refused, Err(ReceiptError::StoreId { got, expected }));
    let (refused, Receipt { function_id: got, .. }, Receipt { function_id: expected, .. }) =
        refusal("functionId");
    assert_eq!(refused, Err(ReceiptError::FunctionId { got, expected }));
    let (refused, Receipt { code_sha256: got, .. }, Receipt { code_sha256: expected, .. }) =
        refusal("codeSha256");
    assert_eq!(refused, Err(ReceiptError::Code { got, expected }));
    let (refused, Receipt { params_sha256: got, .. }, Receipt { params_sha256: expected, .. }) =
        refusal("paramsSha256");
    assert_eq!(refused, Err(ReceiptError::Params { got, expected }));
    let (refused, Receipt { result_sha256: got, .. }, Receipt { result_sha256: expected, .. }) =
        refusal("resultSha256");
    assert_eq!(refused, Err(ReceiptError::Result { got, expected }));
}

#[test]
fn what_is_not_known_is_left_open_by_name() {
    let open = Expectations {
        store_id: receipt().store_id,
        function_id: Expected::Anything,
        code_sha256: Expected::Anything,
        params_sha256: Expected::Anything,
        result_sha256: Expected::Anything,
    };
    for (what, changed) in changed() {
        let verified = signed(changed).verify(&key(), &open);
        let other_store = matches!(verified, Err(ReceiptError::StoreId { .. }));
        assert_eq!(other_store, what == "storeId", "{what}");
        assert_eq!(verified.is_ok(), what != "storeId", "{what}");
    }
}

#[test]
fn another_key_or_another_label_signs_nothing() {
    let (other, _) = sign([4; 32], b"");
    let refused = signed(receipt()).verify(&other, &expectations());
    assert_eq!(refused, Err(ReceiptError::Signature));

    let message = receipt().message();
    let behind = message.strip_prefix(b"neo-secrets receipt v1\0").unwrap();
    for label in ["neo-secrets receipt v2\0", "neo-secrets instance v1\0", "neo-secrets receipt v1"]
    {
        let (_, signature) = sign(SEED, &[label.as_bytes(), behind].concat());
        let forged = SignedReceipt { receipt: receipt(), signature };
        let refused = forged.verify(&key(), &expectations());
        assert_eq!(refused, Err(ReceiptError::Signature), "{label:?}");
    }
}

/// No two receipts share their bytes, wherever a name ends and the next field begins.
#[test]
fn the_message_is_different_for_every_receipt() {
    let mut messages: Vec<Vec<u8>> = changed().iter().map(|(_, it)| it.message()).collect();
    messages.push(receipt().message());
    for secrets in [vec![], vec![secret("ab", 1)], vec![secret("b", 1)]] {
        messages
            .push(Receipt { secrets_read: secrets.into_iter().collect(), ..receipt() }.message());
    }
    let count = messages.len();
    messages.sort();
    messages.dedup();
    assert_eq!(messages.len(), count);
}

fn problem(text: &Value) -> (String, JsonProblem) {
    let error = SignedReceipt::parse(text.to_string().as_bytes()).unwrap_err();
    (error.0.path, error.0.problem)
}

fn expected(what: &str) -> JsonProblem {
    JsonProblem::Expected(what.to_owned())
}

#[test]
fn secrets_stand_in_order_and_once() {
    let list = |secrets: &[(&str, u64)]| {
        let item = |(name, version): &(&str, u64)| json!({"name": name, "version": version});
        let mut text = json!(signed(receipt()));
        text["secretsRead"] = secrets.iter().map(item).collect();
        text
    };
    let order = expected("names in ascending order, then versions");
    for (secrets, index, refused) in [
        (&[("b", 2), ("a", 1)][..], 1, &order),
        (&[("a", 2), ("a", 1)], 1, &order),
        (&[("a", 10), ("a", 9)], 1, &order),
        (&[("a", 1), ("B", 1)], 1, &order),
        (&[("a", 1), ("b", 1), ("aa", 1)], 2, &order),
        (&[("a", 1), ("a", 1)], 1, &JsonProblem::Repeated),
    ] {
        let (path, problem) = problem(&list(secrets));
        assert_eq!((path, &problem), (format!("secretsRead[{index}]"), refused), "{secrets:?}");
    }
    for secrets in [&[][..], &[("a", 1), ("a", 2)], &[("B", 1), ("a", 9), ("a", 10)]] {
        SignedReceipt::parse(list(secrets).to_string().as_bytes()).unwrap();
    }
    let names: Vec<String> = (0..=limits::SECRETS_READ_MAX).map(|n| format!("n{n:04}")).collect();
    let mut all: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    assert_eq!(problem(&list(&all)), ("secretsRead".to_owned(), expected("at most 1000 items")));
    all.pop();
    SignedReceipt::parse(list(&all).to_string().as_bytes()).unwrap();
}

#[test]
fn every_field_is_required_and_strict() {
    let good = json!(signed(receipt()));
    let fields: Vec<&String> = good.as_object().unwrap().keys().collect();
    assert_eq!(fields.len(), 10);
    for field in &fields {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(*field);
        assert_eq!(problem(&without), ((*field).clone(), JsonProblem::Missing));
        let mut wrong = good.clone();
        wrong[*field] = Value::Null;
        assert!(matches!(problem(&wrong), (path, JsonProblem::Expected(_)) if path == **field));
    }
    let mut more = good.clone();
    more["accountId"] = json!("acc_");
    assert_eq!(problem(&more), ("accountId".to_owned(), JsonProblem::Unknown));
    let twice = good.to_string().replacen('{', r#"{"storeId":"","#, 1);
    let error = SignedReceipt::parse(twice.as_bytes()).unwrap_err().0;
    assert_eq!((error.path.as_str(), error.problem), ("storeId", JsonProblem::Repeated));

    let id = FunctionId([6; 18]).to_string();
    let secret_name = "the name of a secret";
    for (pointer, value, path, what) in [
        ("/functionId", json!(id.replace("func_", "exec_")), "functionId", ID),
        ("/functionId", json!(format!("{id}A")), "functionId", ID),
        ("/functionId", json!(id.to_uppercase()), "functionId", ID),
        ("/codeSha256", json!("AB".repeat(32)), "codeSha256", "64 lower-case hexadecimal digits"),
        ("/startedAt", json!("2026-11-25T19:00:00.0Z"), "startedAt", TIME),
        ("/secretsRead/0/name", json!("_a"), "secretsRead[0].name", secret_name),
        ("/secretsRead/0/name", json!("a\n"), "secretsRead[0].name", secret_name),
        ("/secretsRead/0/name", json!("a".repeat(101)), "secretsRead[0].name", secret_name),
        ("/secretsRead/0/version", json!(0), "secretsRead[0].version", NUMBER),
        ("/secretsRead/0/version", json!(1.5), "secretsRead[0].version", NUMBER),
        ("/signature", json!("AAAA"), "signature", "base64 of 64 bytes"),
    ] {
        let mut wrong = good.clone();
        *wrong.pointer_mut(pointer).unwrap() = value.clone();
        assert_eq!(problem(&wrong), (path.to_owned(), expected(what)), "{value}");
    }
    let long = vec![b' '; limits::RECEIPT_BYTES_MAX + 1];
    let too_long = JsonProblem::TooLong { got: long.len(), limit: limits::RECEIPT_BYTES_MAX };
    assert_eq!(SignedReceipt::parse(&long).unwrap_err().0.problem, too_long);
}

const ID: &str = "func_ and base64url of 18 bytes";
const TIME: &str = "RFC 3339 in whole seconds, with Z";
const NUMBER: &str = "an unsigned whole number in range";

#[test]
fn the_largest_receipt_fits() {
    let names = (0..limits::SECRETS_READ_MAX).map(|n| secret(&format!("{n:0>100}"), u64::MAX));
    let largest = signed(Receipt { secrets_read: names.collect(), ..receipt() });
    let text = largest.to_json();
    assert!(text.len() <= limits::RECEIPT_BYTES_MAX, "{}", text.len());
    assert_eq!(SignedReceipt::parse(text.as_bytes()), Ok(largest));
}
