//! Steps 2 and 3: from the pinned root down to the key that signs reports.

use openssl::ec::EcKey;
use openssl::pkey::Public;
use openssl::sha::sha256;

use crate::certificate::{AuthorityKey, Certificate, CertificateError, Crl};
use crate::endorsements::{Endorsement, Endorsements, VekKind, ark_name};
use crate::error::VerifyError;
use crate::product::Product;
use crate::roots::Roots;
use crate::time::UnixTime;
use crate::verify::{CrlRule, CrlStatus, Rules};

/// A chain that holds.
pub(crate) struct Chain<'a> {
    pub product: Product,
    pub kind: VekKind,
    pub vek: Certificate<'a>,
    pub vek_key: EcKey<Public>,
    pub crl: CrlStatus,
}

/// Verifies the endorsements up to the pinned root, as of `now`.
pub(crate) fn verify<'a>(
    endorsements: &'a Endorsements,
    rules: &Rules,
    now: UnixTime,
) -> Result<Chain<'a>, VerifyError> {
    let Endorsements { vek, ask, ark, crl } = endorsements;

    // 2. The root is a pinned one, and fixes the product.
    let (product, ark, ark_key) = root(ark, &rules.roots)?;

    // 3a. Signatures, from the root down.
    if !ark.is_signed_by(&ark_key) {
        return Err(VerifyError::ArkSignature);
    }
    let ask = parse(Endorsement::Ask, ask)?;
    if !ask.is_signed_by(&ark_key) {
        return Err(VerifyError::AskSignature);
    }
    let ask_key = authority_key(Endorsement::Ask, &ask)?;
    let vek = parse(Endorsement::Vek, vek)?;
    if !vek.is_signed_by(&ask_key) {
        return Err(VerifyError::VekSignature);
    }
    let vek_key = vek.key.report_signer().ok_or(VerifyError::KeyKind {
        endorsement: Endorsement::Vek,
        got: vek.key.kind(),
        expected: "P-384",
    })?;

    // 3b. Names.
    let kind = names(&ark, &ask, &vek, product)?;

    // 3c. Validity.
    for (endorsement, certificate) in
        [(Endorsement::Ark, &ark), (Endorsement::Ask, &ask), (Endorsement::Vek, &vek)]
    {
        let Certificate { not_before, not_after, .. } = *certificate;
        if now < not_before {
            return Err(VerifyError::NotYetValid { endorsement, not_before, now });
        }
        if now > not_after {
            return Err(VerifyError::Expired { endorsement, not_after, now });
        }
    }

    // 3d. Revocation.
    let crl = match (crl, rules.crl) {
        (Some(der), rule) => revocation(der, &ark, &ark_key, &ask, rule, now)?,
        (None, CrlRule::MayBeAbsent) => CrlStatus::NotChecked,
        (None, CrlRule::Required | CrlRule::MayBeStale) => return Err(VerifyError::CrlAbsent),
    };
    Ok(Chain { product, kind, vek, vek_key, crl })
}

/// Step 2, and what of the root the steps below use.
fn root<'a>(
    ark: &'a [u8],
    roots: &Roots,
) -> Result<(Product, Certificate<'a>, AuthorityKey), VerifyError> {
    let sha256 = sha256(ark);
    let product = roots
        .product_of(&sha256)
        .ok_or_else(|| VerifyError::Root { sha256, trusted: roots.provenance() })?;
    let ark = parse(Endorsement::Ark, ark)?;
    let key = authority_key(Endorsement::Ark, &ark)?;
    Ok((product, ark, key))
}

/// §6.2: a CRL by itself, under a pinned root; its time may be over, but has begun.
pub(crate) fn verify_crl<'a>(
    der: &'a [u8],
    ark: &[u8],
    roots: &Roots,
    now: UnixTime,
) -> Result<Crl<'a>, VerifyError> {
    let (_, ark, ark_key) = root(ark, roots)?;
    let crl = genuine_crl(der, &ark, &ark_key)?;
    begun(&crl, now)?;
    Ok(crl)
}

