//! The line of a call: what `tracing` and its subscriber would write of these fields, byte for byte,
//! without the dispatcher and the formatter between. There is one for every request.

use std::fmt;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::{CALLS, Format, GATHERED, send};
use crate::model::{AccountId, IdText, KeyId};

/// What a call's line says, in this order; what there is not is left out.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The request's id: visible ASCII characters.
    pub request: &'a str,
    /// The method, where it is a known one.
    pub method: &'static str,
    /// The path as in the table of routes.
    pub route: &'static str,
    /// The answer's status.
    pub status: u16,
    /// The error's code.
    pub code: Option<&'static str>,
    /// How long it took.
    pub ms: u64,
    /// The caller's account.
    pub account: Option<AccountId>,
    /// The caller's key.
    pub key: Option<KeyId>,
    /// What it is about.
    pub object: Option<IdText>,
}

impl Call<'_> {
    /// Logs it, at INFO, where logging has started.
    pub fn log(&self) {
        let Some(format) = CALLS.get() else { return };
        let write = |lines: &mut Vec<u8>| self.write(*format, &SystemTime, lines);
        let gathered = GATHERED.try_with(|gathered| gathered.borrow_mut().add(true, write, send));
        if gathered.is_err() {
            // At a thread's very end there is nothing to gather in any more.
            let mut line = Vec::new();
            self.write(*format, &SystemTime, &mut line);
            send(&line);
        }
    }

    /// Appends the line to others, with the time as the subscriber's timer writes it.
    fn write(&self, format: Format, timer: &impl FormatTime, lines: &mut Vec<u8>) {
        let mut line = Line { format, lines };
        line.begin(timer);
        line.word("request", self.request);
        line.known_word("method", self.method.as_bytes());
        line.known_word("route", self.route.as_bytes());
        line.number("status", self.status.into());
        if let Some(code) = self.code {
            line.known_word("code", code.as_bytes());
        }
        line.number("ms", self.ms);
        if let Some(account) = self.account {
            line.id("account", &account.text());
        }
        if let Some(key) = self.key {
            line.id("key", &key.text());
        }
        if let Some(object) = &self.object {
            line.known_word("object", object.as_bytes());
        }
        line.end();
    }
}

/// A line that is being written.
struct Line<'l> {
    format: Format,
    lines: &'l mut Vec<u8>,
}

impl Line<'_> {
    fn begin(&mut self, timer: &impl FormatTime) {
        if self.format == Format::Json {
            self.add([b"{\"timestamp\":\""]);
        }
        // It writes digits and punctuation, which neither format escapes, and what takes them in does
        // not fail.
        let _written = timer.format_time(&mut Writer::new(self));
        match self.format {
            Format::Text => self.add([b"  INFO"]),
            Format::Json => self.add([b"\",\"level\":\"INFO\""]),
        }
    }

    fn end(&mut self) {
        match self.format {
            Format::Text => self.add([b"\n"]),
            Format::Json => self.add([b"}\n"]),
        }
    }

    fn name(&mut self, name: &'static str) {
        match self.format {
            Format::Text => self.add([b" ", name.as_bytes(), b"="]),
            Format::Json => self.add([b",\"", name.as_bytes(), b"\":"]),
        }
    }

    /// Text between quotes: visible ASCII characters, which both formats escape alike.
    fn word(&mut self, name: &'static str, word: &str) {
        self.name(name);
        self.add([b"\""]);
        let is_escaped = |byte: &u8| matches!(byte, b'"' | b'\\');
        for part in word.as_bytes().split_inclusive(is_escaped) {
            match part.split_last() {
                Some((last, plain)) if is_escaped(last) => self.add([plain, b"\\", &[*last]]),
                _ => self.add([part]),
            }
        }
        self.add([b"\""]);
    }

    /// A word that has nothing to escape.
    fn known_word(&mut self, name: &'static str, word: &[u8]) {
        self.name(name);
        self.add([b"\"", word, b"\""]);
    }

    /// What has no quotes in a text.
    fn id(&mut self, name: &'static str, id: &IdText) {
        match self.format {
            Format::Text => {
                self.name(name);
                self.add([id.as_bytes()]);
            }
            Format::Json => self.known_word(name, id.as_bytes()),
        }
    }

    fn number(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.add([itoa::Buffer::new().format(number).as_bytes()]);
    }

    fn add<const N: usize>(&mut self, parts: [&[u8]; N]) {
        for part in parts {
            self.lines.extend_from_slice(part);
        }
    }
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add([text.as_bytes()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::log::layer;
    use crate::model::SecretId;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct At<'t>(&'t str);

    impl FormatTime for At<'_> {
        fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
            writer.write_str(self.0)
        }
    }

    /// What the subscriber writes of the same fields.
    fn by_tracing(format: Format, call: &Call<'_>) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::registry().with(layer(format, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(
                request = call.request,
                method = call.method,
                route = call.route,
                status = call.status,
                code = call.code,
                ms = call.ms,
                account = call.account.map(tracing::field::display),
                key = call.key.map(tracing::field::display),
                object = call.object.as_ref().map(IdText::as_str),
            );
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_is_what_tracing_writes_of_the_same_fields() {
        let all: String = ('!'..='~').collect();
        let least = Call {
            request: "req_AAAAAAAAAAAAAAAA",
            method: "other",
            route: "none",
            status: 404,
            code: Some("NOT_FOUND"),
            ms: 0,
            account: None,
            key: None,
            object: None,
        };
        let most = Call {
            request: &all,
            method: "GET",
            route: "/v1/secrets/{id}",
            status: 200,
            code: None,
            ms: u64::MAX,
            account: Some(AccountId::from_bytes([0xFF; 18])),
            key: Some(KeyId::from_bytes([7; 18])),
            object: Some(SecretId::from_bytes([9; 18]).text()),
        };
        let odd = ["\"", "\\", "\"\\\"a\\\\", "a\"b", "\\u0041\\n", "'<>&{}"];
        let odd = odd.map(|request| Call { request, ..least });
        for call in [least, most].into_iter().chain(odd) {
            for (format, start) in [(Format::Text, 0), (Format::Json, "{'timestamp':'".len())] {
                let expected = by_tracing(format, &call);
                // At the very time that it says.
                let (time, _) = expected[start..].split_at("2026-01-31T12:34:56.123456Z".len());
                let mut line = b"before\n".to_vec();
                call.write(format, &At(time), &mut line);
                assert_eq!(String::from_utf8(line), Ok(format!("before\n{expected}")));
            }
        }
    }
}
