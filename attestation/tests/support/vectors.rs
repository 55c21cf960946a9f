//! Reports of real chips. They are not part of this repository: `$NEO_SECRETS_VECTORS` says where
//! they are, or they lie in `../shared/vectors` beside it.

use std::env;
use std::fs;
use std::path::PathBuf;

use neo_secrets_attestation::endorsements::Endorsements;
use neo_secrets_attestation::product::Product;

/// A report, with what vouches for it. AMD's CRLs are not among the vectors.
pub struct Vector {
    pub name: &'static str,
    pub product: Product,
    pub report: Vec<u8>,
    pub endorsements: Endorsements,
}

/// The folder of the vectors; where there is none, says loudly that `test` is skipped.
pub fn folder(test: &str) -> Option<PathBuf> {
    let fallback = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");
    let folder = env::var_os("NEO_SECRETS_VECTORS").map_or_else(|| fallback.into(), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    // Past the test harness, which shows the output of a test only where it fails.
    let message = format!("SKIPPED {test}: no vectors in {}\n", folder.display());
    let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
    None
}

/// A file of the vectors.
pub fn read(test: &str, path: &str) -> Option<Vec<u8>> {
    let path = folder(test)?.join(path);
    Some(fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Every report, or none where there are no vectors.
pub fn reports(test: &str) -> Vec<Vector> {
    let read = |path: String| read(test, &path);
    let load = |(name, product, ask): (&'static str, Product, &str)| {
        let ca = format!("amd-ca/{}", product.name().to_lowercase());
        Some(Vector {
            name,
            product,
            report: read(format!("{name}/report.bin"))?,
            endorsements: Endorsements {
                vek: read(format!("{name}/vek.der"))?,
                ask: read(format!("{ca}/{ask}.der"))?,
                ark: read(format!("{ca}/ark.der"))?,
                crl: None,
            },
        })
    };
    if folder(test).is_none() {
        return vec![];
    }
    [
        ("milan-v2-vcek", Product::Milan, "ask"),
        ("milan-v2-vcek-debug-policy", Product::Milan, "ask"),
        ("milan-v3-vcek", Product::Milan, "ask"),
        ("milan-v3-vlek", Product::Milan, "asvk"),
        ("genoa-v3-vcek", Product::Genoa, "ask"),
        ("genoa-v5-vcek", Product::Genoa, "ask"),
        ("turin-v5-vcek", Product::Turin, "ask"),
    ]
    .into_iter()
    .filter_map(load)
    .collect()
}
