//! The order of the boot, and the loop that is the rest of this process's life.

use std::os::fd::AsFd;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::config::{self, fixed_address};
use crate::console::say;
use crate::files::read_bounded;
use crate::limits::{COMMAND_LINE_BYTES, END_PATIENCE, MODULE_LIST_BYTES};
use crate::power::{Buttons, off};
use crate::restart::{Next, Restarts};
use crate::server::{Running, Server};
use crate::{command_line, disks, modules, mounts, network};

/// The line that the image was built with; measured, as the whole initrd.
const BUILT_LINE: &str = "/etc/cmdline";
/// The modules, in the order of loading.
const MODULE_LIST: &str = "/etc/modules";

/// Why the machine does not come up: a word, and what the system says, as a number or a name.
type Failure = (&'static str, String);

fn failed(state: &'static str) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| {
        (
            state,
            error.raw_os_error().map_or_else(|| error.kind().to_string(), |code| code.to_string()),
        )
    }
}

/// Brings the machine up and keeps it so; a machine that can't be is turned off.
pub fn run() -> ! {
    // Before there is a second thread: one that did not block them would take signals, and the
    // kernel drops what this process has no handler for.
    match signals() {
        Ok(signals) => match start() {
            Ok(server) => live(&server, &signals),
            Err((state, detail)) => say(state, &detail),
        },
        Err(error) => say("signals-failed", &error),
    }
    off()
}

fn start() -> Result<Server, Failure> {
    mounts::mount_all().map_err(failed("mounts-failed"))?;
    mounts::throw_switches().map_err(failed("switches-failed"))?;
    let line = |path: &str| {
        read_bounded(Path::new(path), COMMAND_LINE_BYTES).map_err(failed("command-line-unreadable"))
    };
    command_line::check(&line("/proc/cmdline")?, &line(BUILT_LINE)?)
        .map_err(|_| ("command-line-foreign", String::new()))?;
    load_modules()?;
    mounts::no_more_modules().map_err(failed("modules-open"))?;

    let disks::Disks { data, config } = disks::await_disks(Path::new("/sys/class/block"))
        .map_err(|error| ("disks", error.to_string()))?;
    say("disks", &format!("data={data} config={config}"));
    let config = config::read(&Path::new("/dev").join(config))
        .map_err(|error| ("config", error.to_string()))?;
    if let Err(error) = network::start(fixed_address(&config)) {
        // The evidence of a server that nobody reaches is of no use, but its console is.
        say("network-failed", &error.raw_os_error().unwrap_or(0));
    }
    let mut server = Server::prepare(&config, &data).map_err(failed("no-sev-guest"))?;
    // Without the host's certificates they come over the network.
    let taken = mounts::mount_configfs().and_then(|()| {
        let taken = server.take_host_certificates();
        mounts::unmount_configfs().and(taken)
    });
    if let Err(error) = taken {
        say("no-host-certificates", &error.raw_os_error().unwrap_or(0));
    }
    Ok(server)
}

/// A module that does not load is said, and missed where its device is needed.
fn load_modules() -> Result<(), Failure> {
    let list = read_bounded(Path::new(MODULE_LIST), MODULE_LIST_BYTES)
        .map_err(failed("modules-unreadable"))?;
    let list = modules::parse(&list).map_err(|error| ("modules", error.line.to_string()))?;
    for path in list {
        if let Err(error) = modules::load(&path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            say("module-failed", &format!("{name} {}", error.raw_os_error().unwrap_or(0)));
        }
    }
    Ok(())
}

/// The signals that this process waits for.
fn signal_set() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR].into_iter().collect()
}

