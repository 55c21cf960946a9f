//! Where on a connection one request ends and the next begins. The HTTP library decodes the next
//! head while a call still runs, and then writes that call's answer by the later head: without a
//! body after a `HEAD`, in the other version after an HTTP/1.0. So it is given one request at a
//! time. It also is not given what it would take and we do not: an LF without CR in a head, which
//! other programs may read otherwise, a head larger than ours may be, and chunks that are none,
//! which it would close the connection for, under the call that reads them.

use crate::limits;

/// What follows a request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// Chunks, and a trailer section.
    Chunked,
}

/// How far the bytes of a connection have been given away.
#[derive(Debug, PartialEq, Eq)]
pub enum Stage {
    /// In a head, or in the empty lines before one.
    Head(Head),
    /// A head is whole, and what follows it is not known yet.
    Whole,
    /// In a body of which this much is left.
    Length(u64),
    /// In a body of chunks, with this many bytes of extensions and trailers so far.
    Chunked(Chunk, usize),
    /// The request is whole.
    Over,
    /// The request will not be whole: what follows has no meaning.
    Broken,
}

/// A head so far.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    bytes: usize,
    /// Of the current line.
    line_bytes: usize,
    has_lines: bool,
    is_after_cr: bool,
}

/// Where in a body of chunks: RFC 9112, section 7.1. What is not awaited is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// At the first digit of a size.
    Start,
    /// In a size, after at least one digit.
    Size(u64),
    /// In what follows the digits on their line.
    Extension(u64),
    /// At the LF of that line.
    SizeLf(u64),
    /// In data of which this much is left.
    Data(u64),
    /// At the CR after the data.
    DataCr,
    /// At the LF after the data.
    DataLf,
    /// At the start of a line of the trailer section.
    Line,
    /// In such a line.
    Trailer,
    /// At its LF.
    TrailerLf,
    /// At the last LF.
    LastLf,
    /// After it.
    End,
}

/// Why the library is made to refuse a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An LF without CR.
    BareLf,
    /// Over [`limits::HEAD_BYTES`].
    TooLarge,
}

/// Stands in for a byte that must not be taken; no head may have it.
const POISON: u8 = 0;

impl Stage {
    /// A connection's first.
    pub fn start() -> Self {
        Stage::Head(Head::default())
    }

    /// What a whole head is followed by.
    pub fn body(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Stage::Over,
            Framing::Length(bytes) => Stage::Length(bytes),
            Framing::Chunked => Stage::Chunked(Chunk::Start, 0),
        }
    }

    /// Whether the next byte must wait, for a call to begin or to end.
    pub fn holds(&self) -> bool {
        matches!(self, Stage::Whole | Stage::Over)
    }

    /// How many of these bytes belong to this request. One that spoils its head is replaced.
    pub fn advance(&mut self, bytes: &mut [u8]) -> (usize, Option<Refused>) {
        let mut taken = 0;
        while let Some(rest) = bytes.get_mut(taken..)
            && let Some(byte) = rest.first().copied()
        {
            match self {
                Stage::Whole | Stage::Over | Stage::Broken => break,
                Stage::Length(left) => {
                    taken += take(left, rest);
                    if *left == 0 {
                        *self = Stage::Over;
                    }
                }
                Stage::Chunked(Chunk::Data(left), extra) => {
                    taken += take(left, rest);
                    if *left == 0 {
                        *self = Stage::Chunked(Chunk::DataCr, *extra);
                    }
                }
                Stage::Chunked(chunk, extra) => {
                    *extra += usize::from(matches!(chunk, Chunk::Extension(_) | Chunk::Trailer));
                    match chunk.after(byte).filter(|_| *extra <= limits::HEAD_BYTES) {
                        Some(Chunk::End) => *self = Stage::Over,
                        Some(next) => *chunk = next,
                        None => {
                            *self = Stage::Broken;
                            break;
                        }
                    }
                    taken += 1;
                }
                Stage::Head(head) => {
                    let text = head.take_text(rest);
                    if text > 0 {
                        taken += text;
                        continue;
                    }
                    taken += 1;
                    match head.after(byte) {
                        Ok(false) => {}
                        Ok(true) => *self = Stage::Whole,
                        Err(refused) => {
                            *self = Stage::Broken;
                            rest.iter_mut().take(1).for_each(|byte| *byte = POISON);
                            return (taken, Some(refused));
                        }
                    }
                }
            }
        }
        (taken, None)
    }
}

