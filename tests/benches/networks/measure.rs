//! One network: compiled, run, compared, counted.

use crate::parties::{Files, Session};
use crate::samples::Images;
use crate::{Mode, Network};
use heq_compiler::compile::{CompileOptions, compile};
use heq_compiler::lower::plan::{Compiled, PlanOptions};
use heq_compiler::pipeline::ImportOptions;
use heq_compiler::select::options::SearchOptions;
use heq_data::ArrayData;
use heq_data::output::outputs_array;
use heq_ir::eval::evaluate;
use heq_ir::plan::Plan;
use heq_ir::plan::cost::PartCost;
use heq_tests::run_both;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Inferences of the session that plans are made for, and among which random OTs are divided.
const INFERENCES: u32 = 100;

/// How long the two processes repeat inferences, so that steps of 1/100 s of CPU time suffice.
const SESSION_TIME_S: f64 = 2.0;

/// Most inferences of such a session.
const MAX_INFERENCES: usize = 40;

/// How long sessions over a link are repeated.
const LINK_TIME: Duration = Duration::from_secs(5);

/// A network and what is known of it.
pub(crate) struct Bench<'a> {
    name: &'a str,
    bytes: &'a [u8],
    network: &'a Network,
    inputs: usize,
    /// What the reference says of the samples so far: the same for every plan.
    reference: Vec<Vec<i64>>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(name: &'a str, bytes: &'a [u8], network: &'a Network, inputs: usize) -> Self {
        Self { name, bytes, network, inputs, reference: Vec::new() }
    }

    /// Measures the network in `mode`.
    pub(crate) fn row(&mut self, row_name: &str, mode: Mode) -> Result<Value, String> {
        let begin = Instant::now();
        let compiled = self.compiled(mode)?;
        let compile_s = begin.elapsed().as_secs_f64();
        let (plan, files) = (&compiled.plan, Files::new(&compiled)?);
        let images = &self.network.images;
        let (input, kind) = images.file(plan, files.folder(), self.inputs.max(MAX_INFERENCES))?;
        let mut checked = Checked::default();
        // The first session has the start of both processes, too.
        let first = files.two_processes(&input, 1)?;
        self.check(&compiled, &input, &first, 1, &mut checked)?;
        let most = SESSION_TIME_S / wall_s(&first, 1);
        let count = (2..MAX_INFERENCES).find(|&count| count as f64 >= most);
        let count = count.unwrap_or(MAX_INFERENCES).max(self.inputs);
        let session = files.two_processes(&input, count)?;
        self.check(&compiled, &input, &session, count, &mut checked)?;
        self.check_wide(&compiled, &input, &mut checked)?;
        let walls = self.walls(&compiled, &files, &input, mode, &mut checked)?;
        let [client_s, server_s] = [0, 1].map(|party| {
            (usage(&session, party, "cpu_s") - usage(&first, party, "cpu_s")) / (count - 1) as f64
        });
        let peaks = [0, 1].map(|party| usage(&session, party, "peak_rss_bytes"));
        let counted = Counted::new(plan);
        let peer = self.network.peer;
        Ok(json!({
            "name": row_name,
            "objective": mode.objective.to_string(),
            "link": mode.link.to_string(),
            "inputs": kind,
            "compile_s": compile_s,
            "plan": plan.digest().to_string(),
            "extension": plan.spec().ot.to_string(),
            "linear_bytes": counted.linear,
            "other_bytes": counted.other,
            "random_ot_bytes": counted.random_ots.map(f64::round),
            "setup_bytes": counted.setup,
            "bytes": counted.bytes().round(),
            "flights": counted.flights,
            "wall_s": median(&walls),
            "walls_s": walls,
            "cpu_s": [client_s, server_s],
            "cpu_inferences": count - 1,
            "peak_rss_bytes": peaks,
            "checked": checked.all,
            "exact": checked.exact,
            "peer": peer.map(|peer| peer.system),
            "bytes_ratio": peer.map(|peer| peer.bytes / counted.bytes()),
            "cpu_ratio": peer.map(|peer| peer.cpu_s / (client_s + server_s)),
            "flights_ratio": peer.and_then(|peer| Some(peer.flights? / counted.flights as f64)),
        }))
    }

    fn compiled(&self, mode: Mode) -> Result<Compiled, String> {
        let search = SearchOptions {
            objective: mode.objective,
            network: mode.link,
            inferences: INFERENCES,
            ..SearchOptions::default()
        };
        let preparation = self.network.images.preparation();
        let plan = PlanOptions { search, preparation, ..PlanOptions::default() };
        let options = CompileOptions { import: ImportOptions::default(), plan, calibration: None };
        compile(self.bytes, self.name, &options).map_err(|error| error.to_string())
    }

    /// Seconds of an inference in every session over the link.
    fn walls(
        &mut self,
        compiled: &Compiled,
        files: &Files,
        input: &Path,
        mode: Mode,
        checked: &mut Checked,
    ) -> Result<Vec<f64>, String> {
        let (begin, [least, most]) = (Instant::now(), mode.runs);
        let mut walls = Vec::new();
        while walls.len() < least || (begin.elapsed() < LINK_TIME && walls.len() < most) {
            let session = files.local(input, self.inputs, mode.link)?;
            self.check(compiled, input, &session, self.inputs, checked)?;
            walls.push(wall_s(&session, self.inputs));
        }
        Ok(walls)
    }

    /// Compares outputs with the reference, and bytes and flights with the plan.
    fn check(
        &mut self,
        compiled: &Compiled,
        input: &Path,
        session: &Session,
        count: usize,
        checked: &mut Checked,
    ) -> Result<(), String> {
        let plan = &compiled.plan;
        if self.reference.len() < count {
            for sample in &Images::inputs(plan, input, count)?[self.reference.len()..] {
                let evaluation = evaluate(plan, &compiled.weights, sample);
                let output = evaluation.map_err(|error| error.to_string())?.output().to_vec();
                self.reference.push(output);
            }
        }
        let online = plan.cost(u32::try_from(count).unwrap()).online();
        for (what, counted) in [
            ("bytes_up", online.bytes_up),
            ("bytes_down", online.bytes_down),
            ("flights", online.flights),
        ] {
            let measured = &session.stats["online"][what];
            if measured.as_u64() != Some(counted) {
                return Err(format!("{what}: {measured}, but {counted} in the plan"));
            }
        }
        let Some(expected) = self.reference.get(..count) else {
            return Err(format!("there are fewer than {count} samples"));
        };
        checked.exact += equal_samples(plan, expected, session)?;
        checked.all += count;
        Ok(())
    }

    /// Outputs are float32 in files, where integers beyond 24 bits may be equal and yet differ: then those
    /// of the first sample are compared as they are, in a session within this process.
    fn check_wide(
        &self,
        compiled: &Compiled,
        input: &Path,
        checked: &mut Checked,
    ) -> Result<(), String> {
        let is_wide = |value: &i64| value.unsigned_abs() > 1 << f32::MANTISSA_DIGITS;
        let Some(expected) = self.reference.first() else { return Ok(()) };
        if !self.reference.iter().flatten().any(is_wide) {
            return Ok(());
        }
        let samples = Images::inputs(&compiled.plan, input, 1)?;
        let (outputs, _) =
            run_both(compiled, &samples).client.map_err(|error| error.to_string())?;
        checked.exact += usize::from(outputs.first() == Some(expected));
        checked.all += 1;
        Ok(())
    }
}

