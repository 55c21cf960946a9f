//! One realm of the engine: a runtime and a context that have seen no code.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rquickjs::{Context, Ctx, Object, Persistent, Result, Runtime};

use crate::host::Host;
use crate::limits::{FAREWELL_MEMORY_BYTES, FAREWELL_TIME, GC_THRESHOLD_BYTES, STACK_BYTES};
use crate::memory::{Limited, Memory};
use crate::prelude::Prelude;

/// A fresh realm, with what code finds in it.
pub(crate) struct Realm {
    // In the order in which they go: the engine insists that nothing of it outlives the runtime.
    hooks: Persistent<Object<'static>>,
    pub(crate) host: Rc<Host>,
    context: Context,
    pub(crate) clock: Rc<Clock>,
    pub(crate) memory: Rc<Memory>,
    memory_bytes: Cell<usize>,
}

/// Until when code may run.
#[derive(Default)]
pub(crate) struct Clock {
    deadline: Cell<Option<Instant>>,
    interrupted: Cell<bool>,
}

impl Clock {
    /// Time that is left; none where there is a deadline that has passed.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        match self.deadline.get() {
            Some(deadline) => deadline.checked_duration_since(now).filter(|left| !left.is_zero()),
            None => Some(Duration::MAX),
        }
    }

    /// Whether running code was cut.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.get()
    }

    fn interrupt(&self) -> bool {
        let over = self.left(Instant::now()).is_none();
        self.interrupted.set(self.interrupted.get() || over);
        over
    }

    fn allow(&self, time: Duration) {
        self.interrupted.set(false);
        self.deadline.set(Some(Instant::now() + time));
    }
}

impl Realm {
    /// A runtime and a context of their own, and the prelude in them.
    pub(crate) fn new(prelude: Prelude, host: Host) -> Result<Self> {
        let (clock, host) = (Rc::new(Clock::default()), Rc::new(host));
        let memory = Memory::new(usize::MAX);
        let runtime = Runtime::new_with_alloc(Limited(Rc::clone(&memory)))?;
        runtime.set_max_stack_size(STACK_BYTES);
        runtime.set_gc_threshold(GC_THRESHOLD_BYTES);
        let (watch, server) = (Rc::clone(&clock), Rc::clone(&host));
        runtime.set_interrupt_handler(Some(Box::new(move || {
            server.channel.check_server();
            watch.interrupt()
        })));
        let tracker = Rc::clone(&host);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            move |ctx, promise, reason, handled| {
                tracker.rejections.track(&ctx, promise, reason, handled);
            },
        )));
        let context = Context::full(&runtime)?;
        let hooks = context.with(|ctx| {
            let functions = Host::functions(&host, &ctx)?;
            prelude.install(&ctx, functions).map(|hooks| Persistent::save(&ctx, hooks))
        })?;
        Ok(Self { hooks, host, context, clock, memory, memory_bytes: Cell::default() })
    }

    /// From here on code may run, for so long and in so much memory.
    pub(crate) fn allow(&self, time: Duration, memory_bytes: usize) {
        self.clock.allow(time);
        self.memory_bytes.set(memory_bytes);
        self.memory.allow(memory_bytes);
    }

    /// A little more of both, for saying how code ended.
    pub(crate) fn allow_farewell(&self) {
        self.clock.allow(FAREWELL_TIME);
        let memory = self.memory_bytes.get().saturating_add(FAREWELL_MEMORY_BYTES);
        self.memory.allow(memory);
    }

    /// Into the realm, with the hooks by which the prelude is called.
    pub(crate) fn enter<R>(&self, run: impl for<'js> FnOnce(&Ctx<'js>, &Object<'js>) -> R) -> R {
        self.context.with(|ctx| {
            let hooks = self.hooks.clone().restore(&ctx).expect("they are of this runtime");
            run(&ctx, &hooks)
        })
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.host.rejections.forget();
    }
}

/// Makes the C library read the time zone, which it keeps from then on: in the sandbox it could not
/// open a file for it.
pub(crate) fn read_time_zone() {
    let read = || -> Result<()> {
        Context::full(&Runtime::new()?)?.with(|ctx| ctx.eval("new Date().getTimezoneOffset();"))
    };
    read().expect("the engine starts, and this is a number");
}
