//! Kernel modules: the files as Debian signed them, in an order in which each finds what it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::ImageError;
use crate::files;

/// A module's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Such as `virtio_blk.ko.xz`.
    pub file_name: String,
    /// The file, compressed and signed.
    pub bytes: Vec<u8>,
}

/// The modules and all that they need, each after what it needs. The folder is the kernel's, below
/// /usr/lib/modules.
///
/// # Errors
/// One is not there, or they need each other in a circle.
pub fn in_load_order(folder: &Path, names: &[String]) -> Result<Vec<Module>, ImageError> {
    let mut paths = BTreeMap::new();
    for path in files::below(folder)? {
        if let Some(name) = module_name(&path) {
            paths.insert(name, path);
        }
    }
    let mut needs = BTreeMap::new();
    let mut waiting: Vec<_> = names.iter().map(|name| normal(name)).collect();
    while let Some(name) = waiting.pop() {
        if needs.contains_key(&name) {
            continue;
        }
        let path = paths.get(&name).ok_or_else(|| ImageError::ModuleMissing(name.clone()))?;
        let needed = needed_by(&files::run(Command::new("xz").arg("-dc").arg(path))?);
        waiting.extend(needed.iter().cloned());
        needs.insert(name, needed);
    }
    let mut modules = Vec::new();
    for name in order(&needs, names)? {
        let path = paths.get(&name).ok_or_else(|| ImageError::ModuleMissing(name.clone()))?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        modules.push(Module { file_name, bytes: files::read(path)? });
    }
    Ok(modules)
}

/// `virtio-rng.ko.xz` is the module virtio_rng.
fn module_name(path: &Path) -> Option<String> {
    Some(normal(path.file_name()?.to_str()?.strip_suffix(".ko.xz")?))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The names in `depends=` of the module's .modinfo, a list of texts that each end with a zero.
fn needed_by(module: &[u8]) -> Vec<String> {
    let mut texts = module.split(|byte| *byte == 0);
    let list = texts.find_map(|text| text.strip_prefix(b"depends=")).unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(normal).collect()
}

/// Depth first, in the order of the names.
fn order(
    needs: &BTreeMap<String, Vec<String>>,
    names: &[String],
) -> Result<Vec<String>, ImageError> {
    fn visit(
        name: &str,
        needs: &BTreeMap<String, Vec<String>>,
        above: &mut Vec<String>,
        done: &mut Vec<String>,
    ) -> Result<(), ImageError> {
        if done.iter().any(|other| other == name) {
            return Ok(());
        }
        if above.iter().any(|other| other == name) {
            return Err(ImageError::ModuleCycle(name.to_owned()));
        }
        above.push(name.to_owned());
        for needed in needs.get(name).into_iter().flatten() {
            visit(needed, needs, above, done)?;
        }
        above.pop();
        done.push(name.to_owned());
        Ok(())
    }
    let mut done = Vec::new();
    for name in names {
        visit(&normal(name), needs, &mut Vec::new(), &mut done)?;
    }
    Ok(done)
}

/// The one folder below `usr/lib/modules` of an unpacked kernel: its name is the kernel's release.
///
/// # Errors
/// There is none, or more than one.
pub fn kernel_folder(unpacked: &Path) -> Result<PathBuf, ImageError> {
    let modules = unpacked.join("usr/lib/modules");
    let list = std::fs::read_dir(&modules).map_err(|source| files::at(&modules, source))?;
    let folders: Vec<_> = list.filter_map(Result::ok).map(|entry| entry.path()).collect();
    match folders.as_slice() {
        [one] => Ok(one.clone()),
        all => Err(ImageError::NotOne { what: "the kernel's modules", got: all.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn each_module_comes_after_what_it_needs_and_once() {
        let needs = BTreeMap::from([
            ("net".to_owned(), texts(&["failover"])),
            ("failover".to_owned(), texts(&["base"])),
            ("base".to_owned(), texts(&[])),
            ("tsm".to_owned(), texts(&["base"])),
        ]);
        let found = order(&needs, &texts(&["tsm", "net", "base"])).unwrap();
        assert_eq!(found, ["base", "tsm", "failover", "net"]);
    }

    #[test]
    fn a_circle_is_an_error_not_a_loop() {
        let needs =
            BTreeMap::from([("a".to_owned(), texts(&["b"])), ("b".to_owned(), texts(&["a"]))]);
        let found = order(&needs, &texts(&["a"]));
        assert!(matches!(found, Err(ImageError::ModuleCycle(name)) if name == "a"));
    }

    #[test]
    fn what_a_module_needs_stands_in_its_modinfo() {
        let module = b"\x7fELF\0license=GPL\0depends=hv_vmbus,pci-hyperv-intf\0name=x\0";
        assert_eq!(needed_by(module), ["hv_vmbus", "pci_hyperv_intf"]);
        assert_eq!(needed_by(b"\0depends=\0name=x\0"), [""; 0]);
    }
}
