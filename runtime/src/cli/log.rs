//! The log of a server, on standard error.

use super::args::LogFormat;
use tracing::Level;

/// Lets what the server says from now on go to standard error. The first call counts.
pub(super) fn start(format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(Level::INFO)
        .with_target(false)
        .with_ansi(false);
    // In a process that has a log already, that one is used.
    let _kept = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
