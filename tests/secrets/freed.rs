//! An allocator that looks at every block of memory when it is freed: does it still hold a secret?
//!
//! Looking is sound, since the block is the allocator's from then on. A block that grows is copied and freed
//! here, so that what growing leaves behind is seen too. Bytes that were never written are read as whatever
//! they hold; all blocks start as zeros, so that they hold something.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[global_allocator]
static WATCHING: Watching = Watching;

/// What is looked for; its place is a bit of [`FOUND`].
static WATCHED: AtomicPtr<Vec<Pattern>> = AtomicPtr::new(std::ptr::null_mut());
static FOUND: AtomicU64 = AtomicU64::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A sequence of bytes that nothing but the secret has.
pub(crate) struct Pattern {
    pub(crate) name: &'static str,
    bytes: Vec<u8>,
}

impl Pattern {
    /// The words of `values` from the first on, little endian.
    pub(crate) fn of<const N: usize>(
        name: &'static str,
        values: impl IntoIterator<Item = [u8; N]>,
    ) -> Self {
        let bytes: Vec<u8> = values.into_iter().flatten().collect();
        assert!(bytes.len() >= 8, "{name} is too short to be told from chance");
        Self { name, bytes }
    }
}

/// Runs something; returns the names of the patterns that a block held when it was freed meanwhile, by any
/// thread.
pub(crate) fn found_in_freed<T>(
    patterns: Vec<Pattern>,
    run: impl FnOnce() -> T,
) -> (T, Vec<&'static str>) {
    let _turn = ONE_AT_A_TIME.lock().unwrap();
    assert!(patterns.len() <= 64, "a bit for each");
    // Never freed: another thread may be looking at it still.
    let patterns: &'static Vec<Pattern> = Box::leak(Box::new(patterns));
    FOUND.store(0, Ordering::SeqCst);
    WATCHED.store(std::ptr::from_ref(patterns).cast_mut(), Ordering::SeqCst);
    let result = run();
    WATCHED.store(std::ptr::null_mut(), Ordering::SeqCst);
    let found = FOUND.load(Ordering::SeqCst);
    let names = patterns.iter().enumerate().filter(|(bit, _)| found >> bit & 1 == 1);
    (result, names.map(|(_, pattern)| pattern.name).collect())
}

struct Watching;

#[expect(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: memory comes from the system's allocator and goes back to it with the layout that it came with.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: null, or a reference to what is never freed.
        if let Some(patterns) = unsafe { WATCHED.load(Ordering::Acquire).as_ref() } {
            // SAFETY: the block has this size, all of it was initialised by `alloc_zeroed`, and nobody uses it.
            let block = unsafe { std::slice::from_raw_parts(pointer, layout.size()) };
            look(block, patterns);
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size rounded up to the alignment is no overflow.
        let grown = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller guarantees that the size is not zero.
        let new = unsafe { self.alloc(grown) };
        if !new.is_null() {
            // SAFETY: both blocks have that many bytes, and the second is new.
            unsafe { new.copy_from_nonoverlapping(pointer, layout.size().min(size)) };
            // SAFETY: the caller owns the block, of this layout, and gives it up.
            unsafe { self.dealloc(pointer, layout) };
        }
        new
    }
}

fn look(block: &[u8], patterns: &[Pattern]) {
    for (bit, pattern) in patterns.iter().enumerate() {
        let Some((start, _)) = pattern.bytes.split_first_chunk::<8>() else { continue };
        let mut windows = block.windows(8).enumerate().filter(|(_, window)| *window == start);
        if windows.any(|(at, _)| block[at..].starts_with(&pattern.bytes)) {
            FOUND.fetch_or(1 << bit, Ordering::SeqCst);
        }
    }
}
