//! Code that has escaped the engine, under the worker's own sandbox: what it can't do. One process
//! for each attempt.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus, Stdio};

use crate::driver::worker_program;

const SIGSYS: i32 = 31;
const SIGSEGV: i32 = 11;

fn escaped_program() -> &'static str {
    env!("CARGO_BIN_EXE_neo-secrets-worker-escaped")
}

/// How the attempt ended, and what it said.
fn attempt(name: &str) -> (ExitStatus, String) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"for read").unwrap();
    let mut command = Command::new(escaped_program());
    command.arg(name).env("A_SECRET", "in the environment").stdin(OwnedFd::from(theirs));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    let status = child.wait().unwrap();
    let mut said = vec![];
    // A process that ends with unread bytes resets the connection; what it said came before.
    let _ = ours.read_to_end(&mut said);
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "", "{name}");
    (status, String::from_utf8(said).unwrap())
}

#[test]
fn what_escaped_code_tries_ends_its_process() {
    let attempts = [
        // Files.
        "read-own-memory-file",
        "read-passwords",
        "read-parents-environment",
        "create-file",
        "openat2",
        "open-by-handle",
        "read-link",
        "stat",
        // Network.
        "socket-inet",
        "socket-unix",
        "socket-netlink",
        "socket-vsock",
        "socket-pair",
        "connect",
        // Processes.
        "fork",
        "vfork",
        "clone3",
        "thread",
        "exec",
        "execveat",
        "kill-parent",
        "kill-everything",
        "signal-thread",
        "open-process",
        "steal-descriptor",
        "trace-parent",
        "read-parents-memory",
        "write-parents-memory",
        // Memory that could become code, or be shared.
        "map-executable",
        "map-shared",
        "map-socket",
        "map-over-code",
        "move-over-code",
        "make-executable",
        "make-executable-by-key",
        "memory-file",
        "secret-memory",
        "shared-memory",
        "fault-handler",
        // The kernel's larger doors.
        "io-uring",
        "bpf",
        "perf",
        "keyring",
        "add-key",
        "new-user-namespace",
        "join-namespace",
        "mount",
        "chroot",
        "module",
        "reboot",
        // Undoing the sandbox.
        "become-root",
        "gain-capabilities",
        "raise-limit",
        "raise-limit-of-files",
        "become-dumpable",
        "let-be-traced",
        "replace-filter",
        "catch-the-filters-signal",
        "block-signals",
        "change-personality",
        "change-segments",
        "pin-to-processor",
        "x32-call",
        "unknown-call",
        // Descriptors.
        "write-standard-output",
        "write-standard-error",
        "write-inherited",
        "write-vector",
        "close-socket",
        "duplicate-socket",
        "control-socket",
        "ioctl",
        "send-descriptor",
        "receive-descriptor",
        "peer-of-socket",
    ];
    for name in attempts {
        let (status, said) = attempt(name);
        assert_eq!((status.signal(), said.as_str()), (Some(SIGSYS), "inside\n"), "{name}");
        assert!(!status.core_dumped(), "{name}");
    }
}

#[test]
fn calls_of_32_bits_are_no_way_around() {
    let (status, said) = attempt("32-bit-call");
    // A kernel without them makes it a fault.
    assert!([Some(SIGSYS), Some(SIGSEGV)].contains(&status.signal()), "{status:?}");
    assert_eq!(said, "inside\n");
}

#[test]
fn what_remains_is_powerless() {
    let expected = [
        ("map-memory", "done: 0"),
        ("map-much-memory", "refused: Cannot allocate memory (os error 12)"),
        ("close-standard-error", "refused: Bad file descriptor (os error 9)"),
        ("read-socket", "done: 8"),
        ("environment", "done: 0"),
    ];
    for (name, outcome) in expected {
        let (status, said) = attempt(name);
        assert_eq!((status.code(), said), (Some(0), format!("inside\n{outcome}\n")), "{name}");
    }
}

#[test]
fn a_crash_leaves_no_core_file() {
    let (status, said) = attempt("crash");
    // Rust's handler wants to print before it dies, which is refused, too.
    assert!(status.signal().is_some() && !status.core_dumped(), "{status:?}");
    assert_eq!(said, "inside\n");
}