/// Takes what is there of what is left.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= step as u64;
    step
}

impl Head {
    /// Takes what ends no line, as [`Head::after`] would byte by byte; says how much that is.
    fn take_text(&mut self, bytes: &[u8]) -> usize {
        let text = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let text = text.min(limits::HEAD_BYTES.saturating_sub(self.bytes));
        if text > 0 {
            self.bytes += text;
            self.line_bytes += text;
            self.is_after_cr = false;
        }
        text
    }

    /// Takes a byte; says whether the head is whole.
    fn after(&mut self, byte: u8) -> Result<bool, Refused> {
        self.bytes += 1;
        if self.bytes > limits::HEAD_BYTES {
            return Err(Refused::TooLarge);
        }
        let is_after_cr = std::mem::replace(&mut self.is_after_cr, byte == b'\r');
        match byte {
            b'\r' => {}
            b'\n' if !is_after_cr => return Err(Refused::BareLf),
            b'\n' => {
                let is_empty = std::mem::take(&mut self.line_bytes) == 0;
                // Empty lines before the first are no end: RFC 9112, section 2.2.
                let is_whole = is_empty && self.has_lines;
                self.has_lines |= !is_empty;
                return Ok(is_whole);
            }
            _ => self.line_bytes += 1,
        }
        Ok(false)
    }
}

