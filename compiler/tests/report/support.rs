//! The program in process, plans in folders of their own, and documents that fit them.

use heq_compiler::choices;
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::ExitStatus;
use heq_ir::plan::codec::{decode_plan, encode_plan};
use heq_ir::plan::{Plan, PlanSpec};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn heqc(arguments: &[&str]) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["heqc"].iter().chain(arguments).map(Into::into);
    let status = heq_compiler::cli::run(arguments, &mut out, &mut err);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { status, out: text(&out), err: text(&err) }
}

pub(crate) fn passing(arguments: &[&str]) -> String {
    let ran = heqc(arguments);
    assert_eq!(ran.status, ExitStatus::Done, "{arguments:?}: {}", ran.err);
    ran.out
}

pub(crate) fn refused(arguments: &[&str], status: ExitStatus, needles: &[&str]) {
    let ran = heqc(arguments);
    assert_eq!(ran.status, status, "{arguments:?}: {}", ran.err);
    for needle in needles {
        assert!(ran.err.contains(needle), "{arguments:?}: {} has no `{needle}`", ran.err);
    }
}

/// A folder with the plan of the example and nothing else beside it.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    pub(crate) fn new(options: &[&str]) -> Self {
        let folder = Self { folder: tempfile::tempdir().unwrap() };
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/onnx/lenet_mnist/model.onnx");
        let mut arguments = vec!["compile", model.to_str().unwrap(), "-o"];
        let plan = folder.path("plan.heq");
        arguments.push(&plan);
        arguments.extend(options);
        passing(&arguments);
        let choices = choices::default_path(&PathBuf::from(&plan));
        if choices.exists() {
            std::fs::remove_file(choices).unwrap();
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn plan(&self) -> Plan {
        read_plan(Path::new(&self.path("plan.heq"))).unwrap()
    }

    pub(crate) fn write(&self, name: &str, document: &Value) -> String {
        let path = self.path(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&passing(&["report", &self.path("plan.heq"), "--json"])).unwrap()
    }

    /// Replaces the plan by one with other names and the same everything else.
    pub(crate) fn rename(&self, name: &str) {
        let mut spec: PlanSpec = self.plan().spec().clone();
        spec.model = name.to_owned();
        spec.output_name = name.to_owned();
        spec.input.name = name.to_owned();
        for layer in &mut spec.layers {
            layer.name = name.to_owned();
            layer.operator = name.to_owned();
        }
        let (_, bytes) = encode_plan(spec).unwrap();
        decode_plan(&bytes).unwrap();
        std::fs::write(self.path("plan.heq"), bytes).unwrap();
    }
}

/// A document of statistics that agrees with the prediction, but for time.
pub(crate) fn stats(plan: &Plan, inferences: u32) -> Value {
    let cost = plan.cost(inferences);
    let part = |cost: &heq_ir::plan::cost::PartCost, wall_s: f64| {
        json!({
            "bytes_up": cost.bytes_up,
            "bytes_down": cost.bytes_down,
            "flights": cost.flights,
            "wall_s": wall_s,
        })
    };
    json!({
        "schema": "heq-stats/1",
        "plan": plan.digest().to_string(),
        "model": plan.spec().model,
        "link": "50Mbit,60ms",
        "inferences": inferences,
        "setup": part(&cost.setup, 0.5),
        "online": part(&cost.online(), 1.5),
        "correlations": part(&cost.correlations, 0.25),
        "local": {"cpu_s": 0.75, "peak_rss_bytes": 12_345_678},
        "layers": cost.layers.iter().map(|cost| part(cost, 0.125)).collect::<Vec<_>>(),
    })
}

/// A document of choices: two candidates for steps 2 and 5, three of advice.
pub(crate) fn choices_of(plan: &Plan, label: &str) -> Value {
    let candidate = |chosen: bool, factor: f64| {
        json!({
            "label": label,
            "chosen": chosen,
            "path_us": 1000.0 * factor,
            "bytes_up": 2000,
            "bytes_down": 3000,
            "flights": 7,
            "rows": 128,
            "client_us": 10.0,
            "server_us": 20.0,
            "excess": 500.0 * (factor - 1.0),
            "why_not": if chosen { "" } else { "memory of the server decided" },
        })
    };
    let layer = |step: usize| {
        json!({
            "step": step,
            "considered": 9,
            "candidates": [candidate(true, 1.0), candidate(false, 2.0)],
            "rejected": [{"what": "cross-channel packing", "why": "no ring has room"}],
        })
    };
    let advice =
        |change: &str| json!({"change": change, "layer": label, "bytes": 5000, "seconds": -0.5});
    let advice = ["one", "two", "three", "four"].map(advice);
    json!({
        "schema": "heq-choices/1",
        "plan": plan.digest().to_string(),
        "assumptions": {
            "network": "lan", "objective": "latency", "preset": "best", "threads": 3,
            "inferences": 1, "machine": "nominal", "measured_on": "", "limits": ["--max-bytes 1MB"],
        },
        "solver": {
            "status": "optimal", "objective": 1.0, "bound": 1.0, "unit": "us", "gap": 0.0,
            "nodes": 1, "variables": 2, "constraints": 3,
        },
        "layers": [layer(1), layer(4)],
        "fixed": [{"label": label, "latency_s": 100.0, "bytes": 1}],
        "advice": advice,
    })
}
