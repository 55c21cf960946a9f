//! Workers that a launcher starts under a user of its own, as in the appliance: the server starts no
//! process. Needs root, for the other user.

use std::fs::{Permissions, set_permissions};
use std::io::{ErrorKind, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use neo_secrets_tests::appliance::{Appliance, Home, program};
use neo_secrets_tests::http::{Answer, Connection};
use neo_secrets_worker_protocol::launcher::{FROM_LAUNCHER_BYTES, FromLauncher, ToLauncher};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType, recvmsg, send, socketpair,
};
use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::{Value, json};

/// Between the ids that distributions give out and those of containers.
const USER: u32 = 70_701;

/// A launcher, and the other end of its socket.
struct Launcher {
    child: Child,
    socket: Option<OwnedFd>,
    _folder: tempfile::TempDir,
}

impl Launcher {
    fn start(test: &str) -> Option<Self> {
        if !getuid().is_root() {
            eprintln!("SKIPPED {test}: it needs root");
            return None;
        }
        // Where another user may go.
        let folder = tempfile::tempdir().unwrap();
        set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let worker = folder.path().join("neo-secrets-worker");
        std::fs::copy(program("neo-secrets-worker"), &worker).unwrap();
        let kinds = (AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = socketpair(kinds.0, kinds.1, kinds.2, None).unwrap();
        let mut command = Command::new(&worker);
        command.arg("--launcher").uid(USER).gid(USER).process_group(0);
        command.env_clear().stdin(theirs).stdout(Stdio::null()).stderr(Stdio::piped());
        // Another test's process may hold the copy open for a moment, between its fork and its exec.
        let child = loop {
            match command.spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
                started => break started.unwrap(),
            }
        };
        Some(Self { child, socket: Some(ours), _folder: folder })
    }

    fn send(&self, packet: &[u8]) {
        send(self.socket.as_ref().unwrap(), packet, SendFlags::NOSIGNAL).unwrap();
    }

    /// The next packet, and what came with it.
    fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>) {
        let mut packet = vec![0; FROM_LAUNCHER_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let buffer = &mut [IoSliceMut::new(&mut packet)];
        let socket = self.socket.as_ref().unwrap();
        let received = recvmsg(socket, buffer, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        packet.truncate(received.bytes);
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        (packet, descriptors)
    }

    /// Starts a worker, and gives its socket once it has said that it is ready.
    fn worker(&self, number: u64) -> (u32, UnixStream) {
        self.send(&ToLauncher::Start(number).encode());
        let (packet, descriptors) = self.receive();
        let started = FromLauncher::decode(&packet).unwrap();
        let FromLauncher::Started { number: its, process } = started else { panic!("{started:?}") };
        assert_eq!(its, number);
        let [socket, _words] = <[OwnedFd; 2]>::try_from(descriptors).unwrap();
        let mut socket = UnixStream::from(socket);
        // Two bytes, kind and version: its sandbox is on.
        let mut ready = [0; 6];
        socket.read_exact(&mut ready).unwrap();
        assert_eq!(ready, [2, 0, 0, 0, 1, 1]);
        (process, socket)
    }

    /// The exit code, and its last words.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        (self.child.wait().unwrap().code(), words)
    }

    /// The processes that it has started.
    fn workers(&self) -> Vec<u32> {
        let id = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        children.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(process: u32) -> String {
    std::fs::read_to_string(format!("/proc/{process}/status")).unwrap()
}

/// A server with the launcher's socket as descriptor 3.
fn serve<'a>(home: &'a Home, launcher: &mut Launcher) -> Appliance<'a> {
    let server = home.command();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 3<&0 </dev/null", "sh"]);
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--worker-launcher-fd", "3"]).stdin(launcher.socket.take().unwrap());
    home.start_command(command)
}

struct Caller(Connection, String);

impl Caller {
    fn call(&mut self, method: &str, target: &str, body: Value) -> Answer {
        self.0.call(method, target, &self.1, Some(&body))
    }

    fn deploy(&mut self, name: &str, code: &str) -> String {
        let body = json!({"name": name, "code": code, "timeout": 1});
        let made = self.call("POST", "/v1/functions", body);
        assert_eq!(made.status, 201, "{}", made.json());
        format!("/v1/functions/{}/invoke", made.json()["id"].as_str().unwrap())
    }
}

