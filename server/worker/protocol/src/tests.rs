//! Round trips, strictness and bounds of the messages.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::*;

fn text(field: Field) -> impl Strategy<Value = String> {
    // Most texts are short, some are as long as they may be.
    prop_oneof![
        8 => "\\PC{0,12}".prop_filter("short enough", move |text| text.len() <= field.max),
        1 => Just("x".repeat(field.max)),
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    text(limits::FAILURE).prop_map(Failure)
}

fn headers() -> impl Strategy<Value = Vec<Header>> {
    let header = (text(limits::HEADER_NAME), vec(any::<u8>(), 0..20))
        .prop_map(|(name, value)| Header { name, value });
    vec(header, 0..4)
}

fn invoke() -> impl Strategy<Value = Invoke> {
    let pair = (text(limits::ENVIRONMENT_NAME), text(limits::ENVIRONMENT_VALUE))
        .prop_map(|(name, value)| Pair { name, value });
    let execution = (text(limits::EXECUTION_ID), text(limits::STARTED_AT))
        .prop_map(|(id, started_at)| Execution { id, started_at });
    let bounds = (limits::LOG_LINES, limits::LOG_BYTES)
        .prop_map(|(lines, bytes)| LogBounds { lines, bytes });
    let fixed = (limits::TIMEOUT_MS, limits::MEMORY_MIB, bounds);
    let lists = (vec(pair, 0..4), vec(text(limits::SECRET_NAME), 0..4));
    (text(limits::PARAMS), lists, text(limits::REFERENCE), execution, fixed).prop_map(
        |(params, (environment, secrets), reference, execution, (timeout_ms, memory_mib, log))| {
            Invoke {
                params,
                environment,
                secrets,
                reference,
                execution,
                timeout_ms,
                memory_mib,
                log,
            }
        },
    )
}

fn response() -> impl Strategy<Value = FetchResponse> {
    let body = vec(any::<u8>(), 0..100);
    let texts = (text(limits::STATUS_TEXT), text(limits::URL));
    (limits::STATUS, texts, any::<bool>(), headers(), body).prop_map(
        |(status, (status_text, url), redirected, headers, body)| FetchResponse {
            status,
            status_text,
            url,
            redirected,
            headers,
            body,
        },
    )
}

fn encoded(message: &ToWorker) -> Vec<u8> {
    message.encode().unwrap().as_bytes().to_vec()
}

/// Frames, since the messages themselves have no Debug.
fn to_worker() -> impl Strategy<Value = Vec<u8>> {
    let secret = |(request, choice, value, failure): (u64, u8, String, Failure)| {
        let answer = match choice {
            0 => SecretAnswer::Value(SecretText::new(value)),
            1 => SecretAnswer::Denied,
            2 => SecretAnswer::NotFound,
            _ => SecretAnswer::Failed(failure),
        };
        encoded(&ToWorker::Secret { request, answer })
    };
    let fetched = prop_oneof![response().prop_map(Ok), failure().prop_map(Err)];
    prop_oneof![
        text(limits::CODE).prop_map(|code| encoded(&ToWorker::Load { code })),
        invoke().prop_map(|invoke| encoded(&ToWorker::Invoke(Box::new(invoke)))),
        (any::<u64>(), 0..4_u8, text(limits::SECRET_VALUE), failure()).prop_map(secret),
        (any::<u64>(), fetched)
            .prop_map(|(request, answer)| encoded(&ToWorker::Fetched { request, answer })),
    ]
}

fn to_server() -> impl Strategy<Value = ToServer> {
    let level =
        prop_oneof![Just(Level::Debug), Just(Level::Info), Just(Level::Warn), Just(Level::Error)];
    let redirect =
        prop_oneof![Just(Redirect::Follow), Just(Redirect::Error), Just(Redirect::Manual)];
    let body = option::of(vec(any::<u8>(), 0..100));
    let fetch = (text(limits::METHOD), text(limits::URL), headers(), body, redirect).prop_map(
        |(method, url, headers, body, redirect)| {
            Box::new(FetchRequest { method, url, headers, body, redirect })
        },
    );
    let compile_error = (text(limits::ERROR_MESSAGE), any::<u32>(), any::<u32>())
        .prop_map(|(message, line, column)| CompileError { message, line, column });
    let thrown = (text(limits::ERROR_NAME), text(limits::ERROR_MESSAGE), text(limits::ERROR_STACK))
        .prop_map(|(name, message, stack)| Thrown { name, message, stack });
    prop_oneof![
        Just(ToServer::Ready),
        Just(ToServer::Loaded),
        compile_error.prop_map(ToServer::CompileError),
        (any::<u64>(), text(limits::SECRET_NAME))
            .prop_map(|(request, name)| ToServer::ReadSecret { request, name }),
        (any::<u64>(), fetch).prop_map(|(request, fetch)| ToServer::Fetch { request, fetch }),
        (level, text(limits::LOG_LINE)).prop_map(|(level, text)| ToServer::Log { level, text }),
        text(limits::RESULT).prop_map(|result| ToServer::Done { result }),
        thrown.prop_map(ToServer::Thrown),
        Just(ToServer::TimedOut),
        Just(ToServer::MemoryExceeded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_server_says_arrives(frame in to_worker()) {
        let read = read(&mut frame.as_slice(), limits::TO_WORKER_BYTES).unwrap();
        let again = ToWorker::decode(&read).map(|message| encoded(&message));
        prop_assert_eq!(again.as_deref(), Ok(frame.as_slice()));
        // One byte less or more is no message.
        let mut longer = read.to_vec();
        longer.push(0);
        prop_assert_eq!(ToWorker::decode(&longer).err(), Some(DecodeError::Trailing(1)));
        let shorter = &read[..read.len() - 1];
        prop_assert_eq!(ToWorker::decode(shorter).err(), Some(DecodeError::Truncated));
    }

    #[test]
    fn what_the_worker_says_arrives(message in to_server()) {
        let frame = message.encode().unwrap();
        prop_assert_eq!(ToServer::decode(frame.body()), Ok(message));
        let mut longer = frame.body().to_vec();
        longer.push(0);
        prop_assert_eq!(ToServer::decode(&longer).err(), Some(DecodeError::Trailing(1)));
        let shorter = &frame.body()[..frame.body().len() - 1];
        prop_assert_eq!(ToServer::decode(shorter).err(), Some(DecodeError::Truncated));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    /// Any bytes: an error, or the one spelling of a message.
    #[test]
    fn any_bytes_are_refused_or_are_a_message(kind in 0..12_u8, rest in vec(any::<u8>(), 0..64)) {
        let bytes = [&[kind][..], &rest].concat();
        if let Ok(message) = ToServer::decode(&bytes) {
            let frame = message.encode().unwrap();
            prop_assert_eq!(frame.body(), bytes.as_slice());
        }
        if let Ok(message) = ToWorker::decode(&bytes) {
            let frame = message.encode().unwrap();
            prop_assert_eq!(frame.body(), bytes.as_slice());
        }
    }

    /// A genuine message with one byte changed.
    #[test]
    fn a_changed_byte_is_refused_or_is_a_message(
        message in to_server(),
        place in any::<proptest::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = message.encode().unwrap().body().to_vec();
        prop_assume!(bytes.len() < 10_000);
        let place = place.index(bytes.len());
        bytes[place] = value;
        if let Ok(message) = ToServer::decode(&bytes) {
            let frame = message.encode().unwrap();
            prop_assert_eq!(frame.body(), bytes.as_slice());
        }
    }
}

fn too_long(field: Field) -> DecodeError {
    TooLong { field: field.name, len: field.max + 1, max: field.max }.into()
}

#[test]
fn every_length_is_bounded_before_it_is_believed() {
    let length = |field: Field| u32::try_from(field.max + 1).unwrap().to_le_bytes();
    let code = [&[1][..], &length(limits::CODE)].concat();
    assert_eq!(ToWorker::decode(&code).err(), Some(too_long(limits::CODE)));
    let name = [&[4][..], &[0; 8], &length(limits::SECRET_NAME)].concat();
    assert_eq!(ToServer::decode(&name).err(), Some(too_long(limits::SECRET_NAME)));
    // Headers: the count itself is bounded, and no room is set aside by it.
    let start = [&[5][..], &[0; 8], &[0; 4], &[0; 4]].concat();
    let many = [start.as_slice(), &length(limits::HEADERS)].concat();
    assert_eq!(ToServer::decode(&many).err(), Some(too_long(limits::HEADERS)));
    let hundred = [start.as_slice(), &100_u32.to_le_bytes()].concat();
    assert_eq!(ToServer::decode(&hundred).err(), Some(DecodeError::Truncated));
}

#[test]
fn encoding_keeps_the_same_bounds() {
    let field = limits::RESULT;
    let message = ToServer::Done { result: "x".repeat(field.max + 1) };
    let refused = TooLong { field: "result", len: field.max + 1, max: field.max };
    assert_eq!(message.encode().err(), Some(refused));
}

#[test]
fn each_way_of_being_wrong_has_its_name() {
    let value = |field, value| Some(DecodeError::Value { field, value });
    assert_eq!(ToServer::decode(&[]).err(), Some(DecodeError::Truncated));
    assert_eq!(ToServer::decode(&[0]).err(), Some(DecodeError::Kind(0)));
    assert_eq!(ToServer::decode(&[11]).err(), Some(DecodeError::Kind(11)));
    assert_eq!(ToWorker::decode(&[5]).err(), Some(DecodeError::Kind(5)));
    assert_eq!(ToServer::decode(&[1, 2]).err(), value("version", 2));
    assert_eq!(ToServer::decode(&[6, 4, 0, 0, 0, 0]).err(), value("level", 4));
    assert_eq!(
        ToServer::decode(&[6, 0, 1, 0, 0, 0, 0xff]).err(),
        Some(DecodeError::Text("log line"))
    );
    let status = [&[4][..], &[0; 8], &[1], &101_u32.to_le_bytes()].concat();
    assert_eq!(ToWorker::decode(&status).err(), value("status", 101));
    let mut secret = vec![3];
    secret.extend_from_slice(&[0; 8]);
    secret.push(4);
    assert_eq!(ToWorker::decode(&secret).err(), value("answer", 4));
}

#[test]
fn the_largest_messages_fit_their_frames() {
    let header = Header {
        name: "n".repeat(limits::HEADER_NAME.max),
        value: vec![b'v'; limits::HEADER_VALUE.max],
    };
    let headers = vec![header; limits::HEADERS.max];
    let url = "u".repeat(limits::URL.max);
    let fetch = FetchRequest {
        method: "M".repeat(limits::METHOD.max),
        url: url.clone(),
        headers: headers.clone(),
        body: Some(vec![0; limits::BODY.max]),
        redirect: Redirect::Manual,
    };
    let fetch = ToServer::Fetch { request: 1, fetch: Box::new(fetch) }.encode().unwrap();
    assert!(fetch.body().len() <= limits::TO_SERVER_BYTES);
    let response = FetchResponse {
        status: 200,
        status_text: "s".repeat(limits::STATUS_TEXT.max),
        url,
        redirected: true,
        headers,
        body: vec![0; limits::BODY.max],
    };
    let fetched = ToWorker::Fetched { request: 1, answer: Ok(response) }.encode().unwrap();
    assert!(fetched.body().len() <= limits::TO_WORKER_BYTES);
    let pair = Pair {
        name: "n".repeat(limits::ENVIRONMENT_NAME.max),
        value: "v".repeat(limits::ENVIRONMENT_VALUE.max),
    };
    let invoke = Invoke {
        params: "p".repeat(limits::PARAMS.max),
        environment: vec![pair; limits::ENVIRONMENT.max],
        secrets: vec!["s".repeat(limits::SECRET_NAME.max); limits::SECRETS.max],
        reference: "r".repeat(limits::REFERENCE.max),
        execution: Execution {
            id: "i".repeat(limits::EXECUTION_ID.max),
            started_at: "t".repeat(limits::STARTED_AT.max),
        },
        timeout_ms: 300_000,
        memory_mib: 512,
        log: LogBounds { lines: 1, bytes: 1 },
    };
    let invoke = ToWorker::Invoke(Box::new(invoke)).encode().unwrap();
    assert!(invoke.body().len() <= limits::TO_WORKER_BYTES);
    let error = CompileError { message: "m".repeat(limits::ERROR_MESSAGE.max), line: 1, column: 1 };
    let error = ToServer::CompileError(error).encode().unwrap();
    assert!(error.body().len() <= limits::TO_SERVER_IDLE_BYTES);
}

#[test]
fn frames_are_bounded_and_whole() {
    let frame = ToServer::Ready.encode().unwrap();
    assert_eq!(frame.as_bytes(), [2, 0, 0, 0, 1, 1]);
    let too_long = read(&mut [3_u8, 0, 0, 0].as_slice(), 2);
    assert!(matches!(too_long, Err(FrameError::TooLong { len: 3, max: 2 })));
    assert!(matches!(read(&mut [].as_slice(), 2), Err(FrameError::Closed)));
    for cut in 1..frame.as_bytes().len() {
        let Err(FrameError::Io(error)) = read(&mut &frame.as_bytes()[..cut], 2) else { panic!() };
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
