//! Numbers in decimal digits, without an allocation and without the formatter's machinery: every
//! answer's headers and every line of the log have some.

/// A number's digits, and what may stand around them.
pub struct Decimal {
    bytes: [u8; DIGITS_MAX + 2],
    start: usize,
}

/// Digits of the largest number.
const DIGITS_MAX: usize = 20;

impl Decimal {
    /// This number.
    pub fn new(number: u64) -> Self {
        let mut decimal = Decimal { bytes: [0; DIGITS_MAX + 2], start: DIGITS_MAX + 2 };
        decimal.put(number);
        decimal
    }

    /// This number between quotes.
    pub fn quoted(number: u64) -> Self {
        let mut decimal = Decimal { bytes: [b'"'; DIGITS_MAX + 2], start: DIGITS_MAX + 1 };
        decimal.put(number);
        Decimal { bytes: decimal.bytes, start: decimal.start - 1 }
    }

    /// Puts its digits before the start.
    fn put(&mut self, mut number: u64) {
        loop {
            self.start -= 1;
            if let Some(byte) = self.bytes.get_mut(self.start) {
                *byte = u8::try_from(number % 10).map_or(b'0', |digit| b'0' + digit);
            }
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    /// The text, of ASCII characters.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        let text = |decimal: Decimal| String::from_utf8(decimal.as_bytes().to_vec()).unwrap();
        let ends = [0, 10_000_000_000_000_000_000];
        for number in (0..64).map(|bits| u64::MAX >> bits).chain(0..2_000).chain(ends) {
            assert_eq!(text(Decimal::new(number)), number.to_string());
            assert_eq!(text(Decimal::quoted(number)), format!("\"{number}\""));
        }
    }
}
