//! Certificates, their files, their extensions, CRLs. OpenSSL's reader is the second opinion.

use neo_secrets_attestation::certificate_table::{CertificateTable, Guid};
use neo_secrets_attestation::endorsements::{Endorsements, VekKind};
use neo_secrets_attestation::error::KeyKind;
use neo_secrets_attestation::fuzzing::{self, CertificateFacts, CrlFacts, VekFacts};
use neo_secrets_attestation::limits;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::bn::BigNum;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::x509::{X509, X509Crl, X509NameRef};

use super::{der, presentable, refused};

/// Where OpenSSL reads a certificate too, it reads the same.
pub fn certificate(bytes: &[u8]) -> bool {
    let facts = match fuzzing::certificate(bytes) {
        Ok(facts) => facts,
        Err(error) => return refused(&error),
    };
    assert!(bytes.len() <= limits::CERTIFICATE_BYTES_MAX);
    assert!(facts.extensions.len() <= limits::EXTENSIONS_MAX);
    if let Err(error) = Roots::simulated(bytes) {
        presentable(&error);
    }
    let Ok(theirs) = X509::from_der(bytes) else { return true };
    assert_eq!(theirs.version(), 2);
    let CertificateFacts { serial, issuer, subject, not_before, not_after, key, extensions: _ } =
        facts;
    assert_eq!(BigNum::from_slice(&serial).unwrap(), theirs.serial_number().to_bn().unwrap());
    is_named(theirs.issuer_name(), &issuer);
    is_named(theirs.subject_name(), &subject);
    is_at(theirs.not_before(), not_before);
    is_at(theirs.not_after(), not_after);
    if let Ok(theirs) = theirs.public_key() {
        is_of_kind(&theirs, key);
    }
    true
}

fn is_named(theirs: &X509NameRef, ours: &str) {
    let names: Vec<_> = theirs.entries_by_nid(Nid::COMMONNAME).collect();
    let [name] = names.as_slice() else { panic!("{} names", names.len()) };
    assert_eq!(name.data().to_string().unwrap(), ours);
}

fn is_at(theirs: &Asn1TimeRef, ours: UnixTime) {
    let ours = Asn1Time::from_unix(i64::try_from(ours.seconds()).unwrap()).unwrap();
    assert_eq!(theirs.compare(&ours).unwrap(), std::cmp::Ordering::Equal);
}

fn is_of_kind(theirs: &PKey<Public>, ours: KeyKind) {
    match ours {
        KeyKind::Rsa { bits } => {
            let rsa = theirs.rsa().unwrap();
            assert_eq!(usize::try_from(rsa.n().num_bits()).unwrap(), bits);
            assert_eq!(*rsa.e(), BigNum::from_u32(65_537).unwrap());
        }
        KeyKind::RsaExponent => {
            assert_ne!(*theirs.rsa().unwrap().e(), BigNum::from_u32(65_537).unwrap());
        }
        KeyKind::P384 => {
            let key = theirs.ec_key().unwrap();
            assert_eq!(key.group().curve_name(), Some(Nid::SECP384R1));
        }
        KeyKind::Other => {}
    }
}

/// What is found in a file is found again in the PEM of it.
pub fn file(bytes: &[u8]) -> bool {
    let found = match Endorsements::from_files(&[bytes]) {
        Ok(found) => found,
        Err(error) => {
            presentable(&error);
            return with_crl(bytes);
        }
    };
    let Endorsements { vek, ask, ark, crl } = &found;
    assert_eq!(*crl, None);
    let pem: Vec<Vec<u8>> =
        [ark, vek, ask].into_iter().map(|der| pem("CERTIFICATE", der)).collect();
    assert_eq!(Endorsements::from_files(&[&pem.concat()]).as_ref(), Ok(&found));
    let files: Vec<&[u8]> = vec![ask, vek, ark, vek];
    assert_eq!(Endorsements::from_files(&files).as_ref(), Ok(&found));
    true
}

fn with_crl(bytes: &[u8]) -> bool {
    let none = Endorsements { vek: vec![], ask: vec![], ark: vec![], crl: None };
    match none.clone().with_crl_file(bytes) {
        Err(error) => refused(&error),
        Ok(with) => {
            let pem = pem("X509 CRL", with.crl.as_ref().unwrap());
            // A file that begins as DER is DER, whatever stands in it; no PEM begins so.
            assert_eq!(none.with_crl_file(&pem), Ok(with));
            true
        }
    }
}

/// One PEM block, with lines of any length.
pub(super) fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let body = data_encoding::BASE64.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n").into_bytes()
}

