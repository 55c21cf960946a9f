//! The wire formats against real ones, and what survives a restart.

use std::io::Write as _;
mod verified;

use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::macros::datetime;

use neo_secrets_server::platform::Platform;

use crate::product::tcb_at_most;
use crate::report::{FIELDS, FirmwareVersion, REPORT_BYTES, ReportBody, SIGNED_BYTES, field_named};
use crate::settings::Signer;
use crate::x509::ORGANIZATION;
use crate::{Chip, ChipError, LeafKind, Machine, Product, Tcb, testing};

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

/// Every real report with its leaf, and what signed it.
const VECTORS: [(&str, Product, Signer); 7] = [
    ("milan-v2-vcek", Product::Milan, Signer::Vcek),
    ("milan-v2-vcek-debug-policy", Product::Milan, Signer::Vcek),
    ("milan-v3-vcek", Product::Milan, Signer::Vcek),
    ("milan-v3-vlek", Product::Milan, Signer::Vlek),
    ("genoa-v3-vcek", Product::Genoa, Signer::Vcek),
    ("genoa-v5-vcek", Product::Genoa, Signer::Vcek),
    ("turin-v5-vcek", Product::Turin, Signer::Vcek),
];

/// The folder of real vectors, which are not part of this repository.
fn vectors() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let folder = std::env::var_os("NEO_SECRETS_VECTORS").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no real vectors in {}; set NEO_SECRETS_VECTORS",
        folder.display()
    );
    None
}

/// Tag and content of each value of a constructed one's content.
fn children(mut content: &[u8]) -> Vec<(u8, &[u8])> {
    let mut values = Vec::new();
    while let [tag, first, rest @ ..] = content {
        let more = if *first < 0x80 { 0 } else { usize::from(first & 0x7F) };
        let (long, rest) = rest.split_at(more);
        let short = if more == 0 { usize::from(*first) } else { 0 };
        let length = long.iter().fold(short, |length, b| length << 8 | usize::from(*b));
        let (value, rest) = rest.split_at(length);
        values.push((*tag, value));
        content = rest;
    }
    values
}

fn to_be_signed(certificate: &[u8]) -> Vec<(u8, &[u8])> {
    let outer = children(certificate)[0].1;
    children(children(outer)[0].1)
}

/// The tags of a value and all below it, with object identifiers in full.
fn shape(tag: u8, content: &[u8]) -> Vec<u8> {
    let below = || children(content).into_iter().flat_map(|(tag, value)| shape(tag, value));
    match tag {
        0x06 => [&[tag], content].concat(),
        _ if tag & 0x20 != 0 => std::iter::once(tag).chain(below()).collect(),
        _ => vec![tag],
    }
}

fn bytes_of<'a>(report: &'a [u8], name: &str) -> &'a [u8] {
    let field = field_named(name);
    &report[field.offset..field.offset + field.bytes]
}

fn tcb_of(report: &[u8], product: Product) -> Tcb {
    let &[a, b, c, d, _, _, snp, microcode] = bytes_of(report, "reported_tcb") else {
        panic!("a TCB has 8 bytes")
    };
    match product {
        Product::Turin => Tcb { fmc: Some(a), boot_loader: b, tee: c, snp: d, microcode },
        _ => Tcb { fmc: None, boot_loader: a, tee: b, snp, microcode },
    }
}

#[test]
fn our_leaves_have_the_form_of_real_ones_and_the_very_bytes_of_their_extensions() {
    let Some(folder) = vectors() else { return };
    for (vector, product, signer) in VECTORS {
        let report = std::fs::read(folder.join(vector).join("report.bin")).unwrap();
        let real = std::fs::read(folder.join(vector).join("vek.der")).unwrap();
        let kind = match signer {
            Signer::Vcek => {
                let chip_id = &bytes_of(&report, "chip_id")[..product.chip_id_bytes()];
                LeafKind::Vcek(chip_id.to_vec())
            }
            Signer::Vlek => LeafKind::Vlek("CN=cc-us-east-2.amazonaws.com".to_owned()),
        };
        let vendor = testing::vendor(product, NOW);
        let key = testing::chip(product, NOW).signing_key(tcb_of(&report, product)).unwrap();
        let draft = vendor.leaf_draft(&kind, &key, tcb_of(&report, product), NOW).unwrap();
        let ours = draft.sign(vendor.issuer_key(&kind)).unwrap();
        let (real, ours) = (to_be_signed(&real), to_be_signed(&ours));
        assert_eq!(real.len(), ours.len(), "{vector}");
        for (at, (real, ours)) in real.iter().zip(&ours).enumerate() {
            match at {
                // Version, serial, extensions.
                0 | 1 | 7 => assert_eq!(real, ours, "{vector}: value {at}"),
                // Old ones name PSS's trailer field, new ones leave the default out.
                2 if vector.starts_with("milan-v2") => {
                    assert!(shape(real.0, real.1).starts_with(&shape(ours.0, ours.1)[..]));
                }
                _ => assert_eq!(shape(real.0, real.1), shape(ours.0, ours.1), "{vector}: {at}"),
            }
        }
        let amd = b"Advanced Micro Devices";
        let subject = ours[5].1;
        assert!(!subject.windows(amd.len()).any(|window| window == amd), "{vector}");
        assert!(subject.windows(ORGANIZATION.len()).any(|w| w == ORGANIZATION.as_bytes()));
    }
}

