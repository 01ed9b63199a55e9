//! Plain loops compiled a second time for the vectors of AVX-512: they take a few instructions a
//! coefficient, and the common instruction set of x86-64 has not even a minimum of words.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the processor's features are known at run time alone")
)]

/// Runs a loop, with AVX-512 if the processor has it.
#[inline]
pub(crate) fn vectorised<T>(run: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vpopcntdq")
    {
        // SAFETY: the features were just found.
        return unsafe { with_avx512(run) };
    }
    run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512vpopcntdq")]
fn with_avx512<T>(run: impl FnOnce() -> T) -> T {
    run()
}