/// A table that is written from what was read reads as the same.
pub fn table(bytes: &[u8]) -> bool {
    let table = match CertificateTable::parse(bytes) {
        Ok(table) => table,
        Err(error) => return refused(&error),
    };
    assert!(bytes.len() <= limits::CERTIFICATE_TABLE_BYTES_MAX);
    let CertificateTable { vcek, vlek, ask, ark, crl, others } = &table;
    let known = [
        (Guid::CRL, crl),
        (Guid::VLEK, vlek),
        (Guid::ARK, ark),
        (Guid::VCEK, vcek),
        (Guid::ASK, ask),
    ];
    let mut entries = Vec::from_iter(known.iter().filter_map(|(guid, it)| Some((*guid, (**it)?))));
    assert!(entries.iter().all(|(_, bytes)| !bytes.is_empty()));
    entries.extend(others);
    assert!(entries.len() <= limits::CERTIFICATE_TABLE_ENTRIES_MAX);
    let blobs: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
    // Blobs may overlap, so that written apart they may have more bytes than a table may.
    if 24 * (entries.len() + 1) + blobs <= limits::CERTIFICATE_TABLE_BYTES_MAX {
        assert_eq!(CertificateTable::parse(&written_table(&entries)).as_ref(), Ok(&table));
    }
    true
}

/// The table with these entries.
pub(super) fn written_table(entries: &[(Guid, &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (u32::try_from(entries.len()).unwrap() + 1);
    let mut table = Vec::new();
    for (guid, bytes) in entries {
        let length = u32::try_from(bytes.len()).unwrap();
        table.extend([&guid.0[..], &offset.to_le_bytes(), &length.to_le_bytes()].concat());
        offset += length;
    }
    table.extend([0; 24]);
    table.extend(entries.iter().flat_map(|(_, bytes)| *bytes));
    table
}

/// Extensions that are written from what was read read as the same. The first byte says of which
/// product and kind of key.
pub fn extensions(bytes: &[u8]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    let product = Product::ALL[usize::from(which & 3) % 3];
    let kind = if which & 4 == 0 { VekKind::Vcek } else { VekKind::Vlek };
    let facts = match fuzzing::vek_extensions(bytes, kind, product) {
        Ok(facts) => facts,
        Err(error) => return refused(&error),
    };
    let VekFacts { product_name, tcb, chip_id, csp_id } = &facts;
    presentable(product_name);
    assert_eq!(tcb.fmc.is_some(), product == Product::Turin);
    assert_eq!(tcb.to_version().of(product).as_ref(), Ok(tcb));
    let order = match product {
        Product::Milan | Product::Genoa => [1, 2, 4, 5, 6, 7, 3, 8],
        Product::Turin => [9, 1, 2, 3, 5, 6, 7, 8],
    };
    let amd = |suffix: &[u8], value| ([&AMD, suffix].concat(), value);
    let mut list =
        vec![amd(&[1], der::integer(1)), amd(&[2], der::element(0x0C, product_name.as_bytes()))];
    list.extend(
        order.iter().zip(tcb.to_version().0).map(|(n, it)| amd(&[3, *n], der::integer(it))),
    );
    match (kind, chip_id, csp_id) {
        (VekKind::Vcek, Some(id), None) => {
            assert!([8, 64].contains(&id.len()));
            list.push(amd(&[4], id.clone()));
        }
        (VekKind::Vlek, None, Some(id)) => {
            presentable(id);
            list.push(amd(&[5], der::element(0x13, id.as_bytes())));
        }
        owner => panic!("{owner:?}"),
    }
    assert_eq!(fuzzing::vek_extensions(&der::extensions(&list), kind, product), Ok(facts));
    true
}

/// 1.3.6.1.4.1.3704.1
const AMD: [u8; 8] = [0x2B, 6, 1, 4, 1, 0x9C, 0x78, 1];

/// Where OpenSSL reads a CRL too, it reads the same, and every serial number that it finds there
/// counts as revoked.
pub fn crl(bytes: &[u8]) -> bool {
    let facts = match fuzzing::crl(bytes) {
        Ok(facts) => facts,
        Err(error) => return refused(&error),
    };
    assert!(bytes.len() <= limits::CRL_BYTES_MAX);
    let Ok(theirs) = X509Crl::from_der(bytes) else { return true };
    let CrlFacts { issuer, this_update, next_update } = facts;
    is_named(theirs.issuer_name(), &issuer);
    is_at(theirs.last_update(), this_update);
    is_at(theirs.next_update().unwrap(), next_update);
    let revoked = theirs.get_revoked();
    let mut serials = Vec::new();
    for entry in revoked.into_iter().flatten() {
        let serial = entry.serial_number().to_bn().unwrap();
        let serial = if serial.num_bits() == 0 { vec![0] } else { serial.to_vec() };
        assert_eq!(fuzzing::crl_lists(bytes, &serial), Ok(true), "{serial:?}");
        serials.push(serial);
    }
    let absent = [0x5A; 19].to_vec();
    assert_eq!(fuzzing::crl_lists(bytes, &absent), Ok(serials.contains(&absent)));
    true
}
