//! The rows of the report: every step of a plan with its choices, its exact traffic, and its predicted
//! time and memory.

use super::grid::shorten;
use heq_ir::params::noise::required_margin;
use heq_ir::plan::cost::{PartCost, PlanCost};
use heq_ir::plan::{Layer, LayerKind, LinearStep, Plan, RoundedStep};
use heq_ir::predict::memory::PlanMemory;
use heq_ir::predict::{PartPrediction, PlanPrediction};
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::protocol::requantize::RequantizeForm;
use heq_ir::secure::{Domain, Packing, ValueType};
use heq_ir::traffic::{RotCounts, RotRun, RotSender, Step, Traffic};
use std::ops::AddAssign;

/// One row of the report: a step with its choices and cost.
pub(super) struct Row<'a> {
    /// Index of the step in the plan.
    pub(super) index: usize,
    pub(super) layer: &'a Layer,
    /// Width of the activations that a linear step reads, in bits.
    pub(super) activation_bits: u32,
    pub(super) linear: Option<LinearStep<'a>>,
    pub(super) cost: PartCost,
    pub(super) bytes: ByMechanism,
    /// Rows of the OT extension that the step takes.
    pub(super) rot_rows: u64,
    pub(super) time: PartPrediction,
    /// Bytes of memory of client and server while the step runs, beside what they keep throughout.
    pub(super) memory: [u64; 2],
    pub(super) shape: String,
    /// Type of the first operand.
    pub(super) operand: Option<ValueType>,
    /// Of a requantization that rounds early, how.
    pub(super) rounded: Option<RoundedStep>,
    /// Bits that calibration data took of the accumulator, if its width was calibrated.
    pub(super) used_bits: Option<u32>,
    /// Noise of a linear step.
    pub(super) noise: Option<Noise>,
    /// The layers that a linear step computes beside its own, with the same requests.
    pub(super) shared_with: Vec<&'a str>,
    /// Of channels that are picked of such a step, its index.
    pub(super) shared_step: Option<usize>,
}

/// Bytes by what they are for; the first four are exact and on the wire, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ByMechanism {
    /// Encrypted operands of a linear step, from the client.
    pub(super) requests: u64,
    /// Encrypted results, from the server.
    pub(super) responses: u64,
    /// Steps on bits, from the client.
    pub(super) bits_up: u64,
    /// Steps on bits, from the server.
    pub(super) bits_down: u64,
    /// Random OTs, from the client: rows times bytes a row.
    pub(super) rots_up: u64,
    /// Random OTs, from the server.
    pub(super) rots_down: u64,
}

impl ByMechanism {
    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.requests + self.responses + self.bits() + self.rots()
    }

    /// Steps on bits, both ways.
    pub(super) fn bits(&self) -> u64 {
        self.bits_up + self.bits_down
    }

    /// Random OTs, both ways.
    pub(super) fn rots(&self) -> u64 {
        self.rots_up + self.rots_down
    }

    fn of(traffic: &Traffic, rots: [u64; 2]) -> Self {
        let [rots_up, rots_down] = rots;
        let mut sum = Self { rots_up, rots_down, ..Self::default() };
        for step in &traffic.steps {
            let (up, down) = Traffic::new(vec![step.clone()], Vec::new()).wire_bytes();
            sum += match step {
                Step::Up { .. } | Step::Down { .. } => {
                    Self { requests: up, responses: down, ..Self::default() }
                }
                Step::Exchange { .. } => Self { bits_up: up, bits_down: down, ..Self::default() },
            };
        }
        sum
    }

    /// Those of steps that are not linear: all of their messages are on bits.
    fn on_bits(self) -> Self {
        Self {
            requests: 0,
            responses: 0,
            bits_up: self.bits_up + self.requests,
            bits_down: self.bits_down + self.responses,
            ..self
        }
    }
}

impl AddAssign for ByMechanism {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.responses += other.responses;
        self.bits_up += other.bits_up;
        self.bits_down += other.bits_down;
        self.rots_up += other.rots_up;
        self.rots_down += other.rots_down;
    }
}

/// How far the noise of a linear step is from its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// Window over noise deviation.
    pub(super) margin: f64,
    /// Margin that the error budget asks for.
    pub(super) required: f64,
    /// log2 of the probability that the noise of any output leaves the window, at most.
    pub(super) failure_log2: f64,
}

