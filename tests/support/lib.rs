//! What the whole-system tests share: examples, compiled models, two-party runs, the two programs.
//!
//! Functions here panic when a test cannot go on; nothing but tests depends on this crate.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "test support")]

pub mod between;
pub mod fuzz;
pub mod layer;
pub mod models;
pub mod onnx;
pub mod server;
pub mod table;
pub mod toy;

use heq_compiler::compile::{CompileOptions, compile};
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::pipeline::ImportOptions;
use heq_compiler::select::ot::OtRule;
use heq_data::{read_array, to_inputs};
use heq_ir::link::LinkProfile;
use heq_ir::plan::{AccStrategy, OtExtension, Plan};
use heq_net::{Channel, memory};
use heq_runtime::error::RunError;
use heq_runtime::offline::Store;
use heq_runtime::party::{
    prepare_client, prepare_server, run_client, run_prepared_client, run_server,
};
use heq_runtime::session::{Caller, PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use heq_runtime::stats::SessionStats;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the LeNet example.
#[must_use]
pub fn lenet(file: &str) -> PathBuf {
    root().join("examples/onnx/lenet_mnist").join(file)
}

/// A file of the data that is kept outside the repository, or `None` with a printed reason.
#[must_use]
pub fn shared(file: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: needs {file}, which is not part of the repository");
    None
}

/// One of the two programs, as `cargo test --workspace` builds it beside the tests.
#[must_use]
pub fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built; run cargo test --workspace, or cargo build first",
        path.display()
    );
    Command::new(path)
}

/// Default options of a plan.
#[must_use]
pub fn plan_options(acc_strategy: AccStrategy) -> PlanOptions {
    PlanOptions {
        acc_strategy,
        ot: OtRule::Fixed(OtExtension::SoftSpoken { field_bits: 4 }),
        ..PlanOptions::default()
    }
}

/// Compiles ONNX bytes with default options.
#[must_use]
pub fn compile_bytes(bytes: &[u8], acc_strategy: AccStrategy) -> Compiled {
    compile_with(bytes, &plan_options(acc_strategy))
}

/// Compiles ONNX bytes with the given options.
#[must_use]
pub fn compile_with(bytes: &[u8], plan: &PlanOptions) -> Compiled {
    let (import, plan) = (ImportOptions::default(), plan.clone());
    let options = CompileOptions { import, plan, calibration: None };
    compile(bytes, "model.onnx", &options).unwrap_or_else(|error| panic!("{error}"))
}

/// The LeNet example, compiled with the given options.
#[must_use]
pub fn compile_lenet(options: &PlanOptions) -> Compiled {
    compile_with(&std::fs::read(lenet("model.onnx")).unwrap(), options)
}

/// The compiled LeNet example.
#[must_use]
pub fn compiled_lenet(acc_strategy: AccStrategy) -> Compiled {
    compile_bytes(&std::fs::read(lenet("model.onnx")).unwrap(), acc_strategy)
}

/// The quantized samples of a file, at most `limit`.
#[must_use]
pub fn samples(plan: &Plan, path: &Path, limit: usize) -> Vec<Vec<i64>> {
    let spec = plan.spec();
    let array = read_array(path, None).unwrap();
    let mut samples = to_inputs(&array, &spec.input, &spec.preparation).unwrap();
    samples.truncate(limit);
    samples
}

/// What both parties end with.
pub struct TwoParties {
    /// The client's outputs and statistics.
    pub client: Result<(Vec<Vec<i64>>, SessionStats), RunError>,
    /// The server's statistics.
    pub server: Result<SessionStats, RunError>,
}

/// Prepares inferences, or runs prepared ones, with both parties in this process.
pub struct Preparation {
    plans: [PreparedPlan; 2],
    weights: PreparedServer,
    /// The folders of client and server.
    pub stores: [Store; 2],
    /// The link between them; none in memory.
    pub link: Option<LinkProfile>,
}

impl Preparation {
    /// Of `compiled`, in the folders `client` and `server` under `folder`.
    #[must_use]
    pub fn new(compiled: &Compiled, folder: &Path) -> Self {
        let plans = [0, 1].map(|_| PreparedPlan::new(compiled.plan.clone()));
        let weights =
            PreparedServer::new(&plans[1], &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
        let stores =
            ["client", "server"].map(|party| Store::create(&folder.join(party), None).unwrap());
        Self { plans, weights, stores, link: None }
    }

    /// Prepares `count` inferences.
    pub fn prepare(&self, count: u32) -> [Result<SessionStats, RunError>; 2] {
        let [client, server] = &self.stores;
        self.run(
            |plan, channel| prepare_client(plan, channel, client, count),
            |plan, weights, channel| {
                prepare_server(plan, weights, server, 1000, Caller::receive(channel)?, &|| ())
            },
        )
        .into()
    }

    /// Runs `samples` as far as there are prepared inferences.
    #[must_use]
    pub fn infer(&self, samples: &[Vec<i64>]) -> TwoParties {
        let [client, server] = &self.stores;
        let (client, server) = self.run(
            |plan, channel| run_prepared_client(plan, channel, client, samples),
            |plan, weights, channel| run_server(plan, weights, Some(server), channel),
        );
        TwoParties { client, server }
    }

    fn run<A, B: Send>(
        &self,
        client: impl FnOnce(&PreparedPlan, Channel) -> A,
        server: impl FnOnce(&PreparedPlan, &PreparedServer, Channel) -> B + Send,
    ) -> (A, B) {
        let (client_end, server_end) = self.link.map_or_else(memory::pair, memory::shaped_pair);
        std::thread::scope(|scope| {
            let served = scope.spawn(|| server(&self.plans[1], &self.weights, server_end));
            (client(&self.plans[0], client_end), served.join().unwrap())
        })
    }
}

/// Runs both parties in this process.
#[must_use]
pub fn run_both(compiled: &Compiled, samples: &[Vec<i64>]) -> TwoParties {
    run_both_over(compiled, samples, None)
}

/// Runs both parties in this process, over a simulated link if one is given.
#[must_use]
pub fn run_both_over(
    compiled: &Compiled,
    samples: &[Vec<i64>],
    link: Option<LinkProfile>,
) -> TwoParties {
    // Each party counts its own operations.
    let plan = PreparedPlan::new(compiled.plan.clone());
    let server_plan = PreparedPlan::new(compiled.plan.clone());
    let weights = PreparedServer::new(&server_plan, &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
    let (client_end, server_end) = link.map_or_else(memory::pair, memory::shaped_pair);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| run_server(&server_plan, &weights, None, server_end));
        let client = run_client(&plan, client_end, samples);
        TwoParties { client, server: server.join().unwrap() }
    })
}
