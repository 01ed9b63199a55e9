//! Why a task failed.

use std::path::PathBuf;

/// The error of a task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// No such task.
    #[error("there is no task `{given}`; `cargo xtask` lists the tasks")]
    Usage {
        /// The command line.
        given: String,
    },
    /// No such benchmark.
    #[error(
        "`bench {given}` is none; it is `cargo xtask bench NAME [ROW...] [--json]`, and NAME one of: {known}"
    )]
    Benchmark {
        /// What follows the task's name.
        given: String,
        /// The benchmarks that there are.
        known: String,
    },
    /// A command could not be started or read from.
    #[error("{command}: {source}")]
    Command {
        /// The command.
        command: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A command ended with another status than 0.
    #[error("{command}: {status}")]
    Status {
        /// The command.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file or output has another form than it should.
    #[error("{place}: {what}")]
    Malformed {
        /// The file or command.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The checks ran, and some do not hold.
    #[error("{what}")]
    Failed {
        /// What does not hold.
        what: String,
    },
    /// The terminal went away.
    #[error("output: {0}")]
    Output(#[from] std::io::Error),
}

impl TaskError {
    /// Exit status: 2 for a wrong command line, 1 for everything else.
    pub(crate) fn exit_status(&self) -> u8 {
        if matches!(self, Self::Usage { .. } | Self::Benchmark { .. }) { 2 } else { 1 }
    }
}
