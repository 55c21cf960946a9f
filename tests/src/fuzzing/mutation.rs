//! Changed seeds, always the same: something that runs where libFuzzer does not.

/// SplitMix64.
pub struct Mutator(u64);

/// Bytes that parsers like least.
const SHARP: [u8; 12] = [0, 1, 0x7F, 0x80, 0xFF, b'"', b'\\', b'{', b'}', b'\n', 0x30, 0x1B];

impl Mutator {
    /// The one for this seed of randomness.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap()
    }

    /// `seed` with one to four changes; some take from `other`.
    pub fn mutated(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let (at, length) = (self.below(bytes.len()), self.below(16));
            let end = (at + length).min(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = SHARP[self.below(SHARP.len())],
                2 if !bytes.is_empty() => bytes[at] = self.next().to_le_bytes()[0],
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let span = bytes[at..end].to_vec();
                    bytes.splice(at..at, span);
                }
                5 => bytes.truncate(at),
                _ => {
                    let from = self.below(other.len());
                    let span = &other[from..(from + length).min(other.len())];
                    bytes.splice(at..end, span.iter().copied());
                }
            }
        }
        bytes
    }
}
