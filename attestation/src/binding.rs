//! What ties a report to one caller's connection: leaf, Merkle tree, report data, signed messages
//! (SPEC.md sections 1, 2 and 4).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256, Sha512};

use crate::evidence::{Claims, ConfigText, StoreId};
use crate::limits;
use crate::time::UnixTime;

const REPORT_DATA_LABEL: &[u8] = b"neo-secrets evidence v1\0";
const INSTANCE_LABEL: &[u8] = b"neo-secrets instance v1\0";
const CLAIM_LABEL: &[u8] = b"neo-secrets claim v1\0";
const CONFIGURATION_LABEL: &[u8] = b"neo-secrets configuration v1\0";
const CLOCK_LABEL: &[u8] = b"neo-secrets clock v1\0";

/// What a leaf is made for; evidence for one role never passes for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `GET /v1/attestation`.
    Evidence,
    /// Handover, made by the old instance.
    HandoverOld,
    /// Handover, made by the successor.
    HandoverSuccessor,
}

impl Role {
    fn byte(self) -> u8 {
        match self {
            Self::Evidence => 0,
            Self::HandoverOld => 1,
            Self::HandoverSuccessor => 2,
        }
    }
}

/// A verifier's nonce: 16 to 64 bytes. Its text form is base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(Vec<u8>);

/// Why a nonce is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not base64url, padded, or with stray bits at the end.
    #[error("must be base64url without padding")]
    NotBase64Url,
    /// Too short or too long.
    #[error("must stand for 16 to 64 bytes, not {got}")]
    Length {
        /// The number of bytes.
        got: usize,
    },
}

impl Nonce {
    /// Takes 16 to 64 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, NonceError> {
        if (limits::NONCE_BYTES_MIN..=limits::NONCE_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(NonceError::Length { got: bytes.len() })
        }
    }

    /// The raw bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        let bytes =
            BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| NonceError::NotBase64Url)?;
        Self::new(&bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

/// The RFC 9266 `tls-exporter` of one TLS 1.3 connection, from this side's own TLS stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exporter(pub [u8; 32]);

impl Exporter {
    /// The label to ask the TLS stack with; the context is empty, the length 32 bytes.
    pub const LABEL: &'static [u8] = b"EXPORTER-Channel-Binding";
}

/// The leaf of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf(pub [u8; 32]);

/// The root of one batch of leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root(pub [u8; 32]);

/// REPORT_DATA of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportData(pub [u8; 64]);

/// The leaf for one nonce on one connection (SPEC.md section 2).
pub fn leaf(role: Role, nonce: &Nonce, exporter: &Exporter) -> Leaf {
    let length = u8::try_from(nonce.0.len()).expect("a nonce has at most 64 bytes");
    let hash = Sha256::new()
        .chain_update([0, role.byte(), length])
        .chain_update(&nonce.0)
        .chain_update(exporter.0);
    Leaf(hash.finalize().into())
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let hash = Sha256::new().chain_update([1]).chain_update(left).chain_update(right);
    hash.finalize().into()
}

/// A Merkle tree over the leaves of one batch, in the shape of RFC 6962 section 2.1.
#[derive(Debug, Clone)]
pub struct Tree {
    /// From the leaves to the root. A lone last node moves up unhashed, which gives RFC 6962's
    /// shape.
    levels: Vec<Vec<[u8; 32]>>,
}

/// The number of leaves is not 1 to 65,536.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tree has 1 to {} leaves, not {got}", limits::TREE_LEAVES_MAX)]
pub struct TreeSizeError {
    /// The number of leaves.
    pub got: usize,
}

impl Tree {
    /// Hashes 1 to 65,536 leaves.
    pub fn new(leaves: &[Leaf]) -> Result<Self, TreeSizeError> {
        if leaves.is_empty() || leaves.len() > limits::TREE_LEAVES_MAX {
            return Err(TreeSizeError { got: leaves.len() });
        }
        let mut levels = Vec::with_capacity(limits::PATH_HASHES_MAX + 1);
        let mut level: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
        while level.len() > 1 {
            let above = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    [lone] => *lone,
                    _ => unreachable!("chunks of two hold one or two nodes"),
                })
                .collect();
            levels.push(level);
            level = above;
        }
        levels.push(level);
        Ok(Self { levels })
    }

    /// The root.
    pub fn root(&self) -> Root {
        let top = self.levels.last().and_then(|level| level.first());
        Root(*top.expect("the last level of a tree has exactly one node"))
    }

    /// The path of the leaf at `index`; `None` where there is no such leaf.
    pub fn path(&self, index: usize) -> Option<Path> {
        let size = self.levels.first()?.len();
        if index >= size {
            return None;
        }
        let siblings = self.levels.iter().enumerate();
        let hashes = siblings.filter_map(|(height, level)| level.get((index >> height) ^ 1));
        Some(Path {
            index: u32::try_from(index).ok()?,
            size: u32::try_from(size).ok()?,
            hashes: hashes.copied().collect(),
        })
    }
}

