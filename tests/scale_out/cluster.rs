//! Replicas of `heq-run`, HAProxy before them, and clients: processes that end with the values that hold them.

use heq_compiler::lower::plan::Compiled;
use heq_data::output::describe_outputs;
use heq_data::{Array, ArrayData, read_array, write_npy};
use heq_ir::eval::evaluate;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::weights::default_path;
use heq_tests::{compiled_lenet, lenet, program, root, samples};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits until `found` finds something.
pub(crate) fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// A process that is killed when this is dropped.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
        let number = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &number]).status().unwrap().success());
    }

    fn wait(&mut self, what: &str) -> Option<i32> {
        wait(what, || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only on a process that has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with the compiled example, certificates, and inputs.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    compiled: Compiled,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let compiled = compiled_lenet(AccStrategy::WeightAware);
        let site = Self { folder, compiled };
        let plan = site.file("lenet.heq");
        fs::write(&plan, &site.compiled.plan_bytes).unwrap();
        let weights = encode_weights(site.compiled.weights.spec()).unwrap();
        fs::write(default_path(&plan), weights).unwrap();
        // The hosts are those of the balancer, here those of every replica too.
        for command in [["init", "--host=localhost"], ["client", "alice"]] {
            let mut cert = program("heq-run");
            let cert = cert.arg("cert").args(command).arg("--dir").arg(site.file("pki"));
            assert!(cert.output().unwrap().status.success());
        }
        site
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of `count` samples, those of the example over and over, and what a client prints for it.
    pub(crate) fn samples(&self, count: usize) -> (PathBuf, String) {
        let source = lenet("input.npy");
        let array = read_array(&source, None).unwrap();
        let ArrayData::U8(pixels) = array.data() else { panic!("pixels are bytes") };
        let [few, height, width] = *array.shape() else { panic!("samples are pictures") };
        let pixels: Vec<u8> = pixels.iter().copied().cycle().take(count * height * width).collect();
        let path = self.file(&format!("{count}.npy"));
        let many = Array::new("samples", vec![count, height, width], ArrayData::U8(pixels));
        write_npy(&path, &many.unwrap()).unwrap();
        (path, self.expected(&source, few, count))
    }

    /// The example's one digit, and what a client prints for it.
    pub(crate) fn digit(&self) -> (PathBuf, String) {
        let digit = lenet("digit.png");
        let expected = self.expected(&digit, 1, 1);
        (digit, expected)
    }

    /// What a client prints for the `few` samples of `source`, over and over.
    fn expected(&self, source: &Path, few: usize, count: usize) -> String {
        let Compiled { plan, weights, .. } = &self.compiled;
        let outputs = samples(plan, source, few).into_iter();
        let outputs: Vec<Vec<i64>> = outputs
            .map(|sample| evaluate(plan, weights, &sample).unwrap().output().to_vec())
            .collect();
        let outputs: Vec<Vec<i64>> = outputs.into_iter().cycle().take(count).collect();
        describe_outputs(&outputs, plan, None)
    }
}

/// A server among several.
pub(crate) struct Replica {
    process: Process,
    address: String,
    metrics: String,
    log: Option<JoinHandle<String>>,
}

impl Replica {
    /// Starts a server for as many sessions as come.
    pub(crate) fn start(site: &Site) -> Self {
        let mut command = program("heq-run");
        command.args(["--role", "server", "--threads", "1"]).arg("--plan");
        command.arg(site.file("lenet.heq")).arg("--identity").arg(site.file("pki/server.pem"));
        // Places for all clients of a test: nobody waits for others.
        command.args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        command.args(["--max-sessions", "64", "--drain", "120"]);
        let mut process = Process(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let mut address_after = |prefix: &str| loop {
            let line = lines.next().unwrap_or_else(|| panic!("server: {said:?}")).unwrap();
            if let Some(address) = line.strip_prefix(prefix) {
                return address.to_owned();
            }
            said.push(line);
        };
        let address = address_after("listening on ");
        let metrics = address_after("metrics on http://").replace("/metrics", "");
        // Read to its end, so that the server never waits for whoever reads.
        let rest = || lines.map_while(Result::ok).map(|line| line + "\n").collect();
        let log = Some(std::thread::spawn(rest));
        Self { process, address, metrics, log }
    }

    /// The status line and the body of an answer.
    fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.metrics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.get("/health").0.contains(" 200 ")
    }

    /// What a series says, which is 0 until there is one.
    fn metric(&self, series: &str) -> u64 {
        let (_, text) = self.get("/metrics");
        let value = |line: &str| line.strip_prefix(series)?.trim().parse().ok();
        text.lines().find_map(value).unwrap_or(0)
    }

    /// Inferences of the sessions that ended well.
    pub(crate) fn inferences(&self) -> u64 {
        self.metric("heq_inferences_total{plan=\"lenet\"}")
    }

    /// Sessions that run.
    pub(crate) fn running(&self) -> u64 {
        self.metric("heq_sessions_running ")
    }

    /// Ends it as a failing machine would.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.process.signal("-TERM");
    }

    /// Its exit status, and what it said.
    pub(crate) fn finish(&mut self) -> (Option<i32>, String) {
        let status = self.process.wait("the end of a replica");
        (status, self.log.take().unwrap().join().unwrap())
    }
}

/// HAProxy before two replicas.
pub(crate) struct Balancer {
    _process: Process,
    control: PathBuf,
    address: String,
}

