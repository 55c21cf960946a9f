//! Code that means harm, or does it: cut, told, and nothing of it left for the next invocation.

use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::{Invoke, LogBounds, ToServer, limits};

use crate::driver::{Server, Worker, eval, invoke, response, signal};

fn short() -> Invoke {
    Invoke { timeout_ms: 100, ..invoke() }
}

#[test]
fn endless_loops_are_cut() {
    let loops = [
        "for (;;) {}",
        "await new Promise(() => { for (;;) {} });",
        "const again = () => Promise.resolve().then(again); await again();",
        "const again = async () => { await null; return again(); }; await again();",
        "queueMicrotask(function again() { queueMicrotask(again); }); await new Promise(() => {});",
        "/^(a+)+$/.test('a'.repeat(40) + '!');",
        "/(?:a|a)*b/.exec('a'.repeat(50));",
        "'a'.repeat(50).replace(/(a*)*b/, '');",
        "({ get x() { for (;;) {} } }).x;",
        "new Proxy({}, { get() { for (;;) {} } }).x;",
        "JSON.parse('[1]', () => { for (;;) {} });",
        "JSON.stringify({ toJSON() { for (;;) {} } });",
        "return { toJSON() { for (;;) {} } };",
        "return { then() { for (;;) {} } };",
        "return Promise.resolve({ get then() { for (;;) {} } });",
        "[2, 1].sort(() => { for (;;) {} });",
        "`${{ toString() { for (;;) {} } }}`;",
        "class A { static { for (;;) {} } }",
        "function* g() { for (;;) yield 1; } for (const x of g()) {}",
        "new Array(1e9).includes(1); for (;;) {}",
        "try { for (;;) {} } catch { return 'caught'; } finally { return 'finally'; }",
        "try { for (;;) {} } finally { for (;;) {} }",
        "setInterval(() => {}, 0); await new Promise(() => {});",
        "setTimeout(() => { for (;;) {} }); await new Promise(() => {});",
        "await new Promise((resolve) => setTimeout(resolve, 100000));",
        "eval('for (;;) {}');",
        "new Function('for (;;) {}')();",
        "console.log({ get x() { for (;;) {} } });",
        "Error.prepareStackTrace = () => { for (;;) {} }; throw new Error('x');",
        "fetch({ toString() { for (;;) {} } });",
        "structuredClone(new Proxy([], { ownKeys() { for (;;) {} } }));",
    ];
    for body in loops {
        let start = Instant::now();
        let mut worker = Worker::loaded(&format!("async function main() {{ {body} }}"));
        let run = worker.run(short(), &mut Server::default());
        assert_eq!(run.end, ToServer::TimedOut, "{body}");
        assert!(start.elapsed() < Duration::from_secs(10), "{body}");
        assert_eq!(worker.receive(), None, "the worker ends: {body}");
        assert_eq!(worker.ended().code(), Some(0), "{body}");
    }
}

#[test]
fn waiting_for_the_server_ends_with_the_time() {
    let mut worker =
        Worker::loaded("async function main({ secrets }) { await secrets.get('api-key'); }");
    worker.send(&neo_secrets_worker_protocol::ToWorker::Invoke(Box::new(short())));
    assert!(matches!(worker.receive(), Some(ToServer::ReadSecret { .. })));
    assert_eq!(worker.receive(), Some(ToServer::TimedOut));
}

