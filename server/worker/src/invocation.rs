//! One invocation: evaluates the code, calls its main, and waits with it.

use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::{
    Failure, FetchResponse, Invoke, Level, SecretAnswer, Thrown, ToServer, ToWorker, limits,
};
use rquickjs::context::EvalOptions;
use rquickjs::promise::{Promise, PromiseState};
use rquickjs::{
    Ctx, Error, FromJs, Function, Module, Object, Persistent, Result, TypedArray, Value,
};

use crate::channel::end;
use crate::engine::Realm;
use crate::host::{flat_headers, user_stack};
use crate::syntax::{Code, FILE_NAME, Form};

/// How the engine's part of an invocation ended.
enum Ended {
    /// With this result, JSON.
    Result(String),
    /// The code threw this.
    Thrown(Persistent<Value<'static>>),
    /// It waits for nothing that could still happen.
    Stuck,
    /// Its time is over.
    TimedOut,
}

/// Runs the code once; gives the message that says how it ended.
pub(crate) fn run(realm: &Realm, code: &Code, invoke: Invoke) -> ToServer {
    let memory_bytes =
        usize::try_from(invoke.memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    realm.host.allow_log(invoke.log);
    realm.allow(Duration::from_millis(invoke.timeout_ms.into()), memory_bytes);
    let ended = realm.enter(|ctx, hooks| {
        start(ctx, hooks, code, invoke)
            .and_then(|promise| drive(realm, ctx, hooks, &promise))
            .unwrap_or_else(|error| failed(ctx, error))
    });
    if realm.clock.interrupted() {
        return ToServer::TimedOut;
    }
    match ended {
        Ended::Result(result) if limits::RESULT.check(result.len()).is_ok() => {
            ToServer::Done { result }
        }
        Ended::Result(result) => error(
            "RangeError",
            &format!("the result has {} bytes, over {}", result.len(), limits::RESULT.max),
        ),
        Ended::TimedOut => ToServer::TimedOut,
        // For want of memory the engine may lose what would have settled it.
        Ended::Stuck if realm.memory.was_refused() => ToServer::MemoryExceeded,
        Ended::Stuck => error(
            "Error",
            "main never ends: it awaits a promise, and nothing is left that could settle it",
        ),
        Ended::Thrown(thrown) => describe_end(realm, thrown),
    }
}

fn error(name: &str, message: &str) -> ToServer {
    ToServer::Thrown(Thrown {
        name: name.to_owned(),
        message: message.to_owned(),
        stack: String::new(),
    })
}

/// Evaluates the code and calls main, whose promise is the result's.
fn start<'js>(
    ctx: &Ctx<'js>,
    hooks: &Object<'js>,
    code: &Code,
    invoke: Invoke,
) -> Result<Promise<'js>> {
    let undefined = || Value::new_undefined(ctx.clone());
    let (evaluated, main, namespace) = match code.form {
        Form::Script => {
            script(ctx, &code.source)?;
            // Also finds what `const main =` has defined, which is no property of the global object.
            let main = script(ctx, "typeof main === 'function' ? main : undefined")?;
            (undefined(), main, undefined())
        }
        Form::Module => {
            let module = Module::declare(ctx.clone(), FILE_NAME, code.source.as_str())?;
            let (module, evaluated) = module.eval()?;
            (evaluated.into_value(), undefined(), module.namespace()?.into_value())
        }
    };
    let Invoke { params, environment, secrets, reference, execution, .. } = invoke;
    let environment: Vec<String> =
        environment.into_iter().flat_map(|pair| [pair.name, pair.value]).collect();
    let start: Function = hooks.get("start")?;
    let mut arguments = rquickjs::function::Args::new(ctx.clone(), 9);
    arguments.push_arg(evaluated)?;
    arguments.push_arg(main)?;
    arguments.push_arg(namespace)?;
    arguments.push_arg(params)?;
    arguments.push_arg(environment)?;
    arguments.push_arg(secrets)?;
    arguments.push_arg(reference)?;
    arguments.push_arg(execution.id)?;
    arguments.push_arg(execution.started_at)?;
    start.call_arg(arguments)
}

fn script<'js>(ctx: &Ctx<'js>, source: &str) -> Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(FILE_NAME.to_owned());
    ctx.eval_with_options(source, options)
}

/// Runs what is ready, then waits for a timer or a message, until main's promise is settled.
fn drive<'js>(
    realm: &Realm,
    ctx: &Ctx<'js>,
    hooks: &Object<'js>,
    main: &Promise<'js>,
) -> Result<Ended> {
    let host = &realm.host;
    loop {
        while main.state() == PromiseState::Pending && ctx.execute_pending_job() {
            if realm.clock.interrupted() || realm.clock.left(Instant::now()).is_none() {
                return Ok(Ended::TimedOut);
            }
        }
        report_rejections(realm, ctx, hooks, main);
        match main.result::<String>() {
            None => {}
            Some(Ok(result)) => return Ok(Ended::Result(result)),
            Some(Err(error)) => return Err(error),
        }
        let now = Instant::now();
        let Some(left) = realm.clock.left(now) else { return Ok(Ended::TimedOut) };
        let fired = match host.timers.take_due(now) {
            Some(id) => {
                let fire: Function = hooks.get("fire")?;
                uncaught(realm, ctx, hooks, fire.call((id,)));
                true
            }
            None => false,
        };
        let next = host.timers.next().map(|at| at.saturating_duration_since(now));
        if !fired && next.is_none() && !host.requests.are_pending() {
            return Ok(Ended::Stuck);
        }
        let wait = if fired { Duration::ZERO } else { next.unwrap_or(left).min(left) };
        if host.channel.wait(wait) {
            let delivered = deliver(realm, ctx, hooks, host.channel.receive());
            uncaught(realm, ctx, hooks, delivered);
        }
    }
}