fn parse(endorsement: Endorsement, der: &[u8]) -> Result<Certificate<'_>, VerifyError> {
    Certificate::parse(der).map_err(|error| malformed(endorsement, error))
}

fn malformed(endorsement: Endorsement, error: CertificateError) -> VerifyError {
    VerifyError::Certificate { endorsement, error }
}

fn authority_key(
    endorsement: Endorsement,
    certificate: &Certificate<'_>,
) -> Result<AuthorityKey, VerifyError> {
    certificate.key.authority().ok_or(VerifyError::KeyKind {
        endorsement,
        got: certificate.key.kind(),
        expected: "RSA-4096",
    })
}

/// Each certificate has the name of its place, and each issuer the name of the one above.
fn names(
    ark: &Certificate<'_>,
    ask: &Certificate<'_>,
    vek: &Certificate<'_>,
    product: Product,
) -> Result<VekKind, VerifyError> {
    let wrong = |endorsement, part, got: &str, expected: &str| VerifyError::CommonName {
        endorsement,
        part,
        got: got.to_owned(),
        expected: expected.to_owned(),
    };
    let vek_name = vek.subject.common_name;
    let kind = VekKind::from_common_name(vek_name)
        .ok_or_else(|| wrong(Endorsement::Vek, "subject", vek_name, "SEV-VCEK or SEV-VLEK"))?;
    let (ark_name, ask_name) = (ark_name(product), kind.authority_name(product));
    for (endorsement, part, name, expected) in [
        (Endorsement::Ark, "subject", ark.subject, &ark_name),
        (Endorsement::Ark, "issuer", ark.issuer, &ark_name),
        (Endorsement::Ask, "subject", ask.subject, &ask_name),
        (Endorsement::Ask, "issuer", ask.issuer, &ark_name),
        (Endorsement::Vek, "issuer", vek.issuer, &ask_name),
    ] {
        if name.common_name != expected {
            return Err(wrong(endorsement, part, name.common_name, expected));
        }
    }
    Ok(kind)
}

/// The root's list is genuine and, unless the rule lets it be old, current; it names neither the
/// root nor the ASK.
fn revocation(
    der: &[u8],
    ark: &Certificate<'_>,
    ark_key: &AuthorityKey,
    ask: &Certificate<'_>,
    rule: CrlRule,
    now: UnixTime,
) -> Result<CrlStatus, VerifyError> {
    let crl = genuine_crl(der, ark, ark_key)?;
    for (endorsement, certificate) in [(Endorsement::Ark, ark), (Endorsement::Ask, ask)] {
        let listed = crl.lists(certificate.serial);
        if listed.map_err(|error| malformed(Endorsement::Crl, error))? {
            return Err(VerifyError::Revoked { endorsement, serial: certificate.serial.to_vec() });
        }
    }
    begun(&crl, now)?;
    let next_update = crl.next_update;
    match rule {
        _ if now <= next_update => Ok(CrlStatus::Current { next_update }),
        CrlRule::MayBeStale | CrlRule::MayBeAbsent => Ok(CrlStatus::Stale { next_update }),
        CrlRule::Required => Err(VerifyError::CrlStale { next_update, now }),
    }
}

/// The root signed the list, and is its issuer.
fn genuine_crl<'a>(
    der: &'a [u8],
    ark: &Certificate<'_>,
    ark_key: &AuthorityKey,
) -> Result<Crl<'a>, VerifyError> {
    let crl = Crl::parse(der).map_err(|error| malformed(Endorsement::Crl, error))?;
    if !crl.is_signed_by(ark_key) {
        return Err(VerifyError::CrlSignature);
    }
    let (got, expected) = (crl.issuer.common_name, ark.subject.common_name);
    if got != expected {
        return Err(VerifyError::CommonName {
            endorsement: Endorsement::Crl,
            part: "issuer",
            got: got.to_owned(),
            expected: expected.to_owned(),
        });
    }
    Ok(crl)
}

fn begun(crl: &Crl<'_>, now: UnixTime) -> Result<(), VerifyError> {
    let this_update = crl.this_update;
    if now < this_update {
        return Err(VerifyError::CrlNotYetValid { this_update, now });
    }
    Ok(())
}
