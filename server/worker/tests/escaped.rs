//! Plays code that has escaped the engine: the worker's own sandbox around native code, which then
//! tries one thing. For `tests/it/escape.rs`, which says what has to become of each.
//!
//! With `ATTEMPT` it enters the sandbox, says `inside`, tries, and says what came of it. With
//! `without-seccomp PROGRAM` it runs a program on a kernel that seems to have no seccomp.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::os::unix::process::CommandExt as _;

use libc::{c_void, iovec};
use neo_secrets_worker::sandbox;
use seccompiler::{SeccompAction, SeccompFilter};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["without-seccomp", program] => without_seccomp(program),
        ["threads"] => {
            std::thread::spawn(std::thread::park);
            refused();
        }
        [attempt] => escaped(attempt),
        _ => panic!("ATTEMPT, or without-seccomp PROGRAM"),
    }
}

fn without_seccomp(program: &str) {
    let filter = SeccompFilter::new(
        [(libc::SYS_seccomp, vec![])].into_iter().collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into().expect("an architecture that has seccomp"),
    );
    let filter: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).expect("one rule");
    seccompiler::apply_filter(&filter).expect("the test needs a kernel with seccomp");
    panic!("{}", std::process::Command::new(program).exec());
}

fn refused() {
    match sandbox::lockdown() {
        Ok(_) => say("inside\n"),
        Err(error) => eprintln!("{error}"),
    }
}

fn say(text: &str) {
    // SAFETY: the pointer and the length are those of one slice, which outlives the call.
    unsafe { libc::write(0, text.as_ptr().cast(), text.len()) };
}

fn escaped(attempt: &str) {
    // What the attempts need and could not have afterwards.
    let parent = c_long::from(std::os::unix::process::parent_id().cast_signed());
    if let Err(error) = sandbox::lockdown() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    say("inside\n");
    let outcome = try_to(attempt, parent);
    let error = std::io::Error::last_os_error();
    say(&if outcome < 0 { format!("refused: {error}\n") } else { format!("done: {outcome}\n") });
    std::process::exit(0);
}

/// A system call with these arguments.
macro_rules! call {
    ($number:ident $(, $argument:expr)* $(,)?) => {
        // SAFETY: what the sandbox lets through takes only pointers to what lives here; all else
        // never returns. This program exists to try.
        unsafe { libc::syscall(libc::$number $(, $argument)*) }
    };
}

/// Memory for buffers of any call.
fn buffer() -> *mut c_void {
    Box::leak(Box::new([0_u64; 512])).as_mut_ptr().cast()
}

fn try_to(attempt: &str, parent: c_long) -> c_long {
    let file = |path: &'static std::ffi::CStr| {
        call!(SYS_openat, libc::AT_FDCWD, path.as_ptr(), libc::O_RDWR, 0)
    };
    let outcome = match attempt {
        "read-own-memory-file" => file(c"/proc/self/mem"),
        "read-passwords" => file(c"/etc/passwd"),
        "read-parents-environment" => file(c"/proc/1/environ"),
        "create-file" => call!(SYS_open, c"/tmp/escaped".as_ptr(), libc::O_CREAT, 0o600),
        "openat2" => call!(SYS_openat2, libc::AT_FDCWD, c"/".as_ptr(), buffer(), 24),
        "open-by-handle" => call!(SYS_open_by_handle_at, 0, buffer(), 0),
        "read-link" => call!(SYS_readlink, c"/proc/self/exe".as_ptr(), buffer(), 100),
        "stat" => call!(SYS_newfstatat, libc::AT_FDCWD, c"/".as_ptr(), buffer(), 0),
        "socket-inet" => call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
        "socket-unix" => call!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0),
        "socket-netlink" => call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, 0),
        "socket-vsock" => call!(SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        "socket-pair" => call!(SYS_socketpair, libc::AF_UNIX, libc::SOCK_STREAM, 0, buffer()),
        "connect" => call!(SYS_connect, 0, buffer(), 16),
        "fork" => call!(SYS_fork),
        "vfork" => call!(SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0),
        "clone3" => call!(SYS_clone3, buffer(), 88),
        "thread" => call!(SYS_clone, libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND, 0),
        "exec" => call!(SYS_execve, c"/bin/sh".as_ptr(), 0, 0),
        "execveat" => call!(SYS_execveat, 0, c"/bin/sh".as_ptr(), 0, 0, 0),
        "kill-parent" => call!(SYS_kill, parent, libc::SIGKILL),
        "kill-everything" => call!(SYS_kill, -1, libc::SIGKILL),
        "signal-thread" => call!(SYS_tgkill, parent, parent, libc::SIGKILL),
        "open-process" => call!(SYS_pidfd_open, parent, 0),
        "steal-descriptor" => call!(SYS_pidfd_getfd, 0, 0, 0),
        "trace-parent" => call!(SYS_ptrace, libc::PTRACE_SEIZE, parent, 0, 0),
        "read-parents-memory" | "write-parents-memory" => {
            let local = iovec { iov_base: buffer(), iov_len: 8 };
            let (one, other) = (&raw const local, &raw const local);
            if attempt == "read-parents-memory" {
                call!(SYS_process_vm_readv, parent, one, 1, other, 1, 0)
            } else {
                call!(SYS_process_vm_writev, parent, one, 1, other, 1, 0)
            }
        }
        _ => return try_memory(attempt),
    };
    c_long::from(outcome)
}

