//! What users decide, as they say it: options of the program `heqc`, and keywords in Python.
//!
//! There is one reader of both, so that the same words mean the same and are refused in the same way.

mod planner;
mod report;

pub use planner::PlannerSettings;
pub use report::{ReportSettings, SituationSettings};

use crate::compile::{Comparisons, CompileOptions};
use crate::kernel::packing::PackingRule;
use crate::lower::plan::PlanOptions;
use crate::pass::elide_branch_quantizers::BranchQuantizers;
use crate::pass::lower_integer::multiplier::MultiplierBits;
use crate::pipeline::{ExternalData, ImportOptions};
use crate::select::ot::OtRule;
use clap::{Args, ValueEnum};
use heq_data::{Array, read_array};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::integer::InputLayout;
use heq_ir::params::security::STATISTICAL_SECURITY_BITS;
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{AccStrategy, MAX_MARGIN_BITS, OtExtension};
use heq_ir::preparation::InputPreparation;
use heq_ir::rounding::{AccRounding, BOUNDS_LOG2};
use std::path::PathBuf;

/// Margin of calibrated widths in bits, if the user names none.
const DEFAULT_MARGIN_BITS: u32 = 1;

/// How a model is compiled.
#[derive(Debug, Args)]
pub struct CompileSettings {
    /// How accumulator widths are derived; with worst-case the public plan does not depend on
    /// any integer weight or bias, with weight-aware it is cheaper and bounds their norms; with
    /// calibrated it is cheaper still, but sums on data unlike the calibration's may overflow
    #[arg(long, value_enum, default_value = "weight-aware")]
    acc_bits: AccBits,
    /// Samples on which --acc-bits calibrated takes the widths
    #[arg(long, value_name = "DATA.npz")]
    calibration: Option<PathBuf>,
    /// Bits that calibrated widths have beyond what the calibration data took, 0 to 16 (default 1)
    #[arg(long, value_name = "BITS", value_parser = parse_margin)]
    margin: Option<u32>,
    /// How many elements of a linear layer share a coefficient: auto packs where it is cheaper, the
    /// others pack in their way, or not at all, wherever it fits (default: as the preset says)
    #[arg(long, value_enum)]
    packing: Option<PackingArgument>,
    /// How random OTs are made: softspoken takes 128/K - 1 bits each with a field of K = 1, 2, 4 or 8
    /// bits (default 4), silent few bytes in iterations of 2^LOG_ROWS, 18 to 22 (default 20), after a
    /// larger set-up; auto takes the cheapest
    #[arg(long, value_name = "auto|softspoken[:K]|silent[:LOG_ROWS]", default_value = "auto", value_parser = parse_ot)]
    ot: OtRule,
    /// Largest probability of a wrong result or statistical leak an inference: 2^-K, K from 40 to 128
    #[arg(long, value_name = "2^-K", default_value = "2^-40", value_parser = parse_budget)]
    error_budget: u32,
    /// Whether results may differ from the exact ones: within:2^-K drops low bits of accumulators
    /// early, which takes fewer bytes; an element before an activation is then one step off with
    /// probability up to 2^-K (K from 4 to 40), at random
    #[arg(long, value_name = "exact|within:2^-K", default_value = "exact", value_parser = parse_rounding)]
    rounding: AccRounding,
    /// What of the output is opened to the client: logits are all values, argmax the index of the
    /// largest, top-K the indices of the K largest in order, and no value
    #[arg(long, value_name = "logits|argmax|top-K", default_value = "logits")]
    reveal: Reveal,
    /// Samples that an inference computes at once, 1 to 1024: they share round trips, and polynomials where
    /// planes are small; heq-run fills the last ones up
    #[arg(long, value_name = "SAMPLES", default_value = "1")]
    batch: usize,
    #[command(flatten)]
    planner: PlannerSettings,
    #[command(flatten)]
    import: ImportSettings,
    /// Factor on 8-bit pixels before mean and deviation (default 1/255)
    #[arg(long, value_name = "FACTOR")]
    input_scale: Option<f64>,
    /// Mean of every channel, subtracted from scaled pixels
    #[arg(long, value_name = "MEAN,…", value_delimiter = ',', allow_hyphen_values = true)]
    input_mean: Vec<f64>,
    /// Standard deviation of every channel, by which the difference is divided
    #[arg(long, value_name = "STD,…", value_delimiter = ',')]
    input_std: Vec<f64>,
    /// Do not plan changes to the model, which heqc report shows as advice
    #[arg(long)]
    no_advice: bool,
    /// Plan with every single choice for all layers, too, which heqc report compares the plan with;
    /// takes about as long as a hundred compilations
    #[arg(long)]
    compare_fixed: bool,
}

