//! Every bound of the worker that the protocol does not have, with its reason.

use std::time::Duration;

/// Stack of the engine: some ten thousand calls of JavaScript; the process has eight times as much.
pub(crate) const STACK_BYTES: usize = 1_048_576;
/// Memory at which the engine first looks for cycles: the prelude takes a tenth, so that building a
/// realm never does.
pub(crate) const GC_THRESHOLD_BYTES: usize = 4 * 1_048_576;
/// Memory for looking at code's syntax: 256 KiB of it take under 16 MiB, regular expressions may
/// take more.
pub(crate) const COMPILE_MEMORY_BYTES: usize = 64 * 1_048_576;
/// Memory beyond an invocation's own, for saying how it ended.
pub(crate) const FAREWELL_MEMORY_BYTES: usize = 4 * 1_048_576;
/// Time beyond an invocation's own, for saying how it ended: an error's getters are code too.
pub(crate) const FAREWELL_TIME: Duration = Duration::from_millis(50);
/// How often running code looks whether the server is still there.
pub(crate) const SERVER_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Timers of an invocation: they lie outside the engine's memory, at 100 bytes each.
pub(crate) const TIMERS: usize = 10_000;
/// Rejected promises that wait for someone to handle them.
pub(crate) const REJECTIONS: usize = 100;
/// Random bytes of one call, per the Web Cryptography specification.
pub(crate) const RANDOM_BYTES: usize = 65_536;
/// How often the launcher looks whether a killed worker is gone: freeing half a GiB takes a tenth of
/// a second.
pub(crate) const ENDING_CHECK_INTERVAL: Duration = Duration::from_millis(5);
