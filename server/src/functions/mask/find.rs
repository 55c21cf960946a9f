//! Where texts follow a spelling, in a time that grows with their length alone.

use memchr::memmem::Finder;

use super::MASKED;

/// What bytes have at each of their places: a filter, which may take four bytes for others.
pub struct Windows(Vec<u64>);

const WINDOW_BYTES: usize = 4;
/// Each bit stands for 256 windows; the texts of an invocation set a tenth of them at most.
const WINDOW_BITS: u32 = 24;

impl Windows {
    pub fn of(bytes: &[u8]) -> Self {
        let mut all = Self(vec![0; 1 << (WINDOW_BITS - 6)]);
        for (word, bit) in places(bytes) {
            if let Some(word) = all.0.get_mut(word) {
                *word |= bit;
            }
        }
        all
    }

    /// Whether these bytes may stand in those.
    pub fn may_have(&self, bytes: &[u8]) -> bool {
        places(bytes).all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }
}

/// The word and the bit for each window.
fn places(bytes: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    bytes.windows(WINDOW_BYTES).map(|window| {
        let number = window.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        // Knuth's multiplier: near numbers go far apart.
        let place = number.wrapping_mul(2_654_435_761) >> (u32::BITS - WINDOW_BITS);
        (usize::try_from(place >> 6).unwrap_or_default(), 1 << (place & 63))
    })
}

/// What was found: at each place, how many bytes of it are to be masked.
pub struct Found(Vec<usize>);

impl Found {
    /// Nothing yet.
    pub fn in_bytes(length: usize) -> Self {
        Self(vec![0; length])
    }

    /// So much at this place.
    pub fn add(&mut self, at: usize, length: usize) {
        if let Some(longest) = self.0.get_mut(at) {
            *longest = length.max(*longest);
        }
    }

    /// The texts that were searched, one byte between them, without what was found. What overlaps is
    /// one.
    pub fn replaced(&self, texts: Vec<String>) -> Vec<String> {
        let mut rest = self.0.as_slice();
        let each = texts.into_iter().map(|text| {
            let own = rest.get(..text.len()).unwrap_or_default();
            rest = rest.get(text.len() + 1..).unwrap_or_default();
            replaced(text, own)
        });
        each.collect()
    }
}

fn replaced(text: String, found: &[usize]) -> String {
    let (mut new, mut kept, mut open) = (String::new(), 0, 0..0);
    for (at, length) in found.iter().enumerate().filter(|(_, length)| **length > 0) {
        // A text and a spelling may part within a character.
        let end = text.floor_char_boundary(at + length);
        if at < open.end {
            open.end = end.max(open.end);
            continue;
        }
        if !open.is_empty() {
            new += text.get(kept..open.start).unwrap_or_default();
            new += MASKED;
            kept = open.end;
        }
        open = at..end;
    }
    if open.is_empty() {
        return text;
    }
    new += text.get(kept..open.start).unwrap_or_default();
    new += MASKED;
    new + text.get(open.end..).unwrap_or_default()
}

/// Finds where the text, from this place on, follows the spelling for `least` bytes or more, by
/// Knuth, Morris and Pratt.
pub fn follow(text: &[u8], from: usize, spelling: &[u8], least: usize, found: &mut Found) {
    let begins = Begins::of(spelling);
    let head = Finder::new(spelling.get(..least).unwrap_or_default());
    // What was followed last and may go on.
    let mut open = 0..0;
    let mut next = Some(from);
    while let Some(begin) = next.take() {
        let mut matched = 0;
        for (at, byte) in text.iter().enumerate().skip(begin) {
            matched = begins.next(matched, *byte);
            let followed = at + 1 - matched..at + 1;
            if matched >= least {
                if followed.start >= open.end {
                    found.add(open.start, open.len());
                    open.start = followed.start;
                }
                open.end = followed.end;
            }
            if matched == 0 {
                let rest = text.get(at + 1..).unwrap_or_default();
                next = head.find(rest).map(|place| at + 1 + place);
                break;
            }
        }
    }
    found.add(open.start, open.len());
}

/// Of each beginning of a spelling, how long its longest end is that is a beginning too.
struct Begins<'a> {
    spelling: &'a [u8],
    shorter: Vec<usize>,
}

impl<'a> Begins<'a> {
    fn of(spelling: &'a [u8]) -> Self {
        let mut all = Self { spelling, shorter: Vec::with_capacity(spelling.len()) };
        for byte in spelling {
            let matched = all.shorter.last().map_or(0, |last| all.next(*last, *byte));
            all.shorter.push(matched);
        }
        all
    }

    /// How much of the spelling ends with this byte, where so much of it ended before.
    fn next(&self, mut matched: usize, byte: u8) -> usize {
        loop {
            if self.spelling.get(matched) == Some(&byte) {
                return matched + 1;
            }
            match matched.checked_sub(1).and_then(|last| self.shorter.get(last)) {
                Some(less) => matched = *less,
                None => return 0,
            }
        }
    }
}
