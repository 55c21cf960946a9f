//! A CRL by itself, as an instance takes it into its cache: SPEC.md section 6.2.

use neo_secrets_attestation::endorsements::{Endorsement, VekKind};
use neo_secrets_attestation::error::{CertificateError, VerifyError};
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::verify::{VerifiedCrl, verify_crl};

use crate::support::now;
use crate::support::vendor::{Vendor, keys};

/// A Genoa vendor's CRL, changed, under its own root.
fn verify(change: impl FnOnce(&mut Vendor)) -> Result<VerifiedCrl, VerifyError> {
    let mut vendor = Vendor::new(Product::Genoa, VekKind::Vcek);
    change(&mut vendor);
    let endorsements = vendor.endorsements();
    let roots = Roots::simulated(&endorsements.ark).unwrap();
    verify_crl(&endorsements.crl.unwrap(), &endorsements.ark, &roots, now())
}

#[test]
fn its_dates_are_those_that_the_root_signed() {
    let crl = verify(|_| ()).unwrap();
    assert_eq!(crl.this_update().to_string(), "2026-11-01T00:00:00Z");
    let next_update = "2026-11-02T00:00:00Z".parse().unwrap();
    let stale = verify(|vendor| vendor.crl.next_update = next_update).unwrap();
    assert_eq!(stale.next_update(), next_update, "one whose time is over is still kept");
}

#[test]
fn one_that_revokes_the_ask_is_kept() {
    assert!(verify(|vendor| vendor.crl.revoked.push(vec![2, 0, 2])).is_ok());
}

#[test]
fn what_the_root_did_not_make_is_refused() {
    let crl = Endorsement::Crl;
    let forged = verify(|vendor| vendor.crl.signer = keys().ask.clone());
    assert_eq!(forged, Err(VerifyError::CrlSignature));
    let other = verify(|vendor| vendor.crl.issuers = vec!["ARK-Milan"]);
    let (got, expected) = ("ARK-Milan".to_owned(), "ARK-Genoa".to_owned());
    let name = VerifyError::CommonName { endorsement: crl, part: "issuer", got, expected };
    assert_eq!(other, Err(name));
    let this_update = "2026-11-23T12:00:01Z".parse().unwrap();
    let early = verify(|vendor| vendor.crl.this_update = this_update);
    assert_eq!(early, Err(VerifyError::CrlNotYetValid { this_update, now: now() }));
    let version = verify(|vendor| vendor.crl.version = Some(2));
    let error = CertificateError::Version;
    assert_eq!(version, Err(VerifyError::Certificate { endorsement: crl, error }));
}

#[test]
fn its_root_is_a_pinned_one() {
    let endorsements = Vendor::new(Product::Genoa, VekKind::Vcek).endorsements();
    let crl = endorsements.crl.unwrap();
    let refused = verify_crl(&crl, &endorsements.ark, &Roots::Amd, now()).unwrap_err();
    assert!(matches!(refused, VerifyError::Root { .. }));
    assert_eq!(refused.endorsement(), Some(Endorsement::Ark));
    let roots = Roots::simulated(&endorsements.ark).unwrap();
    let other = verify_crl(&crl, &endorsements.ask, &roots, now()).unwrap_err();
    assert!(matches!(other, VerifyError::Root { .. }));
}
