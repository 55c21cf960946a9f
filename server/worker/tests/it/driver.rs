//! Plays the server: starts the real worker over a socket pair and speaks the protocol.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use neo_secrets_worker_protocol::{
    Execution, Failure, FetchRequest, FetchResponse, FrameError, Invoke, Level, LogBounds, Pair,
    SecretAnswer, SecretText, Session, ToServer, ToWorker, read,
};

/// Longer than any test takes; a worker that hangs fails its test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A worker and the server's end of its socket.
pub struct Worker {
    child: Child,
    socket: UnixStream,
    session: Session,
}

/// What an invocation said.
pub struct Run {
    pub logs: Vec<(Level, String)>,
    pub reads: Vec<String>,
    pub fetches: Vec<FetchRequest>,
    pub end: ToServer,
}

/// What became of a fetch.
pub type Fetched = Result<FetchResponse, Failure>;

/// What the server knows.
pub struct Server {
    pub secrets: BTreeMap<&'static str, SecretKnown>,
    pub fetch: Box<dyn FnMut(&FetchRequest) -> Fetched>,
    /// Whether fetches are answered in the opposite order, all at once.
    pub answers_late: bool,
}

#[derive(Clone, Copy)]
pub enum SecretKnown {
    Value(&'static str),
    Denied,
    NotFound,
    Failed,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            secrets: BTreeMap::from([("api-key", SecretKnown::Value("s3cr3t"))]),
            fetch: Box::new(|_| Err(Failure("nothing may be fetched".into()))),
            answers_late: false,
        }
    }
}

impl Server {
    /// One that answers fetches so.
    pub fn fetching(fetch: impl FnMut(&FetchRequest) -> Fetched + 'static) -> Self {
        Self { fetch: Box::new(fetch), ..Self::default() }
    }
}

/// A response of this body, from the request's URL.
pub fn response(request: &FetchRequest, body: Vec<u8>) -> FetchResponse {
    FetchResponse {
        status: 200,
        status_text: String::new(),
        url: request.url.clone(),
        redirected: false,
        headers: vec![],
        body,
    }
}

/// An invocation with everything as usual.
pub fn invoke() -> Invoke {
    Invoke {
        params: r#"{"a":[1,"ä"]}"#.into(),
        environment: vec![Pair { name: "STAGE".into(), value: "test".into() }],
        secrets: vec!["api-key".into(), "denied".into(), "gone".into(), "broken".into()],
        reference: "neo-secret-ref:0123:".into(),
        execution: Execution { id: "exec_1".into(), started_at: "2026-01-02T03:04:05Z".into() },
        timeout_ms: 20_000,
        memory_mib: 64,
        log: LogBounds { lines: 100, bytes: 100_000 },
    }
}

pub fn worker_program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_neo-secrets-worker"))
}

impl Worker {
    /// A worker that has said that it is ready.
    pub fn ready() -> Self {
        let mut worker = Self::spawn(Command::new(worker_program()).env_clear().env("TZ", "UTC0"));
        assert_eq!(worker.receive(), Some(ToServer::Ready));
        worker
    }

