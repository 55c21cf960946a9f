//! Answers of the secure processor to a guest's messages (SEV-SNP Firmware ABI, MSG_REPORT_RSP and
//! MSG_KEY_RSP), as the kernel hands them over. All integers are little-endian.

use std::hint::black_box;

use crate::limits::REPORT_BYTES;

const REPORT_RESPONSE_BYTES: usize = 4000;
const KEY_RESPONSE_BYTES: usize = 64;

/// Why an answer holds nothing to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FirmwareError {
    /// The answer itself has the wrong length.
    #[error("the firmware's answer has {got} bytes; it must have {expected}")]
    Length {
        /// Bytes there are.
        got: usize,
        /// Bytes there must be.
        expected: usize,
    },
    /// The firmware refused; 0x16 is an invalid parameter, 0x27 an invalid key selection.
    #[error("the firmware answered status {status:#x}")]
    Status {
        /// The status word.
        status: u32,
    },
    /// The answer says that its report has another size than a report has.
    #[error("the firmware's report has {got} bytes; it must have 1184")]
    ReportSize {
        /// The size that the answer names.
        got: u32,
    },
    /// A derived key of zeros only: the firmware made none.
    #[error("the firmware's derived key is all zero")]
    ZeroKey,
}

/// The raw report of a MSG_REPORT_RSP: status `u32`, size `u32`, 24 reserved bytes, report; 4000
/// bytes in all.
pub fn report_response(answer: &[u8]) -> Result<&[u8; REPORT_BYTES], FirmwareError> {
    let wrong_length = FirmwareError::Length { got: answer.len(), expected: REPORT_RESPONSE_BYTES };
    let answer: &[u8; REPORT_RESPONSE_BYTES] = answer.try_into().map_err(|_| wrong_length)?;
    let (status, rest) = answer.split_first_chunk().ok_or(wrong_length)?;
    check_status(*status)?;
    let (size, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
    let size = u32::from_le_bytes(*size);
    if usize::try_from(size) != Ok(REPORT_BYTES) {
        return Err(FirmwareError::ReportSize { got: size });
    }
    let (_reserved, rest) = rest.split_first_chunk::<24>().ok_or(wrong_length)?;
    rest.first_chunk().ok_or(wrong_length)
}

/// The derived key of a MSG_KEY_RSP: status `u32`, 28 reserved bytes, key; 64 bytes in all. The key
/// stays where it is: the caller wipes the answer.
pub fn key_response(answer: &[u8]) -> Result<&[u8; 32], FirmwareError> {
    let wrong_length = FirmwareError::Length { got: answer.len(), expected: KEY_RESPONSE_BYTES };
    let answer: &[u8; KEY_RESPONSE_BYTES] = answer.try_into().map_err(|_| wrong_length)?;
    let (status, rest) = answer.split_first_chunk().ok_or(wrong_length)?;
    check_status(*status)?;
    let (_reserved, rest) = rest.split_first_chunk::<28>().ok_or(wrong_length)?;
    let key = rest.first_chunk::<32>().ok_or(wrong_length)?;
    // Every byte is looked at, so that the time says nothing about the key.
    if black_box(key.iter().fold(0, |bits, byte| black_box(bits | byte))) == 0 {
        return Err(FirmwareError::ZeroKey);
    }
    Ok(key)
}

fn check_status(status: [u8; 4]) -> Result<(), FirmwareError> {
    match u32::from_le_bytes(status) {
        0 => Ok(()),
        status => Err(FirmwareError::Status { status }),
    }
}
