//! Second opinions: the `sev` crate on signatures, OpenSSL's own X.509 on dates and names.
//!
//! `sev` takes a report apart and puts it together again before it hashes it, and guesses the product of
//! a version 2 report by its chip id. Where the chip id is masked, or where a bit gets lost on the
//! way, it has no answer to compare with.

use neo_secrets_attestation::endorsements::{Endorsement, Endorsements, VekKind};
use neo_secrets_attestation::error::VerifyError;
use neo_secrets_attestation::product::Product;
use neo_secrets_attestation::roots::Roots;
use neo_secrets_attestation::time::UnixTime;
use neo_secrets_attestation::verify::{CrlRule, CspIdRule, Rules, verify_report};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::x509::X509;
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;

use crate::support::now;
use crate::support::report::{FIELDS, ReportBuilder};
use crate::support::vectors::{Vector, reports};
use crate::support::vendor::Vendor;

fn rules() -> Rules {
    Rules { roots: Roots::Amd, crl: CrlRule::MayBeAbsent, csp_ids: CspIdRule::Any }
}

fn at(vector: &Vector) -> UnixTime {
    if vector.name == "milan-v3-vlek" { "2025-12-09T00:00:00Z".parse().unwrap() } else { now() }
}

fn sev_chain(endorsements: &Endorsements) -> Chain {
    let certificate = |der: &[u8]| Certificate::from_der(der).unwrap();
    let Endorsements { vek, ask, ark, .. } = endorsements;
    let ca = ca::Chain { ark: certificate(ark), ask: certificate(ask) };
    Chain { ca, vek: certificate(vek) }
}

/// What `sev` says of a report: nothing where it can't take it apart, or loses something on the
/// way.
fn sev_verifies(chain: &Chain, raw: &[u8]) -> Option<bool> {
    let report = AttestationReport::from_bytes(raw).ok()?;
    let unchanged = report.to_bytes().ok()? == raw;
    unchanged.then(|| (chain, &report).verify().is_ok())
}

#[test]
fn sev_agrees_on_chains() {
    for vector in reports("sev_agrees_on_chains") {
        let good = &vector.endorsements;
        assert!(sev_chain(good).verify().is_ok(), "{}", vector.name);
        let ours = |endorsements: &Endorsements| {
            verify_report(&vector.report, endorsements, &rules(), at(&vector))
        };
        assert!(ours(good).is_ok(), "{}", vector.name);
        // A bit of the signature, at its end and at its beginning; the ARK's is pinned with all the
        // rest.
        for back in [1, 512] {
            let flip = |der: &[u8]| {
                let mut der = der.to_vec();
                let index = der.len() - back;
                der[index] ^= 1;
                der
            };
            let vek = Endorsements { vek: flip(&good.vek), ..good.clone() };
            assert!(sev_chain(&vek).verify().is_err());
            assert_eq!(ours(&vek), Err(VerifyError::VekSignature));
            let ask = Endorsements { ask: flip(&good.ask), ..good.clone() };
            assert!(sev_chain(&ask).verify().is_err());
            assert_eq!(ours(&ask), Err(VerifyError::AskSignature));
            let ark = Endorsements { ark: flip(&good.ark), ..good.clone() };
            assert!(sev_chain(&ark).verify().is_err());
            assert!(matches!(ours(&ark), Err(VerifyError::Root { .. })));
        }
    }
}

#[test]
fn sev_agrees_on_report_signatures() {
    for vector in reports("sev_agrees_on_report_signatures") {
        let chain = sev_chain(&vector.endorsements);
        let ours = |raw: &[u8]| verify_report(raw, &vector.endorsements, &rules(), at(&vector));
        assert_eq!(sev_verifies(&chain, &vector.report), Some(true), "{}", vector.name);
        assert!(ours(&vector.report).is_ok(), "{}", vector.name);
        let mut unanswered = vec![];
        for (index, field) in FIELDS.iter().enumerate() {
            let mut raw = vector.report.clone();
            raw[field.start + index % field.len] ^= 1 << (index % 8);
            assert!(ours(&raw).is_err(), "{} {}", vector.name, field.name);
            match sev_verifies(&chain, &raw) {
                Some(verifies) => assert!(!verifies, "{} {}", vector.name, field.name),
                None => unanswered.push(field.name),
            }
        }
        // Versions that it does not know, bits that it does not carry over, CPUIDs of other
        // products.
        for name in unanswered {
            let lost = ["VERSION", "RESERVED", "PADDING", "TCB", "KEY_INFO", "CPUID", "MIT_VECTOR"];
            assert!(lost.iter().any(|part| name.contains(part)), "{} {name}", vector.name);
        }
    }
}

#[test]
fn sev_agrees_on_reports_of_our_own() {
    for product in Product::ALL {
        let vendor = Vendor::new(product, VekKind::Vcek);
        let chain = sev_chain(&vendor.endorsements());
        for version in [2, 3, 5] {
            let report = ReportBuilder::new(product).version(version);
            assert!(vendor.verify(&report).is_ok());
            assert_eq!(sev_verifies(&chain, &report.sign()), Some(true), "{product} {version}");
        }
        // A version 2 report with a masked chip id, as VLEKs sign them: `sev` can't answer, we can.
        let vendor = Vendor::new(product, VekKind::Vlek);
        let chain = sev_chain(&vendor.endorsements());
        let report = ReportBuilder::new(product).vlek();
        assert_eq!(sev_verifies(&chain, &report.clone().version(2).sign()), None);
        assert!(vendor.verify(&report.clone().version(2)).is_ok());
        assert_eq!(sev_verifies(&chain, &report.version(3).sign()), Some(true));
    }
}