#[test]
fn our_ca_certificates_have_the_names_serials_and_key_kinds_of_real_ones() {
    let Some(folder) = vectors() else { return };
    for product in Product::ALL {
        let vendor = testing::vendor(product, NOW);
        let real = folder.join("amd-ca").join(product.name().to_lowercase());
        let of = [("ark", vendor.ark()), ("ask", vendor.ask()), ("asvk", vendor.asvk())];
        for (file, ours) in of {
            let real = std::fs::read(real.join(file).with_extension("der")).unwrap();
            let (real, ours) = (to_be_signed(&real), to_be_signed(ours));
            let common_name = |name: &[u8]| {
                let (_, last) = children(name).pop().unwrap();
                let attribute = children(children(last)[0].1);
                (attribute[0].1.to_vec(), attribute[1].0, attribute[1].1.to_vec())
            };
            for name in [3, 5] {
                assert_eq!(common_name(real[name].1), common_name(ours[name].1), "{file}");
                assert_eq!(shape(0x30, real[name].1), shape(0x30, ours[name].1), "{file}");
            }
            assert_eq!(shape(0x30, real[6].1), shape(0x30, ours[6].1), "{file}: public key");
        }
    }
}

#[test]
fn the_writer_gives_real_reports_back() {
    let Some(folder) = vectors() else { return };
    for (vector, ..) in VECTORS {
        let real = std::fs::read(folder.join(vector).join("report.bin")).unwrap();
        let word = |name| u32::from_le_bytes(bytes_of(&real, name).try_into().unwrap());
        let long = |name| u64::from_le_bytes(bytes_of(&real, name).try_into().unwrap());
        let byte = |name: &str| bytes_of(&real, name)[0];
        let version = |of: &str| FirmwareVersion {
            major: byte(&format!("{of}_major")),
            minor: byte(&format!("{of}_minor")),
            build: byte(&format!("{of}_build")),
        };
        fn array<const N: usize>(report: &[u8], name: &str) -> [u8; N] {
            bytes_of(report, name).try_into().unwrap()
        }
        let written = ReportBody {
            version: word("version"),
            guest_svn: word("guest_svn"),
            policy: long("policy"),
            family_id: array(&real, "family_id"),
            image_id: array(&real, "image_id"),
            vmpl: word("vmpl"),
            signature_algo: word("signature_algo"),
            current_tcb: array(&real, "current_tcb"),
            platform_info: long("platform_info"),
            key_info: word("key_info"),
            report_data: array(&real, "report_data"),
            measurement: array(&real, "measurement"),
            host_data: array(&real, "host_data"),
            id_key_digest: array(&real, "id_key_digest"),
            author_key_digest: array(&real, "author_key_digest"),
            report_id: array(&real, "report_id"),
            report_id_ma: array(&real, "report_id_ma"),
            reported_tcb: array(&real, "reported_tcb"),
            cpuid: [byte("cpuid_family"), byte("cpuid_model"), byte("cpuid_stepping")],
            chip_id: array(&real, "chip_id"),
            committed_tcb: array(&real, "committed_tcb"),
            current_version: version("current"),
            committed_version: version("committed"),
            launch_tcb: array(&real, "launch_tcb"),
            launch_mit_vector: long("launch_mit_vector"),
            current_mit_vector: long("current_mit_vector"),
        }
        .encode();
        assert_eq!(real.len(), REPORT_BYTES);
        assert_eq!(written[..SIGNED_BYTES], real[..SIGNED_BYTES], "{vector}");
        // What isn't r or s is zero in real ones too, so our zeros there are right.
        for field in FIELDS.iter().filter(|field| field.offset >= SIGNED_BYTES) {
            let zero = real[field.offset..][..field.bytes].iter().all(|b| *b == 0);
            let number = ["signature_r", "signature_s"].contains(&field.name);
            assert_eq!(zero, !number, "{vector}: {}", field.name);
        }
    }
}

#[test]
fn our_answers_are_framed_as_real_ones() {
    let Some(folder) = vectors() else { return };
    let machine = Machine::launch(testing::chip(Product::Milan, NOW), NOW).unwrap();
    let real = std::fs::read(folder.join("abi/msg_report_rsp.bin")).unwrap();
    let ours = machine.report(&[1; 64]).unwrap();
    if real.len() == 4000 {
        assert_eq!(real[..32], ours[..32]);
        assert_eq!(real[32 + REPORT_BYTES..], ours[32 + REPORT_BYTES..]);
    } else {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: msg_report_rsp.bin has {} bytes, not its README's 4000",
            real.len()
        );
    }
    let real = std::fs::read(folder.join("abi/msg_key_rsp.bin")).unwrap();
    let ours = machine.derive_key(&[0; 32]).unwrap();
    assert_eq!(real.len(), ours.len());
    assert_eq!(real[..32], ours[..32]);
    assert_ne!(ours[32..], [0; 32]);
}

