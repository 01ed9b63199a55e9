//! `heq-run` as a server process on this machine.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

/// A server that listens; it is killed if it goes out of scope before its end.
#[derive(Debug)]
pub struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    /// Where it listens.
    pub address: String,
}

impl Server {
    /// Starts `heq-run`, given as `command` with all but role and address, for one session.
    ///
    /// # Errors
    /// What it said in the place of its address.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        command.args(["--role", "server", "--listen", "127.0.0.1:0", "--sessions", "1"]);
        command.arg("--insecure-loopback");
        let mut process =
            command.stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
        let stderr = process.stderr.take().ok_or("the server has no standard error")?;
        let mut server = Self { process, log: BufReader::new(stderr), address: String::new() };
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let count = server.log.read_line(&mut line).map_err(|error| error.to_string())?;
            if let Some(address) = line.strip_prefix("listening on ") {
                address.trim().clone_into(&mut server.address);
                return Ok(server);
            }
            said += &line;
            if count == 0 {
                return Err(format!("server: {said}"));
            }
        }
    }

    /// Waits for the end of the session.
    ///
    /// # Errors
    /// What the server said, if it failed.
    pub fn finish(mut self) -> Result<(), String> {
        let mut log = String::new();
        self.log.read_to_string(&mut log).map_err(|error| error.to_string())?;
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
