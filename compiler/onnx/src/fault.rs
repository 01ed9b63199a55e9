//! What is wrong with one node, before it is known where it stands.

use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::graph::infer::TypeError;

/// Why a node cannot be imported.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The node itself is at fault.
    Own {
        /// Kind of fault.
        code: Code,
        /// What is wrong.
        what: String,
        /// What the user can do.
        remedy: String,
    },
    /// A node that it reads was not imported; that one is reported, this one is not.
    Upstream,
}

impl Fault {
    /// A fault from its parts.
    pub(crate) fn new(code: Code, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Own { code, what: what.into(), remedy: remedy.into() }
    }

    /// The operator is known, this form of it is not.
    pub(crate) fn form(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Code::UnsupportedForm, what, remedy)
    }

    /// The file contradicts itself or the ONNX standard.
    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::new(
            Code::MalformedGraph,
            what,
            "the file breaks the ONNX standard; check it with onnx.checker and export it again",
        )
    }

    /// The diagnostic at `place`, unless another node is to blame.
    pub(crate) fn at(self, place: impl Into<String>) -> Option<Diagnostic> {
        match self {
            Self::Own { code, what, remedy } => Some(Diagnostic::new(code, place, what, remedy)),
            Self::Upstream => None,
        }
    }
}

impl From<TypeError> for Fault {
    fn from(error: TypeError) -> Self {
        let what = error.to_string();
        match error {
            TypeError::Rank { .. } => Self::form(
                what,
                "only images [1, C, H, W], signals [1, C, W] and vectors [1, F] are supported here",
            ),
            TypeError::Element { .. } => Self::form(
                what,
                "quantize in QDQ form, where layers read real numbers and only quantizers make integers",
            ),
            TypeError::TooLarge { .. } => Self::form(what, "use a smaller network"),
            TypeError::Batch { .. } => {
                Self::form(what, "export the model with a batch of 1, or a symbolic one")
            }
            TypeError::InputCount { .. }
            | TypeError::Extent { .. }
            | TypeError::Window { .. }
            | TypeError::Axis { .. }
            | TypeError::Reshape { .. } => Self::malformed(what),
        }
    }
}