    /// A process whose standard input is the worker's end.
    pub fn spawn(command: &mut Command) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command keeps its copy of the worker's end until another takes its place.
        command.stdin(Stdio::null());
        Self { child, socket: ours, session: Session::new() }
    }

    /// A worker with this code.
    pub fn loaded(code: &str) -> Self {
        let mut worker = Self::ready();
        worker.send(&ToWorker::Load { code: code.into() });
        assert_eq!(worker.receive(), Some(ToServer::Loaded));
        worker
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    pub fn send(&mut self, message: &ToWorker) {
        self.session.sending(message).unwrap();
        self.send_anyway(message);
    }

    /// Sends whatever the session thinks of it. The worker may be gone already.
    pub fn send_anyway(&mut self, message: &ToWorker) {
        let _ = self.socket.write_all(message.encode().unwrap().as_bytes());
    }

    /// The worker's next message, which the session has to allow; none where it has ended.
    pub fn receive(&mut self) -> Option<ToServer> {
        let bytes = match read(&mut self.socket, self.session.frame_bytes_max()) {
            Ok(bytes) => bytes,
            Err(FrameError::Closed) => return None,
            Err(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        let message = ToServer::decode(&bytes).unwrap();
        self.session.received(&message).unwrap_or_else(|error| panic!("{error}: {message:?}"));
        Some(message)
    }

    /// Runs the code once, answering what it asks for.
    pub fn run(&mut self, invoke: Invoke, server: &mut Server) -> Run {
        self.try_run(invoke, server).expect("the worker has ended")
    }

    /// As `run`; none where the worker ends without a word.
    pub fn try_run(&mut self, invoke: Invoke, server: &mut Server) -> Option<Run> {
        self.send(&ToWorker::Invoke(Box::new(invoke)));
        let (mut logs, mut reads, mut fetches, mut late) = (vec![], vec![], vec![], vec![]);
        loop {
            match self.receive()? {
                ToServer::Log { level, text } => logs.push((level, text)),
                ToServer::ReadSecret { request, name } => {
                    let answer = match server.secrets.get(name.as_str()) {
                        Some(SecretKnown::Value(value)) => {
                            SecretAnswer::Value(SecretText::new((*value).to_owned()))
                        }
                        Some(SecretKnown::Denied) => SecretAnswer::Denied,
                        Some(SecretKnown::Failed) => SecretAnswer::Failed(Failure("down".into())),
                        Some(SecretKnown::NotFound) | None => SecretAnswer::NotFound,
                    };
                    reads.push(name);
                    self.send(&ToWorker::Secret { request, answer });
                }
                ToServer::Fetch { request, fetch } => {
                    let answer = (server.fetch)(&fetch);
                    fetches.push(*fetch);
                    late.push(ToWorker::Fetched { request, answer });
                    if !server.answers_late || late.len() == 3 {
                        while let Some(answer) = late.pop() {
                            self.send(&answer);
                        }
                    }
                }
                end => return Some(Run { logs, reads, fetches, end }),
            }
        }
    }

    /// Waits for the process's end.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Run {
    /// The result, which there has to be.
    pub fn result(&self) -> &str {
        match &self.end {
            ToServer::Done { result } => result,
            other => panic!("{other:?}, {:?}", self.logs),
        }
    }

    /// Name and message of what was thrown, which something has to have been.
    pub fn thrown(&self) -> (&str, &str) {
        match &self.end {
            ToServer::Thrown(thrown) => (&thrown.name, &thrown.message),
            other => panic!("{other:?}, {:?}", self.logs),
        }
    }

    /// The texts that were logged.
    pub fn lines(&self) -> Vec<&str> {
        self.logs.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// Runs this code once in a worker of its own.
pub fn once(code: &str) -> Run {
    Worker::loaded(code).run(invoke(), &mut Server::default())
}

/// The value of this expression, as JSON; the code runs in an async function.
pub fn eval(body: &str) -> String {
    let run = once(&format!("async function main(context) {{ {body} }}"));
    run.result().to_owned()
}

/// The signal that ended a process.
pub fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Evaluates each expression, and compares its JSON; `!Name` is an error of that name.
pub fn table(cases: &[(&str, &str)]) {
    let expressions: Vec<_> =
        cases.iter().map(|(expression, _)| format!("async () => ({expression})")).collect();
    let code = format!(
        "const cases = [\n{}\n];
        async function main(context) {{
          globalThis.context = context;
          const results = [];
          for (const run of cases) {{
            try {{
              const value = await run();
              results.push(JSON.stringify(value) ?? String(value));
            }} catch (error) {{
              results.push(`!${{error.name}}`);
            }}
          }}
          return results;
        }}",
        expressions.join(",\n")
    );
    let run = once(&code);
    let results: Vec<String> = serde_json::from_str(run.result()).unwrap();
    let mut wrong = vec![];
    for ((expression, expected), got) in cases.iter().zip(&results) {
        if got != expected {
            wrong.push(format!("{expression}\n   expected {expected}\n   got      {got}"));
        }
    }
    assert!(wrong.is_empty() && results.len() == cases.len(), "\n{}", wrong.join("\n"));
}