/// An inclusion path as it stands in a document: untrusted until [`Path::root`] has walked it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The leaf's place, from 0.
    pub index: u32,
    /// The number of leaves.
    pub size: u32,
    /// The siblings from the leaf up.
    pub hashes: Vec<[u8; 32]>,
}

/// Why a path leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No tree has this many leaves.
    #[error("the path's tree has {got} leaves; it must have 1 to {}", limits::TREE_LEAVES_MAX)]
    Size {
        /// `size` of the path.
        got: u32,
    },
    /// The index is not below the size.
    #[error("the path's index {index} is not below its size {size}")]
    Index {
        /// `index` of the path.
        index: u32,
        /// `size` of the path.
        size: u32,
    },
    /// The number of hashes is not what index and size imply.
    #[error("the path has {got} hashes; its index and size imply {expected}")]
    Length {
        /// How many hashes there are.
        got: usize,
        /// How many there must be.
        expected: usize,
    },
}

impl Path {
    /// Walks from `leaf` to the root (RFC 9162 section 2.1.3.2).
    pub fn root(&self, leaf: Leaf) -> Result<Root, PathError> {
        let expected = self.expected_hashes()?;
        if self.hashes.len() != expected {
            return Err(PathError::Length { got: self.hashes.len(), expected });
        }
        let (mut index, mut last) = (self.index, self.size - 1);
        let mut hash = leaf.0;
        for sibling in &self.hashes {
            // A lone last node moves up until it is a right child.
            while index == last && index & 1 == 0 {
                index >>= 1;
                last >>= 1;
            }
            hash = if index & 1 == 1 { node(sibling, &hash) } else { node(&hash, sibling) };
            index >>= 1;
            last >>= 1;
        }
        Ok(Root(hash))
    }

    fn expected_hashes(&self) -> Result<usize, PathError> {
        let Self { index, size, hashes: _ } = *self;
        let in_range = usize::try_from(size).is_ok_and(|size| size <= limits::TREE_LEAVES_MAX);
        if size == 0 || !in_range {
            return Err(PathError::Size { got: size });
        }
        if index >= size {
            return Err(PathError::Index { index, size });
        }
        let (mut index, mut last, mut expected) = (index, size - 1, 0);
        while last > 0 {
            // Only a lone last node (even, and the level's last) has no sibling.
            expected += usize::from(index & 1 == 1 || index < last);
            index >>= 1;
            last >>= 1;
        }
        Ok(expected)
    }
}

/// REPORT_DATA for one snapshot of the claims and one batch (SPEC.md section 4).
pub fn report_data(claims: &Claims, root: &Root) -> ReportData {
    let hash = Sha512::new()
        .chain_update(REPORT_DATA_LABEL)
        .chain_update(claims.encode())
        .chain_update(root.0);
    ReportData(hash.finalize().into())
}

/// What the instance key signs, once for a batch (SPEC.md section 4).
pub fn instance_message(report_data: &ReportData) -> Vec<u8> {
    [INSTANCE_LABEL, &64u32.to_be_bytes(), &report_data.0].concat()
}

/// What the owner's key signs to accept another configuration for a store, as its `number`th act
/// (SPEC.md section 4).
pub fn configuration_message(store: &StoreId, number: u64, config: &ConfigText) -> Vec<u8> {
    let config = config.as_str().as_bytes();
    // A configuration is bounded far below 4 GiB.
    let length = u32::try_from(config.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (sixteen, eight) = (16u32.to_be_bytes(), 8u32.to_be_bytes());
    let number = number.to_be_bytes();
    [CONFIGURATION_LABEL, &sixteen, &store.0, &eight, &number, &length, config].concat()
}

/// What the owner's key signs to set a store's time, as its `number`th act (SPEC.md section 4).
pub fn clock_message(store: &StoreId, number: u64, time: UnixTime) -> Vec<u8> {
    let (sixteen, eight) = (16u32.to_be_bytes(), 8u32.to_be_bytes());
    let (number, time) = (number.to_be_bytes(), time.seconds().to_be_bytes());
    [CLOCK_LABEL, &sixteen, &store.0, &eight, &number, &eight, &time].concat()
}

/// What the owner's key signs to claim an instance over one connection (SPEC.md section 4).
pub fn claim_message(exporter: &Exporter) -> Vec<u8> {
    [CLAIM_LABEL, &32u32.to_be_bytes(), &exporter.0].concat()
}
