//! Logs: structured lines on stderr. Ids, codes and times only: never a name, a value, a key, a
//! nonce, a query or a raw path.

use std::io::Write;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line of the log is written; what it says is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time LEVEL fields`
    Text,
    /// One JSON object: `timestamp`, `level`, the event's words as `message`, and the fields.
    Json,
}

/// Stderr without the library's lock, under which one reactor's write would hold up another's. A line
/// is one write, which the system does not mix with others.
struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), line)?)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts logging; the first call of the process counts. What libraries have to say is kept out,
/// since they would repeat what peers sent, but for worker threads that die.
pub fn start(format: Format) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Lines)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false); // a closed stderr must not end the server
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = Targets::new()
        .with_target("neo_secrets_server", LevelFilter::INFO)
        .with_target("actix_server", LevelFilter::ERROR);
    // An error says that the process logs already.
    let _already = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
