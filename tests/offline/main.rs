//! Prepared inferences: results, traffic and storage against the plan; each serves once, whatever happens.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod kill;

use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::select::options::{Objective, SearchOptions};
use heq_ir::diagnostic::Code;
use heq_ir::eval::evaluate;
use heq_ir::plan::cost::{PartCost, PlanCost};
use heq_ir::plan::weights::ServerWeights;
use heq_runtime::error::RunError;
use heq_runtime::offline::Store;
use heq_runtime::session::Mode;
use heq_runtime::stats::{Measured, SessionStats};
use heq_tests::{Preparation, compile_lenet, compile_with, lenet, run_both, samples, shared};
use std::fs;
use std::path::{Path, PathBuf};

/// Options of plans for prepared inferences.
fn options() -> PlanOptions {
    let mut search = SearchOptions { objective: Objective::OnlineLatency, ..Default::default() };
    search.restriction.packing = PackingRule::None;
    PlanOptions { search, ..PlanOptions::default() }
}

/// The entries in a folder, by name.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_entry = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "client" || ending == "server")
    };
    let mut entries: Vec<PathBuf> = files.filter(is_entry).collect();
    entries.sort();
    entries
}

fn check_part(name: &str, predicted: &PartCost, measured: &Measured) {
    assert_eq!(
        (predicted.bytes_up, predicted.bytes_down, predicted.flights),
        (measured.bytes_up, measured.bytes_down, measured.flights),
        "{name}"
    );
}

fn check_traffic(cost: &PlanCost, stats: &SessionStats) {
    check_part("set-up", &cost.setup, &stats.setup);
    check_part("correlations", &cost.correlations, &stats.correlations);
    for (index, (cost, measured)) in cost.layers.iter().zip(&stats.layers).enumerate() {
        check_part(&format!("step {index}"), cost, measured);
    }
}

/// Prepares as many inferences as there are samples, and runs them in two sessions.
fn check(name: &str, compiled: &Compiled, samples: &[Vec<i64>]) {
    let plan = &compiled.plan;
    let folder = tempfile::tempdir().unwrap();
    let preparation = Preparation::new(compiled, folder.path());
    let count = samples.len() as u32;
    for stats in preparation.prepare(count) {
        let stats = stats.unwrap();
        assert_eq!((stats.mode, stats.inferences), (Mode::Prepare, count), "{name}");
        check_traffic(&plan.offline_cost(count), &stats);
    }
    for (party, bytes) in ["client", "server"].into_iter().zip(plan.prepared_bytes()) {
        let stored = entries(&folder.path().join(party));
        assert_eq!(stored.len(), samples.len(), "{name}");
        assert!(stored.iter().all(|path| fs::metadata(path).unwrap().len() == bytes), "{name}");
    }
    for samples in [&samples[..1], &samples[1..]] {
        let run = preparation.infer(samples);
        let (outputs, stats) = run.client.unwrap();
        for stats in [&stats, &run.server.unwrap()] {
            assert_eq!((stats.mode, stats.inferences), (Mode::Prepared, samples.len() as u32));
            check_traffic(&plan.online_cost(samples.len() as u32, 1), stats);
        }
        for (sample, output) in samples.iter().zip(&outputs) {
            let expected = evaluate(plan, &compiled.weights, sample).unwrap();
            assert_eq!(expected.output(), output, "{name}");
        }
        assert_eq!(outputs.len(), samples.len());
    }
    // Nothing is left: the client has nothing to ask for.
    let run = preparation.infer(samples);
    assert!(run.client.unwrap().0.is_empty());
    assert!(matches!(run.server, Err(RunError::Network(_))), "{:?}", run.server);
    // The same plan runs in one phase.
    let run = run_both(compiled, &samples[..1]).client.unwrap();
    let expected = evaluate(plan, &compiled.weights, &samples[0]).unwrap();
    assert_eq!(run.0[0], expected.output());
}

