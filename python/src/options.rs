//! Keywords as options of the command lines, read by what reads those.

use crate::error::{Outcome, bad_option};
use clap::error::ErrorKind;
use clap::{Args, Command};
use heq_compiler::settings::{CompileSettings, ImportSettings, ReportSettings};
use heq_runtime::settings::{DeadlineSettings, PeerSettings, ServeSettings, StoreSettings};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What a keyword has: its option's name, and the option's values; none for an option that has no value.
pub(crate) type Keyword = (String, Option<Vec<String>>);

/// How a client runs.
#[derive(Args)]
pub(crate) struct ClientSettings {
    #[command(flatten)]
    pub(crate) peer: PeerSettings,
    #[command(flatten)]
    pub(crate) deadline: DeadlineSettings,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
    /// Sessions that are tried if the network fails or the server is busy
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retry: u32,
}

/// How a server runs.
#[derive(Args)]
pub(crate) struct ServerSettings {
    #[command(flatten)]
    pub(crate) peer: PeerSettings,
    #[command(flatten)]
    pub(crate) serve: ServeSettings,
    #[command(flatten)]
    pub(crate) store: StoreSettings,
}

/// Options as the settings that they stand for.
///
/// # Errors
/// `HEQ-2003` for one that does not exist, or has a value that cannot be used.
pub(crate) fn settings<S: Args>(options: &[Keyword]) -> Outcome<S> {
    let words = options.iter().flat_map(|(name, values)| match values {
        None => vec![format!("--{name}")],
        Some(values) => values.iter().map(|value| format!("--{name}={value}")).collect(),
    });
    let matches = command::<S>().try_get_matches_from(words).map_err(|error| refused(&error))?;
    Ok(S::from_arg_matches(&matches).map_err(|error| refused(&error))?)
}

fn command<S: Args>() -> Command {
    let command = Command::new("heq").no_binary_name(true);
    S::augment_args(command.disable_help_flag(true).disable_version_flag(true))
}

/// What clap says, in a line.
fn refused(error: &clap::Error) -> heq_ir::diagnostic::Diagnostic {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let end = lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len());
    let what = lines.get(..end).unwrap_or(&[]).join(" ");
    let remedy = if error.kind() == ErrorKind::UnknownArgument {
        "see the documentation of the function for its keywords"
    } else {
        "keywords are the options of heqc and heq-run, whose --help explains them"
    };
    bad_option("options", what.trim_start_matches("error: "), remedy)
}

/// Names of the options that `group` takes: `compile`, `import`, `report`, `client` or `server`.
#[pyfunction]
pub(crate) fn option_names(group: &str) -> PyResult<Vec<String>> {
    let command = match group {
        "compile" => command::<CompileSettings>(),
        "import" => command::<ImportSettings>(),
        "report" => command::<ReportSettings>(),
        "client" => command::<ClientSettings>(),
        "server" => command::<ServerSettings>(),
        _ => return Err(PyValueError::new_err(format!("no options are called {group}"))),
    };
    let names = command.get_arguments().filter_map(|argument| argument.get_long());
    Ok(names.map(str::to_owned).collect())
}
