//! Runs commands from the root of the workspace, and shows each before it runs.

use crate::error::TaskError;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder)
}

/// The cargo that started this program, or the one on the path, with `arguments`.
pub(crate) fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// A command as one would type it at the root of the workspace.
pub(crate) fn describe(command: &Command) -> String {
    let quote = |text: &OsStr| {
        let text = text.to_string_lossy();
        if text.contains(' ') { format!("\"{text}\"") } else { text.into_owned() }
    };
    let environment = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quote(value?))));
    let program = Path::new(command.get_program());
    let program = match program.strip_prefix(root()) {
        Ok(inside) => inside.as_os_str(),
        Err(_) => program.file_name().unwrap_or(command.get_program()),
    };
    let arguments = command.get_args().map(|argument| {
        quote(
            Path::new(argument).strip_prefix(root()).map_or(argument, |inside| inside.as_os_str()),
        )
    });
    environment.chain([quote(program)]).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Shows and runs a command, whose output goes to the terminal.
///
/// # Errors
/// [`TaskError::Command`] if it cannot be started, [`TaskError::Status`] if it fails.
pub(crate) fn run(command: &mut Command, out: &mut dyn Write) -> Result<(), TaskError> {
    let name = describe(command);
    writeln!(out, "$ {name}")?;
    out.flush()?;
    let mut child = Reaped::spawn(command)?;
    child.finish()
}

/// What `cargo metadata` says of the workspace, without dependencies from elsewhere.
///
/// # Errors
/// [`TaskError`] if cargo cannot be run or its answer not be read.
pub(crate) fn metadata() -> Result<Value, TaskError> {
    let mut command = cargo(["metadata", "--format-version", "1", "--no-deps"]);
    let name = describe(&command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|source| TaskError::Command { command: name.clone(), source })?;
    if !output.status.success() {
        return Err(TaskError::Status { command: name, status: output.status });
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| TaskError::Malformed { place: name, what: error.to_string() })
}

/// The folder into which cargo builds.
///
/// # Errors
/// As [`metadata`].
pub(crate) fn target_folder() -> Result<PathBuf, TaskError> {
    let metadata = metadata()?;
    let folder = metadata.get("target_directory").and_then(Value::as_str);
    folder.map(PathBuf::from).ok_or_else(|| TaskError::Malformed {
        place: "cargo metadata".to_owned(),
        what: "names no target directory".to_owned(),
    })
}

/// A child process that is ended and reaped when it goes out of scope, on every path.
pub(crate) struct Reaped {
    name: String,
    pub(crate) child: Child,
}

impl Reaped {
    /// Starts a command.
    ///
    /// # Errors
    /// [`TaskError::Command`].
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, TaskError> {
        let name = describe(command);
        match command.spawn() {
            Ok(child) => Ok(Self { name, child }),
            Err(source) => Err(TaskError::Command { command: name, source }),
        }
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// [`TaskError::Status`] if it failed.
    pub(crate) fn finish(&mut self) -> Result<(), TaskError> {
        let command = self.name.clone();
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(TaskError::Status { command, status }),
            Err(source) => Err(TaskError::Command { command, source }),
        }
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only on a process that has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_read_as_typed() {
        let mut command = Command::new("cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--no-deps"]);
        command.arg(root().join("docs"));
        assert_eq!(describe(&command), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps docs");
    }

    #[test]
    fn a_failing_command_is_an_error() {
        let mut command = cargo(["no-such-command"]);
        let error = run(command.stderr(std::process::Stdio::null()), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TaskError::Status { .. }), "{error}");
        let error = run(&mut Command::new("no-such-program"), &mut Vec::new()).unwrap_err();
        assert!(matches!(error, TaskError::Command { .. }), "{error}");
    }
}