#[test]
fn prepared_inferences_are_exact_and_take_what_the_plan_says() {
    let compiled = compile_lenet(&options());
    let samples = samples(&compiled.plan, &lenet("digit.png"), 1);
    let samples = vec![samples[0].clone(), samples[0].iter().map(|x| x / 2).collect()];
    check("lenet", &compiled, &samples);
    let mut options = options();
    options.batch = 2;
    check("batch", &compile_lenet(&options), &samples);
}

#[test]
fn residual_networks_are_exact() {
    for (model, images) in [
        ("resnet8_cifar10_int8_qdq", "cifar10_test_1000.npz"),
        ("resnet20_cifar10_w4a4_qcdq", "cifar10_test_1000.npz"),
    ] {
        let model_file = shared(&format!("models/{model}.onnx"));
        let (Some(path), Some(images)) = (model_file, shared(&format!("data/{images}"))) else {
            continue;
        };
        let compiled = compile_with(&fs::read(path).unwrap(), &options());
        check(model, &compiled, &samples(&compiled.plan, &images, 3));
    }
}

#[test]
fn a_plan_that_packs_cannot_be_prepared() {
    let mut options = options();
    options.search.objective = Objective::Bytes;
    options.search.restriction.packing = PackingRule::CrossChannel;
    let compiled = compile_lenet(&options);
    let folder = tempfile::tempdir().unwrap();
    let preparation = Preparation::new(&compiled, folder.path());
    let [client, _] = preparation.prepare(1);
    let Err(RunError::User(diagnostic)) = client else { panic!("{client:?}") };
    assert_eq!(diagnostic.code, Code::PlanRejected);
    assert!(diagnostic.remedy.contains("online-latency"), "{diagnostic}");
}

/// What a party lost, the other does not use: both go on at the larger index.
#[test]
fn parties_that_hold_different_entries_use_what_both_hold() {
    let compiled = compile_lenet(&options());
    let samples = samples(&compiled.plan, &lenet("digit.png"), 1);
    let folder = tempfile::tempdir().unwrap();
    let preparation = Preparation::new(&compiled, folder.path());
    let parties = ["client", "server"].map(|party| folder.path().join(party));
    preparation.prepare(5).into_iter().for_each(|stats| drop(stats.unwrap()));
    let copies = tempfile::tempdir().unwrap();
    let first = entries(&parties[0])[0].clone();
    let copy = copies.path().join("copy");
    fs::copy(&first, &copy).unwrap();
    let expected = evaluate(&compiled.plan, &compiled.weights, &samples[0]).unwrap();
    let run_one = || {
        let (outputs, stats) = preparation.infer(&samples).client.unwrap();
        assert_eq!(outputs, [expected.output().to_vec()]);
        assert_eq!(stats.inferences, 1);
    };
    run_one();
    // A client that restores what it used does not use it again: the server has gone on.
    fs::copy(&copy, &first).unwrap();
    run_one();
    assert!(!first.exists());
    let left = || parties.each_ref().map(|folder| entries(folder).len());
    assert_eq!(left(), [3, 3]);
    // The server loses one, the client's counterpart is of no use.
    fs::remove_file(&entries(&parties[1])[0]).unwrap();
    run_one();
    assert_eq!(left(), [1, 1]);
    // A file that was changed is refused, and gone.
    let last = entries(&parties[0])[0].clone();
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&last, bytes).unwrap();
    let run = preparation.infer(&samples);
    let Err(RunError::User(diagnostic)) = run.client else { panic!("{:?}", run.client.err()) };
    assert_eq!((diagnostic.code, left()), (Code::WrongStore, [0, 0]));
    // Where they have nothing in common the earlier ones are of no use.
    preparation.prepare(5).into_iter().for_each(|stats| drop(stats.unwrap()));
    for (party, range) in [(0, 2..5), (1, 0..3)] {
        entries(&parties[party])[range].iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    let (outputs, stats) = preparation.infer(&samples).client.unwrap();
    assert!(outputs.is_empty() && stats.inferences == 0);
    assert_eq!(left(), [0, 2]);
    // Several batches are one round trip.
    for count in [1, 2] {
        preparation.prepare(count).into_iter().for_each(|stats| drop(stats.unwrap()));
    }
    let samples = vec![samples[0].clone(); 4];
    let (outputs, stats) = preparation.infer(&samples).client.unwrap();
    assert_eq!((outputs.len(), stats.offers), (3, 2));
    check_traffic(&compiled.plan.online_cost(3, 2), &stats);
}

