//! What a report rests on, and what a plan tells: as labelled paragraphs.

use super::units::{count, percent_change, power_of_two, range, seconds};
use super::{Report, units};
use crate::choices::Advice;
use heq_ir::link::LinkProfile;
use heq_ir::params::security::COMPUTATIONAL_SECURITY_BITS;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{AccStrategy, LayerKind, Plan};
use heq_ir::rounding::AccRounding;
use heq_ir::secure::{CombineTerm, Packing};

/// Paragraphs with their labels.
pub(super) type Paragraphs = Vec<(&'static str, String)>;

/// A link in words, with its numbers.
pub(super) fn link_text(link: Option<LinkProfile>) -> String {
    let Some(link) = link else { return "none: both parties in one process".to_owned() };
    let name = match link {
        LinkProfile::LAN => "lan: ",
        LinkProfile::WAN => "wan: ",
        LinkProfile::MOBILE => "mobile: ",
        _ => "",
    };
    let text = link.to_string();
    let (bandwidth, rtt) = text.split_once(',').unwrap_or((&text, ""));
    let spaced = |quantity: &str| {
        let unit = quantity.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(quantity.len());
        let (number, unit) = quantity.split_at(unit);
        format!("{number} {unit}")
    };
    format!("{name}{}/s each way, {} round trip", spaced(bandwidth), spaced(rtt))
}

impl Report<'_> {
    /// What the figures rest on.
    pub(super) fn assumptions(&self) -> Paragraphs {
        let (plan, spec) = (self.plan, self.plan.spec());
        let mut all = vec![
            ("model", spec.model.clone()),
            ("plan", plan.digest().to_string()),
            (
                "input",
                format!("{}, {}, known to the client alone", spec.input.name, spec.input.shape),
            ),
            ("output", opened(plan)),
            ("security", self.security()),
            ("accumulators", accumulators(plan)),
        ];
        if let AccRounding::Within { .. } = spec.rounding {
            all.push(("rounding", rounding(plan)));
        }
        all.push(("network", link_text(self.options.link)));
        all.push(("machines", self.machines()));
        all.push(("chosen for", self.strategy()));
        let text = "bytes are on the wire, headers included; up is client to server. A layer's random OTs \
                    are pro rata: they are made in batches, whose exact bytes are under the table";
        all.push(("bytes", text.to_owned()));
        all
    }

    fn security(&self) -> String {
        let spec = self.plan.spec();
        let reached = super::rows::total_failure_log2(&self.rows)
            .map_or(String::new(), |log2| format!(" (predicted: {})", power_of_two(log2)));
        format!(
            "{COMPUTATIONAL_SECURITY_BITS} bits, parties that follow the protocol; failure and \
             statistical leakage at most 2^-{} an inference{reached}",
            spec.error_budget_log2,
        )
    }

    fn machines(&self) -> String {
        let profile = self.options.profile;
        let threads = count(self.options.threads.max(1), "thread");
        let place = if self.options.is_shared {
            "both parties on one machine"
        } else {
            "each party by itself"
        };
        let date = match profile.date.as_str() {
            "" => "not measured".to_owned(),
            date => format!("measured {date}"),
        };
        format!("{threads}, {place}; costs of {} ({date})", profile.machine)
    }

    /// What was minimised, and how the search ended.
    fn strategy(&self) -> String {
        let choices = match self.options.choices {
            Ok(choices) => choices,
            Err(why) => return format!("not known, nor is there advice: {why}"),
        };
        let (assumed, solver) = (&choices.assumptions, &choices.solver);
        let limits = match assumed.limits.join(" ") {
            limits if limits.is_empty() => String::new(),
            limits => format!(", within {limits}"),
        };
        let costs = match assumed.machine.as_str() {
            "" => String::new(),
            machine => {
                format!(", costs of {machine} {}", assumed.measured_on).trim_end().to_owned()
            }
        };
        format!(
            "{}, network {}, preset {}, {}, {} a session{costs}{limits}; search {}: at most {} above \
             the best, {} variables, {} constraints, {} nodes",
            assumed.objective,
            assumed.network.parse().map_or_else(|_| assumed.network.clone(), link_name),
            assumed.preset,
            count(assumed.threads, "thread"),
            count(assumed.inferences as usize, "inference"),
            solver.status,
            format_gap(solver.gap),
            solver.variables,
            solver.constraints,
            solver.nodes,
        )
    }

    /// Whether times are predicted for what the plan was chosen for.
    pub(super) fn is_as_chosen(&self) -> bool {
        let Some(choices) = self.choices() else { return false };
        let assumed = &choices.assumptions;
        assumed.network.parse().ok() == self.options.link
            && assumed.threads == self.options.threads
            && !self.options.is_shared
    }

    /// The one line that compares the plan with the best fixed choice, if there is one.
    pub(super) fn against_fixed(&self) -> Option<String> {
        let best = self.choices()?.fixed.first()?;
        let fixed = format!(
            "the best single choice for all layers takes {} ({})",
            seconds(best.latency_s),
            best.label
        );
        if !self.is_as_chosen() {
            return Some(format!("{fixed}, on the network that the plan was chosen for"));
        }
        let own = self.prediction.online_s();
        let change = units::share(own - best.latency_s, best.latency_s);
        let against = match percent_change(change.abs()).trim_start_matches('+') {
            "0 %" => "as much".to_owned(),
            size => format!("{size} {}", if change < 0.0 { "less" } else { "more" }),
        };
        Some(format!("{fixed}; this plan {}, {against}", seconds(own)))
    }

    /// What the plan tells its reader, who is the client.
    pub(super) fn disclosure(&self) -> Paragraphs {
        let plan = self.plan;
        let kinds = || plan.layers().iter().map(|layer| &layer.kind);
        let mut names: Vec<&str> = plan.layers().iter().map(|layer| layer.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let structure = format!(
            "names, operators, shapes and windows of {} in {}",
            count(names.len(), "node"),
            count(plan.layers().len(), "step")
        );
        let mut all = vec![
            ("structure", structure),
            ("widths", widths(plan)),
            (
                "scales",
                format!(
                    "the real scales of input and output, how the input is prepared{}",
                    factors(plan)
                ),
            ),
        ];
        let linear = kinds().filter(|kind| matches!(kind, LayerKind::Linear { .. })).count();
        let packed = kinds().any(
            |kind| matches!(kind, LayerKind::Linear { op, .. } if op.packing != Packing::None),
        );
        all.push(("weights", weights(plan.spec().acc_strategy, linear, packed)));
        let how = "tiles, packing, RLWE parameters, dropped bits, forms of circuits, the OT extension, the \
                   error budget; lengths and order of all messages follow from these";
        all.push(("how", how.to_owned()));
        all.push(("result", format!("{}; nothing else is opened to either party", opened(plan))));
        let hidden = "weights, multipliers, biases, entries of tables and all values in between. docs/threat-model.md has \
                      what a client that breaks the protocol can learn";
        all.push(("hidden", hidden.to_owned()));
        all
    }
}

fn format_gap(gap: f64) -> String {
    let percent = gap * 100.0;
    if percent.abs() < 0.005 { "0 %".to_owned() } else { format!("{percent:.2} %") }
}

/// A link in a word, or its numbers.
fn link_name(link: LinkProfile) -> String {
    match link {
        LinkProfile::LAN => "lan".to_owned(),
        LinkProfile::WAN => "wan".to_owned(),
        LinkProfile::MOBILE => "mobile".to_owned(),
        other => other.to_string(),
    }
}

/// What the client learns.
pub(super) fn opened(plan: &Plan) -> String {
    let values = format!("{}, {} values", plan.spec().output_name, plan.classes());
    match plan.reveal() {
        Reveal::Logits => format!("{values}, opened to the client"),
        Reveal::Top { k: 1 } => {
            format!("{values}: the index of the largest is opened to the client, and no value")
        }
        Reveal::Top { k } => format!(
            "{values}: the indices of the {k} largest are opened to the client in order, and no value"
        ),
    }
}

/// How widths were derived, and what calibrated ones rest on.
fn accumulators(plan: &Plan) -> String {
    let spec = plan.spec();
    match (spec.acc_strategy, &spec.calibration) {
        (AccStrategy::Calibrated { margin_bits }, Some(calibration)) => format!(
            "calibrated: widths are empirical, what {} took and --margin {margin_bits}; on other data a sum may \
             overflow, and the result is then wrong without an error; \"free\" is what the samples left",
            count(usize::try_from(calibration.samples).unwrap_or(usize::MAX), "sample")
        ),
        (strategy, _) => format!("{strategy}: no sum overflows"),
    }
}

/// What early rounding may change.
fn rounding(plan: &Plan) -> String {
    format!(
        "{}: low bits of accumulators are dropped early; about {:.1} requantized elements an inference \
         are off by one, fewer where results are clamped",
        plan.spec().rounding,
        plan.differing_elements()
    )
}

fn widths(plan: &Plan) -> String {
    let kinds = || plan.layers().iter().map(|layer| &layer.kind);
    let linear =
        || {
            kinds().filter_map(|kind| {
                if let LayerKind::Linear { op, .. } = kind { Some(op) } else { None }
            })
        };
    let requantize = || {
        kinds().filter_map(|kind| {
            if let LayerKind::Requantize { widths, .. } = kind { Some(widths) } else { None }
        })
    };
    let parts = [
        ("weights", range(linear().map(|op| op.weight_bits))),
        ("multipliers", range(linear().map(|op| op.multiplier_bits))),
        ("accumulators", range(linear().map(|op| op.acc_bits))),
        ("activations", range(requantize().map(|widths| widths.result_bits))),
    ];
    let mut texts: Vec<String> = parts
        .into_iter()
        .filter_map(|(what, bits)| Some(format!("{what} of {} bits", bits?)))
        .collect();
    if let Some(shifts) = range(requantize().map(|widths| widths.shift)) {
        texts.push(format!("shifts by {shifts}"));
    }
    texts.push("ranges of all activations".to_owned());
    texts.join(", ")
}

/// The public factors of sums.
fn factors(plan: &Plan) -> String {
    let scaled = |kind: &LayerKind| {
        let LayerKind::Combine(op) = kind else { return 0 };
        op.terms.iter().filter(|term| matches!(term, CombineTerm::Scaled(_))).count()
    };
    match plan.layers().iter().map(|layer| scaled(&layer.kind)).sum() {
        0 => String::new(),
        factors => format!(", {} of sums", count(factors, "public factor")),
    }
}

fn weights(strategy: AccStrategy, linear: usize, packed: bool) -> String {
    let fields = if packed { ", and widths of fields, which bound sums of them" } else { "" };
    match strategy {
        AccStrategy::WorstCase => {
            "no bound that depends on a value: widths, parameters and norms follow from shapes and widths \
             of weights alone"
                .to_owned()
        }
        AccStrategy::WeightAware => format!(
            "upper bounds of their size: widths of accumulators, parameters, and for each of {} a power of \
             two above the squared norm of its folded weights{fields}. --acc-bits worst-case tells none",
            count(linear, "linear step"),
        ),
        AccStrategy::Calibrated { .. } => format!(
            "how large sums became on the calibration data, to a factor of two; the number of its samples; \
             for each of {} a power of two above the squared norm of its folded weights{fields}",
            count(linear, "linear step"),
        ),
    }
}

/// How many changes to the model are advised.
pub(super) const ADVICE: usize = 3;

/// A change to the model in a sentence.
pub(super) fn advice_text(advice: &Advice) -> String {
    let place = match advice.layer.as_str() {
        layer if advice.change.contains(layer) => String::new(),
        layer => format!(" ({layer})"),
    };
    let bytes = match u64::try_from(advice.bytes) {
        Ok(saved) => format!("saves {}", units::bytes(saved)),
        Err(_) => format!("costs {}", units::bytes(advice.bytes.unsigned_abs())),
    };
    let time = if advice.seconds < 0.0 {
        format!("costs {}", seconds(-advice.seconds))
    } else {
        // One verb does for both.
        let verb = if advice.bytes < 0 { "saves " } else { "" };
        format!("{verb}{}", seconds(advice.seconds))
    };
    format!("{}{place}: {bytes} and {time} an inference", advice.change)
}
