//! The document: reading one from anywhere, writing one for each caller of a batch.

use serde::Serialize;

use super::{ClaimPhase, Claims, DocumentError, read_optional};
use crate::binding::Path;
use crate::ed25519::Signature;
use crate::encoding::base64;
use crate::endorsements::Endorsements;
use crate::json::{self, JsonError, Node};
use crate::limits;

/// A document as it was received: well-formed, and nothing in it believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The raw report.
    pub report: Vec<u8>,
    /// The chain that should end in a pinned root.
    pub certificates: Endorsements,
    /// What the report should vouch for.
    pub claims: Claims,
    /// From the caller's leaf to the root in REPORT_DATA.
    pub path: Path,
    /// There exactly in phase `serving`.
    pub instance_signature: Option<Signature>,
}

impl Document {
    /// Reads a document under the limits of SPEC.md section 5.
    pub fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        let mut fields = json::parse(text, limits::DOCUMENT_BYTES_MAX)?.object()?;
        let version: u64 = fields.take("version")?.number()?;
        if version != 1 {
            return Err(DocumentError::Newer { what: format!("document version {version}") });
        }
        fields.take("platform")?.text("sev-snp", |text| (text == "sev-snp").then_some(()))?;
        let report = fields.take("report")?.base64(limits::REPORT_FIELD_BYTES_MAX)?;
        let mut chain = fields.take("certificates")?.object()?;
        let mut certificate = |name| chain.take(name)?.base64(limits::CERTIFICATE_BYTES_MAX);
        let (vek, ask, ark) = (certificate("vek")?, certificate("ask")?, certificate("ark")?);
        let crl = chain.take_optional("crl");
        let crl = crl.map(|node| node.base64(limits::CRL_BYTES_MAX)).transpose()?;
        chain.end()?;
        let claims = Claims::read(fields.take("claims")?)?;
        let mut freshness = fields.take("freshness")?.object()?;
        let path = read_path(freshness.take("path")?)?;
        let instance_signature =
            read_optional(&mut freshness, "instanceSignature", "base64 of 64 bytes")?;
        freshness.end()?;
        fields.end()?;
        let serving = matches!(claims.phase, ClaimPhase::Serving { .. });
        if serving != instance_signature.is_some() {
            return Err(DocumentError::InstanceSignaturePresence);
        }
        let certificates = Endorsements { vek, ask, ark, crl };
        Ok(Self { report, certificates, claims, path, instance_signature })
    }
}

fn read_path(node: Node) -> Result<Path, JsonError> {
    let mut fields = node.object()?;
    let path = Path {
        index: fields.take("index")?.number()?,
        size: fields.take("size")?.number()?,
        hashes: fields.take("hashes")?.list(limits::PATH_HASHES_MAX, |hash| hash.base64_array())?,
    };
    fields.end()?;
    Ok(path)
}

/// A document for a whole batch, ready but for one caller's path. Made once for each report.
pub struct BatchBody {
    /// From the opening brace up to the path.
    prefix: Vec<u8>,
    /// From behind the path to the closing brace.
    suffix: Vec<u8>,
}

#[derive(Serialize)]
struct DocumentHead {
    version: u32,
    platform: &'static str,
    report: String,
    certificates: CertificatesText,
    claims: Claims,
}

#[derive(Serialize)]
struct CertificatesText {
    vek: String,
    ask: String,
    ark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crl: Option<String>,
}

impl BatchBody {
    /// Writes everything that the callers of one batch share. `instance_signature` is over
    /// [`crate::binding::instance_message`] and is given exactly in phase `serving`.
    pub fn new(
        report: &[u8],
        certificates: &Endorsements,
        claims: &Claims,
        instance_signature: Option<&Signature>,
    ) -> Self {
        let Endorsements { vek, ask, ark, crl } = certificates;
        let head = DocumentHead {
            version: 1,
            platform: "sev-snp",
            report: base64(report),
            certificates: CertificatesText {
                vek: base64(vek),
                ask: base64(ask),
                ark: base64(ark),
                crl: crl.as_ref().map(|crl| base64(crl)),
            },
            claims: claims.clone(),
        };
        let mut prefix = serde_json::to_vec(&head).expect("strings and numbers always serialise");
        prefix.pop(); // The closing brace: `freshness` follows.
        prefix.extend_from_slice(br#","freshness":{"path":"#);
        let suffix = match instance_signature {
            None => "}}".into(),
            Some(signature) => format!(r#","instanceSignature":"{signature}"}}}}"#).into_bytes(),
        };
        Self { prefix, suffix }
    }

    /// The whole document for the caller whose leaf `path` belongs to.
    pub fn document(&self, path: &Path) -> Vec<u8> {
        let hashes: Vec<String> =
            path.hashes.iter().map(|hash| format!("\"{}\"", base64(hash))).collect();
        let Path { index, size, hashes: _ } = path;
        let hashes = hashes.join(",");
        let path = format!(r#"{{"index":{index},"size":{size},"hashes":[{hashes}]}}"#);
        [&self.prefix, path.as_bytes(), &self.suffix].concat()
    }
}
