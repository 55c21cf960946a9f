//! Numbers in decimal digits, without an allocation and without the formatter's machinery: every
//! answer's headers and every line of the log have some.

/// A number's digits.
pub struct Decimal {
    bytes: [u8; 20], // of the largest
    start: usize,
}

impl Decimal {
    /// Of this number.
    pub fn new(mut number: u64) -> Self {
        let mut decimal = Decimal { bytes: [b'0'; 20], start: 20 };
        for byte in decimal.bytes.iter_mut().rev() {
            *byte += u8::try_from(number % 10).unwrap_or_default(); // less than 10
            number /= 10;
            decimal.start -= 1;
            if number == 0 {
                break;
            }
        }
        decimal
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        let digits = |number: u64| String::from_utf8(Decimal::new(number).as_bytes().to_vec());
        for number in (0..64).map(|bits| u64::MAX >> bits).chain(0..2_000) {
            assert_eq!(digits(number), Ok(number.to_string()));
        }
        assert_eq!(digits(0), Ok("0".to_owned()));
        assert_eq!(digits(10_000_000_000_000_000_000), Ok("10000000000000000000".to_owned()));
    }
}
