//! One invocation: what is said between a loaded worker and the server until it ends.

use std::sync::Arc;
use std::time::Instant;

use neo_secrets_worker_protocol::limits as protocol;
use neo_secrets_worker_protocol::{
    Execution, Failure, FetchResponse, Invoke, LogBounds, Pair, SecretAnswer, ToServer, ToWorker,
};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::link::{LinkError, SendError};
use super::mask::Mask;
use super::worker::{Worker, note_broken};
use super::{Began, End, Host, Job, LogLine, Outcome, SecretRead};
use crate::limits;
use crate::model::Version;

/// What the server has to say to a request of the code's.
enum Answer {
    Secret(u64, String, SecretRead),
    Fetch(Box<Fetched>),
}

/// A fetch's answer; it keeps its turn until it is on its way.
struct Fetched {
    request: u64,
    asked_bytes: usize,
    answer: Result<FetchResponse, Failure>,
    _turn: Option<OwnedSemaphorePermit>,
}

/// What has come of the invocation so far.
struct Running<'w, H> {
    worker: &'w mut Worker,
    host: &'w Arc<H>,
    answers: JoinSet<Answer>,
    fetches: Arc<Semaphore>,
    /// Bodies of requests that are not answered yet.
    asked_bytes: usize,
    began: Began,
    logs: Vec<LogLine>,
    reads: Vec<(String, Version)>,
    mask: Mask,
}

/// Runs it. The worker may be kept for another one where it then still [`Worker::is_fresh`].
pub async fn run<H: Host>(worker: &mut Worker, job: Job, host: &Arc<H>) -> Outcome {
    let started = Instant::now();
    let deadline = started + job.timeout + protocol::GRACE;
    let mut running = Running {
        worker,
        host,
        answers: JoinSet::new(),
        fetches: Arc::new(Semaphore::new(limits::FETCHES)),
        asked_bytes: 0,
        began: job.began,
        logs: vec![],
        reads: vec![],
        mask: Mask::default(),
    };
    let sent = running.worker.link.send(&ToWorker::Invoke(Box::new(invoke(job))));
    let end = match sent {
        Ok(()) => tokio::time::timeout_at(deadline.into(), running.converse()).await,
        Err(error) => Ok(Err(error.into())),
    };
    let end = match end {
        Ok(Ok(end)) => end,
        Ok(Err(error)) => {
            note_broken(&error, "running");
            End::Broken
        }
        // Some built-in functions look at no clock. The session stays in the middle of it, so the
        // worker is not kept.
        Err(_) => End::TimedOut,
    };
    let Running { worker, logs, mut reads, mask, .. } = running;
    let duration = started.elapsed();
    worker.spent += duration;
    reads.sort();
    reads.dedup();
    Outcome { end, logs, duration, reads, kept_result: None, mask }
}

fn invoke(job: Job) -> Invoke {
    let pair = |(name, value)| Pair { name, value };
    let timeout_ms = u32::try_from(job.timeout.as_millis()).unwrap_or(u32::MAX);
    Invoke {
        params: job.params,
        environment: job.environment.into_iter().map(pair).collect(),
        secrets: job.secrets,
        reference: job.reference,
        execution: Execution { id: job.execution, started_at: job.began.at().to_string() },
        timeout_ms: timeout_ms.clamp(*protocol::TIMEOUT_MS.start(), *protocol::TIMEOUT_MS.end()),
        memory_mib: job
            .memory_mib
            .clamp(*protocol::MEMORY_MIB.start(), *protocol::MEMORY_MIB.end()),
        log: LogBounds { lines: limits::LOG_LINES, bytes: limits::LOG_BYTES },
    }
}

