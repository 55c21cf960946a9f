//! An execution: an invocation for an account, with what it reads, what is recorded of it, and the
//! receipt for its caller.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use neo_secrets_attestation::receipt::{self, Receipt, Sha256Digest};
use neo_secrets_attestation::time::UnixTime;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::egress::{Egress, Rules, RunSecrets};
use super::mask::MASKED;
use super::{
    Began, Busy, CodeKey, End, Failure, FetchRequest, FetchResponse, Functions, Host, Job, Level,
    LogLine, Outcome, SecretRead, SecretText, Thrown, Turn, Unavailable,
};
use crate::access::FunctionRun;
use crate::audit::{Act, Origin};
use crate::limits;
use crate::model::{
    self, ContentHash, Execution, ExecutionEnd, ExecutionFault, ExecutionOutcome, ExecutionReceipt,
    ExecutionState, JsonText, LogLevel, Logs, ReceiptSignature, SecretId, SecretName, SecretReads,
    Timestamp, Version,
};
use crate::phase::Serving;
use crate::secret::{RandomError, fill_random};
use crate::store::{FunctionReadError, Invocable, StoreFailure};

/// An invocation that was allowed.
pub struct Invocation {
    /// The store that it reads.
    pub serving: Arc<Serving>,
    /// By which its requests leave.
    pub egress: Arc<Egress>,
    /// The function, and the proof that it was invoked.
    pub invocable: Invocable,
    /// The parameters' exact bytes, where there are some.
    pub params: Option<Box<RawValue>>,
    /// Where the call comes from.
    pub origin: Origin,
    /// When it began.
    pub began: Began,
}

/// Why there is no execution.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// No worker starts.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Its receipt could not be signed.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What became of it.
pub struct Executed {
    /// As its caller is told.
    pub execution: Execution,
    /// As it is kept.
    pub recorded: Recorded,
}

/// What is kept of an execution: values that the code was given are masked.
pub struct Recorded {
    serving: Arc<Serving>,
    run: FunctionRun,
    started_at: Timestamp,
    end: ExecutionEnd,
}

/// What the code finds: the account's store, by the right of the key that invoked it.
struct StoreHost {
    serving: Arc<Serving>,
    egress: Arc<Egress>,
    rules: Rules,
    run: FunctionRun,
    origin: Origin,
    began: Began,
    /// What the audit log has told of this run's reads: the last version of each name.
    told: Mutex<HashMap<SecretName, (SecretId, Version)>>,
}

impl StoreHost {
    fn told(&self) -> MutexGuard<'_, HashMap<SecretName, (SecretId, Version)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for StoreHost {
    async fn secret(&self, name: &str) -> SecretRead {
        // What is no name is none that the function has declared.
        let Ok(name) = SecretName::parse(name.to_owned()) else { return SecretRead::Denied };
        let act = Act { by: self.run.clone(), origin: self.origin.clone(), now: self.began.now() };
        let failed = |why: &str| SecretRead::Failed(Failure(why.to_owned()));
        let told = self.told().get(&name).copied();
        match self.serving.store.function_read(act, &name, told).await {
            Ok(revealed) => {
                self.told().insert(name, (revealed.id, revealed.version));
                match std::str::from_utf8(revealed.value.expose()) {
                    Ok(text) => {
                        SecretRead::Value(SecretText::new(text.to_owned()), revealed.version)
                    }
                    Err(_) => failed("the secret could not be read"),
                }
            }
            Err(FunctionReadError::Denied) => SecretRead::Denied,
            Err(FunctionReadError::NotFound) => SecretRead::NotFound,
            Err(FunctionReadError::Store(failure)) => failed(match failure {
                StoreFailure::QuotaExceeded { .. } => "the account's audit log is full",
                StoreFailure::DiskFull => "the store has no room for the read's audit event",
                StoreFailure::KeyRevoked => {
                    "the key that invoked the function is not valid any more"
                }
                StoreFailure::Unavailable => {
                    self.serving.note_failure();
                    "the store is unavailable"
                }
                StoreFailure::Damaged { .. } => {
                    tracing::error!(%failure, "a record did not open");
                    "the secret could not be read"
                }
            }),
        }
    }

    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, Failure> {
        let (store, run, origin) = (&self.serving.store, self.run.clone(), self.origin.clone());
        let secrets = RunSecrets { store, run, origin, clock: store.clock() };
        self.egress.fetch(&self.rules, &secrets, request).await
    }
}

