//! Memory that sessions have freed, back to the operating system.
//!
//! The allocator of glibc keeps what is freed, in an arena for each of many threads. A server's sessions run on
//! ever other threads, so that every arena would come to hold what a session takes at its peak.

/// Lets the allocator give back what is free, where it can be asked to.
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "the declaration of malloc_trim(3)")]
        unsafe extern "C" {
            safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // Whether there was any does not matter.
        let _released = malloc_trim(0);
    }
}
