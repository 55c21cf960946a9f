//! The terminal: what is printed, safely, and a prompt that does not show what is typed.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write as _};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::SystemTime;

use neo_secrets_attestation::explain::hides_or_steers;
use neo_secrets_attestation::time::UnixTime;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use rustix::termios::{tcgetattr, tcgetwinsize, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::page::{Page, Paint, Style};
use crate::limits;

/// Writes to stdout without a buffer that would keep a copy. A reader that has gone away is no
/// error.
pub(crate) fn print(mut bytes: &[u8]) -> io::Result<()> {
    let stdout = io::stdout();
    while !bytes.is_empty() {
        match rustix::io::write(stdout.as_fd(), bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::PIPE) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How stderr is written: set once, before the first line.
static MODE: OnceLock<Mode> = OnceLock::new();

#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    quiet: bool,
    color: bool,
}

/// What the user has said about the output, and the environment that has a say in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) quiet: bool,
    /// `--no-color`, NO_COLOR, or a terminal that knows no colours.
    pub(crate) no_color: bool,
}

/// Decides how both streams are written; the answer is stdout's.
pub(crate) fn set_up(wishes: Wishes, now: UnixTime) -> Style {
    let Wishes { quiet, no_color } = wishes;
    let color = |stream_is_terminal: bool| stream_is_terminal && !no_color;
    let _ = MODE.set(Mode { quiet, color: color(io::stderr().is_terminal()) });
    let terminal = io::stdout().is_terminal().then(|| width(io::stdout()));
    Style { terminal, color: color(terminal.is_some()), quiet, now }
}

fn width(stream: impl AsFd) -> usize {
    const USUAL: usize = 80;
    let columns = tcgetwinsize(stream).map(|size| usize::from(size.ws_col));
    columns.ok().filter(|columns| *columns > 0).unwrap_or(USUAL)
}

fn mode() -> Mode {
    MODE.get().copied().unwrap_or_default()
}

/// Writes a line to stderr that is about something that went well; `--quiet` leaves it out.
pub(crate) fn note(line: &str) {
    if !mode().quiet {
        tell(None, line);
    }
}

/// Writes a line to stderr that is never left out, its first word in colour.
pub(crate) fn warn(line: &str) {
    tell(Some(Paint::Warning), line);
}

/// As [`warn`], for a failure.
pub(crate) fn error(lines: &str) {
    tell(Some(Paint::Bad), lines);
}

/// Where nobody listens to stderr there is nobody to tell.
fn tell(paint: Option<Paint>, line: &str) {
    let _ = match (paint.filter(|_| mode().color), line.split_once(' ')) {
        (Some(paint), Some((first, rest))) => writeln!(io::stderr(), "{} {rest}", paint.on(first)),
        _ => writeln!(io::stderr(), "{line}"),
    };
}

/// Shows a page on stderr, where a question about it follows.
pub(crate) fn show(page: &Page) -> io::Result<()> {
    let terminal = io::stderr().is_terminal().then(|| width(io::stderr()));
    let now = SystemTime::now().try_into().unwrap_or(UnixTime::MAX);
    let style = Style { terminal, color: mode().color, quiet: mode().quiet, now };
    page.write(&style, &mut |bytes| io::stderr().write_all(bytes))?;
    if terminal.is_none() {
        page.hints().for_each(note);
    }
    Ok(())
}

/// Whether a line on stderr that changes in place is welcome.
pub(crate) fn shows_progress() -> bool {
    !mode().quiet && io::stderr().is_terminal()
}

/// Writes over the line on stderr; what is there is wiped.
pub(crate) fn progress(text: &str) {
    eprint_flush(&format!("\r{text}\x1b[K"));
}

/// Text from outside without what could steer a terminal or hide on it: that is escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if hides_or_steers(character) {
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether stdin is a person's terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Whether stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Wipes the line that [`progress`] wrote.
pub(crate) fn progress_end() {
    if shows_progress() {
        eprint_flush("\r\x1b[K");
    }
}

/// Asks on the terminal and reads a line as it is typed, shown.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    eprint_flush(question);
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// Asks on the terminal and reads a line that is not shown, without its newline. `None` where the
/// user gave up with Ctrl-C or Ctrl-D.
pub(crate) fn ask_hidden(question: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let hidden = Hidden::new(terminal)?;
    let line = read_line(&hidden.terminal);
    let _ = (&hidden.terminal).write_all(b"\n");
    line
}

fn eprint_flush(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
    let _ = io::stderr().flush();
}

/// A terminal that neither shows what is typed nor cuts a long line, until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        // Without ICANON a line may be longer than 4095 bytes; without ISIG Ctrl-C comes as a byte,
        // and the terminal is never left without echo.
        modes.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Where this fails the terminal is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Reads to the end of a line, with the erase keys of a terminal; nothing longer than a value is
/// kept.
fn read_line(mut source: impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const ERASE_LINE: u8 = 0x15;
    let mut line = Zeroizing::new(Vec::with_capacity(limits::VALUE_BYTES_MAX + 1));
    let mut byte = Zeroizing::new([0; 1]);
    loop {
        if source.read(&mut *byte)? == 0 {
            return Ok(None);
        }
        match byte[0] {
            b'\n' | b'\r' => return Ok(Some(line)),
            INTERRUPT | END => return Ok(None),
            8 | 0x7f => {
                // A character: its continuation bytes, then its first byte.
                while line.pop().is_some_and(|erased| erased & 0xC0 == 0x80) {}
            }
            ERASE_LINE => line.clear(),
            // One byte more than a value may have is kept, so that it is refused as too long.
            typed if line.len() <= limits::VALUE_BYTES_MAX => line.push(typed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_line_ends_at_enter_and_obeys_the_erase_keys() {
        let typed = |keys: &[u8]| read_line(keys).unwrap().map(|line| line.to_vec());
        assert_eq!(typed(b"abc\nrest").unwrap(), b"abc");
        assert_eq!(typed(b"\r").unwrap(), b"");
        assert_eq!(typed("aü\x7fb\x08c\n".as_bytes()).unwrap(), b"ac");
        assert_eq!(typed(b"\x7fwrong\x15right\n").unwrap(), b"right");
        assert_eq!(typed(b"abc\x03"), None);
        assert_eq!(typed(b"abc\x04"), None);
        assert_eq!(typed(b"abc"), None);
        let long = [vec![b'a'; 70_000], vec![b'\n']].concat();
        assert_eq!(typed(&long).unwrap().len(), limits::VALUE_BYTES_MAX + 1);
    }

    #[test]
    fn text_from_outside_steers_no_terminal() {
        assert_eq!(printable("a\u{202e}b\nc"), "a\\u{202e}b\\nc");
        assert_eq!(printable("ä\u{61c}\u{2028}\u{200b}\""), "ä\\u{61c}\\u{2028}\\u{200b}\"");
    }
}
