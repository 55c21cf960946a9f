//! Logs: structured lines on stderr. Ids, codes and times only: never a name, a value, a key, a
//! nonce, a query or a raw path.

mod call;

use std::cell::RefCell;
use std::io::Write;
use std::sync::OnceLock;
use std::task::{Poll, Waker};

pub use call::Call;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line of the log is written; what it says is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time LEVEL fields`
    Text,
    /// One JSON object: `timestamp`, `level`, the event's words as `message`, and the fields.
    Json,
}

/// Bytes that one write to a pipe keeps together, whoever else writes (pipe(7)).
const WRITE_BYTES: usize = 4_096;

/// Stderr without the library's lock, under which one reactor's write would hold up another's.
/// Whole lines go out in one write, which the system does not mix with others.
struct Stderr;

/// One line's way there.
struct Line {
    /// Whether it may wait for others of its thread: a warning or an error never does.
    waits: bool,
}

impl<'w> MakeWriter<'w> for Stderr {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { waits: false }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Line {
        Line { waits: *meta.level() >= Level::INFO }
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // At a thread's very end there is nothing to gather in any more.
        let write = |lines: &mut Vec<u8>| lines.extend_from_slice(line);
        let gathered =
            GATHERED.try_with(|gathered| gathered.borrow_mut().add(self.waits, write, send));
        gathered.unwrap_or_else(|_| send(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes lines to stderr. One that nobody reads must not end the server.
fn send(mut lines: &[u8]) {
    while !lines.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(rustix::stdio::stderr(), lines)) {
            Ok(written) => lines = lines.get(written..).unwrap_or_default(),
            Err(_) => return,
        }
    }
}

thread_local! {
    static GATHERED: RefCell<Gathered> = const { RefCell::new(Gathered::new()) };
}

/// The lines of one turn of a reactor, which are written together: a write for each would be a third
/// of the system calls that a call makes.
struct Gathered {
    lines: Vec<u8>,
    /// Wakes the task that writes them; none where the thread has no such task.
    task: Option<Waker>,
}

impl Gathered {
    const fn new() -> Self {
        Self { lines: Vec::new(), task: None }
    }

    /// Takes in the line that `write` appends, or sends it after those that wait where it does not
    /// wait.
    fn add(&mut self, waits: bool, write: impl FnOnce(&mut Vec<u8>), mut send: impl FnMut(&[u8])) {
        let mut before = self.lines.len();
        write(&mut self.lines);
        let line_bytes = self.lines.len() - before;
        let stays = self.task.as_ref().filter(|_| waits && line_bytes <= WRITE_BYTES);
        if before > 0 && (stays.is_none() || self.lines.len() > WRITE_BYTES) {
            send(self.lines.get(..before).unwrap_or_default());
            self.lines.drain(..before);
            before = 0;
        }
        match stays {
            Some(task) if before == 0 => task.wake_by_ref(),
            Some(_) => {}
            None => self.send(&mut send),
        }
    }

    fn send(&mut self, send: &mut impl FnMut(&[u8])) {
        if !self.lines.is_empty() {
            send(&self.lines);
            self.lines.clear();
        }
    }
}

/// Has this thread's lines written together, once in each turn of its reactor: behind the calls that
/// are ready now, and before it waits. Its end, and the reactor's, write what is left.
pub async fn gather() {
    struct Gathering;
    impl Drop for Gathering {
        fn drop(&mut self) {
            let _at_the_threads_end = GATHERED.try_with(|gathered| {
                let mut gathered = gathered.borrow_mut();
                gathered.task = None;
                gathered.send(&mut send);
            });
        }
    }
    let _gathering = Gathering;
    std::future::poll_fn(|context| {
        GATHERED.with_borrow_mut(|gathered| {
            gathered.task = Some(context.waker().clone());
            gathered.send(&mut send);
        });
        Poll::Pending
    })
    .await
}

/// How the lines of calls are written, once logging has started.
static CALLS: OnceLock<Format> = OnceLock::new();

/// Writes the lines of events.
fn layer<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'l> LookupSpan<'l>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false); // a closed stderr must not end the server
    match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    }
}

/// Starts logging; the first call of the process counts. What libraries have to say is kept out,
/// since they would repeat what peers sent, but for worker threads that die.
pub fn start(format: Format) {
    let filter = Targets::new()
        .with_target("neo_secrets_server", LevelFilter::INFO)
        .with_target("actix_server", LevelFilter::ERROR);
    let lines = tracing_subscriber::registry().with(layer(format, Stderr)).with(filter);
    // An error says that the process logs already.
    if lines.try_init().is_ok() {
        let _is_first = CALLS.set(format);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered() -> Gathered {
        Gathered { lines: Vec::new(), task: Some(Waker::noop().clone()) }
    }

    fn line(text: &str) -> impl FnOnce(&mut Vec<u8>) {
        |lines| lines.extend_from_slice(text.as_bytes())
    }

    #[test]
    fn lines_go_out_whole_in_their_order_and_in_writes_that_stay_together() {
        let (mut gathered, mut sent) = (gathered(), Vec::<Vec<u8>>::new());
        let lines: Vec<_> = (0..500).map(|n| format!("{n} {}\n", "x".repeat(n % 300))).collect();
        for text in &lines {
            gathered.add(true, line(text), |bytes| sent.push(bytes.to_vec()));
        }
        gathered.send(&mut |bytes: &[u8]| sent.push(bytes.to_vec()));
        assert!(sent.iter().all(|bytes| bytes.len() <= WRITE_BYTES && bytes.ends_with(b"\n")));
        assert!(sent.len() < lines.len() / 20, "{} writes", sent.len());
        assert_eq!(sent.concat(), lines.concat().into_bytes());
    }

    #[test]
    fn a_warning_waits_for_nothing_and_overtakes_nothing() {
        let (mut gathered, mut sent) = (gathered(), Vec::new());
        gathered.add(true, line("first\n"), |bytes| sent.push(bytes.to_vec()));
        assert!(sent.is_empty());
        gathered.add(false, line("warning\n"), |bytes| sent.push(bytes.to_vec()));
        assert_eq!(sent, [b"first\n".to_vec(), b"warning\n".to_vec()]);
        let long = "x".repeat(WRITE_BYTES + 1);
        gathered.add(true, line(&long), |bytes| sent.push(bytes.to_vec()));
        assert_eq!(sent.pop().unwrap(), long.into_bytes());
    }

    #[test]
    fn without_a_task_that_writes_nothing_waits() {
        let (mut gathered, mut sent) = (Gathered::new(), Vec::new());
        gathered.add(true, line("line\n"), |bytes| sent.push(bytes.to_vec()));
        assert_eq!(sent, [b"line\n".to_vec()]);
    }
}
