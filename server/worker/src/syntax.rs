//! The forms that a function's code may have, and where its syntax is wrong.

use std::ffi::CString;
use std::rc::Rc;

use neo_secrets_worker_protocol::{CompileError, limits};
use rquickjs::{Context, Ctx, Object, Runtime, Value, qjs};

use crate::limits::{COMPILE_MEMORY_BYTES, STACK_BYTES};
use crate::memory::{Limited, Memory};

/// What stack lines of the function's code say.
pub(crate) const FILE_NAME: &str = "function.js";

/// A function's code, its syntax checked.
pub(crate) struct Code {
    pub(crate) source: String,
    pub(crate) form: Form,
}

/// How code is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `async function main(context)`, or `module.exports =`.
    Script,
    /// `export default`.
    Module,
}

impl Code {
    /// Checks the syntax in a realm of its own, in which nothing runs.
    pub(crate) fn check(source: String) -> Result<Self, CompileError> {
        if let Some(place) = source.find('\0') {
            return Err(nul(source.get(..place).unwrap_or_default()));
        }
        let form = match compile(&source, Form::Script) {
            Ok(()) => Form::Script,
            Err(script) => match compile(&source, Form::Module) {
                Ok(()) => Form::Module,
                // The form whose parser came further is the one that was meant.
                Err(module) if module.came_further_than(&script) => return Err(module.told()),
                Err(_) => return Err(script.told()),
            },
        };
        Ok(Self { source, form })
    }
}

fn nul(before: &str) -> CompileError {
    let (line, column) = before.chars().fold((1_u32, 1_u32), |(line, column), character| {
        if character == '\n' {
            (line.saturating_add(1), 1)
        } else {
            (line, column.saturating_add(1))
        }
    });
    CompileError { message: "a NUL character".to_owned(), line, column }
}

/// What the engine says is wrong; without a place where it is about the whole, such as an import.
struct Wrong {
    message: String,
    place: Option<(u32, u32)>,
}

impl Wrong {
    fn too_large() -> Self {
        Self { message: "the code needs too much memory to be compiled".to_owned(), place: None }
    }

    fn came_further_than(&self, other: &Self) -> bool {
        match (self.place, other.place) {
            (Some(own), Some(other)) => own > other,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    fn told(self) -> CompileError {
        let (line, column) = self.place.unwrap_or((1, 1));
        CompileError { message: limits::ERROR_MESSAGE.clip(self.message), line, column }
    }
}

fn compile(source: &str, form: Form) -> Result<(), Wrong> {
    let memory = Memory::new(COMPILE_MEMORY_BYTES);
    let runtime =
        Runtime::new_with_alloc(Limited(Rc::clone(&memory))).map_err(|_| Wrong::too_large())?;
    runtime.set_max_stack_size(STACK_BYTES);
    let context = Context::full(&runtime).map_err(|_| Wrong::too_large())?;
    let compiled = context.with(|ctx| {
        compile_only(&ctx, source, form).map_err(|error| match error.into_object() {
            Some(error) if !memory.was_refused() => described(&error),
            _ => Wrong::too_large(),
        })
    });
    if compiled.is_err() {
        // What failed for want of memory may not free all it took, and the engine insists on that.
        std::mem::forget((context, runtime));
    }
    compiled
}

/// Parses and compiles, and does not run: the engine's binding has no such call for scripts.
#[allow(unsafe_code)]
fn compile_only<'js>(ctx: &Ctx<'js>, source: &str, form: Form) -> Result<(), Value<'js>> {
    let kind = match form {
        Form::Script => qjs::JS_EVAL_TYPE_GLOBAL,
        Form::Module => qjs::JS_EVAL_TYPE_MODULE,
    };
    let flags = i32::try_from(kind | qjs::JS_EVAL_FLAG_COMPILE_ONLY).unwrap_or_default();
    let file_name = CString::new(FILE_NAME).expect("it has no NUL");
    let terminated = CString::new(source).unwrap_or_default();
    let length = qjs::size_t::try_from(terminated.as_bytes().len()).unwrap_or_default();
    // SAFETY: the context is alive and ours, as `ctx` proves; the source has `length` bytes and a
    // NUL after them, the name a NUL, and both outlive the call. The engine keeps neither. What it
    // gives back is ours, and is handed to a Value, which frees it.
    let exception = unsafe {
        let context = ctx.as_raw().as_ptr();
        let value = qjs::JS_Eval(context, terminated.as_ptr(), length, file_name.as_ptr(), flags);
        let failed = qjs::JS_IsException(value);
        if !failed && form == Form::Script {
            qjs::JS_FreeValue(context, value);
        }
        failed
    };
    if exception { Err(ctx.catch()) } else { Ok(()) }
}

/// Message and place of a SyntaxError, whose stack has the place: `    at function.js:3:9`.
fn described(error: &Object<'_>) -> Wrong {
    let stack: String = error.get("stack").unwrap_or_default();
    Wrong { message: error.get("message").unwrap_or_default(), place: place(&stack) }
}

fn place(stack: &str) -> Option<(u32, u32)> {
    let (_, place) = stack.split_once(FILE_NAME)?;
    let mut numbers = place.trim_start_matches(':').split(|other: char| !other.is_ascii_digit());
    let line = numbers.next()?.parse().ok()?;
    let column = numbers.next()?.parse().ok()?;
    Some((line, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(source: &str) -> Form {
        Code::check(source.to_owned()).map(|code| code.form).unwrap()
    }

    fn error(source: &str) -> (String, u32, u32) {
        let error = Code::check(source.to_owned()).map(|code| code.form).unwrap_err();
        (error.message, error.line, error.column)
    }

    #[test]
    fn the_three_forms_are_told_apart() {
        assert_eq!(form("async function main(context) { return 1; }"), Form::Script);
        assert_eq!(form("module.exports = async function (context) {}"), Form::Script);
        assert_eq!(form("export default async function (context) {}"), Form::Module);
        assert_eq!(form("const x = await 1; export { x as default };"), Form::Module);
        assert_eq!(form(""), Form::Script);
        assert_eq!(form("#!/usr/bin/env node\nfunction main() {}"), Form::Script);
    }

    #[test]
    fn errors_have_their_place_in_the_code() {
        assert_eq!(error("\n\nvar a = ;").1, 3);
        assert_eq!(error("\n\nvar a = ;").2, 9);
        let (_, line, column) = error("export default async function () {\n  let x = @;\n}");
        assert_eq!((line, column), (2, 11), "the module's parser came further");
        assert_eq!(error("let a;\nlet a;").1, 2);
        assert_eq!(error("a\u{e9}\n\u{e9}\0"), ("a NUL character".to_owned(), 2, 2));
    }

    #[test]
    fn imports_are_refused() {
        let (message, ..) = error("import fs from 'fs'; export default () => fs;");
        assert_eq!(message, "could not load module 'fs'");
    }

    #[test]
    fn nothing_runs() {
        assert_eq!(form("throw new Error('ran'); while (true) {}"), Form::Script);
        assert_eq!(form("export default 1; while (true) {}"), Form::Module);
    }

    #[test]
    fn deep_or_large_code_is_an_error() {
        error(&"(".repeat(200_000));
        error(&"[".repeat(200_000));
        error(&format!("x = {}1", "-".repeat(200_000)));
        let pattern = format!("/{}a{}/", "(?:".repeat(50_000), "){99}".repeat(50_000));
        error(&pattern);
    }
}
