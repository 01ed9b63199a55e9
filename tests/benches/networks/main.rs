//! Whole networks between two parties: `cargo xtask bench networks`.
//!
//! Every network is planned for latency on the local and on the wide area network, for both time and bytes, and
//! for the fewest bytes.
//! Bytes and flights are what the plan says, and it is an error if a run differs; wall time is that of
//! both parties in a process over the simulated link; CPU time and memory are those of a server and a
//! client process over loopback; and every output is compared with the reference evaluator.
//!
//! Arguments: `--json`; `--write` to put the table into docs/results.md; `--inputs N`, samples of a session
//! (2 by default; sessions of small networks have more); and parts of the names of rows. Models that are
//! missing are skipped with a reason. A row that fails says why, and the others go on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench stops where it cannot go on"
)]

#[path = "../../support/bench.rs"]
mod bench;
mod measure;
mod parties;
mod peers;
mod samples;
mod show;

use bench::Report;
use heq_compiler::select::options::Objective;
use heq_ir::link::LinkProfile;
use heq_tests::models::{Generated, Model, Scales};
use measure::Bench;
use peers::Peer;
use samples::{CIFAR, CIFAR_PIXELS, IMAGENET, Images, MNIST, MNIST_NORMALIZED};
use serde_json::json;
use std::process::ExitCode;

/// A network, images for it, and what others take for the same.
struct Network {
    model: Model,
    images: Images,
    peer: Option<Peer>,
}

const fn generated(architecture: &'static str) -> Model {
    Model::Generated(Generated { architecture, bits: 4, scales: Scales::PowersOfTwo })
}

const fn with_any_scales(architecture: &'static str) -> Model {
    Model::Generated(Generated { architecture, bits: 4, scales: Scales::Float })
}

fn networks() -> Vec<Network> {
    let network = |model, images, peer| Network { model, images, peer };
    let file = Model::File;
    vec![
        network(Model::Example, MNIST, Some(peers::SPU_LENET)),
        network(file("mlp_tfc_mnist_w2a2_qonnx"), MNIST, None),
        network(generated("mlp"), MNIST_NORMALIZED, Some(peers::SPU_MLP)),
        network(file("resnet8_cifar10_int8_qdq"), CIFAR_PIXELS, None),
        network(file("resnet20_cifar10_w4a4_qcdq"), CIFAR, Some(peers::SPU_RESNET20)),
        network(file("resnet20_cifar10_w4a4_po2_r8_qcdq"), CIFAR, Some(peers::SPU_RESNET20)),
        network(file("resnet20_cifar10_w4a4_po2_nb_qcdq"), CIFAR, Some(peers::SPU_RESNET20)),
        network(file("resnet32_cifar10_qdq_u8s8_pc"), CIFAR, Some(peers::SPU_RESNET32)),
        network(with_any_scales("resnet32"), CIFAR, Some(peers::SPU_RESNET32)),
        network(file("mobilenetv2_imagenet224_int8_qdq"), IMAGENET, None),
        network(generated("mobilenetv2"), IMAGENET, None),
        network(generated("resnet18"), IMAGENET, None),
        network(generated("squeezenet"), IMAGENET, Some(peers::OPEN_CHEETAH_SQUEEZENET)),
        network(generated("resnet50"), IMAGENET, Some(peers::OPEN_CHEETAH_RESNET50)),
        network(with_any_scales("resnet50"), IMAGENET, Some(peers::OPEN_CHEETAH_RESNET50)),
    ]
}

/// For what a network is planned, and the link that it runs over.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    link: LinkProfile,
    objective: Objective,
    /// Sessions over the link, at least and at most.
    runs: [usize; 2],
}

const MODES: [Mode; 4] = [
    Mode { name: "lan", link: LinkProfile::LAN, objective: Objective::Latency, runs: [3, 15] },
    Mode { name: "wan", link: LinkProfile::WAN, objective: Objective::Latency, runs: [3, 15] },
    Mode {
        name: "balanced",
        link: LinkProfile::LAN,
        objective: Objective::Weighted { seconds_per_mb: 0.1 },
        runs: [1, 3],
    },
    Mode { name: "bytes", link: LinkProfile::LAN, objective: Objective::Bytes, runs: [1, 1] },
];

/// Samples of a session, unless others are asked for.
const INPUTS: usize = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let Some(inputs) = take_inputs(&mut arguments) else {
        eprintln!("error: --inputs takes a number from 1");
        return ExitCode::from(2);
    };
    let mut report = Report::new("networks", &arguments, &show::TABLE.heading());
    let mut has_failed = false;
    for network in networks() {
        let name = network.model.name();
        let row_name = |mode: &Mode| format!("{name} {}", mode.name);
        let modes = MODES.into_iter().filter(|mode| report.wants(&row_name(mode), true));
        let modes: Vec<Mode> = modes.collect();
        if modes.is_empty() {
            continue;
        }
        let bytes = match network.model.bytes() {
            Ok(bytes) => bytes,
            Err(reason) => {
                eprintln!("skipped: {name}: {reason}");
                continue;
            }
        };
        let mut bench = Bench::new(&name, &bytes, &network, inputs);
        for mode in modes {
            let row = bench.row(&row_name(&mode), mode).unwrap_or_else(|reason| {
                eprintln!("failed: {}: {reason}", row_name(&mode));
                json!({ "name": row_name(&mode), "failed": reason })
            });
            has_failed |= !row["failed"].is_null() || row["exact"] != row["checked"];
            report.add(row, |row| show::TABLE.line(row));
        }
    }
    if arguments.iter().any(|argument| argument == "--write") {
        show::TABLE.write(&report.document());
    }
    report.finish();
    if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Takes `--inputs N` out of the arguments; `None` if N is no number.
fn take_inputs(arguments: &mut Vec<String>) -> Option<usize> {
    let Some(at) = arguments.iter().position(|argument| argument == "--inputs") else {
        return Some(INPUTS);
    };
    let taken: Vec<String> = arguments.drain(at..arguments.len().min(at + 2)).collect();
    taken.get(1)?.parse().ok().filter(|&inputs| inputs > 0)
}
