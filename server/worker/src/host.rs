//! What the prelude calls: the host's functions, and what they keep for one invocation.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use neo_secrets_worker_protocol::{
    FetchRequest, Header, Level, LogBounds, Redirect, ToServer, limits,
};
use rquickjs::prelude::{List, Opt};
use rquickjs::{Ctx, Exception, Function, IntoJs, Object, Persistent, Result, TypedArray, Value};

use crate::channel::Channel;
use crate::console::Log;
use crate::crypto::Hash;
use crate::limits::{RANDOM_BYTES, REJECTIONS};
use crate::timers::{TimerId, Timers};
use crate::{prelude, text, web};

/// One invocation's own.
pub(crate) struct Host {
    pub(crate) channel: Rc<Channel>,
    pub(crate) requests: Requests,
    pub(crate) timers: Timers,
    pub(crate) rejections: Rejections,
    log: RefCell<Log>,
}

/// Requests that wait for the server's answer.
pub(crate) struct Requests {
    last: Rc<Cell<u64>>,
    pending: RefCell<HashSet<u64>>,
    made: Cell<u32>,
}

impl Requests {
    /// Whether the code waits for any.
    pub(crate) fn are_pending(&self) -> bool {
        !self.pending.borrow().is_empty()
    }

    /// Whether this one waits for its answer; it does no longer then.
    pub(crate) fn answered(&self, request: u64) -> bool {
        self.pending.borrow_mut().remove(&request)
    }

    fn next(&self, ctx: &Ctx<'_>) -> Result<u64> {
        if self.made.get() >= limits::REQUESTS {
            let message =
                format!("over {} secret reads and fetches in one invocation", limits::REQUESTS);
            return Err(Exception::throw_range(ctx, &message));
        }
        if self.pending.borrow().len() >= limits::REQUESTS_PENDING {
            return Err(Exception::throw_range(ctx, "too many requests at a time"));
        }
        self.made.set(self.made.get().saturating_add(1));
        self.last.set(self.last.get().saturating_add(1));
        self.pending.borrow_mut().insert(self.last.get());
        Ok(self.last.get())
    }
}

/// Promises that were rejected and that nobody handles yet, with the reasons.
#[derive(Default)]
pub(crate) struct Rejections(
    RefCell<Vec<(Persistent<Value<'static>>, Persistent<Value<'static>>)>>,
);

impl Rejections {
    pub(crate) fn track<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) {
        let promise = Persistent::save(ctx, promise);
        let mut unhandled = self.0.borrow_mut();
        if handled {
            unhandled.retain(|(other, _)| *other != promise);
        } else if unhandled.len() < REJECTIONS {
            unhandled.push((promise, Persistent::save(ctx, reason)));
        }
    }

    /// The reasons so far, but that of one promise; each is given once.
    pub(crate) fn take<'js>(&self, ctx: &Ctx<'js>, but: &Value<'js>) -> Vec<Value<'js>> {
        let but = Persistent::save(ctx, but.clone());
        let unhandled = std::mem::take(&mut *self.0.borrow_mut());
        let others = unhandled.into_iter().filter(|(promise, _)| *promise != but);
        others.filter_map(|(_, reason)| reason.restore(ctx).ok()).collect()
    }

    /// Lets go of them, before the engine ends.
    pub(crate) fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Bytes that code has handed over.
type Bytes<'js> = TypedArray<'js, u8>;

#[allow(unsafe_code)]
fn copied(bytes: &Bytes<'_>) -> Vec<u8> {
    // SAFETY: the slice lives within this expression, and no code runs meanwhile that could write
    // to the buffer, resize or detach it. A detached one gives none.
    unsafe { bytes.as_bytes() }.unwrap_or_default().to_vec()
}

impl Host {
    pub(crate) fn new(channel: Rc<Channel>, last_request: Rc<Cell<u64>>) -> Self {
        let requests =
            Requests { last: last_request, pending: RefCell::default(), made: Cell::default() };
        Self {
            channel,
            requests,
            timers: Timers::default(),
            rejections: Rejections::default(),
            log: RefCell::new(Log::new(LogBounds { lines: 0, bytes: 0 })),
        }
    }

    /// From here on so much may be logged.
    pub(crate) fn allow_log(&self, bounds: LogBounds) {
        self.log.replace(Log::new(bounds));
    }