/// Hands the server's answer to the code that waits for it.
fn deliver<'js>(
    realm: &Realm,
    ctx: &Ctx<'js>,
    hooks: &Object<'js>,
    message: ToWorker,
) -> Result<()> {
    let hook = |name: &str| hooks.get::<_, Function>(name);
    match message {
        ToWorker::Secret { request, answer } => {
            if !realm.host.requests.answered(request) {
                return Ok(());
            }
            let (outcome, text) = match &answer {
                SecretAnswer::Value(value) => ("value", value.expose()),
                SecretAnswer::Denied => ("denied", ""),
                SecretAnswer::NotFound => ("not found", ""),
                SecretAnswer::Failed(Failure(message)) => ("failed", message.as_str()),
            };
            hook("secret")?.call((request, outcome, text))
        }
        ToWorker::Fetched { request, answer } => {
            if !realm.host.requests.answered(request) {
                return Ok(());
            }
            match answer {
                Err(Failure(message)) => hook("notFetched")?.call((request, message)),
                Ok(FetchResponse { status, status_text, url, redirected, headers, body }) => {
                    let headers = flat_headers(ctx, headers)?;
                    let body = TypedArray::<u8>::new_copy(ctx.clone(), body)?;
                    hook("fetched")?.call((
                        request,
                        status,
                        status_text,
                        url,
                        redirected,
                        headers,
                        body,
                    ))
                }
            }
        }
        // One invocation at a time, of one code.
        ToWorker::Load { .. } | ToWorker::Invoke(_) => end(1),
    }
}

/// Logs what code threw where nobody waits for it: in a timer, or in a promise that nobody handles.
fn uncaught<'js>(realm: &Realm, ctx: &Ctx<'js>, hooks: &Object<'js>, called: Result<()>) {
    if let Err(error) = called {
        let thrown = thrown(ctx, error);
        log_thrown(realm, ctx, hooks, "Uncaught", thrown);
    }
}

fn report_rejections<'js>(realm: &Realm, ctx: &Ctx<'js>, hooks: &Object<'js>, main: &Promise<'js>) {
    for reason in realm.host.rejections.take(ctx, main.as_value()) {
        log_thrown(realm, ctx, hooks, "Unhandled rejection", reason);
    }
}

fn log_thrown<'js>(
    realm: &Realm,
    ctx: &Ctx<'js>,
    hooks: &Object<'js>,
    what: &str,
    thrown: Value<'js>,
) {
    let Thrown { name, message, stack } = described(ctx, hooks, thrown);
    let title = format!("{what}: {name}: {message}");
    let line = if stack.is_empty() { title } else { format!("{title}\n{stack}") };
    realm.host.log(Level::Error, line);
}

/// What was thrown. Without memory for an error, the engine throws null.
fn thrown<'js>(ctx: &Ctx<'js>, error: Error) -> Value<'js> {
    match error {
        Error::Exception if ctx.has_exception() => ctx.catch(),
        Error::Exception => Value::new_null(ctx.clone()),
        other => {
            let message = rquickjs::Exception::from_message(ctx.clone(), &other.to_string());
            message.map_or_else(
                |_| Value::new_null(ctx.clone()),
                |message| message.into_object().into_value(),
            )
        }
    }
}

fn failed(ctx: &Ctx<'_>, error: Error) -> Ended {
    let thrown = thrown(ctx, error);
    Ended::Thrown(Persistent::save(ctx, thrown))
}

/// The message for what ended the invocation.
fn describe_end(realm: &Realm, thrown: Persistent<Value<'static>>) -> ToServer {
    realm.allow_farewell();
    realm.enter(|ctx, hooks| {
        let thrown = thrown.restore(ctx).expect("it is of this runtime");
        let refused = realm.memory.was_refused();
        if thrown.is_null() && refused {
            return ToServer::MemoryExceeded;
        }
        let Thrown { name, message, stack } = described(ctx, hooks, thrown);
        let described = Thrown {
            name: limits::ERROR_NAME.clip(name),
            message: limits::ERROR_MESSAGE.clip(message),
            stack: limits::ERROR_STACK.clip(stack),
        };
        // Regular expressions say more than that.
        let out_of_memory =
            described.name == "InternalError" && described.message.starts_with("out of memory");
        if out_of_memory && refused {
            ToServer::MemoryExceeded
        } else {
            ToServer::Thrown(described)
        }
    })
}

/// Name, message and stack of whatever was thrown, however long. Its getters may throw, too.
fn described<'js>(ctx: &Ctx<'js>, hooks: &Object<'js>, thrown: Value<'js>) -> Thrown {
    let describe = || -> Result<[String; 3]> {
        let describe: Function = hooks.get("describe")?;
        let texts: Vec<String> = Vec::from_js(ctx, describe.call((thrown,))?)?;
        texts.try_into().map_err(|_| Error::Unknown)
    };
    let [name, message, stack] = describe().unwrap_or_else(|_| {
        // The exception of the attempt itself.
        drop(ctx.catch());
        ["Error", "what was thrown can't be shown", ""].map(str::to_owned)
    });
    Thrown { name, message, stack: user_stack(&stack) }
}
