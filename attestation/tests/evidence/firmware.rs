//! Answers of the secure processor.

use neo_secrets_attestation::firmware::{FirmwareError, key_response, report_response};
use neo_secrets_attestation::report::Report;
use std::io::Write as _;

use crate::support::vectors::read;

fn with(bytes: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut answer = vec![0; bytes];
    for (place, value) in fields {
        answer[*place..*place + value.len()].copy_from_slice(value);
    }
    answer
}

#[test]
fn reports_come_out_of_their_frame() {
    let size: &[u8] = &1184u32.to_le_bytes();
    let answer = with(4000, &[(4, size), (32, &[7; 1184]), (1216, &[9])]);
    assert_eq!(report_response(&answer), Ok(&[7; 1184]));
    for got in [0, 32, 1216, 3999, 4001] {
        let error = FirmwareError::Length { got, expected: 4000 };
        assert_eq!(report_response(&vec![0; got]), Err(error));
    }
    for status in [0x16u32, 0x27, 0x0100_0000, u32::MAX] {
        let answer = with(4000, &[(0, &status.to_le_bytes()), (4, size)]);
        assert_eq!(report_response(&answer), Err(FirmwareError::Status { status }));
    }
    for got in [0u32, 1183, 1185, 0x0100_04A0, u32::MAX] {
        let answer = with(4000, &[(4, &got.to_le_bytes())]);
        assert_eq!(report_response(&answer), Err(FirmwareError::ReportSize { got }));
    }
}

#[test]
fn keys_come_out_of_their_frame() {
    assert_eq!(key_response(&with(64, &[(32, &[7; 32])])), Ok(&[7; 32]));
    // One bit is enough, wherever it is.
    for bit in 0..256 {
        let mut key = [0; 32];
        key[bit / 8] = 1 << (bit % 8);
        assert_eq!(key_response(&with(64, &[(32, &key)])), Ok(&key));
    }
    for got in [0, 32, 63, 65, 4000] {
        let error = FirmwareError::Length { got, expected: 64 };
        assert_eq!(key_response(&vec![1; got]), Err(error));
    }
    for status in [0x16u32, 0x27, u32::MAX] {
        let answer = with(64, &[(0, &status.to_le_bytes()), (32, &[7; 32])]);
        assert_eq!(key_response(&answer), Err(FirmwareError::Status { status }));
    }
    let zero = with(64, &[(4, &[7; 28])]);
    assert_eq!(key_response(&zero), Err(FirmwareError::ZeroKey));
}

#[test]
fn real_answers() {
    let test = "real_answers";
    if let Some(answer) = read(test, "abi/msg_key_rsp.bin") {
        assert_eq!(key_response(&answer).unwrap()[..], answer[32..]);
    }
    if let Some(answer) = read(test, "abi/msg_report_rsp.bin") {
        if answer.len() == 4000 {
            Report::try_from(&report_response(&answer).unwrap()[..]).unwrap();
        } else {
            let got = answer.len();
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED {test}: msg_report_rsp.bin has {got} bytes, not the 4000 of its README"
            );
        }
    }
}
