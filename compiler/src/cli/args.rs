//! The command line of `heqc`.

use super::diff::DiffArguments;
use super::report::ReportArguments;
use crate::settings::{CompileSettings, ImportSettings};
use clap::{Args, Parser, Subcommand};
use heq_data::command_line::{CompletionsArguments, ManArguments};
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
    #[command(flatten)]
    pub(super) settings: CompileSettings,
    /// Print the report as JSON instead of a summary
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc check model.onnx")]
pub(super) struct CheckArguments {
    /// The quantized ONNX model
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) import: ImportSettings,
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