#[test]
fn functions_run_where_another_user_starts_their_workers() {
    let name = "functions_run_where_another_user_starts_their_workers";
    let Some(mut launcher) = Launcher::start(name) else { return };
    let home = Home::usual();
    let appliance = serve(&home, &mut launcher);
    appliance.state();
    let mut c = Caller(appliance.connect(), appliance.claim().admin);
    let twice = c.deploy("twice", "async function main(c) { return 2 * c.params.n; }");
    for n in 1..4 {
        let answer = c.call("POST", &twice, json!({"params": {"n": n}}));
        assert_eq!(answer.json()["result"], 2 * n, "{}", answer.json());
    }
    // One that is told nothing while it runs, and one that no look at the clock ends.
    let endless = c.deploy("endless", "async function main() { for (;;) {} }");
    let answer = c.call("POST", &endless, json!({}));
    assert_eq!(answer.status, 504, "{}", answer.json());
    let stubborn = "async function main() { let n = 7n; for (;;) { n = n ** 9n; } }";
    let stubborn = c.deploy("stubborn", stubborn);
    let answer = c.call("POST", &stubborn, json!({}));
    assert!(answer.status >= 500, "{}", answer.json());

    let workers = launcher.workers();
    assert!(!workers.is_empty());
    for worker in workers {
        let status = status(worker);
        assert!(status.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")), "{status}");
    }
    let server = appliance.process_id();
    let own = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
    assert_eq!(own, "", "the server has started a process");
    assert!(status(server).contains("Seccomp:\t2\n"), "{}", status(server));

    // Without a launcher functions alone are unavailable.
    let id = Pid::from_child(&launcher.child);
    kill_process(id, Signal::KILL).unwrap();
    launcher.child.wait().unwrap();
    // A worker that waits may look at code until the loss is noticed.
    let begun = Instant::now();
    let mut names = (0..).map(|number| format!("late-{number}"));
    let refused = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", home.log());
        let body = json!({"name": names.next(), "code": "async function main() {}"});
        let answer = c.call("POST", "/v1/functions", body);
        if answer.status != 201 {
            break answer;
        }
    };
    refused.error(503, "SERVICE_UNAVAILABLE");
    let log = home.log();
    for told in ["the worker launcher is lost", "the worker launcher has ended"] {
        assert_eq!(log.matches(told).count(), 1, "{told}: {log}");
    }
    assert_eq!(c.0.call("GET", "/v1/functions", &c.1, None).status, 200);
    assert!(appliance.terminate().success());
}

#[test]
fn a_launcher_goes_with_its_server_and_its_workers_with_it() {
    let name = "a_launcher_goes_with_its_server_and_its_workers_with_it";
    let Some(mut launcher) = Launcher::start(name) else { return };
    let home = Home::usual();
    let appliance = serve(&home, &mut launcher);
    appliance.state();
    let mut c = Caller(appliance.connect(), appliance.claim().admin);
    let function = c.deploy("f", "async function main() { return 1; }");
    assert_eq!(c.call("POST", &function, json!({})).json()["result"], 1);
    assert!(!launcher.workers().is_empty());
    appliance.kill();
    // Every worker holds the pipe's other end until its sandbox is on, and is waited for.
    assert_eq!(launcher.ended(), (Some(0), String::new()));
}

#[test]
fn a_server_that_breaks_the_launchers_protocol_ends_it_and_every_worker() {
    let name = "a_server_that_breaks_the_launchers_protocol_ends_it_and_every_worker";
    for wrong in [
        &ToLauncher::Start(1).encode()[..],
        &ToLauncher::Start(3).encode(),
        &ToLauncher::Start(u64::MAX).encode(),
        &ToLauncher::End(0).encode(),
        &ToLauncher::End(2).encode(),
        &[1],
        &[1; 10],
        &[9; 9],
        &[1; 4_096],
    ] {
        let Some(launcher) = Launcher::start(name) else { return };
        let (_, mut socket) = launcher.worker(1);
        launcher.send(wrong);
        let words = "neo-secrets-worker: launcher: the server broke the protocol\n".to_owned();
        assert_eq!(launcher.ended(), (Some(1), words), "{wrong:?}");
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the worker is gone");
    }
}

#[test]
fn a_worker_is_killed_by_its_number_once() {
    let Some(launcher) = Launcher::start("a_worker_is_killed_by_its_number_once") else { return };
    let (first, mut its) = launcher.worker(1);
    let (second, _socket) = launcher.worker(2);
    assert_eq!(launcher.workers(), [first, second]);
    launcher.send(&ToLauncher::End(1).encode());
    let (packet, descriptors) = launcher.receive();
    assert_eq!(FromLauncher::decode(&packet), Ok(FromLauncher::Ended(1)));
    assert!(descriptors.is_empty());
    assert_eq!(its.read(&mut [0]).unwrap(), 0);
    assert_eq!(launcher.workers(), [second], "and it is waited for");
    launcher.send(&ToLauncher::End(1).encode());
    assert_eq!(launcher.ended().0, Some(1));
}
