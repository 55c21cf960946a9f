//! `neo-secrets proxy` as a process, raw bytes on its port, and a path to an instance that a test
//! can lead elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::appliance::{Home, program};
use crate::http::Answer;

/// A running proxy. Killed when dropped.
pub struct Proxy {
    pub addr: SocketAddr,
    /// The command that it printed to be typed next.
    pub hint: String,
    child: Child,
}

impl Proxy {
    /// Starts one for the instance at this URL, with this home's client files and `admin.key`, and
    /// waits until it listens.
    ///
    /// # Panics
    /// Where it ends before that.
    pub fn start(home: &Home, url: &str, pin: &str, options: &[&str]) -> Proxy {
        let log = std::fs::File::create(home.path("proxy.log")).unwrap();
        let mut child = command(home, url, pin, options)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().map(Result::unwrap).unwrap_or_else(|| {
            child.wait().unwrap();
            panic!("no proxy: {}", log_of(home));
        });
        let (_, rest) = first.split_once("://").unwrap();
        let addr = rest.split_once(',').unwrap().0.parse().unwrap();
        let hint = lines.next().unwrap().unwrap().trim().to_owned();
        Proxy { addr, hint, child }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Connects to its port.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends these bytes on a connection of their own; what came back until the proxy closed it.
    pub fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // Where it has refused what came first, it takes no more.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // It resets the connection where it left bytes unread.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One request on a connection of its own, with these header lines.
    pub fn call(&self, method: &str, target: &str, headers: &str, body: &str) -> Answer {
        let length = match body {
            "" => String::new(),
            body => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n{headers}{length}");
        parse(&self.raw(format!("{head}\r\n{body}").as_bytes()))
    }

    /// What its status page says.
    pub fn status(&self) -> Value {
        self.call("GET", "/_proxy/status", "Host: localhost\r\n", "").json()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a proxy of this home has written to stderr.
pub fn log_of(home: &Home) -> String {
    std::fs::read_to_string(home.path("proxy.log")).unwrap_or_default()
}

fn command(home: &Home, url: &str, pin: &str, options: &[&str]) -> Command {
    let mut command = Command::new(program("neo-secrets"));
    command.current_dir(home.path(".")).args(["proxy", "--listen", "127.0.0.1:0"]);
    command.args(["--url", url, "--pin", pin, "--key-file", "admin.key"]);
    command.args(["--reference", "client/reference.json", "--policy", "client/policy.json"]);
    command.args(["--trust-simulated", "client/simulated-root.der"]).args(options);
    command
}

/// The first answer in these bytes.
#[track_caller]
pub fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: body.as_bytes().to_vec() }
}

/// A port that leads to an address, which can be changed: to the same instance at a new port, or to
/// somebody else.
pub struct Path {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    to: SocketAddr,
    open: Vec<TcpStream>,
}

impl Path {
    pub fn to(to: SocketAddr) -> Path {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { to, open: Vec::new() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let to = shared.lock().unwrap().to;
                // Nobody there: the client sees its connection end.
                let Ok(server) = TcpStream::connect(to) else { continue };
                shared.lock().unwrap().open.push(client.try_clone().unwrap());
                let (from, into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || copy(from, into));
                std::thread::spawn(move || copy(server, client));
            }
        });
        Path { addr, state }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    /// From now on it leads there, and all that went elsewhere is cut.
    pub fn lead_to(&self, to: SocketAddr) {
        let mut state = self.state.lock().unwrap();
        state.to = to;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn copy(mut from: TcpStream, mut into: TcpStream) {
    let _ = std::io::copy(&mut from, &mut into);
    let _ = into.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
