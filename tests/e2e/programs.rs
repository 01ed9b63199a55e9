//! The two programs as users run them: compile, then a server and a client process over TCP.

use heq_data::plan_files::read_plan;
use heq_data::{ArrayData, read_array};
use heq_ir::plan::AccStrategy;
use heq_tests::server::Server;
use heq_tests::{compiled_lenet, lenet, program, samples};
use std::path::Path;
use std::process::Command;

fn start_server(plan: &Path) -> Server {
    Server::start(program("heq-run").arg("--plan").arg(plan)).unwrap()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn two_processes_classify_digits() {
    for packing in ["auto", "none", "within-channel", "cross-channel"] {
        check_two_processes(packing);
    }
}

/// Compiles the example with `--packing` and compares what two processes compute with the reference.
fn check_two_processes(packing: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let model = lenet("model.onnx");
    succeed(
        program("heqc")
            .args(["compile", "--packing", packing, "-o"])
            .arg(file("plan.heq"))
            .arg(model),
    );
    let server = start_server(&file("plan.heq"));
    let printed = succeed(
        program("heq-run")
            .args(["--role", "client", "--limit", "3", "--connect", &server.address])
            .arg("--insecure-loopback")
            .arg("--plan")
            .arg(file("plan.heq"))
            .arg("--input")
            .arg(lenet("input.npy"))
            .arg("--output")
            .arg(file("secure.npy"))
            .arg("--stats")
            .arg(file("stats.json")),
    );
    server.finish().unwrap();
    assert_eq!(printed.lines().count(), 3);
    succeed(
        program("heqc")
            .args(["simulate", "--limit", "3"])
            .arg(file("plan.heq"))
            .arg("--input")
            .arg(lenet("input.npy"))
            .arg("--output")
            .arg(file("reference.npy")),
    );
    let values = |name: &str| {
        let array = read_array(&file(name), None).unwrap();
        let ArrayData::F32(values) = array.data() else { panic!("outputs are float32") };
        values.clone()
    };
    assert_eq!(values("secure.npy"), values("reference.npy"));
    check_stats(&file("stats.json"), &file("plan.heq"), 3);
}

/// Measured bytes and flights of every step equal the predicted ones.
fn check_stats(stats: &Path, plan: &Path, inferences: u32) {
    let plan = read_plan(plan).unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&std::fs::read(stats).unwrap()).unwrap();
    assert_eq!(stats["schema"], "heq-stats/1");
    assert_eq!(stats["plan"], plan.digest().to_string());
    let layers = stats["layers"].as_array().unwrap();
    let cost = plan.cost(inferences);
    assert_eq!(layers.len(), cost.layers.len());
    for (measured, predicted) in layers.iter().zip(&cost.layers) {
        assert_eq!(measured["bytes_up"], predicted.bytes_up, "{measured}");
        assert_eq!(measured["bytes_down"], predicted.bytes_down, "{measured}");
        assert_eq!(measured["flights"], predicted.flights, "{measured}");
    }
    assert_eq!(stats["setup"]["bytes_up"], cost.setup.bytes_up);
    assert_eq!(stats["correlations"]["bytes_down"], cost.correlations.bytes_down);
}

#[test]
fn local_runs_both_parties_over_a_shaped_link() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let plan = folder.path().join("plan.heq");
    std::fs::write(&plan, &compiled.plan_bytes).unwrap();
    let weights = heq_ir::plan::codec::encode_weights(compiled.weights.spec()).unwrap();
    std::fs::write(folder.path().join("plan.server.heq"), weights).unwrap();
    let printed = succeed(
        program("heq-run")
            .args(["--role", "local", "--link", "lan", "--plan"])
            .arg(&plan)
            .arg("--input")
            .arg(lenet("digit.png")),
    );
    let label = std::fs::read_to_string(lenet("label.txt")).unwrap();
    assert!(printed.starts_with(&format!("sample 0: class {}", label.trim())), "{printed}");
    assert_eq!(samples(&compiled.plan, &lenet("digit.png"), 9).len(), 1);
}
