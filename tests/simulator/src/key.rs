//! MSG_KEY_REQ (AMD publication 56860): which requests are refused, and what enters a derived key.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::chip::{Chip, ChipError};
use crate::product::tcb_at_most;
use crate::settings::{Guest, Signer};

/// The firmware's status: done.
const SUCCESS: u32 = 0;
/// The firmware's status: a parameter is out of range.
pub const INVALID_PARAMETERS: u32 = 0x16;
/// The firmware's status: the root key asked for is not to be had.
pub const INVALID_KEY: u32 = 0x27;

/// Bits of GUEST_FIELD_SELECT that message version 1 knows.
const POLICY: u64 = 1 << 0;
const IMAGE_ID: u64 = 1 << 1;
const FAMILY_ID: u64 = 1 << 2;
const MEASUREMENT: u64 = 1 << 3;
const GUEST_SVN: u64 = 1 << 4;
const TCB_VERSION: u64 = 1 << 5;
const KNOWN_FIELDS: u64 = (1 << 6) - 1;

/// The request's 32 bytes, taken apart.
struct KeyRequest {
    root_key_select: u32,
    reserved: u32,
    guest_field_select: u64,
    vmpl: u32,
    guest_svn: u32,
    tcb_version: [u8; 8],
}

impl KeyRequest {
    fn parse(bytes: &[u8; 32]) -> Self {
        let [root, reserved, fields_low, fields_high, vmpl, svn, tcb_low, tcb_high] =
            bytes.as_chunks::<4>().0
        else {
            unreachable!("32 bytes are 8 times 4")
        };
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let ([a, b, c, d], [e, f, g, h]) = (*tcb_low, *tcb_high);
        Self {
            root_key_select: word(root),
            reserved: word(reserved),
            guest_field_select: u64::from(word(fields_high)) << 32 | u64::from(word(fields_low)),
            vmpl: word(vmpl),
            guest_svn: word(svn),
            tcb_version: [a, b, c, d, e, f, g, h],
        }
    }
}

/// A root that a request can select.
enum Root {
    Endorsement(Signer),
    /// The VM's own, new at each launch.
    Vm,
}

fn select_root(root_key_select: u32, chip: &Chip) -> Result<Root, u32> {
    let settings = &chip.settings;
    let has_vlek = settings.signer == Signer::Vlek;
    let signer = match (root_key_select & 1, root_key_select >> 1) {
        (1, 0) => return Ok(Root::Vm),
        (0, 0) if has_vlek => Signer::Vlek,
        (0, 0 | 1) => Signer::Vcek,
        (0, 2) if has_vlek => Signer::Vlek,
        (0, 2) => return Err(INVALID_KEY),
        _ => return Err(INVALID_PARAMETERS),
    };
    if signer == Signer::Vcek && settings.mask_chip_key {
        return Err(INVALID_KEY);
    }
    Ok(Root::Endorsement(signer))
}

/// The MSG_KEY_RSP: status, 28 reserved bytes, the key; all zeros but for the status where it is
/// refused.
///
/// # Errors
/// OpenSSL's.
pub(crate) fn derive(
    request: &[u8; 32],
    chip: &Chip,
    vm_root: &[u8; 32],
) -> Result<Zeroizing<[u8; 64]>, ChipError> {
    let request = KeyRequest::parse(request);
    let (status, key) = match check(&request, chip) {
        Err(status) => (status, Zeroizing::new([0; 32])),
        Ok(Root::Vm) => (SUCCESS, mix(&request, vm_root, &chip.settings.guest)),
        Ok(Root::Endorsement(signer)) => {
            let root = chip.endorsement_root(signer)?;
            (SUCCESS, mix(&request, &root, &chip.settings.guest))
        }
    };
    let mut response = Zeroizing::new([0; 64]);
    response[..4].copy_from_slice(&status.to_le_bytes());
    response[32..].copy_from_slice(key.as_slice());
    Ok(response)
}

fn check(request: &KeyRequest, chip: &Chip) -> Result<Root, u32> {
    let settings = &chip.settings;
    let committed = settings.tcb.committed.encode(settings.product);
    let in_range = request.reserved == 0
        && request.guest_field_select & !KNOWN_FIELDS == 0
        && (u32::from(settings.guest.vmpl)..=3).contains(&request.vmpl)
        && request.guest_svn <= settings.guest.guest_svn
        && tcb_at_most(request.tcb_version, committed);
    if !in_range {
        return Err(INVALID_PARAMETERS);
    }
    select_root(request.root_key_select, chip)
}

/// Selected fields enter the key, and always the root's kind, the selection, the VMPL, HOST_DATA
/// and the digests of the ID block's keys.
fn mix(request: &KeyRequest, root: &[u8; 32], guest: &Guest) -> Zeroizing<[u8; 32]> {
    let selected = |bit: u64| request.guest_field_select & bit != 0;
    let mut info = b"SIMULATED derived key".to_vec();
    info.extend(request.root_key_select.to_le_bytes());
    info.extend(request.guest_field_select.to_le_bytes());
    info.extend(request.vmpl.to_le_bytes());
    info.extend(guest.host_data.0);
    info.extend(guest.id_key_digest.0);
    info.extend(guest.author_key_digest.0);
    let fields: [(u64, &[u8]); 6] = [
        (POLICY, &guest.policy.0.to_le_bytes()),
        (IMAGE_ID, &guest.image_id.0),
        (FAMILY_ID, &guest.family_id.0),
        (MEASUREMENT, &guest.measurement.0),
        (GUEST_SVN, &request.guest_svn.to_le_bytes()),
        (TCB_VERSION, &request.tcb_version),
    ];
    for (_, value) in fields.iter().filter(|(bit, _)| selected(*bit)) {
        info.extend(*value);
    }
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, root)
        .expand(&info, key.as_mut_slice())
        .expect("32 bytes are one block of SHA-256");
    key
}
