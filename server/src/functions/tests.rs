//! Functions on the real worker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use neo_secrets_worker_protocol::Header;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Barrier;

use super::*;
use crate::model::FunctionId;

/// The built worker. A test that finds none says so loudly, and proves nothing.
fn program() -> Option<PathBuf> {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("neo-secrets-worker");
    if !path.exists() {
        use std::io::Write as _;
        let skipped = "SKIPPED: neo-secrets-worker is not built: cargo build --release --workspace";
        writeln!(std::io::stderr(), "{skipped} --bins").unwrap();
    }
    path.exists().then_some(path)
}

const LIMITS: FunctionLimits = FunctionLimits {
    room: Room { running: 8, memory: 4_096, waiting: 64 },
    loaded_workers: 4,
    warm_workers: 0,
};

fn start() -> Option<Arc<Functions>> {
    program().map(|program| Functions::start(program, LIMITS).unwrap())
}

/// What the code finds.
#[derive(Default)]
struct Known {
    secrets: Mutex<BTreeMap<&'static str, &'static str>>,
    /// Where there is one, each read waits for as many others.
    together: Option<Barrier>,
    fetched: Mutex<Vec<FetchRequest>>,
    body_bytes: usize,
}

impl Known {
    fn secret(name: &'static str, value: &'static str) -> Arc<Self> {
        let secrets = Mutex::new(BTreeMap::from([(name, value)]));
        Arc::new(Self { secrets, ..Self::default() })
    }
}