fn signals() -> nix::Result<SignalFd> {
    let set = signal_set();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Starts the server, which inherits what this thread blocks: nothing, for that moment. A signal
/// that comes just then is lost; whoever wants the machine's end asks again.
fn start_unblocked(server: &Server) -> std::io::Result<Running> {
    signal_set().thread_unblock()?;
    let running = server.start();
    signal_set().thread_block()?;
    running
}

/// Runs the server, starts it again, reaps, until the machine is to end.
fn live(server: &Server, signals: &SignalFd) {
    let (mut buttons, mut restarts) = (Buttons::open(), Restarts::default());
    let mut again = Duration::ZERO;
    loop {
        if wait(signals, &mut buttons, None, again) == Woken::ToEnd {
            return;
        }
        let began = Instant::now();
        match start_unblocked(server) {
            Ok(running) => {
                say("server-started", &running.server.id());
                match attend(&running, signals, &mut buttons) {
                    Woken::ServerEnded | Woken::TimeUp => {}
                    // A server can't take another launcher: the two begin anew together.
                    Woken::LauncherEnded => {
                        if end(&running, signals, &mut buttons) == Asked::ToEnd {
                            return;
                        }
                    }
                    Woken::ToEnd => {
                        let _ends_anyway = end(&running, signals, &mut buttons);
                        return;
                    }
                }
            }
            Err(error) => say("server-not-started", &error.raw_os_error().unwrap_or(0)),
        }
        match restarts.ended(began.elapsed()) {
            Next::StartAfter(pause) => again = pause,
            Next::PowerOff => return say("server-lost", &""),
        }
    }
}

/// Until one of the two ends, or the machine is to.
fn attend(running: &Running, signals: &SignalFd, buttons: &mut Buttons) -> Woken {
    loop {
        match wait(signals, buttons, Some(running), Duration::MAX) {
            Woken::TimeUp => {}
            woken => return woken,
        }
    }
}

/// Ends the server in an orderly way, and then in any; says what was asked meanwhile.
fn end(running: &Running, signals: &SignalFd, buttons: &mut Buttons) -> Asked {
    let mut asked = Asked::Nothing;
    let Ok(id) = i32::try_from(running.server.id()).map(Pid::from_raw) else { return asked };
    let _gone = kill(id, Signal::SIGTERM);
    let until = Instant::now() + END_PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match wait(signals, buttons, Some(running), left) {
            Woken::ServerEnded => return asked,
            Woken::TimeUp => {
                say("server-cut-off", &"");
                let _gone = kill(id, Signal::SIGKILL);
                return asked;
            }
            Woken::ToEnd => asked = Asked::ToEnd,
            // Its workers' ends are not waited for.
            Woken::LauncherEnded => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    ToEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ServerEnded,
    LauncherEnded,
    ToEnd,
    TimeUp,
}

/// Waits for the first of: the end of one of the two, a signal or a button that ends the machine, the time.
fn wait(
    signals: &SignalFd,
    buttons: &mut Buttons,
    running: Option<&Running>,
    time: Duration,
) -> Woken {
    let until = Instant::now().checked_add(time);
    loop {
        if let Some(ended) = reap(running) {
            return ended;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = match left {
            Some(left) if left.is_zero() => return Woken::TimeUp,
            Some(left) => PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        {
            let files: Vec<_> = buttons.files().collect();
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)));
            // Interrupted or not: what has happened is looked at below.
            let _looked_at_below = poll(&mut fds, timeout);
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number != Signal::SIGCHLD as i32 {
                return Woken::ToEnd;
            }
        }
        if buttons.pressed() {
            return Woken::ToEnd;
        }
    }
}

/// Takes in every child that has ended, whosever it was; says whether the server or the launcher is
/// among them, and the server where both are.
fn reap(running: Option<&Running>) -> Option<Woken> {
    let mut ended = None;
    let is = |child: &Child, id: Pid| i32::try_from(child.id()) == Ok(id.as_raw());
    let mut note = |id: Pid, words: [&str; 2], detail: &dyn std::fmt::Display| match running {
        Some(running) if is(&running.server, id) => {
            say(words[0], detail);
            ended = Some(Woken::ServerEnded);
        }
        Some(running) if is(running.launcher(), id) => {
            say(words[1], detail);
            ended = ended.or(Some(Woken::LauncherEnded));
        }
        _ => {}
    };
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(WaitStatus::Exited(id, code)) => {
                note(id, ["server-ended", "launcher-ended"], &code);
            }
            Ok(WaitStatus::Signaled(id, signal, _)) => {
                note(id, ["server-killed", "launcher-killed"], &signal);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                say("reaping-failed", &error);
                return ended;
            }
        }
    }
}