fn try_memory(attempt: &str) -> c_long {
    const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    const DATA: i32 = libc::PROT_READ | libc::PROT_WRITE;
    let map = |bytes: usize, protection: i32, flags: i32, descriptor: i32| {
        call!(SYS_mmap, 0, bytes, protection, flags, descriptor, 0)
    };
    match attempt {
        "map-memory" => c_long::from(map(4_096, DATA, ANONYMOUS, -1) < 0) - 1 + 1,
        "map-much-memory" => map(1 << 30, DATA, ANONYMOUS, -1),
        "map-executable" => map(4_096, DATA | libc::PROT_EXEC, ANONYMOUS, -1),
        "map-shared" => map(4_096, DATA, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        "map-socket" => map(4_096, DATA, libc::MAP_PRIVATE, 0),
        "map-over-code" => {
            let code = (try_memory as fn(&str) -> c_long as usize) & !4_095;
            call!(SYS_mmap, code, 4_096, DATA, ANONYMOUS | libc::MAP_FIXED, -1, 0)
        }
        "move-over-code" => {
            let code = (try_memory as fn(&str) -> c_long as usize) & !4_095;
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            call!(SYS_mremap, map(4_096, DATA, ANONYMOUS, -1), 4_096, 4_096, flags, code)
        }
        "make-executable" => {
            let page = map(4_096, DATA, ANONYMOUS, -1);
            call!(SYS_mprotect, page, 4_096, libc::PROT_READ | libc::PROT_EXEC)
        }
        "make-executable-by-key" => {
            let page = map(4_096, DATA, ANONYMOUS, -1);
            call!(SYS_pkey_mprotect, page, 4_096, libc::PROT_EXEC, -1)
        }
        "memory-file" => call!(SYS_memfd_create, c"x".as_ptr(), 0),
        "secret-memory" => call!(SYS_memfd_secret, 0),
        "shared-memory" => call!(SYS_shmget, 0, 4_096, libc::IPC_CREAT | 0o600),
        "fault-handler" => call!(SYS_userfaultfd, 0),
        "crash" => {
            // SAFETY: none; the kernel is to end the process here, and to write no core file.
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
            0
        }
        _ => try_kernel(attempt),
    }
}

fn try_kernel(attempt: &str) -> c_long {
    let limit = Box::leak(Box::new([u64::MAX, u64::MAX])).as_ptr();
    match attempt {
        "io-uring" => call!(SYS_io_uring_setup, 8, buffer()),
        "bpf" => call!(SYS_bpf, 0, buffer(), 128),
        "perf" => call!(SYS_perf_event_open, buffer(), 0, -1, -1, 0),
        "keyring" => call!(SYS_keyctl, 0, -3),
        "add-key" => call!(SYS_add_key, c"user".as_ptr(), c"x".as_ptr(), buffer(), 8, -3),
        "new-user-namespace" => call!(SYS_unshare, libc::CLONE_NEWUSER),
        "join-namespace" => call!(SYS_setns, 0, 0),
        "mount" => call!(SYS_mount, 0, c"/".as_ptr(), 0, libc::MS_REMOUNT, 0),
        "chroot" => call!(SYS_chroot, c"/".as_ptr()),
        "module" => call!(SYS_init_module, buffer(), 8, c"".as_ptr()),
        "reboot" => call!(SYS_reboot, 0, 0, 0, 0),
        "become-root" => call!(SYS_setresuid, 0, 0, 0),
        "gain-capabilities" => call!(SYS_capset, buffer(), buffer()),
        "raise-limit" => call!(SYS_prlimit64, 0, libc::RLIMIT_AS, limit, 0),
        "raise-limit-of-files" => call!(SYS_setrlimit, libc::RLIMIT_NOFILE, limit),
        "become-dumpable" => call!(SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
        "let-be-traced" => call!(SYS_prctl, libc::PR_SET_PTRACER, -1, 0, 0, 0),
        "replace-filter" => call!(SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, buffer()),
        "catch-the-filters-signal" => call!(SYS_rt_sigaction, libc::SIGSYS, buffer(), 0, 8),
        "block-signals" => call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, buffer(), 0, 8),
        "change-personality" => call!(SYS_personality, 0x0040_0000),
        "change-segments" => call!(SYS_modify_ldt, 1, buffer(), 16),
        "pin-to-processor" => call!(SYS_sched_setaffinity, 0, 8, buffer()),
        "32-bit-call" => {
            let result: i64;
            // SAFETY: the 32-bit entry preserves everything but rax; getpid takes no argument.
            unsafe {
                std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result);
            }
            result
        }
        "x32-call" => unsafe { libc::syscall(0x4000_0000 | libc::SYS_getpid) }, // SAFETY: no argument
        "unknown-call" => unsafe { libc::syscall(9_999) }, // SAFETY: no argument
        _ => try_descriptors(attempt),
    }
}

