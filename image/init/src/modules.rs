//! Kernel modules: the listed files, in the list's order.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};

/// MODULE_INIT_COMPRESSED_FILE: the kernel unpacks the file that Debian has signed.
const COMPRESSED: u32 = 4;
const FOLDER: &str = "/lib/modules/";

/// Why a list is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the list of modules is no path below {FOLDER}")]
pub struct ListError {
    /// From 1.
    pub line: usize,
}

/// One absolute path below `/lib/modules/` on each line, in the order of loading.
///
/// # Errors
/// [`ListError`]
pub fn parse(list: &[u8]) -> Result<Vec<PathBuf>, ListError> {
    let text = str::from_utf8(list).map_err(|_| ListError { line: 1 })?;
    let path = |(line, text): (usize, &str)| {
        let name = text.strip_prefix(FOLDER).filter(|name| {
            let plain = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_plain);
            name.split('/').all(plain)
        });
        name.map(|_| PathBuf::from(text)).ok_or(ListError { line: line + 1 })
    };
    text.lines().enumerate().map(path).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte)
}

/// Loads one; that it is loaded already is no error.
///
/// # Errors
/// As the kernel says.
pub fn load(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let no_parameters: &CStr = c"";
    match finit_module(&file, no_parameters, ModuleInitFlags::from_bits_retain(COMPRESSED)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_path_on_each_line() {
        let list = b"/lib/modules/tsm.ko.xz\n/lib/modules/a/virtio-blk.ko.xz\n";
        let paths = ["/lib/modules/tsm.ko.xz", "/lib/modules/a/virtio-blk.ko.xz"];
        assert_eq!(parse(list), Ok(paths.map(PathBuf::from).to_vec()));
        assert_eq!(parse(b""), Ok(Vec::new()));
        for (line, bad) in [
            (1, "\n"),
            (1, "lib/modules/x.ko"),
            (1, "/lib/modules/"),
            (1, "/lib/modules/../x.ko"),
            (1, "/lib/modules/a//x.ko"),
            (1, "/lib/modules/x.ko option=1"),
            (2, "/lib/modules/x.ko\n# comment"),
            (2, "/lib/modules/x.ko\n/etc/modules\n"),
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(ListError { line }), "{bad:?}");
        }
        assert_eq!(parse(b"\xff"), Err(ListError { line: 1 }));
    }
}