impl Balancer {
    /// Starts HAProxy with the example's configuration, but for addresses and its user; none if there is no
    /// HAProxy.
    pub(crate) fn start(site: &Site, replicas: [&Replica; 2]) -> Option<Self> {
        let haproxy = haproxy()?;
        // Somebody else may take a port that was free.
        for _attempt in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let (config, control) = (site.file("haproxy.cfg"), site.file("haproxy.sock"));
            fs::write(&config, configuration(free.port(), &control, replicas)).unwrap();
            let log = File::create(site.file("haproxy.log")).unwrap();
            let mut command = Command::new(&haproxy);
            command.arg("-db").arg("-f").arg(&config).stdout(log.try_clone().unwrap()).stderr(log);
            let mut process = Process(command.spawn().unwrap());
            // It answers only when it has all its ports.
            let is_ready = wait("HAProxy", || match process.0.try_wait().unwrap() {
                Some(_) => Some(false),
                None => ask(&control, "show info").map(|_| true),
            });
            if is_ready {
                let address = format!("localhost:{}", free.port());
                return Some(Self { _process: process, control, address });
            }
        }
        panic!("HAProxy: {}", fs::read_to_string(site.file("haproxy.log")).unwrap());
    }

    /// Whether it gives a replica, by its place, new connections.
    pub(crate) fn uses(&self, place: usize) -> bool {
        self.statistic(place, "status").starts_with("UP")
    }

    /// How many connections each replica has from it.
    pub(crate) fn open(&self) -> [u64; 2] {
        [0, 1].map(|place| self.statistic(place, "scur").parse().unwrap())
    }

    /// How many connections it has given each replica.
    fn given(&self) -> [u64; 2] {
        [0, 1].map(|place| self.statistic(place, "stot").parse().unwrap())
    }

    /// What its table says of a replica.
    fn statistic(&self, place: usize, name: &str) -> String {
        let table = ask(&self.control, "show stat").unwrap();
        let mut lines = table.lines();
        let column = lines.next().unwrap().split(',').position(|title| title == name).unwrap();
        let mut row = lines.map(|line| line.split(','));
        let is_wanted = |row: &std::str::Split<'_, char>| {
            row.clone().take(2).eq(["heq", &format!("replica-{}", place + 1)])
        };
        row.find(is_wanted).unwrap().nth(column).unwrap().to_owned()
    }
}

/// Where HAProxy is, or a printed reason.
fn haproxy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join("haproxy")).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: haproxy is not installed");
    }
    found
}

/// The example's configuration with the addresses of this machine.
fn configuration(port: u16, control: &Path, replicas: [&Replica; 2]) -> String {
    let example = root().join("examples/deploy/haproxy.cfg");
    let mut text = fs::read_to_string(example).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "the example has one {from:?}");
        text = text.replace(from, to);
    };
    replace("    user haproxy\n    group haproxy\n", "");
    replace("/run/haproxy/admin.sock", control.to_str().unwrap());
    replace("bind :7443", &format!("bind 127.0.0.1:{port}"));
    for (number, replica) in replicas.iter().enumerate() {
        let metrics_port = replica.metrics.rsplit(':').next().unwrap();
        replace(
            &format!("10.0.0.1{}:7443 check port 9464", number + 1),
            &format!("{} check port {metrics_port}", replica.address),
        );
    }
    text
}

/// HAProxy's answer to a command, if it is there.
fn ask(control: &Path, command: &str) -> Option<String> {
    let mut stream = UnixStream::connect(control).ok()?;
    writeln!(stream, "{command}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

/// A client's run.
pub(crate) struct Client {
    process: Process,
    printed: PathBuf,
    said: PathBuf,
    expected: String,
}

/// How a client's run ended.
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) printed: String,
    pub(crate) said: String,
    expected: String,
}

impl Client {
    /// Starts a client called `name` through the balancer, for an input and what is expected for it.
    pub(crate) fn start(
        site: &Site,
        balancer: &Balancer,
        name: &str,
        (input, expected): &(PathBuf, String),
        retries: u32,
    ) -> Self {
        let (printed, said) =
            (site.file(&format!("{name}.out")), site.file(&format!("{name}.err")));
        let mut command = program("heq-run");
        command.args(["--role", "client", "--threads", "1", "--connect", &balancer.address]);
        command.args(["--retry", &retries.to_string()]).arg("--plan").arg(site.file("lenet.heq"));
        command.arg("--identity").arg(site.file("pki/alice.pem")).arg("--input").arg(input);
        command.stdout(File::create(&printed).unwrap()).stderr(File::create(&said).unwrap());
        let process = Process(command.spawn().unwrap());
        Self { process, printed, said, expected: expected.clone() }
    }

    /// As [`Client::start`], if no other client comes meanwhile; also returns the place of the replica that it
    /// was given.
    pub(crate) fn start_and_find(
        site: &Site,
        balancer: &Balancer,
        name: &str,
        input: &(PathBuf, String),
        retries: u32,
    ) -> (Self, usize) {
        let before = balancer.given();
        let client = Self::start(site, balancer, name, input, retries);
        let place = wait("a connection", || {
            let after = balancer.given();
            (0..2).find(|&place| after[place] > before[place])
        });
        (client, place)
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let status = self.process.wait("the end of a client");
        let [printed, said] = [&self.printed, &self.said].map(|f| fs::read_to_string(f).unwrap());
        Ended { status, printed, said, expected: std::mem::take(&mut self.expected) }
    }
}

impl Ended {
    /// It has the right results.
    pub(crate) fn check_right(&self) {
        assert_eq!((self.status, &self.printed), (Some(0), &self.expected), "{}", self.said);
    }

    /// Whether it had to try again.
    pub(crate) fn tried_again(&self) -> bool {
        self.said.contains("; trying again in ")
    }
}