    pub(crate) fn log(&self, level: Level, text: String) {
        if let Some(line) = self.log.borrow().line(level, text) {
            self.channel.send(&line);
        }
    }

    /// The object that the prelude calls `host`.
    pub(crate) fn functions<'js>(host: &Rc<Self>, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("requestsPending", limits::REQUESTS_PENDING)?;
        Self::add_messages(host, ctx, &object)?;
        Self::add_timers(host, ctx, &object)?;
        add_text(ctx, &object)?;
        add_crypto(ctx, &object)?;
        Ok(object)
    }

    fn add_messages<'js>(host: &Rc<Self>, ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
        let own = Rc::clone(host);
        let log = move |level: String, text: String| {
            let level = match level.as_str() {
                "debug" => Level::Debug,
                "info" => Level::Info,
                "warn" => Level::Warn,
                _ => Level::Error,
            };
            own.log(level, text);
        };
        object.set("log", Function::new(ctx.clone(), log)?)?;

        let own = Rc::clone(host);
        let read_secret = move |ctx: Ctx<'js>, name: String| -> Result<f64> {
            bounded(&ctx, limits::SECRET_NAME.check(name.len()))?;
            let request = own.requests.next(&ctx)?;
            own.channel.send(&ToServer::ReadSecret { request, name });
            Ok(number(request))
        };
        object.set("readSecret", Function::new(ctx.clone(), read_secret)?)?;

        let own = Rc::clone(host);
        let fetch = move |ctx: Ctx<'js>,
                          method: String,
                          url: String,
                          headers: Vec<String>,
                          body: Value<'js>,
                          redirect: String|
              -> Result<f64> {
            let body = body.into_object().map(Bytes::from_object).transpose()?;
            let body = body.as_ref().map(copied);
            let fetch = fetch_request(&ctx, method, url, &headers, body, &redirect)?;
            let request = own.requests.next(&ctx)?;
            own.channel.send(&ToServer::Fetch { request, fetch: Box::new(fetch) });
            Ok(number(request))
        };
        object.set("fetch", Function::new(ctx.clone(), fetch)?)
    }

    fn add_timers<'js>(host: &Rc<Self>, ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
        let own = Rc::clone(host);
        let start = move |ctx: Ctx<'js>, id: TimerId, ms: u32| -> Result<()> {
            let delay = Duration::from_millis(ms.into());
            let started = own.timers.start(id, Instant::now(), delay);
            started.map_err(|_| Exception::throw_range(&ctx, "too many timers"))
        };
        object.set("startTimer", Function::new(ctx.clone(), start)?)?;
        let own = Rc::clone(host);
        let stop = move |id: TimerId| own.timers.stop(id);
        object.set("stopTimer", Function::new(ctx.clone(), stop)?)
    }
}

/// Request numbers stay far below 2^53.
#[allow(clippy::cast_precision_loss)]
fn number(request: u64) -> f64 {
    request as f64
}

fn bounded(
    ctx: &Ctx<'_>,
    checked: std::result::Result<(), neo_secrets_worker_protocol::TooLong>,
) -> Result<()> {
    checked.map_err(|error| Exception::throw_range(ctx, &error.to_string()))
}

fn fetch_request(
    ctx: &Ctx<'_>,
    method: String,
    url: String,
    headers: &[String],
    body: Option<Vec<u8>>,
    redirect: &str,
) -> Result<FetchRequest> {
    bounded(ctx, limits::METHOD.check(method.len()))?;
    bounded(ctx, limits::URL.check(url.len()))?;
    bounded(ctx, limits::HEADERS.check(headers.len() / 2))?;
    bounded(ctx, limits::BODY.check(body.as_ref().map_or(0, Vec::len)))?;
    let mut list = Vec::new();
    for pair in headers.chunks_exact(2) {
        let [name, value] = pair else { continue };
        // Isomorphic encode: the prelude has let no character over U+00FF through.
        let value: Vec<u8> =
            value.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect();
        bounded(ctx, limits::HEADER_NAME.check(name.len()))?;
        bounded(ctx, limits::HEADER_VALUE.check(value.len()))?;
        list.push(Header { name: name.clone(), value });
    }
    let redirect = match redirect {
        "error" => Redirect::Error,
        "manual" => Redirect::Manual,
        _ => Redirect::Follow,
    };
    Ok(FetchRequest { method, url, headers: list, body, redirect })
}

