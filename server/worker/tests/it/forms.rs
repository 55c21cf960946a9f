//! The forms of code, what it is given, and how it ends.

use neo_secrets_worker_protocol::{CompileError, Level, ToServer, ToWorker, limits};

use crate::driver::{SecretKnown, Server, Worker, eval, invoke, once, table};

#[test]
fn the_sample_runs_as_it_is() {
    let run = once(
        "async function main(context) { const apiKey = await context.secrets.get('api-key'); return { success: true }; }",
    );
    assert_eq!(run.result(), r#"{"success":true}"#);
    assert_eq!(run.reads, ["api-key"]);
}

#[test]
fn every_form_of_main_is_found() {
    let forms = [
        "async function main(context) { return context.execution.id; }",
        "function main(context) { return context.execution.id; }",
        "const main = async (context) => context.execution.id;",
        "let main = (context) => context.execution.id",
        "main = (context) => context.execution.id",
        "module.exports = async function (context) { return context.execution.id; }",
        "module.exports.main = (context) => context.execution.id;",
        "exports.main = (context) => context.execution.id;",
        "export default async function (context) { return context.execution.id; }",
        "export default (context) => context.execution.id;",
        "export async function main(context) { return context.execution.id; }",
        "const id = await Promise.resolve('exec_1'); export default () => id;",
        "class App { run(context) { return context.execution.id; } }\nconst main = (context) => new App().run(context);",
        "'use strict';\nfunction main({ execution: { id } }) { return id; }",
    ];
    for form in forms {
        assert_eq!(once(form).result(), r#""exec_1""#, "{form}");
    }
    for none in ["", "const main = 1;", "export const x = 1;", "module.exports = {};"] {
        let run = once(none);
        let message = r#"the code has no main: write "async function main(context) { ... }""#;
        assert_eq!(run.thrown(), ("TypeError", message), "{none}");
    }
}

#[test]
fn context_holds_what_the_invocation_brought() {
    table(&[
        ("context.params", r#"{"a":[1,"ä"]}"#),
        ("context.environment", r#"{"STAGE":"test"}"#),
        ("context.execution", r#"{"id":"exec_1","startedAt":"2026-01-02T03:04:05Z"}"#),
        ("Object.keys(context).sort()", r#"["environment","execution","log","params","secrets"]"#),
        ("typeof require", r#""undefined""#),
        ("typeof process", r#""undefined""#),
        ("typeof host", r#""undefined""#),
        ("import('fs')", "!ReferenceError"),
        ("import('neo:prelude').then((module) => typeof module.install)", r#""undefined""#),
        ("eval('1 + 1')", "2"),
        ("new Function('return 3')()", "3"),
        ("new Date(0).getTimezoneOffset()", "0"),
        ("Math.random() !== Math.random() && Math.random() < 1", "true"),
    ]);
}

#[test]
fn secrets_are_read_by_message() {
    let mut server = Server::default();
    server.secrets.extend([
        ("denied", SecretKnown::Denied),
        ("gone", SecretKnown::NotFound),
        ("broken", SecretKnown::Failed),
    ]);
    let mut worker = Worker::loaded(
        "async function main({ secrets }) {
          const out = [];
          for (const name of ['api-key', 'denied', 'gone', 'broken', 'undeclared', 7]) {
            try {
              out.push(await secrets.get(name));
            } catch (error) {
              out.push([error instanceof Error, error.name, error.message]);
            }
          }
          out.push(await Promise.all([secrets.get('api-key'), secrets.get('api-key')]));
          return out;
        }",
    );
    let run = worker.run(invoke(), &mut server);
    let expected = serde_json::json!([
        "s3cr3t",
        [true, "SecretAccessDenied", "the function may not read the secret \"denied\""],
        [true, "SecretNotFound", "there is no secret \"gone\", or it has expired"],
        [true, "SecretUnavailable", "down"],
        [true, "SecretAccessDenied", "the function has not declared the secret \"undeclared\""],
        [true, "TypeError", "a secret's name is a string"],
        ["s3cr3t", "s3cr3t"],
    ]);
    let result: serde_json::Value = serde_json::from_str(run.result()).unwrap();
    assert_eq!(result, expected);
    assert_eq!(run.reads, ["api-key", "denied", "gone", "broken", "api-key", "api-key"]);
    // The live version: the next invocation of the same worker sees the new value.
    server.secrets.insert("api-key", SecretKnown::Value("rotated"));
    assert!(worker.run(invoke(), &mut server).result().starts_with(r#"["rotated""#));
}

#[test]
fn a_reference_is_a_placeholder() {
    table(&[
        ("context.secrets.ref('api-key')", r#""neo-secret-ref:0123:api-key""#),
        ("`Bearer ${context.secrets.ref('denied')}`", r#""Bearer neo-secret-ref:0123:denied""#),
        ("context.secrets.ref('other')", "!SecretAccessDenied"),
        ("context.secrets.ref()", "!TypeError"),
    ]);
}

#[test]
fn results_are_json() {
    for (returned, json) in [
        ("undefined", "null"),
        ("null", "null"),
        ("() => 1", "null"),
        ("Symbol('x')", "null"),
        ("NaN", "null"),
        ("'\\ud800'", r#""\ud800""#),
        ("new Date(0)", r#""1970-01-01T00:00:00.000Z""#),
        ("{ toJSON: () => 7 }", "7"),
        ("new Map([[1, 2]])", "{}"),
        ("[undefined, () => 1]", "[null,null]"),
        ("Promise.resolve(Promise.resolve(5))", "5"),
        ("{ then: (resolve) => resolve(6) }", "6"),
    ] {
        assert_eq!(eval(&format!("return ({returned});")), json, "{returned}");
    }
    for (returned, name, message) in [
        ("10n", "TypeError", "the result is not JSON: "),
        ("(() => { const o = {}; o.o = o; return o; })()", "TypeError", "the result is not JSON: "),
        ("{ get x() { throw new RangeError('mine') } }", "RangeError", "mine"),
        ("'x'.repeat(1048576)", "RangeError", "the result has 1048578 bytes, over 1048576"),
    ] {
        let run = once(&format!("function main() {{ return ({returned}); }}"));
        let (got_name, got_message) = run.thrown();
        assert_eq!(got_name, name, "{returned}");
        assert!(got_message.starts_with(message), "{returned}: {got_message}");
    }
    assert_eq!(eval("return 'x'.repeat(1048574);").len(), limits::RESULT.max);
}

#[test]
fn whatever_is_thrown_is_told() {
    for (thrown, name, message) in [
        ("new Error('boom')", "Error", "boom"),
        ("new TypeError('t')", "TypeError", "t"),
        ("new (class Mine extends Error { name = 'Mine' })('m')", "Mine", "m"),
        ("new DOMException('d', 'AbortError')", "AbortError", "d"),
        ("'text'", "Error", "text"),
        ("null", "Error", "null"),
        ("undefined", "Error", "undefined"),
        ("42n", "Error", "42n"),
        ("Symbol('s')", "Error", "Symbol(s)"),
        ("{ a: 1, b: [2] }", "Error", "{ a: 1, b: [ 2 ] }"),
        ("Object.create(null)", "Error", "{}"),
        ("new Proxy({}, { get() { throw 1 } })", "Error", "what was thrown can't be shown"),
        (
            "Object.assign(new Error('x'), { message: { toString() { throw 1 } } })",
            "Error",
            "what was thrown can't be shown",
        ),
        (
            "Object.defineProperty(new Error('x'), 'name', { get() { for (;;) {} } })",
            "Error",
            "what was thrown can't be shown",
        ),
        ("new Error('\\ud800')", "Error", "\u{fffd}"),
    ] {
        let run = once(&format!("async function main() {{ throw {thrown}; }}"));
        assert_eq!(run.thrown(), (name, message), "{thrown}");
    }
    let run = once(
        "async function main() {\n  await null;\n  deep();\n}\nfunction deep() { missing.x; }",
    );
    let ToServer::Thrown(thrown) = &run.end else { panic!() };
    assert_eq!(
        (thrown.name.as_str(), thrown.message.as_str()),
        ("ReferenceError", "missing is not defined")
    );
    assert_eq!(thrown.stack, "    at deep (function.js:5:19)\n    at main (function.js:3:3)");
    let run = once("throw new Error('at the top');");
    assert_eq!(run.thrown(), ("Error", "at the top"));
    let run = once(&format!("function main() {{ throw new Error('x'.repeat({})) }}", 100_000));
    let (_, message) = run.thrown();
    assert!(message.len() <= limits::ERROR_MESSAGE.max && message.ends_with('…'));
}

#[test]
fn a_worker_goes_on_after_an_error() {
    let mut worker = Worker::loaded("function main({ params }) { if (params) throw 1; return 2; }");
    let mut server = Server::default();
    assert_eq!(worker.run(invoke(), &mut server).thrown(), ("Error", "1"));
    let fine = neo_secrets_worker_protocol::Invoke { params: "0".into(), ..invoke() };
    assert_eq!(worker.run(fine, &mut server).result(), "2");
}

#[test]
fn what_nobody_handles_is_logged() {
    let run = once(
        "async function main() {
          Promise.reject(new Error('lost'));
          const late = Promise.reject(1);
          late.catch(() => {});
          setTimeout(() => { throw new RangeError('in a timer'); }, 0);
          await new Promise((resolve) => setTimeout(resolve, 1));
        }",
    );
    assert_eq!(run.result(), "null");
    let [(first, lost), (second, timer)] = run.logs.try_into().unwrap();
    assert_eq!((first, second), (Level::Error, Level::Error));
    assert_eq!(lost, "Unhandled rejection: Error: lost\n    at main (function.js:2:30)");
    assert!(timer.starts_with("Uncaught: RangeError: in a timer\n"), "{timer}");
}

#[test]
fn a_promise_that_nothing_can_settle_ends_at_once() {
    let start = std::time::Instant::now();
    for code in [
        "async function main() { await new Promise(() => {}); }",
        "await new Promise(() => {}); export default () => 1;",
        "async function main() { clearTimeout(setTimeout(() => {}, 1e6)); await new Promise(() => {}); }",
    ] {
        let run = once(code);
        let message =
            "main never ends: it awaits a promise, and nothing is left that could settle it";
        assert_eq!(run.thrown(), ("Error", message), "{code}");
    }
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn syntax_errors_have_their_place() {
    for (code, line, column) in [
        ("async function main(context) {\n  return 1 +;\n}", 2, 13),
        ("export default function () {\n\n  let let = 1;\n}", 3, 7),
        ("function main() {", 1, 18),
    ] {
        let mut worker = Worker::ready();
        worker.send(&ToWorker::Load { code: code.into() });
        let Some(ToServer::CompileError(CompileError { line: l, column: c, message })) =
            worker.receive()
        else {
            panic!("{code}")
        };
        assert_eq!((l, c), (line, column), "{code}: {message}");
        assert_eq!(worker.receive(), None);
        assert_eq!(worker.ended().code(), Some(0));
    }
}

#[test]
fn nothing_runs_before_the_first_invocation() {
    // The syntax is right, so it loads, at once.
    let mut worker = Worker::loaded("for (;;) {}\nfunction main() {}");
    let short = neo_secrets_worker_protocol::Invoke { timeout_ms: 50, ..invoke() };
    assert_eq!(worker.run(short, &mut Server::default()).end, ToServer::TimedOut);
}

#[test]
fn a_second_code_ends_the_worker() {
    let mut worker = Worker::loaded("function main() {}");
    worker.send_anyway(&ToWorker::Load { code: "function main() {}".into() });
    assert_eq!(worker.receive(), None);
    assert_eq!(worker.ended().code(), Some(1));
    let mut worker = Worker::ready();
    worker.send_anyway(&ToWorker::Invoke(Box::new(invoke())));
    assert_eq!(worker.receive(), None);
    assert_eq!(worker.ended().code(), Some(1), "no code yet");
}

#[test]
fn a_late_answer_does_no_harm() {
    let mut worker = Worker::loaded(
        "function main({ secrets, params }) { if (params) secrets.get('api-key'); return 1; }",
    );
    worker.send(&ToWorker::Invoke(Box::new(invoke())));
    let Some(ToServer::ReadSecret { request, .. }) = worker.receive() else { panic!() };
    assert_eq!(worker.receive(), Some(ToServer::Done { result: "1".into() }));
    let late =
        ToWorker::Secret { request, answer: neo_secrets_worker_protocol::SecretAnswer::Denied };
    worker.send_anyway(&late);
    assert_eq!(worker.run(invoke(), &mut Server::default()).result(), "1");
    // One to a request that was never made does.
    let never =
        ToWorker::Secret { request: 99, answer: neo_secrets_worker_protocol::SecretAnswer::Denied };
    worker.send_anyway(&never);
    assert_eq!(worker.receive(), None);
}
