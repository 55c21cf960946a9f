//! The engine's memory: counted, limited, and a refusal remembered. The engine alone would say only
//! `null` where it has no memory left for an error.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rquickjs::allocator::Allocator;

/// How much one realm has, and may have.
pub(crate) struct Memory {
    used: Cell<usize>,
    limit: Cell<usize>,
    refused: Cell<bool>,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { used: Cell::new(0), limit: Cell::new(limit), refused: Cell::new(false) })
    }

    /// From here on it may have so much.
    pub(crate) fn allow(&self, limit: usize) {
        self.limit.set(limit);
    }

    /// Whether it ever wanted more than it may have.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused.get()
    }

    /// Allocates in place of `old` bytes, if there is room for `new` ones.
    fn replace(&self, old: usize, new: usize, allocate: impl FnOnce() -> *mut u8) -> *mut u8 {
        let others = self.used.get().saturating_sub(old);
        let fits = others.checked_add(new).is_some_and(|used| used <= self.limit.get());
        let pointer = if fits { allocate() } else { ptr::null_mut() };
        if pointer.is_null() {
            self.refused.set(true);
        } else {
            self.used.set(others.saturating_add(usable_size(pointer)));
        }
        pointer
    }
}

/// What the engine allocates by: the C library's allocator, within the limit.
pub(crate) struct Limited(pub(crate) Rc<Memory>);

fn usable_size(pointer: *mut u8) -> usize {
    // SAFETY: every pointer that comes here is malloc's own and not freed: `Limited` hands out no
    // others, and its callers promise to give back no others.
    unsafe { libc::malloc_usable_size(pointer.cast()) }
}

// SAFETY: malloc, calloc and realloc give null, or memory of at least that size, aligned for every
// type; malloc_usable_size says how much of it may be used.
unsafe impl Allocator for Limited {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        // SAFETY: malloc takes any size.
        self.0.replace(0, size, || unsafe { libc::malloc(size) }.cast())
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        // A product that overflows does not fit. SAFETY: calloc takes any sizes.
        let whole = count.saturating_mul(size);
        self.0.replace(0, whole, || unsafe { libc::calloc(count, size) }.cast())
    }

    unsafe fn dealloc(&mut self, pointer: *mut u8) {
        let used = self.0.used.get().saturating_sub(usable_size(pointer));
        self.0.used.set(used);
        // SAFETY: the caller promises that it is one of ours; it is given back once.
        unsafe { libc::free(pointer.cast()) };
    }

    unsafe fn realloc(&mut self, pointer: *mut u8, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that it is one of ours; where realloc gives null, it stays.
        let allocate = || unsafe { libc::realloc(pointer.cast(), size) }.cast();
        self.0.replace(usable_size(pointer), size, allocate)
    }

    unsafe fn usable_size(pointer: *mut u8) -> usize {
        usable_size(pointer)
    }
}

/// What all but the engine allocates by: the system's allocator. Copies of what code hands over may
/// not fit into the process beside the engine's memory, which is the code's doing.
pub(crate) struct Native;

#[global_allocator]
static NATIVE: Native = Native;

/// Whether an invocation runs.
static RUNS: AtomicBool = AtomicBool::new(false);

/// [`neo_secrets_worker_protocol::ToServer::MemoryExceeded`] as it travels: there is no memory to
/// make it in.
const EXCEEDED: [u8; 5] = [1, 0, 0, 0, 10];

impl Native {
    /// Whether an invocation runs: where memory ends then, it ends as what has taken too much.
    pub(crate) fn while_it_runs(runs: bool) {
        RUNS.store(runs, Relaxed);
    }

    /// What was allocated; without it, the process ends.
    fn given(pointer: *mut u8) -> *mut u8 {
        if pointer.is_null() && RUNS.load(Relaxed) {
            // SAFETY: the bytes live for good. Nothing of a message is on its way: each is made before
            // its first byte is written, and nothing is allocated until its last one is.
            unsafe {
                libc::write(libc::STDIN_FILENO, EXCEEDED.as_ptr().cast(), EXCEEDED.len());
                libc::_exit(0)
            }
        }
        pointer
    }
}

// SAFETY: it is the system's, which promises all of this.
unsafe impl GlobalAlloc for Native {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        Self::given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        Self::given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same, and all is of the system's.
        unsafe { System.dealloc(pointer, layout) };
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        Self::given(unsafe { System.realloc(pointer, layout, size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo_secrets_worker_protocol::ToServer;

    #[test]
    fn the_last_word_is_the_protocols() {
        assert_eq!(ToServer::MemoryExceeded.encode().unwrap().as_bytes(), EXCEEDED);
    }

    #[test]
    fn it_counts_and_refuses() {
        let memory = Memory::new(10_000);
        let mut limited = Limited(Rc::clone(&memory));
        let first = limited.alloc(4_000);
        assert!(!first.is_null() && memory.used.get() >= 4_000);
        assert!(limited.calloc(2, 4_000).is_null() && memory.was_refused());
        assert!(limited.calloc(usize::MAX, 2).is_null());
        // SAFETY: the pointers are those given out above, each used for the last time.
        unsafe {
            assert!(limited.realloc(first, 20_000).is_null(), "and the old one stays");
            let larger = limited.realloc(first, 9_000);
            assert!(!larger.is_null() && (9_000..10_000).contains(&memory.used.get()));
            limited.dealloc(larger);
        }
        assert_eq!(memory.used.get(), 0);
        memory.allow(100_000);
        let large = limited.alloc(50_000);
        assert!(!large.is_null());
        // SAFETY: as above.
        unsafe { limited.dealloc(large) };
    }
}
