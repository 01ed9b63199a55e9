//! The command line of `heqc`.

use super::diff::DiffArguments;
use super::planner::PlannerArguments;
use super::report::ReportArguments;
use crate::kernel::packing::PackingRule;
use crate::pass::elide_branch_quantizers::BranchQuantizers;
use crate::pass::lower_integer::multiplier::MultiplierBits;
use crate::pipeline::{ExternalData, ImportOptions};
use crate::select::ot::OtRule;
use clap::{Args, Parser, Subcommand, ValueEnum};
use heq_data::command_line::{CompletionsArguments, ManArguments};
use heq_ir::integer::InputLayout;
use heq_ir::params::security::STATISTICAL_SECURITY_BITS;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{MAX_MARGIN_BITS, OtExtension};
use heq_ir::rounding::{AccRounding, BOUNDS_LOG2};
use std::path::PathBuf;

/// Compiles a quantized ONNX model into a secure two-party plan.
#[derive(Debug, Parser)]
#[command(name = "heqc", version, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tells what of a model is supported, and what each of its nodes becomes
    Check(CheckArguments),
    /// Compares a plan with the model that it was compiled from, layer by layer
    Compare(CompareArguments),
    /// Writes a public plan, and beside it the server's weights
    Compile(CompileArguments),
    /// Prints the script by which a shell completes command lines of heqc
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArguments),
    /// Shows what differs between two plans, step by step
    Diff(DiffArguments),
    /// Measures the accuracy of a plan, and how much of its accumulators is used
    Evaluate(EvaluateArguments),
    /// Writes the manual: a page for heqc, and one for each subcommand
    #[command(after_help = "Example:\n  heqc man -o ~/.local/share/man/man1")]
    Man(ManArguments),
    /// Lists the supported ONNX operators and their forms
    Ops(OpsArguments),
    /// Shows what every step of a plan will cost, and why it is as it is
    Report(ReportArguments),
    /// Evaluates the integer network in the clear
    Simulate(SimulateArguments),
}

const COMPLETIONS_EXAMPLES: &str = "Examples:
  heqc completions bash > ~/.local/share/bash-completion/completions/heqc
  heqc completions zsh > ~/.zfunc/_heqc
  heqc completions fish > ~/.config/fish/completions/heqc.fish";

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heqc compile model.onnx -o plan.heq\n  \
                        heqc compile model.onnx -o plan.heq --rounding within:2^-8")]
pub(super) struct CompileArguments {
    /// The quantized ONNX model
    pub(super) model: PathBuf,
    /// The plan to write; the weights go to PLAN.server.heq beside it
    #[arg(short, long, value_name = "PLAN.heq")]
    pub(super) output: PathBuf,
    /// How accumulator widths are derived; with worst-case the public plan does not depend on
    /// any integer weight or bias, with weight-aware it is cheaper and bounds their norms; with
    /// calibrated it is cheaper still, but sums on data unlike the calibration's may overflow
    #[arg(long, value_enum, default_value = "weight-aware")]
    pub(super) acc_bits: AccBits,
    /// Samples on which --acc-bits calibrated takes the widths
    #[arg(long, value_name = "DATA.npz")]
    pub(super) calibration: Option<PathBuf>,
    /// Bits that calibrated widths have beyond what the calibration data took, 0 to 16 (default 1)
    #[arg(long, value_name = "BITS", value_parser = parse_margin)]
    pub(super) margin: Option<u32>,
    /// How many elements of a linear layer share a coefficient: auto packs where it is cheaper, the
    /// others pack in their way, or not at all, wherever it fits (default: as the preset says)
    #[arg(long, value_enum)]
    pub(super) packing: Option<PackingArgument>,
    /// How random OTs are made: softspoken takes 128/K - 1 bits each with a field of K = 1, 2, 4 or 8
    /// bits (default 4), silent few bytes in iterations of 2^LOG_ROWS, 18 to 22 (default 20), after a
    /// larger set-up; auto takes the cheapest
    #[arg(long, value_name = "auto|softspoken[:K]|silent[:LOG_ROWS]", default_value = "auto", value_parser = parse_ot)]
    pub(super) ot: OtRule,
    /// Largest probability of a wrong result or statistical leak an inference: 2^-K, K from 40 to 128
    #[arg(long, value_name = "2^-K", default_value = "2^-40", value_parser = parse_budget)]
    pub(super) error_budget: u32,
    /// Whether results may differ from the exact ones: within:2^-K drops low bits of accumulators
    /// early, which takes fewer bytes; an element before an activation is then one step off with
    /// probability up to 2^-K (K from 4 to 40), at random
    #[arg(long, value_name = "exact|within:2^-K", default_value = "exact", value_parser = parse_rounding)]
    pub(super) rounding: AccRounding,
    /// What of the output is opened to the client: logits are all values, argmax the index of the
    /// largest, top-K the indices of the K largest in order, and no value
    #[arg(long, value_name = "logits|argmax|top-K", default_value = "logits")]
    pub(super) reveal: Reveal,
    /// Samples that an inference computes at once, 1 to 1024: they share round trips, and polynomials where
    /// planes are small; heq-run fills the last ones up
    #[arg(long, value_name = "SAMPLES", default_value = "1")]
    pub(super) batch: usize,
    #[command(flatten)]
    pub(super) planner: PlannerArguments,
    #[command(flatten)]
    pub(super) import: ImportArguments,
    /// Factor on 8-bit pixels before mean and deviation (default 1/255)
    #[arg(long, value_name = "FACTOR")]
    pub(super) input_scale: Option<f64>,
    /// Mean of every channel, subtracted from scaled pixels
    #[arg(long, value_name = "MEAN,…", value_delimiter = ',', allow_hyphen_values = true)]
    pub(super) input_mean: Vec<f64>,
    /// Standard deviation of every channel, by which the difference is divided
    #[arg(long, value_name = "STD,…", value_delimiter = ',')]
    pub(super) input_std: Vec<f64>,
    /// Do not plan changes to the model, which heqc report shows as advice
    #[arg(long)]
    pub(super) no_advice: bool,
    /// Plan with every single choice for all layers, too, which heqc report compares the plan with;
    /// takes about as long as a hundred compilations
    #[arg(long)]
    pub(super) compare_fixed: bool,
    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub(super) json: bool,
}

