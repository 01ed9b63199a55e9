//! Plain loops compiled again for the vectors of AVX-512 and AVX2: they take a few instructions a
//! coefficient, and the common instruction set of x86-64 has neither a minimum of words nor their product.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the processor's features are known at run time alone")
)]

/// Runs a loop with the widest vectors that the processor has. What it calls must be inlined into it.
#[inline]
pub fn vectorised<T>(run: impl FnOnce() -> T) -> T {
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
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was just found.
        return unsafe { with_avx2(run) };
    }
    run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx512vpopcntdq")]
fn with_avx512<T>(run: impl FnOnce() -> T) -> T {
    run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<T>(run: impl FnOnce() -> T) -> T {
    run()
}