impl Chunk {
    /// Where this byte leads; `None` where it may not stand.
    fn after(self, byte: u8) -> Option<Self> {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte) {
            (Chunk::Start, _) => digit.map(Chunk::Size),
            (Chunk::Size(size) | Chunk::Extension(size), b'\r') => Some(Chunk::SizeLf(size)),
            (Chunk::Size(size), b';') => Some(Chunk::Extension(size)),
            (Chunk::Size(size), _) => Some(Chunk::Size(size.checked_mul(16)? + digit?)),
            (Chunk::Extension(size), byte) => {
                let is_text = byte == b'\t' || !byte.is_ascii_control();
                is_text.then_some(Chunk::Extension(size))
            }
            (Chunk::SizeLf(0), b'\n') => Some(Chunk::Line),
            (Chunk::SizeLf(size), b'\n') => Some(Chunk::Data(size)),
            (Chunk::Data(left), _) => Some(Chunk::Data(left.checked_sub(1)?)),
            (Chunk::DataCr, b'\r') => Some(Chunk::DataLf),
            (Chunk::DataLf, b'\n') => Some(Chunk::Start),
            (Chunk::Line, b'\r') => Some(Chunk::LastLf),
            (Chunk::Trailer, b'\r') => Some(Chunk::TrailerLf),
            (Chunk::TrailerLf, b'\n') => Some(Chunk::Line),
            (Chunk::LastLf, b'\n') => Some(Chunk::End),
            (Chunk::Line | Chunk::Trailer, byte) if byte != b'\n' => Some(Chunk::Trailer),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of this text one request has, however the text is cut into reads.
    fn request_bytes(text: &str, framing: Framing) -> usize {
        let lengths = (1..=text.len()).map(|cut| {
            let (mut stage, mut taken) = (Stage::start(), 0);
            for piece in text.as_bytes().chunks(cut) {
                let mut piece = piece.to_vec();
                let mut rest = piece.as_mut_slice();
                while !rest.is_empty() {
                    if stage == Stage::Whole {
                        stage = Stage::body(framing);
                    }
                    match stage.advance(rest) {
                        (0, None) => return taken,
                        (step, None) => {
                            taken += step;
                            rest = &mut rest[step..];
                        }
                        (_, Some(refused)) => panic!("{refused:?}"),
                    }
                }
            }
            taken
        });
        let lengths: std::collections::BTreeSet<_> = lengths.collect();
        assert_eq!(lengths.len(), 1, "{text:?}");
        lengths.into_iter().next().unwrap()
    }

    #[test]
    fn a_request_ends_where_its_framing_says() {
        let head = "\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\n\r\n";
        let next = "GET / HTTP/1.1\r\n\r\n";
        for (body, framing) in [
            ("", Framing::Length(0)),
            ("12345", Framing::Length(5)),
            ("\r\n\r\n", Framing::Length(4)),
            ("0\r\n\r\n", Framing::Chunked),
            ("2\r\n{}\r\n0\r\n\r\n", Framing::Chunked),
            ("a\r\n0123456789\r\n00;x=\"0\"\r\n\r\n", Framing::Chunked),
            ("1;5\r\n\n\r\n0\r\nX: 0\r\nY:\r\n\r\n", Framing::Chunked),
        ] {
            let text = format!("{head}{body}{next}");
            assert_eq!(request_bytes(&text, framing), head.len() + body.len(), "{text:?}");
        }
    }

    #[test]
    fn chunks_that_are_none_end_the_request_where_they_stand() {
        let long = format!("1;{}\r\n{{\r\n", "x".repeat(limits::HEAD_BYTES));
        let (long_trailer, many) = (format!("0\r\n{}", &long), "1;x\r\n{\r\n".repeat(9_000));
        for (good, bad) in [
            ("", "\r\n"),
            ("", ";x\r\n"),
            ("", "+1\r\n"),
            ("2", " \r\n"),
            ("2", "\n"),
            ("2\r", "x"),
            ("2;x", "\n"),
            ("2;x", "\0"),
            ("ffffffffffffffff", "0"),
            ("2\r\n{}", "}\r\n"),
            ("2\r\n{}", "\n"),
            ("2\r\n{}\r", "0"),
            ("0\r\n", "\n"),
            ("0\r\nX: y", "\n"),
            ("0\r\nX: y\r", "z"),
            ("0\r\n\r", "\r"),
            (&long[..limits::HEAD_BYTES + 2], "x"),
            (&long_trailer[..limits::HEAD_BYTES + 4], "x"),
        ] {
            let mut stage = Stage::body(Framing::Chunked);
            let mut bytes = format!("{good}{bad}").into_bytes();
            assert_eq!(stage.advance(&mut bytes), (good.len(), None), "{good:.20?} {bad:?}");
            assert_eq!(stage, Stage::Broken, "{bad:?}");
        }
        let mut stage = Stage::body(Framing::Chunked);
        assert!(stage.advance(&mut many.into_bytes()).0 > limits::HEAD_BYTES);
        assert_eq!(stage, Stage::Broken, "extensions of all chunks count together");
    }

    #[test]
    fn a_head_that_may_be_read_otherwise_or_is_too_large_is_spoiled() {
        let refused = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let (taken, refused) = Stage::start().advance(&mut bytes);
            assert_eq!(refused.is_some(), bytes.get(taken - 1) == Some(&POISON));
            refused
        };
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
        for text in ["\nGET /", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nA: b\n\r\n", "GET / \r \n"] {
            assert_eq!(refused(text), Some(Refused::BareLf), "{text:?}");
        }
        assert_eq!(refused(&"x".repeat(limits::HEAD_BYTES)), None);
        assert_eq!(refused(&"x".repeat(limits::HEAD_BYTES + 1)), Some(Refused::TooLarge));
        assert_eq!(refused(&"\r\n".repeat(limits::HEAD_BYTES)), Some(Refused::TooLarge));
    }
}
