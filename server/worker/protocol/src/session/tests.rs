use super::*;
use crate::{
    CompileError, Execution, Failure, FetchRequest, Level, Redirect, SecretAnswer, Thrown,
};
use proptest::prelude::*;

fn invoke() -> ToWorker {
    ToWorker::Invoke(Box::new(Invoke {
        params: "null".into(),
        environment: vec![],
        secrets: vec![],
        reference: "r".into(),
        execution: Execution { id: "e".into(), started_at: "t".into() },
        timeout_ms: 1_000,
        memory_mib: 128,
        log: LogBounds { lines: 2, bytes: 10 },
    }))
}

fn load() -> ToWorker {
    ToWorker::Load { code: String::new() }
}

fn read(request: u64) -> ToServer {
    ToServer::ReadSecret { request, name: "a".into() }
}

fn denied(request: u64) -> ToWorker {
    ToWorker::Secret { request, answer: SecretAnswer::Denied }
}

fn log(bytes: usize) -> ToServer {
    ToServer::Log { level: Level::Info, text: "x".repeat(bytes) }
}

fn done() -> ToServer {
    ToServer::Done { result: "null".into() }
}

fn fetch(request: u64) -> ToServer {
    let fetch = FetchRequest {
        method: "GET".into(),
        url: "https://a/".into(),
        headers: vec![],
        body: None,
        redirect: Redirect::Follow,
    };
    ToServer::Fetch { request, fetch: Box::new(fetch) }
}

/// One message of each kind.
fn everything() -> Vec<ToServer> {
    vec![
        ToServer::Ready,
        ToServer::Loaded,
        ToServer::CompileError(CompileError { message: String::new(), line: 1, column: 1 }),
        read(1),
        fetch(1),
        log(1),
        done(),
        ToServer::Thrown(Thrown {
            name: "Error".into(),
            message: String::new(),
            stack: String::new(),
        }),
        ToServer::TimedOut,
        ToServer::MemoryExceeded,
    ]
}

fn ready() -> Session {
    let mut session = Session::new();
    session.received(&ToServer::Ready).unwrap();
    session
}

fn loaded() -> Session {
    let mut session = ready();
    session.sending(&load()).unwrap();
    session.received(&ToServer::Loaded).unwrap();
    session
}

fn running() -> Session {
    let mut session = loaded();
    session.sending(&invoke()).unwrap();
    session
}

fn over() -> Session {
    let mut session = running();
    session.received(&ToServer::TimedOut).unwrap();
    session
}

#[test]
fn each_state_takes_its_messages_and_no_other() {
    let loading = || {
        let mut session = ready();
        session.sending(&load()).unwrap();
        session
    };
    type State<'a> = (&'a str, &'a dyn Fn() -> Session, &'a [usize]);
    let states: [State<'_>; 6] = [
        ("starting", &Session::new, &[0]),
        ("ready", &ready, &[]),
        ("loading", &loading, &[1, 2]),
        ("loaded", &loaded, &[]),
        ("running", &running, &[3, 4, 5, 6, 7, 8, 9]),
        ("over", &over, &[]),
    ];
    for (name, state, allowed) in states {
        for (place, message) in everything().iter().enumerate() {
            let mut session = state();
            let judged = session.received(message);
            if allowed.contains(&place) {
                assert_eq!(judged, Ok(()), "{name}, {message:?}");
            } else {
                assert_eq!(judged, Err(Violation::Order), "{name}, {message:?}");
                assert!(session.is_over(), "{name}, {message:?}");
            }
        }
    }
}

