//! The server that people put on a network: who gets in, what it takes on, and that nobody disturbs the others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod hostile;
mod identity;
mod limits;
mod load;

use heq_data::plan_files::read_plan;
use heq_ir::plan::Plan;
use heq_ir::predict::memory::MemorySituation;
use heq_net::tcp::{TcpOptions, connect};
use heq_net::tls::{Authority, ClientTls, Identity, Trust};
use heq_net::{Channel, NetError};
use heq_runtime::error::RunError;
use heq_runtime::party::run_client;
use heq_runtime::service::{Limits, Options, Plans, Purpose, Service};
use heq_runtime::session::{PreparedPlan, WEIGHT_CACHE_BYTES};
use heq_tests::{lenet, program, samples};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The class of the example's digit.
const CLASS: usize = 7;

/// A folder with a plan, its weights, an authority, and the identities of a server and clients.
struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create("test authority", 10).unwrap();
        let site = Self { folder, authority };
        site.compile("lenet.heq", &[]);
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        site.write("server.pem", &site.authority.server("server", hosts, 1).unwrap());
        for name in ["alice", "bob"] {
            site.write(&format!("{name}.pem"), &site.authority.client(name, 1).unwrap());
        }
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that its owner alone may read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        path
    }

    fn compile(&self, name: &str, options: &[&str]) {
        let mut heqc = program("heqc");
        heqc.arg("compile").arg(lenet("model.onnx")).arg("-o").arg(self.file(name)).args(options);
        assert!(heqc.output().unwrap().status.success());
    }

    fn identity(&self, name: &str) -> Identity {
        Identity::from_pem(&fs::read(self.file(name)).unwrap()).unwrap()
    }

    fn client_tls(&self, name: &str) -> ClientTls {
        let identity = self.identity(&format!("{name}.pem"));
        ClientTls::new(&identity, &Trust::default(), None).unwrap()
    }

    /// Options of a server that takes on what comes.
    fn options(&self) -> Options {
        let path = self.file("server.pem");
        Options {
            plans: Plans {
                sources: vec![self.file("lenet.heq").into()],
                weights: None,
                weight_cache_bytes: WEIGHT_CACHE_BYTES,
            },
            purpose: Purpose::Infer(None),
            identity: Box::new(move || {
                let identity = Identity::from_pem(&fs::read(&path).unwrap()).unwrap();
                let tls = heq_net::tls::ServerTls::new(&identity, &Trust::default()).unwrap();
                Ok(Some((tls, None)))
            }),
            limits: Limits {
                sessions: 8,
                memory_bytes: u64::MAX,
                of_client: 100,
                queue: 64,
                patience: Duration::from_secs(60),
            },
            quota: None,
            quota_file: None,
            deadline: None,
            drain: Duration::from_secs(30),
            connection: TcpOptions::default(),
            on_session: None,
        }
    }
}

/// A service that runs until this is dropped.
struct Running {
    service: Arc<Service>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(options: Options) -> Self {
        let service = Service::start("127.0.0.1:0", options).unwrap();
        let serving = Arc::clone(&service);
        let thread = Some(std::thread::spawn(move || serving.run(None).unwrap()));
        Self { service, thread }
    }

    fn address(&self) -> String {
        self.service.address().to_string()
    }

    /// What `/metrics` says of a series, which is 0 until there is one.
    fn metric(&self, series: &str) -> u64 {
        let text = String::from_utf8(self.service.metrics_text()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a series is at least `value`.
    fn wait_for(&self, series: &str, value: u64) {
        self.wait_until(series, |found| found >= value);
    }

    fn wait_until(&self, series: &str, holds: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(self.metric(series)) {
            assert!(Instant::now() < deadline, "{series} is {}", self.metric(series));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.service.stop();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A client of a service.
struct Client {
    address: String,
    tls: ClientTls,
    plan: PreparedPlan,
    sample: Vec<i64>,
}

impl Client {
    fn new(site: &Site, name: &str, plan: &str, service: &Running) -> Self {
        Self::at(site, name, plan, service.address())
    }

    fn at(site: &Site, name: &str, plan: &str, address: String) -> Self {
        let plan = read_plan(&site.file(plan)).unwrap();
        let sample = samples(&plan, &lenet("digit.png"), 1).remove(0);
        let tls = site.client_tls(name);
        Self { address, tls, plan: PreparedPlan::new(plan), sample }
    }

    fn connect(&self) -> Result<Channel, NetError> {
        let options =
            TcpOptions { idle_timeout: Some(Duration::from_secs(60)), ..TcpOptions::default() };
        let deadline = Instant::now() + Duration::from_secs(2);
        connect(&self.address, deadline, options, Some(&self.tls))
    }

    /// Runs so many inferences in a session; every one must be right.
    fn infer(&self, count: usize) -> Result<(), RunError> {
        self.infer_over(self.connect()?, count)
    }

    fn infer_over(&self, channel: Channel, count: usize) -> Result<(), RunError> {
        let (outputs, _) = run_client(&self.plan, channel, &vec![self.sample.clone(); count])?;
        assert_eq!(outputs.len(), count);
        outputs.iter().for_each(|output| assert_eq!(class(output), CLASS));
        Ok(())
    }

    fn plan(&self) -> &Plan {
        self.plan.plan()
    }

    /// Memory that a server admits a session with.
    fn session_bytes(&self) -> u64 {
        let threads = std::thread::available_parallelism().unwrap().get();
        let situation = MemorySituation { weight_cache_bytes: WEIGHT_CACHE_BYTES as u64, threads };
        let memory = self.plan().memory(&situation).server.peak();
        memory - self.plan().shared_memory(&situation)
    }
}

fn class(output: &[i64]) -> usize {
    (0..output.len()).max_by_key(|&index| output[index]).unwrap()
}

/// Resident memory of a process in bytes, where the operating system tells.
fn resident_bytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Open files of a process, where the operating system tells.
fn open_files(process: u32) -> Option<usize> {
    Some(Path::new("/proc").join(process.to_string()).join("fd").read_dir().ok()?.count())
}
