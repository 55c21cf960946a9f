//! The part of the realm that is written in JavaScript: the web's interfaces over the host's
//! functions, and what starts an invocation.

use rquickjs::module::{Module, WriteOptions};
use rquickjs::{Context, Ctx, Function, Object, Result, Runtime};

/// What stack lines of the prelude's functions say, and those of a function's code do not.
pub(crate) const FILE_NAME: &str = "neo:prelude";

/// One module. Its export works once, so that code which imports it gets nothing.
const SOURCE: &str = concat!(
    "export let install = (host) => {\ninstall = undefined;\n",
    include_str!("prelude/base.js"),
    include_str!("prelude/text.js"),
    include_str!("prelude/url.js"),
    include_str!("prelude/fetch.js"),
    include_str!("prelude/crypto.js"),
    include_str!("prelude/timers.js"),
    include_str!("prelude/console.js"),
    include_str!("prelude/clone.js"),
    include_str!("prelude/context.js"),
    "return hooks;\n};\n",
);

/// The prelude, compiled. The engine's functions point into these bytes, so they stay for good.
#[derive(Clone, Copy)]
pub(crate) struct Prelude(&'static [u8]);

impl Prelude {
    /// Compiles it, once in a process: loading is a tenth of the work.
    pub(crate) fn compile() -> Result<Self> {
        let runtime = Runtime::new()?;
        Context::full(&runtime)?.with(|ctx| {
            let module = Module::declare(ctx, FILE_NAME, SOURCE)?;
            let options = WriteOptions { strip_source: true, ..WriteOptions::default() };
            module.write(options).map(|bytes| Self(bytes.leak()))
        })
    }

    /// Puts the web's interfaces into this realm; gives the hooks by which the host calls in.
    #[allow(unsafe_code)]
    pub(crate) fn install<'js>(self, ctx: &Ctx<'js>, host: Object<'js>) -> Result<Object<'js>> {
        // SAFETY: the bytes are `Module::write`'s own, of this process and so of this engine; they
        // are never freed, and nothing changes them: the field is private.
        let module = unsafe { Module::load(ctx.clone(), self.0) }?;
        let (module, evaluated) = module.eval()?;
        evaluated.finish::<()>()?;
        let install: Function = module.get("install")?;
        install.call((host,))
    }
}
