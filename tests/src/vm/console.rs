//! What the machine says on its serial port.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The port's log; it grows until the machine ends.
#[derive(Clone, Default)]
pub struct Console(Arc<(Mutex<Log>, Condvar)>);

#[derive(Default)]
struct Log {
    text: String,
    ended: bool,
}

impl Console {
    /// Reads until the machine ends, in a thread of its own; a copy goes to the file.
    pub fn capture(mut port: impl Read + Send + 'static, mut copy: File) -> Self {
        let console = Self::default();
        let log = console.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = port.read(&mut buffer) {
                let _only_a_copy = copy.write_all(&buffer[..length]);
                let text = String::from_utf8_lossy(&buffer[..length]).replace('\r', "");
                log.change(|log| log.text.push_str(&text));
            }
            log.change(|log| log.ended = true);
        });
        console
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        let (log, changed) = &*self.0;
        change(&mut log.lock().unwrap());
        changed.notify_all();
    }

    /// All of it, so far.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap().text.clone()
    }

    /// Waits for these words.
    ///
    /// # Errors
    /// The machine has ended, or the time is over, without them: all that it said.
    pub fn until(&self, words: &str, patience: Duration) -> Result<(), String> {
        let ended = self.wait(patience, |log| log.text.contains(words));
        match ended.text.contains(words) {
            true => Ok(()),
            false => Err(format!("no {words:?} on the console:\n{}", ended.text)),
        }
    }

    /// Waits for the machine's end.
    ///
    /// # Errors
    /// The time is over: all that it said.
    pub fn until_end(&self, patience: Duration) -> Result<(), String> {
        let last = self.wait(patience, |_| false);
        if last.ended { Ok(()) } else { Err(format!("the machine lives on:\n{}", last.text)) }
    }

    fn wait(&self, patience: Duration, done: impl Fn(&Log) -> bool) -> Log {
        let until = Instant::now() + patience;
        let (log, changed) = &*self.0;
        let mut log = log.lock().unwrap();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if done(&log) || log.ended || left.is_zero() {
                return Log { text: log.text.clone(), ended: log.ended };
            }
            log = changed.wait_timeout(log, left).unwrap().0;
        }
    }
}
