//! Which instructions the inner loops use: a portable path, and one for AVX-512 with VAES and GFNI.
//!
//! Both give the same bits. The choice is made once for each object that holds keys; tests run every
//! path that the machine has. On the portable path AES is that of the `aes` crate, which takes AES-NI
//! or the ARMv8 instructions where they exist and a constant-time bit-sliced form elsewhere.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

/// The instructions of the inner loops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path {
    /// Those of every processor of the target.
    Portable,
    /// Vectors of 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Path {
    /// The fastest path of this processor.
    pub(crate) fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = avx512::Avx512::detect() {
            return Self::Avx512(avx512);
        }
        Self::Portable
    }

    /// Every path of this processor.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = avx512::Avx512::detect() {
            return vec![Self::Portable, Self::Avx512(avx512)];
        }
        vec![Self::Portable]
    }

    /// Runs a plain loop, compiled for the vectors of the path.
    #[inline]
    pub(crate) fn vectorised<T>(self, run: impl FnOnce() -> T) -> T {
        match self {
            Self::Portable => run(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.vectorised(run),
        }
    }
}