#[test]
fn tcbs_stand_where_each_product_has_them() {
    let tcb = Tcb { fmc: None, boot_loader: 1, tee: 2, snp: 3, microcode: 4 };
    assert_eq!(tcb.encode(Product::Milan), [1, 2, 0, 0, 0, 0, 3, 4]);
    assert_eq!(tcb.encode(Product::Genoa), [1, 2, 0, 0, 0, 0, 3, 4]);
    let turin = Tcb { fmc: Some(5), ..tcb };
    assert_eq!(turin.encode(Product::Turin), [5, 1, 2, 3, 0, 0, 0, 4]);
    assert!(tcb_at_most([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8]));
    assert!(!tcb_at_most([2, 0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]));
}

#[test]
fn a_chip_is_the_same_after_a_restart() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("chip");
    let mut chip = testing::chip(Product::Turin, NOW);
    chip.settings.guest.guest_svn = 7;
    chip.store(&folder, NOW).unwrap();
    let again = Chip::open(&folder, NOW + time::Duration::days(400)).unwrap();
    assert_eq!(again.settings, chip.settings);
    assert_eq!(again.vendor().ark(), chip.vendor().ark());
    assert_eq!(again.vendor().ask(), chip.vendor().ask());
    assert_eq!(again.vendor().asvk(), chip.vendor().asvk());
    let (before, after) =
        (Machine::launch(chip, NOW).unwrap(), Machine::launch(again, NOW).unwrap());
    let request = |machine: &Machine| *machine.derive_key(&[0; 32]).unwrap();
    assert_eq!(request(&before), request(&after));
    let tcb = before.chip().settings.tcb.reported;
    let key = |machine: &Machine, tcb| {
        machine.chip().signing_key(tcb).unwrap().public_key_to_der().unwrap()
    };
    assert_eq!(key(&before, tcb), key(&after, tcb));
    assert_ne!(key(&before, tcb), key(&before, Tcb { snp: tcb.snp + 1, ..tcb }));
}

#[test]
fn a_chips_files_are_private_and_complete_or_absent() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("chip");
    // What a start that was killed left behind is in nobody's way.
    std::fs::create_dir(parent.path().join("chip.partial")).unwrap();
    std::fs::write(parent.path().join("chip.partial/chip.json"), "{").unwrap();
    let chip = testing::chip(Product::Genoa, NOW);
    chip.store(&folder, NOW).unwrap();
    let mut files = 0;
    for inner in [folder.clone(), folder.join("vendor")] {
        assert_eq!(inner.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for file in inner.read_dir().unwrap().map(Result::unwrap) {
            let is_file = file.file_type().unwrap().is_file();
            files += usize::from(is_file);
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if is_file { 0o600 } else { 0o700 }, "{:?}", file.path());
        }
    }
    assert_eq!(files, 8);
    assert!(!parent.path().join("chip.partial").exists());
    assert!(matches!(chip.store(&folder, NOW), Err(ChipError::File(_))));
}

#[test]
fn broken_chip_folders_are_refused_by_name() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("chip");
    let chip = testing::chip(Product::Genoa, NOW);
    let broken = |file: &str, content: &str| {
        crate::files::remove_folder(&folder).unwrap();
        chip.store(&folder, NOW).unwrap();
        std::fs::write(folder.join(file), content).unwrap();
        Chip::open(&folder, NOW).err().unwrap()
    };
    assert!(matches!(broken("chip.json", "{}"), ChipError::Settings { .. }));
    assert!(matches!(broken("chip.secret", "00"), ChipError::Secret { .. }));
    let error = broken("vendor/ask.key", "no key");
    assert!(error.to_string().starts_with("ask.key: not an RSA private key"), "{error}");
    assert!(matches!(Chip::open(&parent.path().join("none"), NOW), Err(ChipError::File(_))));
}

#[test]
fn another_product_in_the_settings_gets_a_root_of_its_own() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("chip");
    let chip = testing::chip(Product::Genoa, NOW);
    chip.store(&folder, NOW).unwrap();
    let json = String::from_utf8(chip.settings.to_json()).unwrap();
    std::fs::write(folder.join("chip.json"), json.replace("Genoa", "Milan")).unwrap();
    let milan = Chip::open(&folder, NOW).unwrap();
    assert_eq!(milan.vendor().product(), Product::Milan);
    assert_ne!(milan.vendor().ark(), chip.vendor().ark());
    assert_eq!(Chip::open(&folder, NOW).unwrap().vendor().ark(), milan.vendor().ark());
}
