//! QEMU: its command line, its process, and the few things that it is asked.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = "qemu-system-x86_64";
/// QEMU connects to our sockets before it starts its machine.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_PAUSE: Duration = Duration::from_millis(2);

/// Why this machine can have no virtual machine, where it can't.
pub fn missing() -> Option<&'static str> {
    let version = Command::new(PROGRAM).arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match version.as_deref() {
        Err(_) => Some("no qemu-system-x86_64"),
        // It crashes guests under this kernel.
        Ok(text) if text.contains("version 7.") => Some("QEMU 7 crashes guests; 10 is needed"),
        Ok(_) => None,
    }
}

/// The part of a command line that every machine has. QEMU takes two commas for one inside a value.
pub struct Machine(Vec<OsString>);

pub fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

impl Machine {
    pub fn new() -> Self {
        let mut machine = Self(Vec::new());
        // With a PIC, Linux tests the timer's interrupts against time, and panics where the threads
        // of an emulated machine wait for a processor too long.
        machine.add(
            "-M q35,pic=off -accel tcg -cpu max -smp 1 -m 256 -display none -nodefaults -no-user-config",
        );
        machine.add("-no-reboot -serial stdio -device virtio-serial-pci");
        machine
    }

    /// Direct boot.
    pub fn add_kernel(&mut self, kernel: &Path, initrd: &Path, command_line: &str) {
        self.0.extend(["-kernel".into(), kernel.into(), "-initrd".into(), initrd.into()]);
        self.0.extend(["-append".into(), command_line.into()]);
    }

    pub fn add(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    pub fn add_option(&mut self, option: &str, value: String) {
        self.0.extend([option.into(), value.into()]);
    }

    /// Starts it. It ends with the thread that calls this, however that ends, and not by the
    /// signals of a terminal.
    pub fn start(self) -> io::Result<Child> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", PROGRAM]).args(self.0).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

/// The connection that QEMU makes to us; an error with its own words where it ends before.
pub fn accept(listener: &UnixListener, child: &mut Child) -> io::Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + CONNECT_PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {}
        }
        if child.try_wait()?.is_some() || Instant::now() > until {
            let _ended_or_ends = child.kill();
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            return Err(io::Error::other(format!("QEMU: {said}")));
        }
        sleep(CONNECT_PAUSE);
    }
}

/// QEMU's control connection.
pub struct Control(BufReader<UnixStream>);

impl Control {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let mut control = Self(BufReader::new(stream));
        control.read()?;
        control.ask(json!({"execute": "qmp_capabilities"}))?;
        Ok(control)
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }

    pub fn ask(&mut self, command: Value) -> io::Result<Value> {
        writeln!(self.0.get_mut(), "{command}")?;
        loop {
            let mut answer = self.read()?;
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
            if answer.get("error").is_some() {
                return Err(io::Error::other(answer.to_string()));
            }
        }
    }

    /// The port of this machine that leads to the server; QEMU has chosen it.
    pub fn forwarded_port(&mut self) -> io::Result<u16> {
        let line = json!({"command-line": "info usernet"});
        let table = self.ask(json!({"execute": "human-monitor-command", "arguments": line}))?;
        let mut lines = table.as_str().unwrap_or_default().lines();
        let forward = lines.find(|line| line.contains("TCP[HOST_FORWARD]"));
        let port = forward.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        port.ok_or_else(|| io::Error::other(format!("no forwarded port in {table}")))
    }
}
