//! How often a request allocates: at most so often, and what hooks add is known.
//!
//! Counted is everything one thread asks the allocator for while it serves a request on a kept connection, from the
//! client's bytes to its answer. The echo upstream is part of it, and so is Pingora.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../benches/pipe/mod.rs"]
mod pipe;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hookway::hook::{BodyNeed, Verdict};

use pipe::{Client, chat_body, generation, request};

/// The most allocations a plain chat request of 1 KiB may make. A compiler or a dependency may move the number a
/// little; a change that needs more says so here.
const PLAIN_MAX: u64 = 150;

/// Hooks that do not ask for the body, and the allocations they add. The chain allocates nothing for a single call;
/// what each call did is noted in a list, which grows at the first, the fifth and the ninth. A real plugin's link comes
/// on top.
const HOOKS_ADD: [(usize, u64); 3] = [(1, 2), (3, 2), (10, 4)];

const REQUESTS: usize = 200;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it came; counting in a cell without destructor allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Allocations of a request behind a chain of `hooks`: the fewest of many, for now and then one pays for what the
/// next ones share, like the slot of a timer.
fn allocations(hooks: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::of(generation(hooks, &BodyNeed::None, &Verdict::default()));
        let request = request(&chat_body(1 << 10, false));
        let mut fewest = u64::MAX;
        for _ in 0..REQUESTS {
            let before = ALLOCATIONS.get();
            client.ask(&request).await;
            fewest = fewest.min(ALLOCATIONS.get() - before);
        }
        fewest
    })
}

#[test]
fn a_request_allocates_within_its_bound_and_hooks_add_what_is_known() {
    let plain = allocations(0);
    assert!(plain <= PLAIN_MAX, "{plain} allocations");
    assert_eq!(HOOKS_ADD.map(|(hooks, _)| (hooks, allocations(hooks) - plain)), HOOKS_ADD);
}
