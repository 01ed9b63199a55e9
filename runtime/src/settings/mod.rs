//! What users decide, as they say it: options of the program `heq-run`, and keywords in Python.
//!
//! There is one reader of both, so that the same words mean the same and are refused in the same way.

pub(crate) mod identity;
mod peer;

pub(crate) use peer::check_role;
pub use peer::{DeadlineSettings, IdentitySettings, PeerSettings, ServeSettings};

use crate::offline::Store;
use clap::Args;
use heq_ir::diagnostic::{Code, Diagnostic};
use std::path::PathBuf;

/// Where prepared inferences are.
#[derive(Args, Debug)]
pub struct StoreSettings {
    /// Folder of this party's prepared inferences
    #[arg(long, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// The key that the folder is encrypted with, 32 bytes that its owner alone may read (default:
    /// store.key in the folder; made if there is none)
    #[arg(long, value_name = "FILE", requires = "store")]
    pub(crate) store_key: Option<PathBuf>,
}

impl StoreSettings {
    /// The store, if one is named, to use what is in it.
    ///
    /// # Errors
    /// [`Code::WrongStore`] and others, as of [`Store::open`].
    pub fn open(&self) -> Result<Option<Store>, Diagnostic> {
        let open = |folder: &PathBuf| Store::open(folder, self.store_key.as_deref());
        self.store.as_ref().map(open).transpose()
    }
}

/// What a role lacks.
pub(crate) fn missing(option: &str) -> Diagnostic {
    Diagnostic::new(
        Code::BadOption,
        "command line",
        format!("this role needs {option}"),
        "see heq-run --help for examples of each role",
    )
}
