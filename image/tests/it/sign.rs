//! ID blocks against the `sev` crate, and the signature over reference.json.

use std::path::PathBuf;

use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::evidence::ImageVersion;
use neo_secrets_attestation::reference::{Identity, ReferenceValues, signed_message};
use neo_secrets_image::error::ImageError;
use neo_secrets_image::sign::{self, IdKey};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use sev::measurement::idblock::snp_calculate_id;
use sev::measurement::idblock_types::FamilyId;
use sev::measurement::snp::SnpLaunchDigest;
use sev::parser::ByteParser as _;

const POLICY: u64 = 0x3_0133;

fn reference() -> ReferenceValues {
    ReferenceValues {
        image_version: ImageVersion::new("0.1.0").unwrap(),
        measurements: Vec::new(),
        host_data: Identity::Any,
        family_id: Identity::Exactly([7; 16]),
        image_id: Identity::Exactly([9; 16]),
        id_key_digest: Identity::Any,
        author_key_digest: Identity::Any,
        guest_svn_min: 3,
        inputs: Vec::new(),
    }
}

struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn curve(&self, curve: Nid) -> PathBuf {
        let key = EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap();
        self.save(&format!("{curve:?}"), PKey::from_ec_key(key).unwrap())
    }

    fn save(&self, name: &str, key: PKey<openssl::pkey::Private>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        path
    }
}

#[test]
fn an_id_block_is_what_another_program_makes_of_the_same_key() {
    let keys = Keys::new();
    let path = keys.curve(Nid::SECP384R1);
    let digest = [5; 48];
    let key = IdKey::read(&path).unwrap();
    let ours = key.identify(&digest, &reference(), 3, POLICY).unwrap();
    let theirs = snp_calculate_id(
        Some(SnpLaunchDigest::new(digest)),
        Some(FamilyId::new([7; 16])),
        Some(FamilyId::new([9; 16])),
        Some(3),
        Some(sev::firmware::guest::GuestPolicy::from(POLICY)),
        path.clone(),
        path.clone(),
    )
    .unwrap();
    assert_eq!(ours.block.as_slice(), theirs.id_block.to_bytes().unwrap());
    let auth = theirs.id_auth.to_bytes().unwrap();
    assert_eq!(ours.auth.len(), auth.len());
    // Algorithms; public key. The signatures are random, and we have no author key.
    assert_eq!(ours.auth[..4], auth[..4]);
    assert_eq!(ours.auth[0x240..0x680], auth[0x240..0x680]);
    assert!(ours.auth[0x680..].iter().all(|byte| *byte == 0));
    assert_eq!(key.digest().unwrap(), ours.key_digest);
    let expected = openssl::sha::sha384(&auth[0x240..0x240 + 0x404]);
    assert_eq!(ours.key_digest, expected.as_slice());

    let number = |at: usize| {
        let mut bytes = ours.auth[at..at + 72].to_vec();
        bytes.reverse();
        BigNum::from_slice(&bytes).unwrap()
    };
    let signature = EcdsaSig::from_private_components(number(0x40), number(0x88)).unwrap();
    let public = EcKey::private_key_from_pem(&std::fs::read(&path).unwrap()).unwrap();
    assert!(signature.verify(&openssl::sha::sha384(&ours.block), &public).unwrap());
}

#[test]
fn keys_of_other_kinds_are_refused_by_name() {
    let keys = Keys::new();
    let ed25519 = keys.save("ed25519", PKey::generate_ed25519().unwrap());
    for path in [keys.curve(Nid::X9_62_PRIME256V1), ed25519.clone()] {
        let refused = IdKey::read(&path).err().unwrap();
        assert!(matches!(&refused, ImageError::Key { .. }), "{refused}");
        assert!(refused.to_string().ends_with("expected a P-384 key"), "{refused}");
    }
    let refused = sign::reference(&keys.curve(Nid::SECP384R1), b"").err().unwrap();
    assert!(refused.to_string().ends_with("expected an Ed25519 key"), "{refused}");
    std::fs::write(&ed25519, "nothing").unwrap();
    let refused = sign::reference(&ed25519, b"").err().unwrap();
    assert!(refused.to_string().contains("no private key in PEM"), "{refused}");
}

#[test]
fn the_signature_over_reference_json_is_over_its_exact_bytes() {
    let keys = Keys::new();
    let pair = PKey::generate_ed25519().unwrap();
    let public = PublicKey(pair.raw_public_key().unwrap().try_into().unwrap());
    let path = keys.save("reference", pair);
    let text = reference().to_json();
    let (signed, printed) = sign::reference(&path, text.as_bytes()).unwrap();
    assert_eq!(printed, public);
    let signature: Signature = signed.trim_end().parse().unwrap();
    let check = |text: &str| public.verify(&signed_message(text.as_bytes()), &signature);
    assert_eq!(check(&text), Ok(()));
    assert!(check(&format!("{text} ")).is_err());
    assert!(public.verify(text.as_bytes(), &signature).is_err(), "the label is part of it");
}
