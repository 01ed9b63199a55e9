//! `cargo xtask wheel`: the Python package, built by maturin, and tested in an environment of its own.

use crate::error::TaskError;
use crate::run::{cargo, root, run, target_folder};
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the wheel needs to be built.
pub(crate) struct Tools {
    python: OsString,
}

impl Tools {
    /// The Python that `PYTHON` names, or `python3`, and its maturin; or in a few words what is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        for module in ["maturin", "venv"] {
            let mut command = Command::new(&python);
            let command = command.args(["-m", module, "--help"]);
            let output = command.stdin(Stdio::null()).output();
            if !output.is_ok_and(|output| output.status.success()) {
                let name = python.to_string_lossy();
                return Err(format!("`{name} -m {module}` does not run"));
            }
        }
        Ok(Self { python })
    }

    /// Builds the wheel into `target/wheels`.
    ///
    /// # Errors
    /// [`TaskError`] if maturin fails.
    pub(crate) fn build(&self, out: &mut dyn Write) -> Result<PathBuf, TaskError> {
        let target = target_folder()?;
        let wheels = target.join("wheels");
        remove(&wheels)?;
        let mut command = Command::new(&self.python);
        command.current_dir(root()).args(["-m", "maturin", "build", "--release", "--locked"]);
        command.args(["--manifest-path", "python/Cargo.toml", "--interpreter"]).arg(&self.python);
        command.arg("--target-dir").arg(&target).arg("--out").arg(&wheels);
        run(&mut command, out)?;
        let failed = |source| TaskError::File { path: wheels.clone(), source };
        let found = std::fs::read_dir(&wheels).map_err(failed)?.filter_map(Result::ok);
        let wheel = found.map(|entry| entry.path()).find(|path| is_wheel(path));
        wheel.ok_or_else(|| TaskError::Failed { what: "maturin built no wheel".to_owned() })
    }

    /// Installs the wheel into a fresh environment, `target/python`, and runs all tests and the type checker.
    ///
    /// # Errors
    /// [`TaskError`] if something cannot be installed, or a test fails.
    pub(crate) fn test(&self, out: &mut dyn Write) -> Result<(), TaskError> {
        run(&mut cargo(["build", "--release", "--quiet", "--locked", "--bins"]), out)?;
        let wheel = self.build(out)?;
        let target = target_folder()?;
        let environment = target.join("python");
        remove(&environment)?;
        run(Command::new(&self.python).args(["-m", "venv"]).arg(&environment), out)?;
        let python = environment.join(if cfg!(windows) { "Scripts" } else { "bin" }).join("python");
        let in_environment = |arguments: &[&str]| {
            let mut command = Command::new(&python);
            command.current_dir(root().join("python")).args(arguments);
            command.env("HEQ_PROGRAMS", target.join("release"));
            command
        };
        let mut install = in_environment(&["-m", "pip", "install", "--quiet"]);
        let mut requirement = wheel.into_os_string();
        requirement.push("[test]");
        run(install.arg(requirement), out)?;
        run(&mut in_environment(&["-m", "mypy"]), out)?;
        run(&mut in_environment(&["-m", "pytest", "--quiet"]), out)
    }
}

/// Builds the wheel, and tests it if that is asked for.
///
/// # Errors
/// [`TaskError`] if Python or maturin is missing, or something fails.
pub(crate) fn wheel(is_tested: bool, out: &mut dyn Write) -> Result<(), TaskError> {
    let tools = Tools::find().map_err(|what| TaskError::Failed {
        what: format!("{what}: install maturin, or set PYTHON to one that has it"),
    })?;
    if is_tested {
        return tools.test(out);
    }
    let wheel = tools.build(out)?;
    writeln!(out, "{}", wheel.strip_prefix(root()).unwrap_or(&wheel).display())?;
    Ok(())
}

/// Removes a folder of an earlier run.
fn remove(folder: &Path) -> Result<(), TaskError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TaskError::File { path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl")
}
