//! Faults that tests put into the protocol to see that another test notices. Other builds have none.

/// A rule of the protocol that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Responses go without a fresh encryption of zero.
    NoZeroEncryption,
    /// Encryptions of zero are `e1` alone, without `a'*u`.
    NoMaskSecret,
    /// Encryptions of zero have one u for all responses.
    ReusedMaskSecret,
    /// Dropped bits are always rebuilt at the upper of the two middle values.
    TiesUpward,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

impl Mutation {
    /// Whether the rule is to be broken.
    #[inline]
    pub(crate) fn is_active(self) -> bool {
        #[cfg(test)]
        return ACTIVE.get() == Some(self);
        #[cfg(not(test))]
        false
    }

    /// Breaks the rule in this thread while `run` runs.
    #[cfg(test)]
    pub(crate) fn within<T>(self, run: impl FnOnce() -> T) -> T {
        ACTIVE.set(Some(self));
        let result = run();
        ACTIVE.set(None);
        result
    }
}

#[cfg(test)]
mod tests;