fn try_descriptors(attempt: &str) -> c_long {
    match attempt {
        "read-socket" => {
            // The test has written something.
            call!(SYS_read, 0, buffer(), 8)
        }
        "write-standard-output" => call!(SYS_write, 1, c"x".as_ptr(), 1),
        "write-standard-error" => call!(SYS_write, 2, c"x".as_ptr(), 1),
        "write-inherited" => call!(SYS_write, 3, c"x".as_ptr(), 1),
        "write-vector" => call!(SYS_writev, 0, buffer(), 0),
        "close-standard-error" => call!(SYS_close, 2),
        "close-socket" => call!(SYS_close, 0),
        "duplicate-socket" => call!(SYS_dup, 0),
        "control-socket" => call!(SYS_fcntl, 0, libc::F_GETFL),
        "ioctl" => call!(SYS_ioctl, 0, libc::TIOCSTI, buffer()),
        "send-descriptor" => send_descriptor(),
        "receive-descriptor" => call!(SYS_recvmsg, 0, buffer(), 0),
        "peer-of-socket" => call!(SYS_getsockopt, 0, 1, 17, buffer(), buffer()),
        "environment" => {
            let kept: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
            c_long::from(kept != ["TZ"])
        }
        other => panic!("there is no attempt {other}"),
    }
}

/// SCM_RIGHTS: a descriptor travels with the message.
fn send_descriptor() -> c_long {
    let mut byte = 0_u8;
    let mut vector = iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let control = Box::leak(Box::new([20_u64, 0x1_0000_0001, 0]));
    // SAFETY: a msghdr of zeros is one with nothing in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 24;
    call!(SYS_sendmsg, 0, &raw const message, 0)
}
