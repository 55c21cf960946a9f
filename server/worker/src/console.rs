//! An invocation's log: bounded in lines and bytes, and it says where it was cut.

use std::cell::{Cell, RefCell};

use neo_secrets_worker_protocol::{Level, LogBounds, ToServer, limits};

/// What may still be logged.
pub(crate) struct Log {
    left: RefCell<LogBounds>,
    closed: Cell<bool>,
}

/// What a line that does not fit leaves behind.
const REST: &str = "The log is full: the rest is left out.";

impl Log {
    pub(crate) fn new(bounds: LogBounds) -> Self {
        Self { left: RefCell::new(bounds), closed: Cell::new(false) }
    }

    /// The message for this line: the line, or that the rest is left out, or none.
    pub(crate) fn line(&self, level: Level, text: String) -> Option<ToServer> {
        if self.closed.get() {
            return None;
        }
        let text = limits::LOG_LINE.clip(text);
        let mut left = self.left.borrow_mut();
        let lines = left.lines.checked_sub(1);
        let bytes = u32::try_from(text.len()).ok().and_then(|len| left.bytes.checked_sub(len));
        if let (Some(lines), Some(bytes)) = (lines, bytes) {
            *left = LogBounds { lines, bytes };
            return Some(ToServer::Log { level, text });
        }
        self.closed.set(true);
        Some(ToServer::Log { level: Level::Warn, text: REST.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log, lines: &[&str]) -> Vec<String> {
        let messages = lines.iter().filter_map(|line| log.line(Level::Info, (*line).to_owned()));
        messages
            .map(|message| match message {
                ToServer::Log { text, .. } => text,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_rest_is_left_out_once() {
        let log = Log::new(LogBounds { lines: 2, bytes: 100 });
        assert_eq!(texts(&log, &["a", "b", "c", "d"]), ["a", "b", REST]);
        let log = Log::new(LogBounds { lines: 9, bytes: 3 });
        assert_eq!(texts(&log, &["aa", "bb", "c"]), ["aa", REST]);
        assert!(REST.len() <= limits::LOG_REST_BYTES);
    }
}