impl Functions {
    /// Runs an invocation in its turn. To be called within [`Functions::spawn`].
    ///
    /// # Errors
    /// [`ExecuteError`]: there is nothing to record.
    pub async fn execute(
        &self,
        turn: Turn,
        invocation: Invocation,
    ) -> Result<Executed, ExecuteError> {
        let Invocation { serving, egress, invocable, params, origin, began } = invocation;
        let Invocable { function, code, run } = invocable;
        let params_sha256 = hash(params.as_deref().map(RawValue::get).unwrap_or_default());
        let secrets = function.secrets.iter().map(|name| name.as_str().to_owned()).collect();
        let pair = |(name, value): (&String, &String)| (name.clone(), value.clone());
        // Code must not guess another run's.
        let mut random = [0; 16];
        fill_random(&mut random)?;
        let reference = format!("neo-secret-ref:{}:", HEXLOWER.encode(&random));
        let hosts = function.egress.iter().cloned().collect();
        let rules = Rules::new(run.grant().account(), hosts, reference.clone());
        let job = Job {
            key: CodeKey {
                account: run.grant().account(),
                function: run.function(),
                code_sha256: run.code_sha256(),
            },
            code,
            params: params.as_deref().map_or("null", RawValue::get).to_owned(),
            environment: function.environment.pairs().iter().map(pair).collect(),
            secrets,
            reference,
            execution: run.execution().to_string(),
            began,
            timeout: Duration::from_secs(function.timeout.get().into()),
            memory_mib: function.memory.get(),
        };
        let (own, by) = (serving.clone(), run.clone());
        let told = Mutex::default();
        let host = StoreHost { serving: own, egress, rules, run: by, origin, began, told };
        let outcome = self.run(turn, job, &Arc::new(host)).await?;
        Ok(executed(serving, run, params_sha256, began, outcome)?)
    }

    /// Runs an invocation that nobody waits for, and records its end, whatever it is.
    pub async fn execute_to_record(&self, turn: Turn, invocation: Invocation) {
        let (serving, run) = (invocation.serving.clone(), invocation.invocable.run.clone());
        let began = invocation.began;
        let recorded = match self.execute(turn, invocation).await {
            Ok(Executed { recorded, .. }) => Ok(recorded),
            Err(_) => {
                let outcome = Outcome::of(End::Broken);
                executed(serving, run, hash(""), began, outcome).map(|it| it.recorded)
            }
        };
        if let Ok(recorded) = recorded {
            recorded.write().await;
        }
    }

    /// Records an end without waiting for the disk, unless much of this account's, or of all, waits
    /// for it already: a crash may lose the last records, and never an event of the audit log.
    pub async fn record_later(&self, recorded: Recorded) {
        let kib = u32::try_from(recorded.bytes().div_ceil(1_024)).unwrap_or(u32::MAX);
        let place = self.records.place(recorded.run.grant().account(), kib, 0);
        let room = match place {
            Ok(place) => Some(place.turn().await),
            // The queue has no end.
            Err(Busy) => None,
        };
        drop(self.spawn(async move {
            recorded.write().await;
            drop(room);
        }));
    }
}

impl Recorded {
    /// Writes the record; it is durable then.
    pub async fn write(self) {
        let Self { serving, run, started_at, end } = self;
        match serving.store.end_execution(run, started_at, end).await {
            // Where its account has gone, or the disk has no room, there is no record.
            Ok(())
            | Err(
                StoreFailure::KeyRevoked
                | StoreFailure::QuotaExceeded { .. }
                | StoreFailure::DiskFull,
            ) => {}
            Err(StoreFailure::Unavailable) => serving.note_failure(),
            Err(failure @ StoreFailure::Damaged { .. }) => {
                tracing::error!(%failure, "a record did not open");
            }
        }
    }

    /// What it holds, about.
    fn bytes(&self) -> usize {
        let lines = self.end.logs.lines().iter();
        let result = match &self.end.outcome {
            ExecutionOutcome::Completed { result, .. } => result.as_str().len(),
            ExecutionOutcome::Failed(_)
            | ExecutionOutcome::TimedOut
            | ExecutionOutcome::MemoryExceeded => 0,
        };
        result + lines.map(|line| line.message.len()).sum::<usize>() + limits::SMALL_RECORD_BYTES
    }
}

