//! Which OT extensions a plan may name.

use heq_ir::plan::OtExtension;

/// Which OT extension a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtRule {
    /// The best.
    Auto,
    /// This one.
    Fixed(OtExtension),
}

impl OtRule {
    /// The extension that the views of candidates count on: while it is open, the one that most plans
    /// take.
    #[must_use]
    pub fn assumed(self) -> OtExtension {
        match self {
            Self::Auto => OtExtension::Silent { log_rows: 20 },
            Self::Fixed(extension) => extension,
        }
    }

    /// The extensions that may be chosen.
    #[must_use]
    pub fn candidates(self) -> Vec<OtExtension> {
        match self {
            Self::Auto => OtExtension::all().collect(),
            Self::Fixed(extension) => vec![extension],
        }
    }
}