impl CompileSettings {
    /// The samples that calibrated widths follow, from the file that is named, if one is.
    ///
    /// # Errors
    /// A diagnostic of the file.
    pub fn read_calibration(&self) -> Result<Option<Array>, Diagnostic> {
        let read = |path: &PathBuf| read_array(path, None).map_err(Diagnostic::from);
        self.calibration.as_ref().map(read).transpose()
    }

    /// The options of a compilation, of a model whose data is where `external` says, with the samples of
    /// `calibration`.
    ///
    /// # Errors
    /// [`Code::BadOption`] for settings that contradict each other, and diagnostics of a cost profile.
    pub fn options<'a>(
        &self,
        external: ExternalData<'a>,
        calibration: Option<&'a Array>,
    ) -> Result<CompileOptions<'a>, Diagnostic> {
        let default = InputPreparation::default();
        let scale = self.input_scale.unwrap_or(default.scale());
        let (mean, std) = (self.input_mean.clone(), self.input_std.clone());
        let preparation = InputPreparation::new(scale, mean, std).map_err(|error| {
            let remedy = "give finite numbers, and a deviation above zero";
            Diagnostic::new(Code::BadOption, "input preparation", error.to_string(), remedy)
        })?;
        Ok(CompileOptions {
            import: self.import.options(external),
            plan: PlanOptions {
                acc_strategy: self.acc_strategy(calibration.is_some())?,
                error_budget_log2: self.error_budget,
                ring_bits: self.planner.preset().ring_bits(),
                rounding: self.rounding,
                batch: self.batch,
                reveal: self.reveal,
                preparation,
                ot: self.ot,
                search: self.planner.options(self.packing)?,
            },
            calibration,
        })
    }

    /// What is planned beside the model. Advice is for the network of one sample.
    #[must_use]
    pub fn comparisons(&self) -> Comparisons {
        Comparisons { advice: !self.no_advice && self.batch == 1, fixed: self.compare_fixed }
    }

    /// The strategy, with settings that belong to it and no others.
    fn acc_strategy(&self, has_samples: bool) -> Result<AccStrategy, Diagnostic> {
        let refuse = |option: &str, what: &str, remedy: &str| {
            Err(Diagnostic::new(Code::BadOption, option, what, remedy))
        };
        match (self.acc_bits, has_samples, self.margin) {
            (AccBits::Calibrated, true, margin) => {
                let margin_bits = margin.unwrap_or(DEFAULT_MARGIN_BITS);
                Ok(AccStrategy::Calibrated { margin_bits })
            }
            (AccBits::Calibrated, false, _) => refuse(
                "--acc-bits calibrated",
                "widths are calibrated on data, and there is none",
                "add --calibration DATA.npz with typical samples",
            ),
            (_, true, _) => refuse(
                "--calibration",
                "only calibrated widths follow data",
                "add --acc-bits calibrated, or leave the data out",
            ),
            (_, false, Some(_)) => refuse(
                "--margin",
                "only calibrated widths have a margin",
                "add --acc-bits calibrated, or leave the margin out",
            ),
            (AccBits::WeightAware, false, None) => Ok(AccStrategy::WeightAware),
            (AccBits::WorstCase, false, None) => Ok(AccStrategy::WorstCase),
        }
    }
}

/// How a model becomes an integer network.
#[derive(Debug, Args)]
pub struct ImportSettings {
    /// Width of the multipliers that are folded into the weights
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = parse_multiplier)]
    multiplier_bits: MultiplierBits,
    /// Quantizers on the branches of additions: auto leaves out those of 8 bits, which is cheaper
    /// and keeps more precision; keep and elide leave out none and all
    #[arg(long, value_enum, default_value = "auto")]
    branch_quantizers: Branches,
    /// Order of samples in arrays whose shape does not tell (default: as the model was exported)
    #[arg(long, value_enum)]
    input_layout: Option<Layout>,
}

impl ImportSettings {
    /// The options, of a model whose data is where `external` says.
    #[must_use]
    pub fn options<'a>(&self, external: ExternalData<'a>) -> ImportOptions<'a> {
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Branches {
    Auto,
    Keep,
    Elide,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Layout {
    Nchw,
    Nhwc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AccBits {
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