fn add_text<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
    let encode = |ctx: Ctx<'js>, text: String| -> Result<Bytes<'js>> {
        Bytes::new_copy(ctx, text.as_bytes())
    };
    object.set("encodeUtf8", Function::new(ctx.clone(), encode)?)?;
    let decode = |ctx: Ctx<'js>,
                  bytes: Bytes<'js>,
                  fatal: bool,
                  stream: bool|
     -> Result<List<(String, usize)>> {
        let decoded = text::decode(&copied(&bytes), fatal, stream)
            .map_err(|_| Exception::throw_type(&ctx, "the bytes are not UTF-8"))?;
        Ok(List((decoded.text, decoded.consumed)))
    };
    object.set("decodeUtf8", Function::new(ctx.clone(), decode)?)?;
    let user_stack = |stack: String| user_stack(&stack);
    object.set("userStack", Function::new(ctx.clone(), user_stack)?)?;

    let parse =
        |url: String, base: Opt<Option<String>>| web::parse(&url, base.0.flatten().as_deref());
    object.set("parseUrl", Function::new(ctx.clone(), parse)?)?;
    let set = |href: String, part: String, value: String| web::set(&href, &part, &value);
    object.set("setUrl", Function::new(ctx.clone(), set)?)?;
    let parse_form = |text: String| web::parse_form(&text);
    object.set("parseForm", Function::new(ctx.clone(), parse_form)?)?;
    let serialize_form = |pairs: Vec<String>| web::serialize_form(&pairs);
    object.set("serializeForm", Function::new(ctx.clone(), serialize_form)?)
}

fn add_crypto<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<()> {
    fn hash(ctx: &Ctx<'_>, name: &str) -> Result<Hash> {
        Hash::named(name).ok_or_else(|| Exception::throw_type(ctx, "no such hash"))
    }
    let digest = |ctx: Ctx<'js>, name: String, data: Bytes<'js>| -> Result<Bytes<'js>> {
        let digest = hash(&ctx, &name)?.digest(&copied(&data));
        Bytes::new_copy(ctx, digest)
    };
    object.set("digest", Function::new(ctx.clone(), digest)?)?;
    let sign =
        |ctx: Ctx<'js>, name: String, key: Bytes<'js>, data: Bytes<'js>| -> Result<Bytes<'js>> {
            let signature = hash(&ctx, &name)?.sign(&copied(&key), &copied(&data));
            Bytes::new_copy(ctx, signature)
        };
    object.set("sign", Function::new(ctx.clone(), sign)?)?;
    let verify = |ctx: Ctx<'js>,
                  name: String,
                  key: Bytes<'js>,
                  signature: Bytes<'js>,
                  data: Bytes<'js>|
     -> Result<bool> {
        Ok(hash(&ctx, &name)?.verify(&copied(&key), &copied(&signature), &copied(&data)))
    };
    object.set("verify", Function::new(ctx.clone(), verify)?)?;

    let random_bytes = |ctx: Ctx<'js>, count: usize| -> Result<Bytes<'js>> {
        let mut bytes = vec![0; count.min(RANDOM_BYTES)];
        fill_random(&ctx, &mut bytes)?;
        Bytes::new_copy(ctx, bytes)
    };
    object.set("randomBytes", Function::new(ctx.clone(), random_bytes)?)?;
    let random = |ctx: Ctx<'js>| -> Result<f64> {
        let mut bytes = [0; 8];
        fill_random(&ctx, &mut bytes)?;
        // 53 bits, all that a number in [0, 1) has.
        Ok(number(u64::from_le_bytes(bytes) >> 11) / number(1 << 53))
    };
    object.set("random", Function::new(ctx.clone(), random)?)
}

fn fill_random(ctx: &Ctx<'_>, bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|_| Exception::throw_internal(ctx, "no random bytes"))
}

/// The lines of a stack that are the function's own or built-in.
pub(crate) fn user_stack(stack: &str) -> String {
    let own = stack.lines().filter(|line| !line.contains(prelude::FILE_NAME));
    own.collect::<Vec<_>>().join("\n")
}

/// Header names and values in turn, for the prelude: bytes become the characters of their value.
pub(crate) fn flat_headers<'js>(ctx: &Ctx<'js>, headers: Vec<Header>) -> Result<Value<'js>> {
    let flat = headers.into_iter().flat_map(|Header { name, value }| {
        [name, value.into_iter().map(char::from).collect::<String>()]
    });
    flat.collect::<Vec<_>>().into_js(ctx)
}