#[test]
fn the_server_loads_once_and_invokes_one_at_a_time() {
    let mut session = Session::new();
    assert_eq!(session.sending(&load()), Err(NotNow::Order));
    session.received(&ToServer::Ready).unwrap();
    assert!(session.is_ready());
    assert_eq!(session.sending(&invoke()), Err(NotNow::Order));
    assert_eq!(session.sending(&load()), Ok(()));
    assert_eq!(session.sending(&load()), Err(NotNow::Order));
    session.received(&ToServer::Loaded).unwrap();
    assert!(session.is_loaded());
    assert_eq!(session.sending(&load()), Err(NotNow::Order), "one code in a worker's life");
    assert_eq!(session.sending(&invoke()), Ok(()));
    assert_eq!(session.sending(&invoke()), Err(NotNow::Order));
    session.received(&done()).unwrap();
    assert_eq!(session.sending(&invoke()), Ok(()));
}

#[test]
fn requests_count_up_and_are_answered_once_by_their_kind() {
    let mut session = running();
    assert_eq!(session.received(&read(2)), Err(Violation::Request { got: 2, expected: 1 }));

    let mut session = running();
    session.received(&read(1)).unwrap();
    session.received(&fetch(2)).unwrap();
    assert_eq!(session.sending(&denied(2)), Err(NotNow::Unwanted), "it is a fetch");
    let failed = ToWorker::Fetched { request: 2, answer: Err(Failure("no".into())) };
    assert_eq!(session.sending(&failed), Ok(()));
    assert_eq!(session.sending(&failed), Err(NotNow::Unwanted), "answered already");
    session.received(&done()).unwrap();
    assert_eq!(session.sending(&denied(1)), Err(NotNow::Unwanted), "its invocation is over");
    session.sending(&invoke()).unwrap();
    assert_eq!(session.received(&read(1)), Err(Violation::Request { got: 1, expected: 3 }));
}

#[test]
fn requests_are_bounded_at_a_time_and_in_all() {
    let mut session = running();
    let pending = u64::try_from(limits::REQUESTS_PENDING).unwrap();
    for request in 1..=pending {
        session.received(&read(request)).unwrap();
    }
    assert_eq!(session.received(&read(pending + 1)), Err(Violation::Pending));

    let mut session = running();
    for request in 1..=u64::from(limits::REQUESTS) {
        session.received(&read(request)).unwrap();
        session.sending(&denied(request)).unwrap();
    }
    let next = u64::from(limits::REQUESTS) + 1;
    assert_eq!(session.received(&read(next)), Err(Violation::Requests));
}

#[test]
fn logs_are_bounded_by_lines_and_bytes() {
    let mut session = running();
    for _ in 0..3 {
        session.received(&log(1)).unwrap();
    }
    assert_eq!(session.received(&log(0)), Err(Violation::Log), "two lines, and one more");

    let mut session = running();
    session.received(&log(10)).unwrap();
    session.received(&log(limits::LOG_REST_BYTES)).unwrap();
    assert_eq!(session.received(&log(1)), Err(Violation::Log));
}

#[test]
fn only_running_code_has_much_to_say() {
    assert_eq!(Session::new().frame_bytes_max(), limits::TO_SERVER_IDLE_BYTES);
    assert_eq!(loaded().frame_bytes_max(), limits::TO_SERVER_IDLE_BYTES);
    assert_eq!(running().frame_bytes_max(), limits::TO_SERVER_BYTES);
}

proptest! {
    /// Whatever a worker says: the session never wakes up again once it is over, never waits for
    /// more than it may, and never is loaded without having been told to load.
    #[test]
    fn no_order_of_messages_breaks_it(steps in proptest::collection::vec(0..14_usize, 0..60)) {
        let mut session = Session::new();
        let mut loads = 0;
        let mut was_over = false;
        for step in steps {
            match step {
                10 => loads += usize::from(session.sending(&load()).is_ok()),
                11 => drop(session.sending(&invoke())),
                12 => drop(session.sending(&denied(session.last_request))),
                13 => drop(session.received(&read(session.last_request + 1))),
                _ => drop(session.received(&everything()[step])),
            }
            prop_assert!(!was_over || session.is_over());
            prop_assert!(session.pending.len() <= limits::REQUESTS_PENDING);
            prop_assert!(loads <= 1 && (loads == 1 || !session.is_loaded()));
            was_over = session.is_over();
        }
    }
}