#[test]
fn a_store_is_its_owners_alone() {
    let compiled = compile_lenet(&options());
    let folder = tempfile::tempdir().unwrap();
    let preparation = Preparation::new(&compiled, folder.path());
    preparation.prepare(2).into_iter().for_each(|stats| drop(stats.unwrap()));
    let (client, plan) = (folder.path().join("client"), &compiled.plan);
    let count = |folder: &Path, key: Option<&Path>| {
        Store::open(folder, key).unwrap().client_count(plan).unwrap()
    };
    assert_eq!([count(&client, None), count(&folder.path().join("server"), None)], [2, 0]);
    // Whatever else is in the folder stays, but for what a crash left of an entry.
    let entry = entries(&client)[0].clone();
    let half = client.join(format!("{}.partial", entry.file_name().unwrap().to_str().unwrap()));
    let movie = client.join("movie.partial");
    for path in [&half, &movie] {
        fs::write(path, b"some bytes").unwrap();
        private(path);
    }
    let code = |store: Result<Store, _>| {
        store.err().map(|error: heq_ir::diagnostic::Diagnostic| error.code)
    };
    // One process adds at a time.
    assert_eq!(code(Store::create(&client, None)), Some(Code::WrongStore));
    assert_eq!(code(Store::open(&folder.path().join("none"), None)), Some(Code::FileAccess));
    let short = folder.path().join("short");
    fs::write(&short, [0; 31]).unwrap();
    private(&short);
    assert_eq!(code(Store::open(&client, Some(&short))), Some(Code::WrongStore));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&client), 0o700);
        let files: Vec<PathBuf> =
            fs::read_dir(&client).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(files.len() >= 4 && files.iter().all(|path| mode(path) == 0o600), "{files:?}");
        let key = client.join("store.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(code(Store::open(&client, None)), Some(Code::WrongStore));
        private(&key);
    }
    // Another key sees nothing.
    let other = folder.path().join("other");
    fs::write(&other, [7; 32]).unwrap();
    private(&other);
    assert_eq!(count(&client, Some(&other)), 0);
    drop(preparation);
    drop(Store::create(&client, None).unwrap());
    assert!(movie.exists() && !half.exists());
    assert_eq!(count(&client, None), 2);
}

/// What was prepared with other weights is no share of these.
#[test]
fn entries_of_other_weights_are_not_used() {
    let compiled = compile_lenet(&options());
    let samples = samples(&compiled.plan, &lenet("digit.png"), 1);
    let folder = tempfile::tempdir().unwrap();
    for stats in Preparation::new(&compiled, folder.path()).prepare(2) {
        stats.unwrap();
    }
    let mut spec = compiled.weights.spec().clone();
    spec.layers[0].bias[0] += 1;
    let weights = ServerWeights::check(spec, &compiled.plan, "weights").unwrap();
    let changed = Compiled { weights, ..compile_lenet(&options()) };
    assert_eq!(changed.plan.digest(), compiled.plan.digest());
    let run = Preparation::new(&changed, folder.path()).infer(&samples);
    assert!(run.client.unwrap().0.is_empty());
    let run = Preparation::new(&compiled, folder.path()).infer(&samples);
    let expected = evaluate(&compiled.plan, &compiled.weights, &samples[0]).unwrap();
    assert_eq!(run.client.unwrap().0, [expected.output().to_vec()]);
}

/// Lets the owner alone read a file.
fn private(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = path;
}
