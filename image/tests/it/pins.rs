//! What happens where a pin can't be kept.

use neo_secrets_image::debian::Debian;
use neo_secrets_image::error::ImageError;
use neo_secrets_image::manifest::{Manifest, PATH, replace};

use crate::{manifest, root, skip};

/// A package that no cache has.
fn other(version: &str, sha256: &str) -> neo_secrets_image::manifest::Package {
    let mut package = manifest().packages.stub;
    package.version = version.to_owned();
    package.sha256 = sha256.repeat(64);
    package
}

#[test]
fn a_pin_that_cannot_be_kept_is_named() {
    let debian = Debian::new(&root().join("target/image.pins"));
    let newest = match debian.newest_listed(&manifest().packages.stub) {
        Ok(newest) => newest,
        Err(error) => return skip(&format!("pins that cannot be kept ({error})")),
    };
    // A version that Debian does not have any more: with the commands that help.
    let gone = debian.pinned(&other("1-1", "0")).unwrap_err();
    assert!(matches!(gone, ImageError::VersionGone { .. }), "{gone}");
    let text = gone.to_string();
    for part in ["systemd-boot-efi 1-1", "scripts/image bump", "scripts/image --unpinned"] {
        assert!(text.contains(part), "{text}");
    }
    // Other bytes than the pinned ones.
    match debian.pinned(&other(&newest.version, "1")) {
        Err(ImageError::PackageHash { name, got, expected }) => {
            assert_eq!((name.as_str(), got), ("systemd-boot-efi", newest.sha256));
            assert_eq!(expected, "1".repeat(64));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pin_is_replaced_and_nothing_else() {
    let text = std::fs::read_to_string(root().join(PATH)).unwrap();
    let changed = replace(&text, "packages.stub", "version", "999-1").unwrap();
    let lines = text.lines().zip(changed.lines()).filter(|(one, other)| one != other);
    assert_eq!(lines.count(), 1);
    let manifest = Manifest::parse(&changed).unwrap();
    assert_eq!(manifest.packages.stub.version, "999-1");
    for (section, key) in [("packages.stub", "follow"), ("packages", "version"), ("stub", "name")] {
        let missing = replace(&text, section, key, "x");
        assert!(matches!(missing, Err(ImageError::Manifest(_))), "{section} {key}");
    }
}

#[test]
fn a_manifest_with_an_unknown_key_or_a_blank_around_the_command_line_is_refused() {
    let text = std::fs::read_to_string(root().join(PATH)).unwrap();
    for (from, to) in [
        ("[files]", "shell = true\n[files]"),
        ("command_line = \"console", "command_line = \" console"),
        ("command_line = \"console", "command_line = \"\\u00e9console"),
        ("sha256 = ", "sha265 = "),
    ] {
        assert!(text.contains(from), "{from}");
        let refused = Manifest::parse(&text.replacen(from, to, 1));
        assert!(matches!(refused, Err(ImageError::Manifest(_))), "{to}: {refused:?}");
    }
}
