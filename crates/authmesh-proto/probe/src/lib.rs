//! Proof that `authmesh-proto` needs no standard library.
//!
//! `#![no_std]` on a crate says nothing about its dependencies. This static library defines a panic handler of its
//! own. If std is anywhere in its graph there are two of them, and the compiler stops with E0152.
//!
//! Nothing here is ever run.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};

extern crate authmesh_proto as _;

// The control build: it must fail. See the feature in Cargo.toml.
#[cfg(feature = "control")]
extern crate std;

#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// `alloc` demands an allocator at link time, and std would bring one.
struct NoMemory;

// SAFETY: `alloc` always returns null, which the contract of `GlobalAlloc` allows as "out of memory". So no block ever
// exists, and `dealloc` can never be called with one: it has nothing to do. Neither method unwinds.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;
