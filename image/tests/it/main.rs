//! The image as it is built: what is in it, what is not, and that a second time gives the same.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test ends where something fails")]

mod archive;
mod contents;
mod measure;
mod pins;
mod sign;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use neo_secrets_image::build::Inputs;
use neo_secrets_image::manifest::Manifest;

/// An image that was assembled for these tests, from the sources as they are.
pub struct Image {
    pub inputs: Inputs,
    pub folder: PathBuf,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

pub fn manifest() -> Manifest {
    Manifest::load(&root()).unwrap()
}

/// Says that something was not tested, where a person sees it.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// The image, where it can be built: that takes packages which only the mirror may have.
pub fn image() -> Option<&'static Image> {
    static IMAGE: OnceLock<Option<Image>> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        // Where the mirror no longer has a pinned version, the tests run with the newest.
        let inputs = match Inputs::collect(&root(), false) {
            Ok(inputs) => inputs,
            Err(error) => {
                skip(&format!("the image's tests ({error})"));
                return None;
            }
        };
        for what in &inputs.unpinned {
            let _ = writeln!(std::io::stderr(), "UNPINNED: {what}");
        }
        let folder = root().join("target/image.tests");
        let _ = std::fs::remove_dir_all(&folder);
        inputs.assemble(&folder).unwrap();
        Some(Image { inputs, folder })
    });
    image.as_ref()
}

impl Image {
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.join(name)).unwrap()
    }
}