impl Row<'_> {
    /// Bits that calibration data left free of the accumulator.
    pub(super) fn free_bits(&self) -> Option<u32> {
        Some(self.layer.kind.acc_bits()?.saturating_sub(self.used_bits?))
    }

    /// Whether nothing travels: each party computes by itself.
    pub(super) fn is_local(&self) -> bool {
        self.bytes.total() == 0
    }
}

/// The rows of `plan`, with what was predicted for it.
pub(super) fn rows<'a>(
    plan: &'a Plan,
    cost: &PlanCost,
    prediction: &PlanPrediction,
    memory: &PlanMemory,
) -> Vec<Row<'a>> {
    let required = required_margin(plan.linear_outputs(), plan.spec().error_budget_log2);
    let of_step = |index: usize, layer: &'a Layer| {
        let traffic = plan.layer_traffic().get(index).cloned().unwrap_or_default();
        let rot_rows = RotCounts::sum(&traffic.rots, RotRun::rows);
        let bytes = ByMechanism::of(&traffic, rot_bytes(plan, rot_rows));
        let linear = plan.linear_step(index);
        let outputs = plan.values().get(index + 1).map_or(0, |value| value.shape.len());
        let held = |party: &[u64]| party.get(index).copied().unwrap_or_default();
        Row {
            index,
            layer,
            activation_bits: activation_bits(plan, layer),
            cost: cost.layers.get(index).copied().unwrap_or_default(),
            bytes: if linear.is_some() { bytes } else { bytes.on_bits() },
            rot_rows: rot_rows.total(),
            time: prediction.layers.get(index).copied().unwrap_or_default(),
            memory: [held(&memory.client.layers), held(&memory.server.layers)],
            shape: plan
                .values()
                .get(index + 1)
                .map_or(String::new(), |value| value.shape.to_string()),
            operand: plan.operands(index).first().copied(),
            rounded: plan.rounded_step(index),
            used_bits: plan.observed_bits(index),
            noise: linear.as_ref().map(|step| noise(step, outputs, required)),
            shared_with: if linear.is_some() { shared_with(plan, index) } else { Vec::new() },
            shared_step: shared_step(plan, layer),
            linear,
        }
    };
    plan.layers().iter().enumerate().map(|(index, layer)| of_step(index, layer)).collect()
}

/// The linear step whose channels a view picks.
fn shared_step(plan: &Plan, layer: &Layer) -> Option<usize> {
    let maker = layer.operands.first()?.0.checked_sub(1)?;
    let is_view = matches!(layer.kind, LayerKind::View(_));
    (is_view && plan.linear_step(maker).is_some()).then_some(maker)
}

/// The layers that linear step `index` computes beside its own.
fn shared_with(plan: &Plan, index: usize) -> Vec<&str> {
    let own = plan.layers()[index].name.as_str();
    let parts = plan.layers().iter().filter(|layer| shared_step(plan, layer) == Some(index));
    let mut names: Vec<&str> = parts.map(|part| part.name.as_str()).collect();
    names.retain(|&name| name != own);
    names.dedup();
    names
}

/// Bytes up and down of `rows` of the plan's OT extension, pro rata: a batch serves many steps.
fn rot_bytes(plan: &Plan, rows: RotCounts) -> [u64; 2] {
    let ot = plan.spec().ot;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of a checked plan times a positive number; float casts saturate"
    )]
    let bytes = |rows: u64| (rows as f64 * ot.bytes_per_row()).round() as u64;
    RotSender::ALL.into_iter().fold([0; 2], |[up, down], sender| {
        let rows = match sender {
            RotSender::Server => rows.server_sends,
            RotSender::Client => rows.client_sends,
        };
        match ot.leader(sender) {
            RotSender::Client => [up + bytes(rows), down],
            RotSender::Server => [up, down + bytes(rows)],
        }
    })
}

fn noise(step: &LinearStep<'_>, outputs: usize, required: f64) -> Noise {
    let margin = step.choice.noise_model().margin(step.params, step.op.precise_bits());
    let failure_log2 =
        1.0 + (outputs.max(1) as f64).log2() - margin * margin / 2.0 * std::f64::consts::LOG2_E;
    Noise { margin, required, failure_log2 }
}

