//! What many tests need: vendor keys that are made once, and chips of every kind without a rate
//! limit.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use time::OffsetDateTime;

use crate::chip::Chip;
use crate::files;
use crate::product::Product;
use crate::vendor::{Vendor, VendorKeys};

/// The keys that all tests share, kept beside the build's output, since making them takes seconds.
///
/// # Panics
/// Where OpenSSL or the file system fails.
pub fn vendor_keys() -> Arc<VendorKeys> {
    static KEYS: OnceLock<Arc<VendorKeys>> = OnceLock::new();
    KEYS.get_or_init(|| Arc::new(load_or_make())).clone()
}

fn load_or_make() -> VendorKeys {
    let Some(folder) = build_output().map(|output| output.join("simulated-vendor-keys")) else {
        return VendorKeys::generate().expect("RSA keys");
    };
    if let Ok(keys) = VendorKeys::load(&folder) {
        return keys;
    }
    // Another test process may do the same: the first to rename wins, and all use what it left.
    let keys = VendorKeys::generate().expect("RSA keys");
    let own = folder.with_extension(std::process::id().to_string());
    files::create_folder(&own).expect("a folder in the build's output");
    keys.store(&own).expect("key files");
    if files::rename(&own, &folder).is_err() {
        files::remove_folder(&own).expect("a folder of our own");
    }
    VendorKeys::load(&folder).unwrap_or(keys)
}

/// Cargo marks its target folder with CACHEDIR.TAG.
fn build_output() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let mut folders = program.ancestors();
    folders.find(|folder| folder.join("CACHEDIR.TAG").exists()).map(PathBuf::from)
}

/// A vendor of the product with the shared keys.
///
/// # Panics
/// Where OpenSSL fails.
pub fn vendor(product: Product, now: OffsetDateTime) -> Vendor {
    Vendor::certify(vendor_keys(), product, now).expect("certificates")
}

/// A new chip of the product that answers as fast as it is asked.
///
/// # Panics
/// Where OpenSSL or the operating system's random source fails.
pub fn chip(product: Product, now: OffsetDateTime) -> Chip {
    let mut chip = Chip::new(vendor(product, now)).expect("a chip");
    chip.settings.rate.requests_per_second = 0;
    chip
}