#[test]
fn sev_agrees_on_fields() {
    for vector in reports("sev_agrees_on_fields") {
        let rules = rules();
        let verified = verify_report(&vector.report, &vector.endorsements, &rules, at(&vector));
        let verified = verified.unwrap();
        let ours = verified.report();
        let sev = AttestationReport::from_bytes(&vector.report[..]).unwrap();
        assert_eq!(ours.version.number(), sev.version);
        assert_eq!((ours.guest_svn, ours.vmpl), (sev.guest_svn, sev.vmpl));
        assert_eq!(ours.report_data, sev.report_data);
        assert_eq!(ours.measurement, sev.measurement);
        assert_eq!(ours.host_data, sev.host_data);
        assert_eq!(ours.id_key_digest, sev.id_key_digest);
        assert_eq!(ours.author_key_digest, sev.author_key_digest);
        assert_eq!(ours.report_id, sev.report_id);
        assert_eq!(ours.report_id_ma, sev.report_id_ma);
        assert_eq!(ours.chip_id.0, sev.chip_id);
        let tcbs = verified.tcbs();
        for (ours, sev) in [
            (tcbs.current, sev.current_tcb),
            (tcbs.reported, sev.reported_tcb),
            (tcbs.committed, sev.committed_tcb),
            (tcbs.launch, sev.launch_tcb),
        ] {
            assert_eq!((ours.fmc, ours.boot_loader), (sev.fmc, sev.bootloader));
            assert_eq!((ours.tee, ours.snp, ours.microcode), (sev.tee, sev.snp, sev.microcode));
        }
        for (ours, sev) in
            [(ours.current_version, sev.current), (ours.committed_version, sev.committed)]
        {
            assert_eq!((ours.major, ours.minor, ours.build), (sev.major, sev.minor, sev.build));
        }
        let cpuid = sev.cpuid_fam_id.zip(sev.cpuid_mod_id).zip(sev.cpuid_step);
        let ours_cpuid = ours.cpuid.map(|cpuid| ((cpuid.family, cpuid.model), cpuid.stepping));
        assert_eq!(ours_cpuid, cpuid);
        let mitigations = sev.launch_mit_vector.zip(sev.current_mit_vector);
        assert_eq!(ours.mitigations.map(|both| (both.launch, both.current)), mitigations);
        assert_eq!(ours.policy.debug_allowed(), sev.policy.debug_allowed());
        assert_eq!(ours.policy.smt_allowed(), sev.policy.smt_allowed());
        assert_eq!(ours.policy.migrate_ma_allowed(), sev.policy.migrate_ma_allowed());
        assert_eq!(ours.policy.single_socket(), sev.policy.single_socket_required());
        assert_eq!(ours.platform_info.smt_enabled(), sev.plat_info.smt_enabled());
        assert_eq!(ours.platform_info.tsme_enabled(), sev.plat_info.tsme_enabled());
        assert_eq!(ours.platform_info.ecc_enabled(), sev.plat_info.ecc_enabled());
    }
}

/// A date as OpenSSL reads it.
fn seconds(time: &Asn1TimeRef) -> UnixTime {
    let since = Asn1Time::from_unix(0).unwrap().diff(time).unwrap();
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    UnixTime::from_seconds(seconds.try_into().unwrap()).unwrap()
}

#[test]
fn openssl_agrees_on_dates() {
    for vector in reports("openssl_agrees_on_dates") {
        let Endorsements { vek, ask, ark, .. } = &vector.endorsements;
        let all = [(Endorsement::Ark, ark), (Endorsement::Ask, ask), (Endorsement::Vek, vek)];
        let x509 = all.map(|(endorsement, der)| (endorsement, X509::from_der(der).unwrap()));
        let begin = x509.iter().map(|(which, x509)| (seconds(x509.not_before()), *which));
        let end = x509.iter().map(|(which, x509)| (seconds(x509.not_after()), *which));
        let (not_before, _) = begin.max_by_key(|(time, _)| *time).unwrap();
        let (not_after, last) = end.min_by_key(|(time, _)| *time).unwrap();
        let verify = |at| verify_report(&vector.report, &vector.endorsements, &rules(), at);
        assert!(verify(not_before).is_ok() && verify(not_after).is_ok(), "{}", vector.name);
        let now = UnixTime::from_seconds(not_before.seconds() - 1).unwrap();
        assert!(matches!(
            verify(now),
            Err(VerifyError::NotYetValid { not_before: got, .. }) if got == not_before
        ));
        let now = UnixTime::from_seconds(not_after.seconds() + 1).unwrap();
        let expired = VerifyError::Expired { endorsement: last, not_after, now };
        assert_eq!(verify(now), Err(expired));
    }
}

#[test]
fn openssl_reads_what_the_test_vendor_writes() {
    let vendor = Vendor::new(Product::Turin, VekKind::Vcek);
    let endorsements = vendor.endorsements();
    let ark = X509::from_der(&endorsements.ark).unwrap();
    let ask = X509::from_der(&endorsements.ask).unwrap();
    let vek = X509::from_der(&endorsements.vek).unwrap();
    assert!(ark.verify(&ark.public_key().unwrap()).unwrap());
    assert!(ask.verify(&ark.public_key().unwrap()).unwrap());
    assert!(vek.verify(&ask.public_key().unwrap()).unwrap());
    let names: Vec<_> = vek.subject_name().entries_by_nid(Nid::COMMONNAME).collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].data().as_slice(), b"SEV-VCEK");
    let crl = openssl::x509::X509Crl::from_der(&endorsements.crl.unwrap()).unwrap();
    assert!(crl.verify(&ark.public_key().unwrap()).unwrap());
    assert_eq!(seconds(crl.next_update().unwrap()), vendor.crl.next_update);
    assert_eq!(crl.get_revoked().unwrap().len(), 1);
}
