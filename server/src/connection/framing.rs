//! Where on a connection one request ends and the next begins. The HTTP library decodes the next
//! head while a call still runs, and then writes that call's answer by the later head: without a
//! body after a `HEAD`, in the other version after an HTTP/1.0. So it is given one request at a
//! time. It is also given what it refuses in the place of what it would take and we do not: an LF
//! without CR, which other programs may read otherwise, and a head larger than ours may be.

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
    /// In a body of chunks.
    Chunked(Chunk),
    /// The request is whole.
    Over,
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

/// Where in a body of chunks: RFC 9112, section 7.1.
#[derive(Debug, PartialEq, Eq)]
pub enum Chunk {
    /// In the digits of a chunk's size.
    Size(u64),
    /// In what follows the digits on their line.
    Extension(u64),
    /// In a chunk's data and the CR LF after it, of which this much is left.
    Data(u64),
    /// At the start of a line of the trailer section.
    Line,
    /// After a CR at the start of such a line.
    EmptyLine,
    /// In a line of the trailer section.
    Trailer,
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
            Framing::Chunked => Stage::Chunked(Chunk::Size(0)),
        }
    }

    /// Whether the next byte must wait, for a call to begin or to end.
    pub fn holds(&self) -> bool {
        matches!(self, Stage::Whole | Stage::Over)
    }

    /// How many of these bytes belong to this request. One that spoils the head is replaced.
    pub fn advance(&mut self, bytes: &mut [u8]) -> (usize, Option<Refused>) {
        let mut taken = 0;
        while let Some(rest) = bytes.get_mut(taken..).filter(|rest| !rest.is_empty()) {
            match self {
                Stage::Whole | Stage::Over => break,
                Stage::Length(left) | Stage::Chunked(Chunk::Data(left)) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= step as u64;
                    taken += step;
                    if *left == 0 {
                        *self = match self {
                            Stage::Length(_) => Stage::Over,
                            _ => Stage::Chunked(Chunk::Size(0)),
                        };
                    }
                }
                Stage::Chunked(chunk) => {
                    taken += 1;
                    match rest.first().map(|byte| chunk.after(*byte)) {
                        Some(Some(next)) => *chunk = next,
                        Some(None) | None => *self = Stage::Over,
                    }
                }
                Stage::Head(head) => {
                    let Some(byte) = rest.first_mut() else { break };
                    taken += 1;
                    match head.after(*byte) {
                        Ok(false) => {}
                        Ok(true) => *self = Stage::Whole,
                        Err(refused) => {
                            *byte = POISON;
                            *self = Stage::Over;
                            return (taken, Some(refused));
                        }
                    }
                }
            }
        }
        (taken, None)
    }
}

impl Head {
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
    /// Where this byte leads; `None`: to the body's end. What is malformed leads anywhere, since the
    /// library refuses it.
    fn after(&self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Chunk::Size(0) | Chunk::Extension(0), b'\n') => Chunk::Line,
            (Chunk::Size(size) | Chunk::Extension(size), b'\n') => {
                Chunk::Data(size.saturating_add(2))
            }
            (Chunk::Size(size), byte) => match char::from(byte).to_digit(16) {
                Some(digit) => Chunk::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Chunk::Extension(*size),
            },
            (Chunk::Extension(size), _) => Chunk::Extension(*size),
            (Chunk::Line, b'\r') => Chunk::EmptyLine,
            (Chunk::EmptyLine, b'\n') => return None,
            (Chunk::Trailer, b'\n') => Chunk::Line,
            (Chunk::Line | Chunk::EmptyLine | Chunk::Trailer, _) => Chunk::Trailer,
            (Chunk::Data(left), _) => Chunk::Data(left.saturating_sub(1)),
        })
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
            ("a \r\n0123456789\r\n00;x=\"0\"\r\n\r\n", Framing::Chunked),
            ("1;5\r\n\n\r\n0\r\nX: 0\r\nY:\r\n\r\n", Framing::Chunked),
        ] {
            let text = format!("{head}{body}{next}");
            assert_eq!(request_bytes(&text, framing), head.len() + body.len(), "{text:?}");
        }
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
