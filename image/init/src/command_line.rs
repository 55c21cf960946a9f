//! The kernel's command line: exactly the measured one.

/// What OVMF's loader of QEMU puts before the line; it is measured by nobody, and means nothing to
/// a kernel that has its initrd.
const LOADER: &[u8] = b"initrd=initrd ";

/// The line that this kernel was started with is not the one that was built.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's command line is not the image's")]
pub struct Foreign;

/// Compares what `/proc/cmdline` has with the built line.
///
/// # Errors
/// [`Foreign`], for each byte more, less or other.
pub fn check(found: &[u8], built: &[u8]) -> Result<(), Foreign> {
    let (found, built) = (line(found), line(built));
    let after_loader = found.strip_prefix(LOADER);
    if !built.is_empty() && (found == built || after_loader == Some(built)) {
        Ok(())
    } else {
        Err(Foreign)
    }
}

/// Without the one line feed that ends it.
fn line(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_line_passes_and_no_other() {
        let built = b"console=ttyS0 panic=-1 quiet";
        let check = |found: &str| check(found.as_bytes(), built);
        for good in ["", "\n"] {
            assert_eq!(check(&format!("console=ttyS0 panic=-1 quiet{good}")), Ok(()));
            assert_eq!(check(&format!("initrd=initrd console=ttyS0 panic=-1 quiet{good}")), Ok(()));
        }
        for bad in [
            "",
            "\n",
            "console=ttyS0 panic=-1",
            "console=ttyS0 panic=-1 quiet ",
            " console=ttyS0 panic=-1 quiet",
            "console=ttyS0 panic=-1 quiet\n\n",
            "console=ttyS0 panic=-1 quiet quiet",
            "console=ttyS0 panic=-1 quiet init=/bin/sh",
            "console=ttyS0  panic=-1 quiet",
            "initrd=initrd initrd=initrd console=ttyS0 panic=-1 quiet",
            "initrd=other console=ttyS0 panic=-1 quiet",
            "console=ttyS0 panic=-1 quiet initrd=initrd ",
            "Console=ttyS0 panic=-1 quiet",
            "console=ttyS0 panic=-1 quiet\0",
        ] {
            assert_eq!(check(bad), Err(Foreign), "{bad:?}");
        }
    }

    #[test]
    fn an_image_without_a_line_takes_none() {
        assert_eq!(check(b"", b""), Err(Foreign));
        assert_eq!(check(b"\n", b"\n"), Err(Foreign));
    }
}
