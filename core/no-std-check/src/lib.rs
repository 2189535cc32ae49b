//! Proof that `anvil-core` and everything under it build without `std`.
//!
//! The intuition: a complete program may have one panic handler and one global allocator. This crate brings both, as a
//! target without an operating system would, and a static library must be complete; so if any crate in the core's tree
//! pulls in `std`, which has a panic handler of its own, the compiler refuses ("duplicate lang item"). The check runs
//! on every host, with no other target installed.
//!
//! This is the one crate of the repository with `unsafe`: an allocator cannot be written without it. It is never
//! shipped and never run.
#![no_std]

use anvil_core::stripe::Profile;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

const ARENA_SIZE: usize = 1 << 20;

/// Gives out one arena from front to back and takes nothing back.
struct Arena {
    bytes: UnsafeCell<[u8; ARENA_SIZE]>,
    used: AtomicUsize,
}

// SAFETY: the bytes are only ever handed out in pieces that do not overlap, by the atomic `used`.
unsafe impl Sync for Arena {}

// SAFETY: a piece lies within the arena, is aligned as asked, and is given out once.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.bytes.get().cast::<u8>();
        let mut at = core::ptr::null_mut();
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let start = (base as usize).checked_add(used)?.checked_next_multiple_of(layout.align())? - base as usize;
            let end = start.checked_add(layout.size()).filter(|&end| end <= ARENA_SIZE)?;
            // SAFETY: `start` is at most `end`, which is within the arena.
            at = unsafe { base.add(start) };
            Some(end)
        });
        if taken.is_ok() { at } else { core::ptr::null_mut() }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ARENA: Arena = Arena { bytes: UnsafeCell::new([0; ARENA_SIZE]), used: AtomicUsize::new(0) };

#[panic_handler]
fn on_panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Uses the core, so that it is part of the library.
#[unsafe(no_mangle)]
pub extern "C" fn anvil_no_std_check(drives: usize) -> usize {
    Profile::for_drives(drives).total()
}
