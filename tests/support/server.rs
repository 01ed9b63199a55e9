//! `heq-run` as a server process on this machine.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

/// A server that listens; it is killed if it goes out of scope before its end.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Reads what it says, so that it never waits.
    log: Option<JoinHandle<String>>,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts `heq-run`, given as `command` with all but role and address, for one session.
    ///
    /// # Errors
    /// What it said in the place of its address.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        Self::start_as_given(command.arg("--insecure-loopback"))
    }

    /// Starts `heq-run`, given as `command` with all but role and address, and with who it is, for one
    /// session.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_as_given(command: &mut Command) -> Result<Self, String> {
        command.args(["--role", "server", "--listen", "127.0.0.1:0"]);
        let is_limited = command.get_args().any(|argument| argument == "--sessions");
        if !is_limited {
            command.args(["--sessions", "1"]);
        }
        let mut process =
            command.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let stderr = process.stderr.take().ok_or("the server has no standard error")?;
        let mut stderr = BufReader::new(stderr);
        let mut server = Self { process, log: None, address: String::new() };
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let count = stderr.read_line(&mut line).map_err(|error| error.to_string())?;
            if let Some(address) = line.strip_prefix("listening on ") {
                address.trim().clone_into(&mut server.address);
                server.log = Some(std::thread::spawn(move || {
                    let mut log = Vec::new();
                    // The end of a process that was killed is an end, too.
                    let _ended = stderr.read_to_end(&mut log);
                    String::from_utf8_lossy(&log).into_owned()
                }));
                return Ok(server);
            }
            said += &line;
            if count == 0 {
                return Err(format!("server: {said}"));
            }
        }
    }

    /// The number of the process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the end of the session.
    ///
    /// # Errors
    /// What the server said, if it failed.
    pub fn finish(mut self) -> Result<(), String> {
        let log = self.log.take().map_or(Ok(String::new()), JoinHandle::join);
        let log = log.unwrap_or_default();
        let status = self.process.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("server: {status}: {log}")) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only on a process that has ended and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