#[test]
fn a_native_loop_is_the_servers_to_kill() {
    // No step of this one asks whether its time is over.
    let code = "function main() { let n = 3n ** 400000n; for (;;) n = n * n % (n - 1n) + n; }";
    let mut worker = Worker::loaded(code);
    worker.send(&neo_secrets_worker_protocol::ToWorker::Invoke(Box::new(short())));
    let pid = rustix::process::Pid::from_raw(worker.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert_eq!(worker.receive(), None);
    assert_eq!(signal(worker.ended()), Some(9));
}

#[test]
fn memory_bombs_are_told() {
    let bombs = [
        "const all = []; for (;;) all.push(new Array(1000).fill(1));",
        "const all = []; for (;;) all.push({});",
        "const all = []; for (;;) all.push(new Uint8Array(1 << 20));",
        "const all = []; for (let i = 0; ; i += 1) all.push('x'.repeat(100000) + i);",
        "new Uint8Array(1 << 30);",
        "new ArrayBuffer(500 << 20);",
        "const m = new Map(); for (let i = 0; ; i += 1) m.set(i, i);",
        "let o = {}; for (let i = 0; ; i += 1) o[`k${i}`] = i;",
        "const all = []; for (;;) all.push(() => all);",
        "const all = []; for (;;) { all.push(new Promise(() => {})); }",
        "const all = []; for (;;) all.push(new Error('x'));",
        "const all = []; for (;;) all.push(/a/g.exec('a'));",
        "const all = []; for (;;) { await null; all.push(new Uint8Array(1 << 20)); }",
        "const all = []; for (;;) all.push(crypto.getRandomValues(new Uint8Array(65536)));",
        "const all = []; for (;;) all.push(new TextEncoder().encode('x'.repeat(100000)));",
        "const all = []; for (;;) all.push(structuredClone(new Uint8Array(1 << 20)));",
        "let s = 'ab'; for (;;) { s = [...s, ...s].join(''); }",
        "let a = [1]; for (;;) a = a.concat(a);",
        "return new Array(10000000).fill('xxxxxxxx');",
        "JSON.parse('[' + '1,'.repeat(20000000) + '1]');",
        "/(?:(a)|b)*?c/.test('ab'.repeat(1e6) + 'c');",
    ];
    for body in bombs {
        let mut worker = Worker::loaded(&format!("async function main() {{ {body} }}"));
        let run = worker.run(invoke(), &mut Server::default());
        assert_eq!(run.end, ToServer::MemoryExceeded, "{body}");
        assert_eq!(worker.receive(), None, "the worker ends: {body}");
        assert_eq!(worker.ended().code(), Some(0), "{body}");
    }
}

#[test]
fn memory_that_fits_is_given() {
    let code = "function main() { return new Uint8Array(500 << 20).fill(1).length; }";
    let large = Invoke { memory_mib: 512, ..invoke() };
    let run = Worker::loaded(code).run(large, &mut Server::default());
    assert_eq!(run.result(), (500 << 20).to_string());
    let small = Invoke { memory_mib: *limits::MEMORY_MIB.start(), ..invoke() };
    let code = "async function main({ secrets }) { return [await secrets.get('api-key'), new Uint8Array(4 << 20).length]; }";
    let run = Worker::loaded(code).run(small, &mut Server::default());
    assert_eq!(run.result(), r#"["s3cr3t",4194304]"#);
}

#[test]
fn code_may_survive_its_own_lack_of_memory() {
    let code = "function main() { try { new Uint8Array(1 << 30); } catch (error) { return error.message; } }";
    let mut worker = Worker::loaded(code);
    for _ in 0..3 {
        let run = worker.run(invoke(), &mut Server::default());
        assert_eq!(run.result(), r#""out of memory""#);
    }
}

#[test]
fn messages_do_not_outgrow_the_limit_of_the_process() {
    // Each body is 5 MiB, and code keeps them all: the engine's limit comes first.
    let mut server = Server::fetching(|request| Ok(response(request, vec![7; 5 << 20])));
    let code = "async function main() { const all = []; for (;;) all.push(await fetch('https://e.test')); }";
    let full = Invoke { memory_mib: 512, ..invoke() };
    let run = Worker::loaded(code).run(full, &mut server);
    assert_eq!(run.end, ToServer::MemoryExceeded);
    assert!(run.fetches.len() > 90, "{}", run.fetches.len());
}

#[test]
fn copies_that_the_process_has_no_room_for_are_told_as_lack_of_memory() {
    for body in [
        "await crypto.subtle.digest('SHA-256', new Uint8Array(4.5e8));",
        "new TextDecoder().decode(new Uint8Array(4.5e8));",
    ] {
        let full = Invoke { memory_mib: 512, ..invoke() };
        let mut worker = Worker::loaded(&format!("async function main() {{ {body} }}"));
        let run = worker.run(full, &mut Server::default());
        assert_eq!(run.end, ToServer::MemoryExceeded, "{body}");
        assert_eq!(worker.ended().code(), Some(0), "{body}");
    }
}

#[test]
fn deep_recursion_throws() {
    for body in [
        "function f() { return f() + 1; } f();",
        "const f = () => f(); f();",
        "let a = []; for (let i = 0; i < 300000; i += 1) a = [a]; JSON.stringify(a);",
        "JSON.parse('['.repeat(300000));",
        "new RegExp('('.repeat(300000) + ')'.repeat(300000));",
        "eval('('.repeat(300000));",
        "class A { get x() { return this.x; } } new A().x;",
        "const p = new Proxy({}, { get: (t, k, r) => r[k] }); p.x;",
        "[].sort.call({ length: 2, get 0() { return this[0]; } });",
        "let o = {}; for (let i = 0; i < 100000; i += 1) o = { o }; structuredClone(o);",
        "let e = new Error('x'); for (let i = 0; i < 100000; i += 1) e = new Error('x', { cause: e }); structuredClone(e);",
    ] {
        let large = Invoke { memory_mib: 256, ..invoke() };
        let mut worker = Worker::loaded(&format!("async function main() {{ {body} }}"));
        let run = worker.run(large, &mut Server::default());
        assert!(matches!(run.end, ToServer::Thrown(_)), "{body}: {:?}", run.end);
        let (name, message) = run.thrown();
        assert!(
            ["RangeError", "InternalError", "SyntaxError"].contains(&name),
            "{body}: {name}: {message}"
        );
    }
    // And what is deep may be freed.
    assert_eq!(eval("let a = []; for (let i = 0; i < 200000; i += 1) a = [a]; return 1;"), "1");
    assert_eq!(
        eval("let n = null; for (let i = 0; i < 50000; i += 1) n = { n, f: () => n }; return 1;"),
        "1"
    );
}

#[test]
fn logs_are_bounded() {
    let bounded = |lines: u32, bytes: u32| Invoke { log: LogBounds { lines, bytes }, ..invoke() };
    let rest = "The log is full: the rest is left out.";
    let code = "function main() { for (let i = 0; i < 100000; i += 1) console.log('line', i); return 'done'; }";
    let run = Worker::loaded(code).run(bounded(50, 100_000), &mut Server::default());
    assert_eq!((run.result(), run.logs.len()), (r#""done""#, 51));
    assert_eq!((run.lines()[49], run.lines()[50]), ("line 49", rest));

    let code = "function main() { for (let i = 0; i < 10; i += 1) console.log('x'.repeat(1 << 20)); return 'done'; }";
    let run = Worker::loaded(code).run(bounded(10_000, 100_000), &mut Server::default());
    let bytes: usize = run.lines().iter().map(|line| line.len()).sum();
    assert_eq!((run.result(), run.lines().last()), (r#""done""#, Some(&rest)));
    assert!(bytes <= 100_000 + limits::LOG_REST_BYTES && run.logs.len() == 7, "{bytes}");
    assert!(run.lines()[0].len() <= limits::LOG_LINE.max && run.lines()[0].ends_with('…'));

    let code = "function main() { const a = Array.from({ length: 100 }, () => 'x'.repeat(1000)); const b = Array(100).fill(a); console.log(Array(100).fill(b)); }";
    let start = Instant::now();
    let run = Worker::loaded(code).run(bounded(1, 100_000), &mut Server::default());
    assert!(run.result() == "null" && start.elapsed() < Duration::from_secs(10));
}

#[test]
fn nothing_of_one_invocation_reaches_the_next() {
    let code = "
      let counter = 0;
      globalThis.kept ??= [];
      async function main({ secrets }) {
        counter += 1;
        kept.push(counter);
        const seen = [counter, kept.length, [].polluted, Object.prototype.polluted, typeof leak, Array.prototype.push.name, JSON.stringify([1]), typeof Map.prototype.get, Symbol.for('x').description in globalThis, typeof timers];
        globalThis.leak = await secrets.get('api-key');
        setTimeout(() => { globalThis.timers = 1; }, 0); setInterval(() => {}, 1);
        secrets.get('api-key');
        Object.prototype.polluted = Array.prototype.polluted = 'x';
        Array.prototype.push = function hijacked() {};
        JSON.stringify = () => 'hijacked';
        Map.prototype.get = 1; Map.prototype.set = 1; Promise.prototype.then = 1;
        Function.prototype.call = 1; globalThis[Symbol.for('x').description] = 1;
        delete globalThis.fetch; globalThis.fetch = 1;
        return seen;
      }";
    let mut worker = Worker::loaded(code);
    let mut server = Server::default();
    let seen = r#"[1,1,null,null,"undefined","push","[1]","function",false,"undefined"]"#;
    for _ in 0..3 {
        assert_eq!(worker.run(invoke(), &mut server).result(), seen);
    }
}

#[test]
fn built_ins_that_code_has_broken_are_its_own_loss() {
    for breakage in [
        "JSON.parse = JSON.stringify = null;",
        "Promise = null; Map = null; Array = null; Object = null;",
        "String.prototype.toWellFormed = () => '\\ud800'; console.log('x');",
        "Array.prototype[Symbol.iterator] = null;",
        "Object.defineProperty(Object.prototype, 'then', { get() { throw 1; }, configurable: true });",
        "Map.prototype.set = () => { throw 2; }; fetch('https://e.test');",
        "Array.prototype.shift = () => ({}); fetch('https://e.test');",
        "RegExp.prototype.test = () => true; new Headers({ 'a b\\r\\n': 'x' });",
        "globalThis.main = undefined; module.exports = 7;",
        "Object.freeze(globalThis); Object.freeze(Object.prototype);",
    ] {
        let mut worker = Worker::loaded(&format!("async function main() {{ {breakage} }}"));
        let mut server = Server::default();
        let first = worker.run(invoke(), &mut server);
        assert!(matches!(first.end, ToServer::Done { .. } | ToServer::Thrown(_)), "{breakage}");
        let second = worker.run(invoke(), &mut server);
        assert_eq!(second.end, first.end, "{breakage}");
    }
}

#[test]
fn a_worker_serves_many_invocations_and_does_not_grow() {
    let mut worker = Worker::loaded(
        "async function main({ secrets }) { const a = Array(10000).fill({}); const c = {}; c.c = c; setTimeout(() => c, 1e5); return [await secrets.get('api-key'), a.length]; }",
    );
    let resident = |worker: &Worker| -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", worker.pid())).unwrap();
        statm.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let mut server = Server::default();
    let mut run = |worker: &mut Worker, count: usize| {
        for _ in 0..count {
            assert_eq!(worker.run(invoke(), &mut server).result(), r#"["s3cr3t",10000]"#);
        }
    };
    run(&mut worker, 200);
    let before = resident(&worker);
    run(&mut worker, 1_000);
    // Pages of 4 KiB.
    assert!(resident(&worker) < before + 256, "{before} pages, then {}", resident(&worker));
}