impl Host for Known {
    async fn secret(&self, name: &str) -> SecretRead {
        if let Some(together) = &self.together {
            together.wait().await;
        }
        if name == "never" {
            std::future::pending::<()>().await;
        }
        match self.secrets.lock().unwrap().get(name) {
            Some(value) => SecretRead::Value(SecretText::new((*value).to_owned()), Version(3)),
            None if name == "denied" => SecretRead::Denied,
            None if name == "failed" => SecretRead::Failed(Failure("down".to_owned())),
            None => SecretRead::NotFound,
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, Failure> {
        let url = request.url.clone();
        self.fetched.lock().unwrap().push(request);
        let value = vec![b'x'; if url.ends_with("/long-header") { 8_193 } else { 1 }];
        Ok(FetchResponse {
            status: 200,
            status_text: String::new(),
            url,
            redirected: false,
            headers: vec![Header { name: "x".to_owned(), value }],
            body: vec![b'y'; self.body_bytes],
        })
    }
}

fn job(number: u8, code: &str) -> Job {
    let code = FunctionCode::parse(code.to_owned()).unwrap();
    let key = CodeKey {
        account: AccountId::from_bytes([1; 18]),
        function: FunctionId::from_bytes([number; 18]),
        code_sha256: code.hash(),
    };
    Job {
        key,
        code,
        params: r#"{"n": 1.0}"#.to_owned(),
        environment: vec![("STAGE".to_owned(), "test".to_owned())],
        secrets: ["api-key", "denied", "failed", "never"].map(str::to_owned).to_vec(),
        reference: "neo-secret-ref:x:".to_owned(),
        execution: "exec_1".into(),
        began: Began::at_this_moment("2026-01-02T03:04:05Z".parse().unwrap()),
        timeout: Duration::from_secs(20),
        memory_mib: 64,
    }
}

async fn run(functions: &Arc<Functions>, job: Job, host: &Arc<Known>) -> Outcome {
    let (own, host) = (functions.clone(), host.clone());
    let place = functions.place(job.key.account, job.memory_mib, 0).unwrap();
    let turn = functions.turn(place).await.unwrap();
    functions.spawn(async move { own.run(turn, job, &host).await.unwrap() }).await.unwrap()
}

#[track_caller]
fn result(outcome: &Outcome) -> &str {
    match &outcome.end {
        End::Completed(result) => result.get(),
        other => panic!("{other:?}, {:?}", outcome.logs),
    }
}

fn number(functions: &Functions, series: &str) -> u64 {
    let mut text = Text::default();
    functions.write(&mut text);
    let text = String::from_utf8(text.into_bytes()).unwrap();
    let line = format!("neo_secrets_function_{series} ");
    text.lines().find_map(|it| it.strip_prefix(&line)).unwrap().parse().unwrap()
}

fn of_state(functions: &Functions, state: &str) -> u64 {
    number(functions, &format!("workers{{state=\"{state}\"}}"))
}

/// Workers that were ever ready.
fn starts(functions: &Functions) -> u64 {
    number(functions, "worker_start_duration_seconds_count")
}

#[tokio::test]
async fn the_references_sample_runs_as_it_is() {
    let Some(functions) = start() else { return };
    let host = Known::secret("api-key", "s3cr3t");
    let sample = "async function main(context) { const apiKey = await \
                  context.secrets.get('api-key'); return { success: true }; }";
    let outcome = run(&functions, job(1, sample), &host).await;
    assert_eq!(result(&outcome), r#"{"success":true}"#);
    assert_eq!(outcome.reads, [("api-key".to_owned(), Version(3))]);
    let shows = "const main = async c => [c.params, c.environment, c.execution]";
    let expected =
        r#"[{"n":1},{"STAGE":"test"},{"id":"exec_1","startedAt":"2026-01-02T03:04:05Z"}]"#;
    assert_eq!(result(&run(&functions, job(2, shows), &host).await), expected);
}

#[tokio::test]
async fn reads_are_named_and_their_values_masked_but_in_the_result() {
    let Some(functions) = start() else { return };
    let host = Known::secret("api-key", "s3cr3t-value");
    let code = "async function main(c) {
        console.log('before', 's3cr3t-value');
        const value = await c.secrets.get('api-key');
        await c.secrets.get('api-key');
        const names = [];
        for (const name of ['denied', 'failed', 'gone', 'undeclared'])
            await c.secrets.get(name).catch(error => names.push(error.name));
        c.log.warn(value, btoa(value), names.join());
        if (c.params.n) { const e = new Error('with ' + value); e.name = value; throw e; }
    }";
    let outcome = run(&functions, job(1, code), &host).await;
    let End::Thrown(thrown) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!((thrown.name.as_str(), thrown.message.as_str()), ("[masked]", "with [masked]"));
    assert!(!thrown.stack.contains("s3cr3t"), "{thrown:?}");
    let names = "SecretAccessDenied,SecretUnavailable,SecretAccessDenied,SecretAccessDenied";
    let expected = [
        (Level::Info, "before [masked]".to_owned()),
        (Level::Warn, format!("[masked] [masked] {names}")),
    ];
    assert_eq!(
        outcome.logs.iter().map(|it| (it.level, it.text.clone())).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(outcome.reads, [("api-key".to_owned(), Version(3))]);
    let code = "async function main(c) { return await c.secrets.get('api-key'); }";
    let outcome = run(&functions, job(1, code), &host).await;
    assert_eq!(result(&outcome), r#""s3cr3t-value""#, "the function's own answer");
    assert_eq!(outcome.kept_result.as_deref(), Some(r#""[masked]""#));
}

#[tokio::test]
async fn a_value_in_a_message_of_the_engine_is_masked() {
    let Some(functions) = start() else { return };
    // Of a name, the engine shows the first 63 bytes.
    let value = concat!(
        "s3cr3t_value_of_a_key_that_is_longer_than_what_the_engine_shows_",
        "of_a_name_in_its_messages_and_goes_on_for_a_while_after_that_end"
    );
    let host = Known::secret("api-key", value);
    for (number, (throws, message)) in (1..).zip([
        ("let u; u[value]", "cannot read property '[masked]' of undefined"),
        ("eval(value)", "[masked] is not defined"),
    ]) {
        let code = format!(
            "async function main(c) {{ const value = await c.secrets.get('api-key'); {throws} }}"
        );
        let outcome = run(&functions, job(number, &code), &host).await;
        let End::Thrown(thrown) = &outcome.end else { panic!("{:?}", outcome.end) };
        assert_eq!(thrown.message, message);
        assert!(!thrown.stack.contains("s3cr3t"), "{thrown:?}");
    }
}

#[tokio::test]
async fn code_that_takes_too_long_to_compile_is_told_so() {
    // A worker that is ready, and says nothing to code.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("worker");
    let ready = "#!/bin/sh\nprintf '\\002\\000\\000\\000\\001\\001' >&0\nexec sleep 60\n";
    std::fs::write(&program, ready).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let functions = Functions::start(program, LIMITS).unwrap();
    let code = FunctionCode::parse("async function main() {}".to_owned()).unwrap();
    let check = functions.check(AccountId::from_bytes([1; 18]), &code).await;
    let Err(CheckError::Syntax(error)) = check else { panic!("{check:?}") };
    assert_eq!((error.line, error.column), (1, 1));
    assert_eq!(error.message, "the code takes too long to compile");
    functions.end().await;
}

#[tokio::test]
async fn what_never_rests_is_ended_and_the_next_one_works() {
    let Some(functions) = start() else { return };
    let host = Known::secret("api-key", "x");
    let loops = [
        "while (true) {}",
        "for (;;) await null",
        "/^(a+)+$/.test('a'.repeat(60) + '!')",
        "({ get x() { for (;;) {} } }).x",
        "JSON.parse('[1]', () => { for (;;) {} })",
        "setTimeout(() => {}, 60000); await new Promise(() => {})",
        "await c.secrets.get('never')",
        "const n = 3n ** 300000n; for (;;) n * n % (n - 1n)",
        "for (;;) try { (function f() { f() })() } catch {}",
    ];
    let mut runs = vec![];
    for (number, body) in (10..).zip(loops) {
        let (functions, host) = (functions.clone(), host.clone());
        let code = format!("async function main(c) {{ if (c.params.n) {{ {body} }} return 7; }}");
        runs.push(tokio::spawn(async move {
            let timeout = Duration::from_millis(500);
            let outcome = run(&functions, Job { timeout, ..job(number, &code) }, &host).await;
            assert!(matches!(outcome.end, End::TimedOut), "{code}: {:?}", outcome.end);
            assert!(outcome.duration < Duration::from_secs(5), "{code}: {:?}", outcome.duration);
            let next = Job { params: "{}".to_owned(), ..job(number, &code) };
            assert_eq!(result(&run(&functions, next, &host).await), "7", "{code}");
        }));
    }
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn memory_recursion_and_logs_have_their_bounds() {
    let Some(functions) = start() else { return };
    let host = Known::secret("api-key", "x");
    let code = "async function main(c) {
        if (c.params.bomb) { const all = []; for (;;) all.push(new Array(10000).fill(1.5)); }
        if (c.params.deep) { const f = () => f() + 1; return f(); }
        for (let i = 0; i < 10240; i++) console.log('x'.repeat(1024));
        return 1;
    }";
    let with = |params: &str| Job { params: params.to_owned(), ..job(1, code) };
    let outcome = run(&functions, with(r#"{"bomb":1}"#), &host).await;
    assert!(matches!(outcome.end, End::MemoryExceeded), "{:?}", outcome.end);
    let outcome = run(&functions, with(r#"{"deep":1}"#), &host).await;
    assert!(matches!(outcome.end, End::Thrown(_)), "{:?}", outcome.end);
    let outcome = run(&functions, with("{}"), &host).await;
    let bytes: usize = outcome.logs.iter().map(|line| line.text.len()).sum();
    assert_eq!(result(&outcome), "1");
    assert!((260_000..=262_144).contains(&bytes), "{bytes}");
    let last = &outcome.logs.last().unwrap().text;
    assert!(last.len() < 128, "it says that the rest is left out: {last}");
    // What its code took is not kept by an idle worker.
    assert!(of_state(&functions, "loaded") <= 1);
}

#[tokio::test]
async fn a_worker_serves_one_code_of_one_function_and_few_are_kept() {
    let Some(program) = program() else { return };
    let limits = FunctionLimits { loaded_workers: 2, ..LIMITS };
    let functions = Functions::start(program, limits).unwrap();
    let host = Known::secret("api-key", "x");
    let code = "Object.prototype.polluted = (globalThis.n ??= 0) + 1;
        Array.prototype.map = null;
        async function main() { globalThis.n++; return [({}).polluted, n]; }";
    for (number, loaded) in [(1, 1), (1, 1), (2, 2), (1, 2), (3, 2), (3, 2)] {
        assert_eq!(result(&run(&functions, job(number, code), &host).await), "[1,1]");
        // The surplus one may still be on its way.
        while of_state(&functions, "loaded") != loaded {
            tokio::task::yield_now().await;
        }
    }
    let before = starts(&functions);
    run(&functions, job(3, code), &host).await;
    assert_eq!(starts(&functions), before, "it was kept");
    let other = Job {
        key: CodeKey { account: AccountId::from_bytes([2; 18]), ..job(3, code).key },
        ..job(3, code)
    };
    run(&functions, other, &host).await;
    assert_eq!(starts(&functions), before + 1, "another account's is none of its own");
    let changed = format!("{code} ");
    run(&functions, job(3, &changed), &host).await;
    assert_eq!(starts(&functions), before + 2, "changed code is another code");
}

#[tokio::test]
async fn reads_and_fetches_run_together_and_late_answers_are_dropped() {
    let Some(functions) = start() else { return };
    let host = Arc::new(Known {
        secrets: Mutex::new(BTreeMap::from([("api-key", "v")])),
        together: Some(Barrier::new(20)),
        ..Known::default()
    });
    let code = "async function main(c) {
        const all = Array.from({length: 20}, () => c.secrets.get('api-key'));
        return (await Promise.all(all)).join('');
    }";
    assert_eq!(
        result(&run(&functions, job(1, code), &host).await),
        format!("\"{}\"", "v".repeat(20))
    );

    let host = Arc::new(Known { body_bytes: 5 * 1_048_576, ..Known::default() });
    let code = "async function main(c) {
        c.secrets.get('never'); fetch('https://a.example/never-awaited');
        const body = 'z'.repeat(5 * 1048576);
        let bytes = 0;
        for (let round = 0; round < 3; round++) {
            const all = Array.from({length: 4}, () =>
                fetch('https://a.example/', {method: 'POST', body}).then(r => r.arrayBuffer()));
            for (const one of await Promise.all(all)) bytes += one.byteLength;
        }
        return bytes;
    }";
    let large = || Job { memory_mib: 256, ..job(2, code) };
    for _ in 0..2 {
        let outcome = run(&functions, large(), &host).await;
        assert_eq!(result(&outcome), (12 * 5 * 1_048_576).to_string());
    }
    let bodies = host.fetched.lock().unwrap();
    let whole = |it: &&FetchRequest| it.body.as_ref().is_some_and(|body| body.len() == 5_242_880);
    assert_eq!(bodies.iter().filter(whole).count(), 24);
}

#[tokio::test]
async fn what_the_protocol_has_no_room_for_fails_one_fetch_only() {
    let Some(functions) = start() else { return };
    let code = "async function main(c) {
        const e = await fetch('https://a.example/long-header').catch(e => e);
        return [e.name, (await fetch('https://a.example/')).status];
    }";
    let outcome = run(&functions, job(1, code), &Arc::new(Known::default())).await;
    assert_eq!(result(&outcome), r#"["TypeError",200]"#);
}

/// The processes of workers that this test's function started: those with this text as their name.
fn workers_of(program: &Path) -> Vec<Pid> {
    let link = program.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let its = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.starts_with(link.as_bytes())
    };
    ids.filter(its).filter_map(Pid::from_raw).collect()
}

#[tokio::test]
async fn a_killed_worker_fails_its_invocation_only_and_the_end_leaves_no_process() {
    let Some(built) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("neo-secrets-worker");
    std::fs::copy(built, &own).unwrap();
    let functions = Functions::start(own.clone(), LIMITS).unwrap();
    let host = Known::secret("api-key", "x");
    let code = "async function main(c) { if (c.params.n) for (;;); return 7; }";
    let running = run(&functions, job(1, code), &host);
    let kill = async {
        while of_state(&functions, "running") == 0 {
            tokio::task::yield_now().await;
        }
        for id in workers_of(&own) {
            kill_process(id, Signal::KILL).unwrap();
        }
    };
    let (outcome, ()) = tokio::join!(running, kill);
    assert!(matches!(outcome.end, End::Broken), "{:?}", outcome.end);
    let next = || Job { params: "{}".to_owned(), ..job(1, code) };
    assert_eq!(result(&run(&functions, next(), &host).await), "7");
    // An idle one that ends is noticed.
    while of_state(&functions, "loaded") == 0 {
        tokio::task::yield_now().await;
    }
    for id in workers_of(&own) {
        kill_process(id, Signal::KILL).unwrap();
    }
    while of_state(&functions, "loaded") == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(result(&run(&functions, next(), &host).await), "7");
    assert_eq!(workers_of(&own).len(), 1);

    // One at work and one that waits.
    let place = functions.place(job(2, code).key.account, 64, 0).unwrap();
    let turn = functions.turn(place).await.unwrap();
    let (inner, at_work) = (functions.clone(), job(2, code));
    let cut = functions.spawn(async move { inner.run(turn, at_work, &host).await });
    while of_state(&functions, "running") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(functions.finished(Duration::from_millis(1)).await, 1);
    functions.end().await;
    assert!(cut.await.is_err());
    assert!(workers_of(&own).is_empty());
}

#[tokio::test]
async fn code_is_checked_by_a_worker_that_is_then_gone() {
    let Some(functions) = start() else { return };
    let account = AccountId::from_bytes([1; 18]);
    let check = async |code: &str| {
        functions.check(account, &FunctionCode::parse(code.to_owned()).unwrap()).await
    };
    assert_eq!(check("for (;;); async function main() {}").await, Ok(()), "nothing of it runs");
    let Err(CheckError::Syntax(error)) = check("async function main() {\n  let let;\n}").await
    else {
        panic!("no syntax error")
    };
    assert_eq!(error.line, 2, "{error:?}");
    while of_state(&functions, "ending") + of_state(&functions, "starting") > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(of_state(&functions, "loaded"), 0);
}

#[tokio::test]
async fn without_its_program_it_is_unavailable_until_it_is_there() {
    let Some(built) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("neo-secrets-worker");
    let functions = Functions::start(own.clone(), LIMITS).unwrap();
    let code = FunctionCode::parse("async function main() {}".to_owned()).unwrap();
    let check = || functions.check(AccountId::from_bytes([1; 18]), &code);
    assert_eq!(check().await, Err(CheckError::Unavailable(Unavailable)));
    // One that ends without a word, and one whose word is none of the protocol's.
    for script in
        ["exit 1", "printf '\\001\\000\\000\\000\\377' >&0; exec cat", "exec cat /dev/zero >&0"]
    {
        let mut text = String::from("#!/bin/sh\n");
        writeln!(text, "{script}").unwrap();
        std::fs::write(&own, text).unwrap();
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check().await, Err(CheckError::Unavailable(Unavailable)), "{script}");
    }
    std::fs::remove_file(&own).unwrap();
    std::fs::copy(built, &own).unwrap();
    assert_eq!(check().await, Ok(()));
    assert_eq!(of_state(&functions, "warm"), 0);
}

#[tokio::test]
async fn a_worker_that_speaks_unasked_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("worker");
    // Ready; and then, to whatever comes, Loaded twice.
    let script = "#!/bin/sh\nprintf '\\002\\000\\000\\000\\001\\001' >&0; dd bs=1 count=1 \
                  2>/dev/null >/dev/null; printf '\\001\\000\\000\\000\\002\\001\\000\\000\\000\\002' \
                  >&0; exec cat >/dev/null\n";
    std::fs::write(&own, script).unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    let functions = Functions::start(own, LIMITS).unwrap();
    let outcome = run(&functions, job(1, "x"), &Arc::new(Known::default())).await;
    assert!(matches!(outcome.end, End::Broken), "{:?}", outcome.end);
    assert_eq!(of_state(&functions, "loaded"), 0);
}

#[tokio::test]
async fn busy_is_said_at_once_and_the_other_account_is_served() {
    let Some(program) = program() else { return };
    let room = Room { running: 4, waiting: 4, ..LIMITS.room };
    let functions = Functions::start(program, FunctionLimits { room, ..LIMITS }).unwrap();
    let account = AccountId::from_bytes([1; 18]);
    let mut places = vec![];
    while let Ok(place) = functions.place(account, 64, 0) {
        places.push(place);
    }
    assert_eq!(places.len(), 4, "half of the turns, half of the queue");
    let check = functions.check(account, &FunctionCode::parse("1".to_owned()).unwrap()).await;
    assert_eq!(check, Err(CheckError::Busy(Busy)));
    let code = "async function main() { return 7; }";
    let key = CodeKey { account: AccountId::from_bytes([2; 18]), ..job(1, code).key };
    let other = run(&functions, Job { key, ..job(1, code) }, &Arc::new(Known::default())).await;
    assert_eq!(result(&other), "7");
}
