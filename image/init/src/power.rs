//! The machine's end, and the button that asks for it.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::sync;

use crate::console::say;
use crate::limits::DEVICES;

/// Turns the machine off. What the store has acknowledged is on its disk.
pub fn off() -> ! {
    say("power-off", &"");
    sync();
    let refused = reboot(RebootMode::RB_POWER_OFF);
    // There is no machine without this process: the kernel panics, and `panic=-1` ends it.
    say("power-off-refused", &format!("{refused:?}"));
    std::process::exit(1)
}

/// A panic of PID 1 ends the machine, not the half of it. Its text could be anything, so it is not
/// said.
pub fn off_at_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(|at| format!("{}:{}", at.file(), at.line()));
        say("panic", &at.unwrap_or_default());
        off()
    }));
}

/// The input devices that may be a power button.
pub struct Buttons(Vec<File>);

/// `struct input_event` on x86-64.
const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

impl Buttons {
    /// All that there are.
    pub fn open() -> Self {
        let Ok(entries) = std::fs::read_dir("/dev/input") else { return Self(Vec::new()) };
        let paths = entries.take(DEVICES).filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter_map(|path| File::open(path).ok());
        let waits_never = |file: &File| fcntl(file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_ok();
        Self(files.filter(waits_never).collect())
    }

    /// What to wait for.
    pub fn files(&self) -> impl Iterator<Item = impl AsFd + '_> {
        self.0.iter()
    }

    /// Whether one was pressed. Those that are gone are no buttons any more.
    pub fn pressed(&mut self) -> bool {
        let mut pressed = false;
        self.0.retain_mut(|file| {
            let mut events = [0; EVENT_BYTES * 16];
            match file.read(&mut events) {
                Ok(length) => {
                    let events = events.get(..length).unwrap_or_default();
                    pressed |= events.chunks_exact(EVENT_BYTES).any(is_press);
                    length > 0
                }
                Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
            }
        });
        pressed
    }
}

fn is_press(event: &[u8]) -> bool {
    let number = |from: usize| event.get(from..from + 2).and_then(|bytes| bytes.try_into().ok());
    let (kind, code) = (number(16).map(u16::from_ne_bytes), number(18).map(u16::from_ne_bytes));
    (kind, code, event.get(20)) == (Some(EV_KEY), Some(KEY_POWER), Some(&1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_the_power_key_going_down() {
        let event = |kind: u16, code: u16, value: u8| {
            let mut event = [0; EVENT_BYTES];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20] = value;
            is_press(&event)
        };
        assert!(event(1, 116, 1));
        assert!(!event(1, 116, 0) && !event(1, 30, 1) && !event(0, 116, 1));
        assert!(!is_press(&[]));
    }
}