/// How a model becomes an integer network.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// Width of the multipliers that are folded into the weights
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = parse_multiplier)]
    pub(super) multiplier_bits: MultiplierBits,
    /// Quantizers on the branches of additions: auto leaves out those of 8 bits, which is cheaper
    /// and keeps more precision; keep and elide leave out none and all
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) branch_quantizers: Branches,
    /// Order of samples in arrays whose shape does not tell (default: as the model was exported)
    #[arg(long, value_enum)]
    pub(super) input_layout: Option<Layout>,
}

impl ImportArguments {
    pub(super) fn options<'a>(&self, external: ExternalData<'a>) -> ImportOptions<'a> {
        ImportOptions {
            external,
            multiplier_bits: self.multiplier_bits,
            branch_quantizers: match self.branch_quantizers {
                Branches::Auto => BranchQuantizers::Auto,
                Branches::Keep => BranchQuantizers::Keep,
                Branches::Elide => BranchQuantizers::Elide,
            },
            input_layout: self.input_layout.map(|layout| match layout {
                Layout::Nchw => InputLayout::Nchw,
                Layout::Nhwc => InputLayout::Nhwc,
            }),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc check model.onnx")]
pub(super) struct CheckArguments {
    /// The quantized ONNX model
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) import: ImportArguments,
    /// Print a heq-check/1 document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc evaluate plan.heq --data test.npz")]
pub(super) struct EvaluateArguments {
    /// The plan
    pub(super) plan: PathBuf,
    /// The server's weights (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Samples, and labels if the file has an array called labels
    #[arg(long, value_name = "DATA.npz")]
    pub(super) data: PathBuf,
    /// Evaluate this many samples only
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Print a heq-evaluate/1 document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc compare model.onnx plan.heq --data test.npz --limit 20")]
pub(super) struct CompareArguments {
    /// The model that the plan was compiled from
    pub(super) model: PathBuf,
    /// The plan
    pub(super) plan: PathBuf,
    /// The server's weights (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Samples; labels and outputs of another runtime if the file has such arrays
    #[arg(long, value_name = "DATA.npz")]
    pub(super) data: PathBuf,
    /// Outputs of another runtime, to be compared with instead of tract's
    #[arg(long, value_name = "OUTPUTS.npz")]
    pub(super) expected: Option<PathBuf>,
    /// Compare the exact meaning of the model, instead of the plan, with the other runtime
    #[arg(long)]
    pub(super) exact: bool,
    /// Compare this many samples only
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Exit with status 1 if any two agree on the class of fewer samples
    #[arg(long, value_name = "PERCENT")]
    pub(super) min_agreement: Option<f64>,
    /// Print a heq-compare/1 document
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc ops --json")]
pub(super) struct OpsArguments {
    /// Print a heq-ops/1 document
    #[arg(long)]
    pub(super) json: bool,
    /// Print docs/onnx-support.md
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc simulate plan.heq --input digit.png --output logits.npy")]
pub(super) struct SimulateArguments {
    /// The plan
    pub(super) plan: PathBuf,
    /// The server's weights (default: PLAN.server.heq beside the plan)
    #[arg(long, value_name = "PLAN.server.heq")]
    pub(super) weights: Option<PathBuf>,
    /// Samples: .npy, .npz, PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub(super) input: PathBuf,
    /// Where to write the outputs: values as float32, or the indices that the plan reveals as int64
    #[arg(long, value_name = "FILE.npy")]
    pub(super) output: Option<PathBuf>,
    /// Evaluate this many samples only
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Branches {
    Auto,
    Keep,
    Elide,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Layout {
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AccBits {
    WorstCase,
    WeightAware,
    Calibrated,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum PackingArgument {
    Auto,
    WithinChannel,
    CrossChannel,
    None,
}

impl From<PackingArgument> for PackingRule {
    fn from(packing: PackingArgument) -> Self {
        match packing {
            PackingArgument::Auto => Self::Auto,
            PackingArgument::WithinChannel => Self::WithinChannel,
            PackingArgument::CrossChannel => Self::CrossChannel,
            PackingArgument::None => Self::None,
        }
    }
}

fn parse_budget(text: &str) -> Result<u32, String> {
    let budget = text.strip_prefix("2^-").and_then(|exponent| exponent.parse().ok());
    budget
        .filter(|&budget: &u32| (STATISTICAL_SECURITY_BITS..10_000).contains(&budget))
        .ok_or_else(|| "give 2^-K with K at least 40".to_owned())
}

fn parse_ot(text: &str) -> Result<OtRule, String> {
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (name, Some(number.parse().map_err(|_| OT_FORMS)?)),
        None => (text, None),
    };
    let extension = match (name, number) {
        ("auto", None) => return Ok(OtRule::Auto),
        ("softspoken", bits) => OtExtension::SoftSpoken { field_bits: bits.unwrap_or(4) },
        ("silent", rows) => OtExtension::Silent { log_rows: rows.unwrap_or(20) },
        _ => return Err(OT_FORMS.to_owned()),
    };
    if extension.is_supported() { Ok(OtRule::Fixed(extension)) } else { Err(OT_FORMS.to_owned()) }
}

const OT_FORMS: &str =
    "give auto, softspoken with 1, 2, 4 or 8 as in softspoken:4, or silent with 18 to 22";

fn parse_rounding(text: &str) -> Result<AccRounding, String> {
    if text == "exact" {
        return Ok(AccRounding::Exact);
    }
    let bound = text.strip_prefix("within:2^-").and_then(|exponent| exponent.parse().ok());
    let bound = bound.filter(|bound| BOUNDS_LOG2.contains(bound));
    bound
        .map(|bound_log2| AccRounding::Within { bound_log2 })
        .ok_or_else(|| "give exact, or within:2^-K with K from 4 to 40".to_owned())
}

fn parse_margin(text: &str) -> Result<u32, String> {
    let margin = text.parse().ok().filter(|&margin: &u32| margin <= MAX_MARGIN_BITS);
    margin.ok_or_else(|| format!("give a number of bits from 0 to {MAX_MARGIN_BITS}"))
}

fn parse_multiplier(text: &str) -> Result<MultiplierBits, String> {
    match text {
        "auto" => Ok(MultiplierBits::Auto),
        number => number
            .parse()
            .map(MultiplierBits::Fixed)
            .map_err(|_| "give auto or a number of bits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_named_with_their_number_or_without() {
        let softspoken = |field_bits| OtRule::Fixed(OtExtension::SoftSpoken { field_bits });
        let silent = |log_rows| OtRule::Fixed(OtExtension::Silent { log_rows });
        for (text, expected) in [
            ("auto", OtRule::Auto),
            ("softspoken", softspoken(4)),
            ("softspoken:8", softspoken(8)),
            ("silent", silent(20)),
            ("silent:18", silent(18)),
        ] {
            assert_eq!(parse_ot(text), Ok(expected), "{text}");
        }
        for text in ["", "auto:1", "softspoken:3", "softspoken:", "silent:17", "silent:x", "iknp"] {
            assert_eq!(parse_ot(text), Err(OT_FORMS.to_owned()), "{text}");
        }
    }
}
