//! What the image consists of, as CycloneDX 1.6: crates, Debian packages, compiler. Without a time
//! and without a serial number, so that it is the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::compile;
use crate::debian::Deb;
use crate::error::ImageError;
use crate::files;
use crate::manifest::Manifest;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// The document: indented JSON and a newline.
///
/// # Errors
/// cargo fails, or says what this program does not understand.
pub fn sbom(
    root: &Path,
    version: &str,
    manifest: &Manifest,
    debs: &[Deb],
) -> Result<String, ImageError> {
    let filter = ["--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"];
    let text = files::run(compile::cargo(root, "metadata").args(filter))?;
    let malformed = |error: &dyn std::fmt::Display| ImageError::Output {
        path: "cargo metadata".into(),
        problem: error.to_string(),
    };
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|error| malformed(&error))?;
    let lock = files::read_text(root.join("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&lock).map_err(|error| malformed(&error))?;
    let mut components = crates(&metadata, &lock, manifest);
    for Deb { name, version, sha256, path: _ } in debs {
        components.insert(format!("deb {name}"), deb(name, version, Some(sha256)));
    }
    for (name, version) in &manifest.tools {
        let component = match name.as_str() {
            "rustc" => json!({"type": "application", "name": name, "version": version}),
            name => deb(name, version, None),
        };
        components.insert(format!("tool {name}"), component);
    }
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {
            "type": "operating-system", "bom-ref": "neo-secrets", "name": "neo-secrets", "version": version,
        }},
        "components": components.into_values().collect::<Vec<_>>(),
    });
    Ok(format!("{document:#}\n"))
}

/// The crates that the programs are linked from, by name and version: what normal dependencies
/// reach.
fn crates(metadata: &Metadata, lock: &Lock, manifest: &Manifest) -> BTreeMap<String, Value> {
    let nodes: BTreeMap<_, _> =
        metadata.resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let ours = |found: &&Crate| {
        found.source.is_none()
            && manifest.programs.iter().any(|program| program.package == found.name)
    };
    let mut waiting: Vec<_> =
        metadata.packages.iter().filter(ours).map(|found| &found.id).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if reached.insert(id) {
            let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let normal = dependencies
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            waiting.extend(normal.map(|dependency| &dependency.pkg));
        }
    }
    let linked = metadata.packages.iter().filter(|found| reached.contains(&found.id));
    linked
        .map(|found| {
            let Crate { id: _, name, version, license, source } = found;
            let mut component = json!({
                "type": "library", "name": name, "version": version,
            });
            if source.is_some() {
                let purl = format!("pkg:cargo/{name}@{version}");
                component["bom-ref"] = purl.clone().into();
                component["purl"] = purl.into();
            }
            if let Some(license) = license {
                // Older crates separate by a slash.
                let expression = license.replace('/', " OR ");
                component["licenses"] = json!([{"expression": expression}]);
            }
            let locked = lock
                .package
                .iter()
                .find(|locked| locked.name == *name && locked.version == *version);
            if let Some(checksum) = locked.and_then(|locked| locked.checksum.as_ref()) {
                component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
            }
            (format!("crate {name} {version}"), component)
        })
        .collect()
}

fn deb(name: &str, version: &str, sha256: Option<&str>) -> Value {
    let escaped = version.replace('+', "%2B").replace('~', "%7E").replace(':', "%3A");
    let purl = format!("pkg:deb/debian/{}@{escaped}?arch=amd64", name.replace('+', "%2B"));
    let mut component = json!({
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
    });
    if let Some(sha256) = sha256 {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    component
}
