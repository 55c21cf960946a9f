//! Nonces, configurations and the texts of claims: what is taken, and each way of being refused.

use data_encoding::BASE64;
use neo_secrets_attestation::binding::{Leaf, Nonce, NonceError, Tree, TreeSizeError};
use neo_secrets_attestation::config::{AttestedConfig, ConfigError};
use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::evidence::{ClaimTextError, ConfigText, ImageVersion, StoreId};
use neo_secrets_attestation::exchange::{Exchange, Refusal};
use neo_secrets_attestation::explain::hides_or_steers;
use neo_secrets_attestation::product::Product;
use serde_json::json;

use crate::evidence::scene::{self, Scene};

#[test]
fn nonces() {
    for length in [16, 17, 32, 63, 64] {
        let nonce = Nonce::new(&vec![0xFB; length]).unwrap();
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
    }
    for got in [0, 1, 15, 65, 1000] {
        assert_eq!(Nonce::new(&vec![0; got]), Err(NonceError::Length { got }));
    }
    // Padded, of the other alphabet, with stray bits, with a space; too short by one character.
    for text in [
        "AAAAAAAAAAAAAAAAAAAAAA==",
        "AAAAAAAAAAAAAAAAAAAA+A",
        "AAAAAAAAAAAAAAAAAAAAAB",
        "AAAAAAAAAAAAAAAAAAAAA ",
        "AAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(text.parse::<Nonce>(), Err(NonceError::NotBase64Url), "{text}");
    }
    assert_eq!("".parse::<Nonce>(), Err(NonceError::Length { got: 0 }));
    assert_eq!("AAAAAAAAAAAAAAAAAAAA".parse::<Nonce>(), Err(NonceError::Length { got: 15 }));
}

#[test]
fn trees_have_a_size() {
    for got in [0, 65_537] {
        let error = Tree::new(&vec![Leaf([0; 32]); got]).unwrap_err();
        assert_eq!(error, TreeSizeError { got });
    }
}

#[test]
fn texts_of_claims() {
    assert_eq!(ConfigText::new(&[0xFF]), Err(ClaimTextError::Config));
    assert_eq!(ConfigText::new(&[b'x'; 65_537]), Err(ClaimTextError::Config));
    assert_eq!(ImageVersion::new(""), Err(ClaimTextError::ImageVersion));
    assert_eq!("AB".repeat(16).parse::<StoreId>(), Err(ClaimTextError::StoreId));
    assert_eq!("ab".repeat(16).parse(), Ok(StoreId([0xAB; 16])));
}

/// Each of them changes what a person sees around it, or hides.
const STEERING: &str = "\u{1b}\u{9b}\u{7f}\n\u{ad}\u{61c}\u{200b}\u{200e}\u{2028}\u{202e}\
    \u{2066}\u{2069}\u{feff}\u{fff9}\u{e0041}";

#[test]
fn what_an_unverified_server_says_steers_no_terminal() {
    for character in STEERING.chars() {
        assert!(hides_or_steers(character), "{character:?}");
    }
    for character in "aZ09 ~\"'\\äж中한אﷲ🔑e\u{301}".chars() {
        assert!(!hides_or_steers(character), "{character:?}");
    }
    let scene = Scene::new(Product::Genoa);
    let body = json!({"error": {"code": STEERING, "message": format!("not{STEERING} ready")}});
    let body = body.to_string().into_bytes();
    let exchange = Exchange::start(scene.nonce.clone());
    let refusal = exchange.finish(503, &body, &scene.channel, &scene.trust, scene.now).unwrap_err();
    assert!(matches!(&refusal, Refusal::Answer { status: 503, .. }), "{refusal:?}");
    let told = refusal.to_string();
    assert!(told.contains("ready") && !told.chars().any(hides_or_steers), "{told:?}");
}

#[test]
fn configurations() {
    let parse = |text: &str| AttestedConfig::parse(text.as_bytes());
    let good = scene::CONFIG;
    let expected = parse(good).unwrap();
    assert_eq!(expected, Scene::new(Product::Genoa).trust.policy.config);
    // Other keys and tables are the server's business.
    assert_eq!(parse(&format!("{good}data = \"/data\"\n[limits]\nseal = 1\n")), Ok(expected));
    // Each is required, and at the top level.
    for field in ["seal", "reveal", "witnesses", "quorum", "owner_key"] {
        let without: String = good
            .lines()
            .filter(|line| !line.starts_with(field))
            .fold(String::new(), |text, line| text + line + "\n");
        for text in [without.clone(), good.replace(field, &format!("x.{field}"))] {
            assert!(matches!(parse(&text), Err(ConfigError::Toml(_))), "{field}");
        }
        let repeated = format!("{good}{field} = 0\n");
        assert!(matches!(parse(&repeated), Err(ConfigError::Toml(_))), "{field}");
    }
    for (from, to) in [
        ("\"firmware\"", "\"Firmware\""),
        ("\"off\"", "false"),
        ("[]", "\"w\""),
        ("[]", "[1]"),
        ("= 0", "= -1"),
        ("= 0", "= 4294967296"),
        ("= 0", "= \"0\""),
    ] {
        assert!(matches!(parse(&good.replace(from, to)), Err(ConfigError::Toml(_))), "{to}");
    }
    // The host writes this file: nothing in it reaches a terminal unfiltered.
    let message = parse(&good.replace("firmware", r"\u001B[2J\n")).unwrap_err().to_string();
    assert!(message.contains("[2J") && !message.chars().any(char::is_control), "{message:?}");
    let owner = |text: &str| parse(&good.replace("\"any\"", &format!("\"{text}\"")));
    owner(&PublicKey([3; 32]).to_string()).unwrap();
    for text in ["", "Any", "AA==", &BASE64.encode(&[0; 33])] {
        assert!(matches!(owner(text), Err(ConfigError::OwnerKey(_))), "{text}");
    }
    let witnesses = |list: Vec<String>| parse(&good.replace("[]", &json!(list).to_string()));
    witnesses((0..16).map(|index| format!("w{index}")).collect()).unwrap();
    let many = witnesses((0..17).map(|index| format!("w{index}")).collect());
    assert_eq!(many, Err(ConfigError::Witness { index: 16 }));
    for (list, index) in [
        (vec![""], 0),
        (vec!["a", "b c"], 1),
        (vec!["a", "b", "a"], 2),
        (vec!["\u{e9}"], 0),
        (vec![&"x".repeat(257)], 0),
    ] {
        let list = list.into_iter().map(str::to_owned).collect();
        assert_eq!(witnesses(list), Err(ConfigError::Witness { index }));
    }
    let error = parse(&good.replace("quorum = 0", "quorum = 1"));
    assert_eq!(error, Err(ConfigError::Quorum { quorum: 1, witnesses: 0 }));
    assert_eq!(AttestedConfig::parse(&[0xC3, 0x28]), Err(ConfigError::NotUtf8));
    let long = AttestedConfig::parse(&[b' '; 65_537]);
    assert_eq!(long, Err(ConfigError::TooLong { got: 65_537 }));
}
