//! Sessions of `heq-run`: both parties in a process over a simulated link, or two processes.

use heq_compiler::lower::plan::Compiled;
use heq_data::{Array, read_array};
use heq_ir::link::LinkProfile;
use heq_ir::plan::codec::encode_weights;
use heq_tests::program;
use heq_tests::server::Server;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds without a message after which a party gives up.
const TIMEOUT: &str = "300";

/// A compiled network in files.
pub(crate) struct Files {
    folder: tempfile::TempDir,
}

/// What a session gave.
pub(crate) struct Session {
    /// `heq-stats/1` of the client, or of both parties in one process.
    pub(crate) stats: Value,
    /// `heq-stats/1` of the server, if it was a process of its own.
    pub(crate) server: Value,
    /// The client's outputs.
    pub(crate) outputs: Array,
}

impl Files {
    pub(crate) fn new(compiled: &Compiled) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let files = Self { folder };
        let weights = encode_weights(compiled.weights.spec()).map_err(|error| error.to_string())?;
        std::fs::write(files.path("plan.heq"), &compiled.plan_bytes)
            .and_then(|()| std::fs::write(files.path("plan.server.heq"), weights))
            .map_err(|error| error.to_string())?;
        Ok(files)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn party(&self, stats: &str) -> Command {
        let mut command = program("heq-run");
        command.arg("--plan").arg(self.path("plan.heq")).arg("--stats").arg(self.path(stats));
        command
    }

    /// Both parties in one process, over `link`.
    pub(crate) fn local(
        &self,
        input: &Path,
        count: usize,
        link: LinkProfile,
    ) -> Result<Session, String> {
        let mut command = self.party("client.json");
        command.args(["--role", "local", "--link", &link.to_string()]);
        self.run_client(command, input, count)?;
        Ok(Session { server: Value::Null, ..self.session()? })
    }

    /// A server and a client process over loopback.
    pub(crate) fn two_processes(&self, input: &Path, count: usize) -> Result<Session, String> {
        let server = Server::start(self.party("server.json").args(["--timeout", TIMEOUT]))?;
        let mut command = self.party("client.json");
        command.args(["--role", "client", "--timeout", TIMEOUT, "--connect", &server.address]);
        command.arg("--insecure-loopback");
        self.run_client(command, input, count)?;
        server.finish()?;
        Ok(Session { server: self.stats("server.json")?, ..self.session()? })
    }

    fn run_client(&self, mut command: Command, input: &Path, count: usize) -> Result<(), String> {
        command.arg("--input").arg(input).args(["--limit", &count.to_string(), "--output"]);
        let output =
            command.arg(self.path("outputs.npy")).output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("client: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }

    /// What the client left.
    fn session(&self) -> Result<Session, String> {
        let outputs = read_array(&self.path("outputs.npy"), None);
        let outputs = outputs.map_err(|error| error.to_string())?;
        Ok(Session { stats: self.stats("client.json")?, server: Value::Null, outputs })
    }

    fn stats(&self, name: &str) -> Result<Value, String> {
        let text = std::fs::read(self.path(name)).map_err(|error| error.to_string())?;
        serde_json::from_slice(&text).map_err(|error| error.to_string())
    }
}
