//! Predicted memory against the largest resident memory of a server and a client process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

use heq_compiler::compile::compile_network;
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_data::{Array, ArrayData, write_npy};
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::plan::codec::encode_weights;
use heq_ir::plan::{AccStrategy, OtExtension};
use heq_ir::predict::memory::{MemorySituation, PartyMemory};
use heq_runtime::session::WEIGHT_CACHE_BYTES;
use heq_tests::layer::{Widths, one_layer};
use heq_tests::server::Server;
use heq_tests::{compile_lenet, compiled_lenet, lenet, plan_options, program};
use std::path::{Path, PathBuf};

/// What a prediction may be above what is measured: a part of it, and bytes of the program that a
/// run does not touch.
const FACTOR: f64 = 1.3;
const SLACK_BYTES: f64 = 12e6;

/// A compiled model in files.
struct Files {
    folder: tempfile::TempDir,
    input: PathBuf,
}

impl Files {
    fn new(compiled: &Compiled, input: impl FnOnce(&Path) -> PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let weights = encode_weights(compiled.weights.spec()).unwrap();
        std::fs::write(folder.path().join("plan.heq"), &compiled.plan_bytes).unwrap();
        std::fs::write(folder.path().join("plan.server.heq"), weights).unwrap();
        let input = input(folder.path());
        Self { folder, input }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_server(&self, situation: &MemorySituation) -> Server {
        let mut command = program("heq-run");
        command.args(["--threads", &situation.threads.to_string()]);
        command.args(["--weight-cache", &situation.weight_cache_bytes.to_string()]);
        command.arg("--plan").arg(self.path("plan.heq"));
        Server::start(command.arg("--stats").arg(self.path("server.json"))).unwrap()
    }

    /// Peaks of client and server, where the system tells.
    fn measure(&self, situation: &MemorySituation) -> Option<[u64; 2]> {
        let server = self.start_server(situation);
        let output = program("heq-run")
            .args(["--role", "client", "--limit", "1", "--connect", &server.address])
            .arg("--insecure-loopback")
            .args(["--threads", &situation.threads.to_string(), "--plan"])
            .arg(self.path("plan.heq"))
            .arg("--input")
            .arg(&self.input)
            .arg("--stats")
            .arg(self.path("client.json"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        server.finish().unwrap();
        let peak = |party: &str| {
            let stats = std::fs::read(self.path(&format!("{party}.json"))).unwrap();
            let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
            stats[party]["peak_rss_bytes"].as_u64()
        };
        Some([peak("client")?, peak("server")?])
    }
}

fn check(name: &str, compiled: &Compiled, files: &Files, situation: &MemorySituation) {
    let Some(measured) = files.measure(situation) else {
        eprintln!("skipped: this system does not tell the peak memory of a process");
        return;
    };
    let predicted = compiled.plan.memory(situation);
    let parties: [(&str, &PartyMemory); 2] =
        [("client", &predicted.client), ("server", &predicted.server)];
    for ((party, predicted), measured) in parties.into_iter().zip(measured) {
        let peak = predicted.peak();
        eprintln!("{name} {situation:?}: {party} predicted {peak}, measured {measured}");
        assert!(measured <= peak, "{name} {situation:?}: {party} {measured} > {peak}");
        let most = FACTOR * measured as f64 + SLACK_BYTES;
        assert!(peak as f64 <= most, "{name} {situation:?}: {party} {peak} > {most}");
    }
}

fn situation(weight_cache_bytes: u64, threads: usize) -> MemorySituation {
    MemorySituation { weight_cache_bytes, threads }
}

#[test]
fn the_example_takes_what_is_predicted() {
    let soft = OtExtension::SoftSpoken { field_bits: 8 };
    for (name, compiled) in [
        ("LeNet", compile_lenet(&PlanOptions::default())),
        ("LeNet, field of 4 bits", compiled_lenet(AccStrategy::WeightAware)),
        (
            "LeNet, field of 8 bits",
            compile_lenet(&PlanOptions {
                ot: heq_compiler::select::ot::OtRule::Fixed(soft),
                ..PlanOptions::default()
            }),
        ),
    ] {
        let files = Files::new(&compiled, |_| lenet("digit.png"));
        for (cache, threads) in [(WEIGHT_CACHE_BYTES as u64, 2), (0, 1)] {
            check(name, &compiled, &files, &situation(cache, threads));
        }
    }
}

#[test]
fn one_wide_layer_takes_what_is_predicted() {
    let geometry = ConvGeometry {
        input: Chw::new(64, 28, 28),
        out_channels: 128,
        window: Window::dense([3; 2], [1; 2], [1; 4]),
        groups: 1,
        batch: 1,
    };
    let network = one_layer(geometry, Widths { weight_bits: 4, activation_bits: 4 });
    let options = plan_options(AccStrategy::WeightAware);
    let compiled = compile_network(&network, &options).unwrap();
    let files = Files::new(&compiled, |folder| {
        let path = folder.join("input.npy");
        let values = (0..geometry.input.len()).map(|i| (i % 16) as f32).collect();
        let array = Array::new("input", vec![1, 64, 28, 28], ArrayData::F32(values)).unwrap();
        write_npy(&path, &array).unwrap();
        path
    });
    for (cache, threads) in [(WEIGHT_CACHE_BYTES as u64, 2), (20_000_000, 2), (0, 1)] {
        check("28x28x64->128", &compiled, &files, &situation(cache, threads));
    }
}
