//! `cargo xtask demo`: the whole way from an ONNX file to a classified digit.
//!
//! Server and client are two processes on this machine that talk over TCP. The server never sees the
//! digit, the client never sees the weights.

use crate::error::TaskError;
use crate::picture::Picture;
use crate::run::{Reaped, cargo, root, run, target_folder};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// The folder of the example, from the root of the workspace.
const EXAMPLE: &str = "examples/onnx/lenet_mnist";

/// What the server prints when it is ready, before its address.
const LISTENING: &str = "listening on ";

/// How long the server may take to start, and to end after the client has.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
///
/// # Errors
/// [`TaskError`] if a step fails, or if the network's answer is not the digit's label.
pub(crate) fn demo(out: &mut dyn Write) -> Result<(), TaskError> {
    let example = root().join(EXAMPLE);
    let label = read(&example.join("label.txt"))?;
    let label = String::from_utf8_lossy(&label).trim().to_owned();
    let picture_path = example.join("digit.pgm");
    let picture = Picture::parse(&read(&picture_path)?).ok_or_else(|| TaskError::Malformed {
        place: picture_path.display().to_string(),
        what: "is not a grey PGM picture".to_owned(),
    })?;
    run(
        &mut cargo(["build", "--release", "--locked", "-p", "heq-compiler", "-p", "heq-runtime"]),
        out,
    )?;
    let target = target_folder()?;
    let program = |name: &str| {
        let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
        Command::new(target.join("release").join(file))
    };
    let folder = target.join("demo");
    std::fs::create_dir_all(&folder).map_err(in_file(&folder))?;
    let plan = folder.join("lenet.heq");

    writeln!(out, "\nThe model becomes a public plan and the server's weights:")?;
    run(program("heqc").arg("compile").arg(example.join("model.onnx")).arg("-o").arg(&plan), out)?;

    writeln!(out, "\nBoth sides get keys, and certificates of one private authority:")?;
    let keys = folder.join("pki");
    if keys.exists() {
        std::fs::remove_dir_all(&keys).map_err(in_file(&keys))?;
    }
    run(program("heq-run").args(["cert", "init", "--dir"]).arg(&keys), out)?;
    run(program("heq-run").args(["cert", "client", "alice", "--dir"]).arg(&keys), out)?;

    writeln!(out, "\nThe client's digit:\n\n{}", picture.draw())?;
    let mut server = Server::start(
        program("heq-run")
            .arg("--plan")
            .arg(&plan)
            .args(["--role", "server", "--listen", "127.0.0.1:0", "--sessions", "1"])
            .arg("--identity")
            .arg(keys.join("server.pem")),
        out,
    )?;
    let found = classify(
        program("heq-run")
            .arg("--plan")
            .arg(&plan)
            .args(["--role", "client", "--connect", &server.address])
            .arg("--identity")
            .arg(keys.join("alice.pem"))
            .arg("--input")
            .arg(example.join("digit.png"))
            .arg("--stats")
            .arg(folder.join("stats.json")),
        out,
    )?;
    server.finish(out)?;

    if found == label {
        writeln!(out, "\nThe network says {found}, the label says {label}: they agree.")?;
        return Ok(());
    }
    let what = format!("the network says {found}, the label says {label}: they disagree");
    Err(TaskError::Failed { what })
}

/// Runs the client, passes its output through and returns the class that it found.
fn classify(command: &mut Command, out: &mut dyn Write) -> Result<String, TaskError> {
    writeln!(out, "$ {}", crate::run::describe(command))?;
    out.flush()?;
    let mut client = Reaped::spawn(command.stdout(Stdio::piped()))?;
    let mut class = None;
    if let Some(stdout) = client.child.stdout.take() {
        class = pass_through(stdout, out)?;
    }
    client.finish()?;
    class.ok_or_else(|| TaskError::Malformed {
        place: "heq-run".to_owned(),
        what: "printed no class".to_owned(),
    })
}

fn pass_through(stdout: ChildStdout, out: &mut dyn Write) -> Result<Option<String>, TaskError> {
    let mut class = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        writeln!(out, "{line}")?;
        class = class.or_else(|| class_of(&line));
    }
    Ok(class)
}

/// The class in a line such as `sample 0: class 7 (9.8890)`.
fn class_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(": class ")?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// A server that listens; it is ended when it goes out of scope.
struct Server {
    process: Reaped,
    log: Receiver<String>,
    address: String,
}

impl Server {
    /// Starts the server and waits until it listens.
    fn start(command: &mut Command, out: &mut dyn Write) -> Result<Self, TaskError> {
        writeln!(out, "$ {}", crate::run::describe(command))?;
        out.flush()?;
        let mut process = Reaped::spawn(command.stderr(Stdio::piped()))?;
        let (sender, log) = mpsc::channel();
        if let Some(stderr) = process.child.stderr.take() {
            // The thread ends when the process does, which `Reaped` sees to.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        loop {
            match log.recv_timeout(PATIENCE) {
                Ok(line) => {
                    writeln!(out, "server: {line}")?;
                    if let Some(address) = line.strip_prefix(LISTENING) {
                        let address = address.trim().to_owned();
                        return Ok(Self { process, log, address });
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Err(stuck("does not start to listen")),
                Err(RecvTimeoutError::Disconnected) => {
                    process.finish()?;
                    return Err(stuck("ended before it listened"));
                }
            }
        }
    }

    /// Waits for the end of the server's one session.
    fn finish(&mut self, out: &mut dyn Write) -> Result<(), TaskError> {
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => writeln!(out, "server: {line}")?,
                Err(RecvTimeoutError::Timeout) => return Err(stuck("does not end")),
                Err(RecvTimeoutError::Disconnected) => return self.process.finish(),
            }
        }
    }
}

fn stuck(what: &str) -> TaskError {
    TaskError::Failed { what: format!("the server {what}") }
}

fn read(path: &Path) -> Result<Vec<u8>, TaskError> {
    std::fs::read(path).map_err(in_file(path))
}

fn in_file(path: &Path) -> impl FnOnce(std::io::Error) -> TaskError + use<> {
    let path: PathBuf = path.to_owned();
    |source| TaskError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_class() {
        assert_eq!(class_of("sample 0: class 7 (9.8890)").as_deref(), Some("7"));
        assert_eq!(class_of("and 5 more"), None);
    }

    #[test]
    fn the_example_is_complete() {
        let example = root().join(EXAMPLE);
        let picture = Picture::parse(&read(&example.join("digit.pgm")).unwrap()).unwrap();
        assert_eq!(picture.draw().lines().count(), 20);
        for file in ["model.onnx", "digit.png", "label.txt", "input.npy", "labels.npy", "README.md"]
        {
            assert!(example.join(file).is_file(), "{file}");
        }
    }
}