/// Outputs that were compared, and those that were equal.
#[derive(Default)]
struct Checked {
    all: usize,
    exact: usize,
}

/// How many samples of a session have exactly the outputs `expected`.
fn equal_samples(plan: &Plan, expected: &[Vec<i64>], session: &Session) -> Result<usize, String> {
    let expected = outputs_array(Path::new("reference"), expected, plan);
    let expected = expected.map_err(|error| error.to_string())?;
    if expected.shape() != session.outputs.shape() {
        return Err(format!("outputs have shape {:?}", session.outputs.shape()));
    }
    let (ArrayData::F32(ours), ArrayData::F32(theirs)) = (session.outputs.data(), expected.data())
    else {
        return Err("outputs are no values".to_owned());
    };
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let length = expected.shape()[1];
    let pairs = ours.chunks(length).zip(theirs.chunks(length));
    Ok(pairs.filter(|(ours, theirs)| bits(ours) == bits(theirs)).count())
}

/// What an inference sends, up and down, and what a session does before.
struct Counted {
    linear: [u64; 2],
    other: [u64; 2],
    /// Its share of those of a session of [`INFERENCES`].
    random_ots: [f64; 2],
    setup: [u64; 2],
    flights: u64,
}

impl Counted {
    fn new(plan: &Plan) -> Self {
        let cost = plan.cost(1);
        let ways = |part: &PartCost| [part.bytes_up, part.bytes_down];
        let mut linear = PartCost::default();
        for (index, _) in plan.linear_steps() {
            linear.add(&cost.layers[index]);
        }
        let (linear, all) = (ways(&linear), ways(&cost.online()));
        let session = ways(&plan.cost(INFERENCES).correlations);
        Self {
            linear,
            other: [0, 1].map(|way| all[way] - linear[way]),
            random_ots: session.map(|bytes| bytes as f64 / f64::from(INFERENCES)),
            setup: ways(&cost.setup),
            flights: cost.online().flights,
        }
    }

    /// Bytes of an inference both ways, without set-up.
    fn bytes(&self) -> f64 {
        let steps: u64 = self.linear.iter().chain(&self.other).sum();
        steps as f64 + self.random_ots.iter().sum::<f64>()
    }
}

/// Seconds of an inference.
fn wall_s(session: &Session, count: usize) -> f64 {
    session.stats["online"]["wall_s"].as_f64().unwrap_or(f64::NAN) / count as f64
}

/// A figure of the process of the client, 0, or of the server, 1.
fn usage(session: &Session, party: usize, what: &str) -> f64 {
    let stats = [&session.stats["client"], &session.server["server"]][party];
    stats[what].as_f64().unwrap_or(f64::NAN)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
