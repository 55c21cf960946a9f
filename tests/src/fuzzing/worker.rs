//! What a function worker says, which has run a stranger's code, and what it is told.

use neo_secrets_worker_protocol::{
    Execution, Failure, FrameError, Invoke, LogBounds, SecretAnswer, Session, ToServer, ToWorker,
    limits, read,
};

use super::refused;

/// How much the invocation here may log.
const LOG: LogBounds = LogBounds { lines: 3, bytes: 100 };

/// An invocation of small bounds.
pub(super) fn invoke() -> ToWorker {
    ToWorker::Invoke(Box::new(Invoke {
        params: "{}".to_owned(),
        environment: Vec::new(),
        secrets: Vec::new(),
        reference: "r".to_owned(),
        execution: Execution { id: "e".to_owned(), started_at: "2026-01-31T12:00:00Z".to_owned() },
        timeout_ms: 1_000,
        memory_mib: 64,
        log: LOG,
    }))
}

/// A worker's whole life, frame after frame. Each message has one form; invocations log and ask no
/// more than they may. The server answers every second request at once. Accepted is a life that
/// ends between two frames, without a violation.
pub fn life(bytes: &[u8]) -> bool {
    let (mut stream, mut session) = (bytes, Session::new());
    let log_bytes = usize::try_from(LOG.bytes).unwrap() + limits::LOG_REST_BYTES;
    let (mut lines, mut logged, mut asked, mut pending) = (0, 0, 0, 0);
    loop {
        if session.is_ready() {
            session.sending(&ToWorker::Load { code: String::new() }).unwrap();
        } else if session.is_loaded() {
            session.sending(&invoke()).unwrap();
            (lines, logged, asked, pending) = (0, 0, 0, 0);
        }
        let body = match read(&mut stream, session.frame_bytes_max()) {
            Ok(body) => body,
            Err(FrameError::Closed) => return true,
            Err(error) => return refused(&error),
        };
        let message = match ToServer::decode(&body) {
            Ok(message) => message,
            Err(error) => return refused(&error),
        };
        assert_eq!(message.encode().unwrap().body(), &**body);
        if let Err(violation) = session.received(&message) {
            assert!(session.is_over());
            return refused(&violation);
        }
        let answer = match &message {
            ToServer::Log { text, .. } => {
                (lines, logged) = (lines + 1, logged + text.len());
                None
            }
            ToServer::ReadSecret { request, .. } => Some((
                *request,
                ToWorker::Secret { request: *request, answer: SecretAnswer::NotFound },
            )),
            ToServer::Fetch { request, .. } => {
                let answer = Err(Failure("no".to_owned()));
                Some((*request, ToWorker::Fetched { request: *request, answer }))
            }
            _ => None,
        };
        if let Some((request, answer)) = answer {
            (asked, pending) = (asked + 1, pending + 1);
            if request % 2 == 0 {
                session.sending(&answer).unwrap();
                assert!(session.sending(&answer).is_err());
                pending -= 1;
            }
        }
        assert!(lines <= LOG.lines + 1 && logged <= log_bytes);
        assert!(asked <= limits::REQUESTS && pending <= limits::REQUESTS_PENDING);
    }
}

/// A message to a worker has one form.
pub fn told(bytes: &[u8]) -> bool {
    match ToWorker::decode(bytes) {
        Err(error) => refused(&error),
        Ok(message) => {
            assert_eq!(message.encode().unwrap().body(), bytes);
            true
        }
    }
}