/// log2 of the sum of the failure probabilities of all linear steps; none if there is none.
pub(super) fn total_failure_log2(rows: &[Row<'_>]) -> Option<f64> {
    let exponents = || rows.iter().filter_map(|row| Some(row.noise?.failure_log2));
    let largest = exponents().reduce(f64::max)?;
    Some(largest + exponents().map(|log2| (log2 - largest).exp2()).sum::<f64>().log2())
}

/// Width of the integers that a step reads: of the client's input, of the bits behind the shares, or
/// of the shares themselves.
fn activation_bits(plan: &Plan, layer: &Layer) -> u32 {
    let mut layer = layer;
    loop {
        let Some(operand) = layer.operands.first() else { return 0 };
        match plan.values().get(operand.0).map(|value| value.domain) {
            Some(Domain::Client { range }) => return range.bits(),
            Some(Domain::Boolean { bits, .. }) => return bits,
            Some(Domain::Arithmetic { bits, .. }) => {
                // Values are numbered after their makers, and a maker reads an earlier value.
                let Some(maker) = operand.0.checked_sub(1) else { return bits };
                layer = &plan.layers()[maker];
                if matches!(layer.kind, LayerKind::Combine(_)) {
                    return bits;
                }
            }
            _ => return 0,
        }
    }
}

/// Bits that calibration data left free, if there was any.
fn free_text(row: &Row<'_>) -> String {
    row.free_bits().map_or(String::new(), |bits| format!(", {bits} free"))
}

/// Bits that early rounding drops of an accumulator.
fn dropped_text(rounded_bits: u32) -> String {
    if rounded_bits == 0 { String::new() } else { format!(" d{rounded_bits}") }
}

/// Widths that matter to a step, in the report's short form.
pub(super) fn short_bits(row: &Row<'_>) -> String {
    let free = free_text(row);
    match &row.layer.kind {
        LayerKind::Linear { op, .. } => {
            let (w, a, l) = (op.weight_bits, row.activation_bits, op.acc_bits);
            format!("W{w}A{a} acc{l}{}{free}", dropped_text(op.rounded_bits))
        }
        LayerKind::Requantize { widths, .. } => {
            let (l, s, b) = (widths.acc_bits, widths.shift, widths.result_bits);
            format!("{l}>>{s} to {b}")
        }
        LayerKind::Combine(op) => format!("acc{}{free}", op.acc_bits),
        LayerKind::Table { widths, .. } => {
            format!("{} to {}", widths.input_bits, widths.result_bits)
        }
        LayerKind::ToArithmetic { bits, .. } => format!("mod 2^{bits}"),
        LayerKind::ToBoolean { bits, .. } => format!("{bits} bits"),
        LayerKind::MaxPool { .. } => match row.operand.map(|operand| operand.domain) {
            Some(Domain::Boolean { bits, .. }) => format!("{bits} bits"),
            _ => String::new(),
        },
        LayerKind::Top { k } => {
            format!("{k} of {}", row.operand.map_or(0, |operand| operand.shape.channels))
        }
        LayerKind::Open | LayerKind::View(_) | LayerKind::Reshape(_) | LayerKind::Concat { .. } => {
            String::new()
        }
    }
}

/// Widths that matter to a step, with everything else that its circuit depends on.
pub(super) fn long_bits(row: &Row<'_>) -> String {
    let free = free_text(row);
    match &row.layer.kind {
        LayerKind::Linear { op, .. } => {
            let dropped = dropped_text(op.rounded_bits);
            format!(
                "W{}A{} m{} acc{}{dropped}{free}{}",
                op.weight_bits,
                row.activation_bits,
                op.multiplier_bits,
                op.acc_bits,
                shared_text(row).map_or(String::new(), |text| format!(", {text}")),
            )
        }
        LayerKind::Requantize { widths, form, .. } => {
            let (l, s, b) = (widths.acc_bits, widths.shift, widths.result_bits);
            let rounded = row.rounded.map_or(String::new(), |rounded| {
                format!(", off by one {:.1e}", rounded.probability)
            });
            format!("{l} >> {s} -> {b}, {form}{rounded}")
        }
        LayerKind::Combine(op) => format!("{} terms, acc{}{free}", op.terms.len(), op.acc_bits),
        LayerKind::Table { widths, .. } => {
            format!("{} -> {}", widths.input_bits, widths.result_bits)
        }
        LayerKind::ToArithmetic { bits, form } => format!("mod 2^{bits}, {form}"),
        LayerKind::ToBoolean { bits, .. } => format!("{bits} bits"),
        LayerKind::MaxPool { window, .. } => {
            format!("{}x{} window", window.kernel[0], window.kernel[1])
        }
        LayerKind::Open => row.operand.map_or(String::new(), |operand| operand.domain.to_string()),
        LayerKind::Top { .. } => short_bits(row),
        LayerKind::View(_) => {
            row.shared_step.map_or(String::new(), |step| format!("channels of step {}", step + 1))
        }
        LayerKind::Reshape(_) | LayerKind::Concat { .. } => String::new(),
    }
}

/// The layers that a linear step computes beside its own.
pub(super) fn shared_text(row: &Row<'_>) -> Option<String> {
    let others = row.shared_with.join(", ");
    (!others.is_empty()).then(|| format!("also {others}, with the same requests"))
}

/// What a step does, and the form in which, in a word or two; of a linear step N and `log2 q`.
pub(super) fn short_step(row: &Row<'_>) -> String {
    match &row.layer.kind {
        LayerKind::Linear { op, choice } => {
            let params = row.linear.as_ref().map(|step| step.params);
            let ring = params.map_or(String::new(), |params| {
                format!("{}/{}", params.ring_degree(), params.modulus_bits())
            });
            let packed = if op.packing == Packing::None { "" } else { "*" };
            let merged = if choice.tile.merge_levels > 0 { "+" } else { "" };
            format!("{} {ring}{packed}{merged}", if is_matmul(op) { "matmul" } else { "conv" })
        }
        LayerKind::Requantize { form, .. } => format!("requant {}", requantize_form(form)),
        LayerKind::MaxPool { form: ComparisonForm::Ripple, .. } => "max ripple".to_owned(),
        LayerKind::MaxPool { form: ComparisonForm::Tree, .. } => "max tree".to_owned(),
        LayerKind::Combine(_) => "sum".to_owned(),
        LayerKind::Table { .. } => "table".to_owned(),
        LayerKind::ToArithmetic { .. } => "to shares".to_owned(),
        LayerKind::ToBoolean { .. } => "to bits".to_owned(),
        LayerKind::Open => "open".to_owned(),
        LayerKind::Top { .. } => "largest".to_owned(),
        LayerKind::View(_) => "view".to_owned(),
        LayerKind::Reshape(_) => "reshape".to_owned(),
        LayerKind::Concat { .. } => "concat".to_owned(),
    }
}

fn requantize_form(form: &RequantizeForm) -> &'static str {
    use heq_ir::protocol::adder::AdderForm::Ripple;
    match (form.sums == Ripple, form.range == Ripple) {
        (true, true) => "ripple",
        (false, false) => "select",
        (true | false, _) => "mixed",
    }
}

fn is_matmul(op: &heq_ir::secure::LinearOp) -> bool {
    op.geometry.input.height * op.geometry.input.width == 1
}

/// The steps of one ONNX node.
pub(super) struct Group<'a> {
    /// Name of the node.
    pub(super) name: &'a str,
    /// Indices of its rows, ascending.
    pub(super) rows: Vec<usize>,
}

impl Group<'_> {
    /// The number of its first step and its name, in at most `width` characters.
    pub(super) fn label(&self, width: usize) -> String {
        let number = (self.rows.first().map_or(0, |at| at + 1)).to_string();
        let name = shorten(self.name, width.saturating_sub(number.len() + 1));
        format!("{number} {name}")
    }
}

/// Rows by ONNX node, in the order in which nodes first appear; those that do nothing left out.
pub(super) fn groups<'a>(rows: &[Row<'a>]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        if row.is_local() && row.time.wall_s <= 0.0 {
            continue;
        }
        let name = row.layer.name.as_str();
        let place = *places.entry(name).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.rows.push(at),
            None => groups.push(Group { name, rows: vec![at] }),
        }
    }
    groups
}