fn executed(
    serving: Arc<Serving>,
    run: FunctionRun,
    params_sha256: ContentHash,
    began: Began,
    outcome: Outcome,
) -> Result<Executed, StoreFailure> {
    let Outcome { end, logs, duration, reads, kept_result, .. } = outcome;
    let (started_at, completed_at) = (began.at(), began.now());
    let (told, kept) = match end {
        End::Completed(result) => {
            let reads = reads.into_iter().filter_map(|(name, version)| {
                Some(model::SecretRead { name: SecretName::parse(name).ok()?, version })
            });
            let damaged = |_| StoreFailure::Damaged { kind: "reads" };
            let secrets_read = SecretReads::new(reads.collect()).map_err(damaged)?;
            let (function, execution) = (run.function(), run.execution());
            let result_sha256 = hash(result.get());
            let receipt = Receipt {
                store_id: serving.store.store_id(),
                function_id: receipt::FunctionId(*function.as_bytes()),
                code_sha256: Sha256Digest(*run.code_sha256().as_bytes()),
                execution_id: receipt::ExecutionId(*execution.as_bytes()),
                params_sha256: Sha256Digest(*params_sha256.as_bytes()),
                result_sha256: Sha256Digest(*result_sha256.as_bytes()),
                secrets_read: secrets_read.as_slice().iter().filter_map(given).collect(),
                started_at: seconds(started_at),
                completed_at: seconds(completed_at),
            };
            let signature = ReceiptSignature(serving.store.sign_receipt(&receipt)?);
            let receipt =
                ExecutionReceipt { params_sha256, result_sha256, secrets_read, signature };
            let text = |text: String| JsonText::parse(text).ok();
            let kept = kept_result.and_then(text);
            // Masked, it may be no JSON any more, such as where a value is a number.
            let kept = kept.or_else(|| text(format!("\"{MASKED}\"")));
            let damaged = StoreFailure::Damaged { kind: "result" };
            let (Some(told), Some(kept)) = (text(result.get().to_owned()), kept) else {
                return Err(damaged);
            };
            let completed = |result, receipt| ExecutionOutcome::Completed { result, receipt };
            (completed(told, receipt.clone()), completed(kept, receipt))
        }
        End::Thrown(Thrown { name, message, stack }) => {
            same(ExecutionOutcome::Failed(ExecutionFault::new(name, message, stack)))
        }
        End::Broken => {
            let message = "The function's worker ended before the function did.".to_owned();
            let fault = ExecutionFault::new("WorkerLost".to_owned(), message, String::new());
            same(ExecutionOutcome::Failed(fault))
        }
        End::TimedOut => same(ExecutionOutcome::TimedOut),
        End::MemoryExceeded => same(ExecutionOutcome::MemoryExceeded),
    };
    let logs = Logs::kept(logs.into_iter().map(line).collect());
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let end = |outcome| {
        let logs = logs.clone();
        ExecutionEnd { completed_at, duration_ms, outcome, logs }
    };
    let execution = Execution {
        id: run.execution(),
        function: run.function(),
        code_sha256: run.code_sha256(),
        invoked_by: run.grant().key(),
        started_at,
        state: ExecutionState::Ended(Box::new(end(told))),
    };
    let recorded = Recorded { end: end(kept), serving, run, started_at };
    Ok(Executed { execution, recorded })
}

fn same(outcome: ExecutionOutcome) -> (ExecutionOutcome, ExecutionOutcome) {
    (outcome.clone(), outcome)
}

fn line(line: LogLine) -> model::LogLine {
    let LogLine { level, time, text } = line;
    let level = match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    model::LogLine { level, time, message: text }
}

/// A read as the receipt has it; names and versions of the store always are such.
fn given(read: &model::SecretRead) -> Option<receipt::SecretRead> {
    let model::SecretRead { name, version: Version(version) } = read;
    receipt::SecretRead::new(name.as_str(), NonZeroU64::new(*version)?).ok()
}

fn seconds(time: Timestamp) -> UnixTime {
    UnixTime::from_seconds(time.unix_seconds()).unwrap_or(UnixTime::MAX)
}

fn hash(text: &str) -> ContentHash {
    ContentHash(Sha256::digest(text.as_bytes()).into())
}