/// Runs a program whose standard input is a socket; gives its exit code and its complaint.
fn complaint(command: &mut Command) -> (Option<i32>, String) {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let output = command.stdin(OwnedFd::from(theirs)).output().unwrap();
    assert_eq!(output.stdout, b"");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_seccomp_the_worker_does_not_start() {
    let (code, said) =
        complaint(Command::new(escaped_program()).arg("without-seccomp").arg(worker_program()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("seccomp, without which this program does not run"), "{said}");
}

#[test]
fn no_argument_or_other_input_is_taken() {
    for flag in ["--no-sandbox", "--help", "x"] {
        let (code, said) = complaint(Command::new(worker_program()).arg(flag));
        assert_eq!((code, said.contains("takes no arguments")), (Some(2), true), "{flag}: {said}");
    }
    let output = Command::new(worker_program()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "neo-secrets-worker: standard input is not the server's socket\n");
}

#[test]
fn a_second_thread_keeps_the_sandbox_off() {
    let (_, said) = complaint(Command::new(escaped_program()).arg("threads"));
    assert_eq!(said, "2 threads, where the sandbox needs to be put around a single one\n");
}

mod seen_from_outside {
    use super::*;
    use crate::driver::Worker;
    use neo_secrets_worker::sandbox::{LIMITS, WORKER_ID};
    use neo_secrets_worker_protocol::ToServer;

    fn proc(worker: &Worker, file: &str) -> String {
        let path = format!("/proc/{}/{file}", worker.pid());
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn status_has(status: &str, field: &str, value: &str) {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let words = line.map(|rest| rest.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(words.as_deref(), Some(value), "{field}");
    }

    fn skipped(why: &str) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    }

    #[test]
    fn the_process_is_locked_down_when_it_says_ready() {
        let worker = Worker::ready();
        let status = proc(&worker, "status");
        status_has(&status, "NoNewPrivs:", "1");
        status_has(&status, "Seccomp:", "2");
        status_has(&status, "Threads:", "1");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            status_has(&status, set, "0000000000000000");
        }
        let limits = proc(&worker, "limits");
        for limit in &LIMITS {
            let name = match limit.name {
                "AS" => "Max address space",
                "STACK" => "Max stack size",
                "CPU" => "Max cpu time",
                "NPROC" => "Max processes",
                "FSIZE" => "Max file size",
                "CORE" => "Max core file size",
                "MEMLOCK" => "Max locked memory",
                "MSGQUEUE" => "Max msgqueue size",
                "NOFILE" => "Max open files",
                other => panic!("{other} has no test"),
            };
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            let values: Vec<_> = line.split_whitespace().take(2).collect();
            let max = limit.max.to_string();
            assert_eq!(values, [max.as_str(), max.as_str()], "{name}");
        }
        if !rustix::process::geteuid().is_root() {
            return skipped("the worker's user and descriptors, which only root can see");
        }
        let id = WORKER_ID.to_string();
        let ids = [id.as_str(); 4].join(" ");
        status_has(&status, "Uid:", &ids);
        status_has(&status, "Gid:", &ids);
        status_has(&status, "Groups:", "");
        assert_eq!(proc(&worker, "environ"), "TZ=UTC0\0");
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", worker.pid())).unwrap();
        let descriptors: Vec<_> = descriptors.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(descriptors, ["0"]);
        assert_eq!(proc(&worker, "oom_score_adj").trim(), "1000");
    }

    #[test]
    fn a_user_who_is_not_root_has_the_same_sandbox() {
        if !rustix::process::geteuid().is_root() {
            return skipped("starting the worker as another user, which needs root");
        }
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        // By another process: a descriptor for writing that this one's children inherit would keep
        // the copy from being run.
        let copied = Command::new("cp").arg(worker_program()).arg(&program).status().unwrap();
        assert!(copied.success());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let mut worker = Worker::spawn(Command::new(program).uid(65_534).gid(65_534));
        assert_eq!(worker.receive(), Some(ToServer::Ready));
        let status = proc(&worker, "status");
        status_has(&status, "Uid:", "65534 65534 65534 65534");
        status_has(&status, "CapPrm:", "0000000000000000");
        status_has(&status, "Seccomp:", "2");
    }

    #[test]
    fn a_dirty_environment_is_left_behind() {
        let mut worker = Worker::spawn(Command::new(worker_program()).env("A_SECRET", "x"));
        assert_eq!(worker.receive(), Some(ToServer::Ready));
        if !rustix::process::geteuid().is_root() {
            return skipped("the worker's environment, which only root can see");
        }
        assert_eq!(proc(&worker, "environ"), "TZ=UTC0\0");
    }

    #[test]
    fn it_ends_when_the_server_does() {
        let mut worker = Worker::ready();
        worker.socket().shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(worker.ended().code(), Some(0));
        // In the middle of an endless loop, too.
        let mut worker = Worker::loaded("function main() { for (;;) {} }");
        let invoke = Box::new(crate::driver::invoke());
        worker.send(&neo_secrets_worker_protocol::ToWorker::Invoke(invoke));
        worker.socket().shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(worker.ended().code(), Some(0));
    }
}