impl<H: Host> Running<'_, H> {
    async fn converse(&mut self) -> Result<End, LinkError> {
        loop {
            let link = &mut self.worker.link;
            // Who asks for more than may lie here waits until some of it has gone. One of both always
            // goes on: a worker may take no answer before its requests are taken.
            let reads = self.asked_bytes < limits::HELD_BYTES;
            let answers = !reads || link.unsent_bytes() < limits::HELD_BYTES;
            tokio::select! {
                message = link.step(reads) => {
                    if let Some(message) = message?
                        && let Some(end) = self.hear(message)?
                    {
                        return Ok(end);
                    }
                }
                Some(answer) = self.answers.join_next(), if answers => {
                    // A panic is told where it happened; the request stays without an answer.
                    if let Ok(answer) = answer {
                        self.answer(answer)?;
                    }
                }
            }
        }
    }

    /// Takes a message in; the end, where it is one.
    fn hear(&mut self, message: ToServer) -> Result<Option<End>, LinkError> {
        match message {
            ToServer::ReadSecret { request, name } => {
                let host = self.host.clone();
                self.answers.spawn(async move {
                    let read = host.secret(&name).await;
                    Answer::Secret(request, name, read)
                });
            }
            ToServer::Fetch { request, fetch } => {
                let (host, fetches) = (self.host.clone(), self.fetches.clone());
                let asked_bytes = fetch.body.as_ref().map_or(0, Vec::len);
                self.asked_bytes += asked_bytes;
                self.answers.spawn(async move {
                    let turn = fetches.acquire_owned().await.ok();
                    let answer = host.fetch(*fetch).await;
                    Answer::Fetch(Box::new(Fetched { request, asked_bytes, answer, _turn: turn }))
                });
            }
            ToServer::Log { level, text } => {
                let time = self.began.now();
                self.logs.push(LogLine { level, time, text });
            }
            ToServer::Done { result } => {
                let result = RawValue::from_string(result);
                return result
                    .map(End::Completed)
                    .map(Some)
                    .map_err(|_| LinkError::Broken("result"));
            }
            ToServer::Thrown(thrown) => return Ok(Some(End::Thrown(thrown))),
            ToServer::TimedOut => return Ok(Some(End::TimedOut)),
            ToServer::MemoryExceeded => return Ok(Some(End::MemoryExceeded)),
            // The session lets none of these through while code runs.
            ToServer::Ready | ToServer::Loaded | ToServer::CompileError(_) => {
                return Err(LinkError::Broken("order"));
            }
        }
        Ok(None)
    }

    fn answer(&mut self, answer: Answer) -> Result<(), LinkError> {
        let (request, message, read) = match answer {
            Answer::Secret(request, name, read) => {
                let (answer, version) = match read {
                    SecretRead::Value(value, version) if self.mask.add(&value) => {
                        (SecretAnswer::Value(value), Some(version))
                    }
                    SecretRead::Value(..) => {
                        let why = "the function has been given too many different values";
                        (SecretAnswer::Failed(Failure(why.to_owned())), None)
                    }
                    SecretRead::Denied => (SecretAnswer::Denied, None),
                    SecretRead::NotFound => (SecretAnswer::NotFound, None),
                    SecretRead::Failed(failure) => (SecretAnswer::Failed(failure), None),
                };
                let read = version.map(|version| (name, version));
                (request, ToWorker::Secret { request, answer }, read)
            }
            Answer::Fetch(fetched) => {
                let Fetched { request, asked_bytes, answer, _turn } = *fetched;
                self.asked_bytes -= asked_bytes;
                (request, ToWorker::Fetched { request, answer }, None)
            }
        };
        match self.worker.link.send(&message) {
            Ok(()) => self.reads.extend(read),
            // What came back has a header that the protocol has no room for: the code hears of that.
            Err(SendError::TooLong) => {
                let answer = Err(Failure("the response has too long a header or URL".to_owned()));
                self.worker.link.send(&ToWorker::Fetched { request, answer })?;
            }
            Err(error @ SendError::NotNow) => return Err(error.into()),
        }
        Ok(())
    }
}
