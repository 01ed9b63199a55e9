//! `heqc report`: what a plan will cost.

use super::print;
use crate::choices::{self, Choices};
use crate::report::CostLimits;
use crate::settings::ReportSettings;
use clap::Args;
use heq_data::parse_size;
use heq_data::plan_files::{read_plan, write_file};
use heq_ir::diagnostic::{Diagnostic, Diagnostics, ExitStatus, printable};
use heq_ir::plan::Plan;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heqc report plan.heq\n  \
                        heqc report plan.heq --format html --output report.html --measured stats.json\n  \
                        heqc report plan.heq --explain /conv1/Conv\n  \
                        heqc report plan.heq --max-bytes 250MB --max-flights 400")]
pub(super) struct ReportArguments {
    /// The plan
    pub(super) plan: PathBuf,
    #[command(flatten)]
    pub(super) settings: ReportSettings,
    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Why the plan is as it is (default: PLAN.choices.json beside the plan)
    #[arg(long, value_name = "FILE")]
    pub(super) choices: Option<PathBuf>,
    /// Exit with status 1 if an inference takes more bytes, both ways and random OTs included
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_bytes: Option<u64>,
    /// Exit with status 1 if an inference takes more flights
    #[arg(long, value_name = "N")]
    pub(super) max_flights: Option<u64>,
    /// Exit with status 1 if an inference is predicted to take more seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(super) max_latency: Option<f64>,
    /// Exit with status 1 if either party is predicted to take more memory
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(super) max_memory: Option<u64>,
}

pub(super) fn run(
    arguments: &ReportArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitStatus, Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let choices = find_choices(arguments, &plan)?;
    let settings = &arguments.settings;
    let measured = settings.read_measured(&plan)?;
    let profile = settings.profile()?;
    let choices = choices.as_ref().map_err(String::as_str);
    let report = settings.report(&plan, choices, measured.as_ref(), &profile);
    let text = settings.render(&report)?;
    match &arguments.output {
        Some(path) => write_file(path, text.as_bytes())?,
        None => print(out, &text)?,
    }
    let broken = report.broken(&CostLimits {
        bytes: arguments.max_bytes,
        flights: arguments.max_flights,
        latency_s: arguments.max_latency,
        memory: arguments.max_memory,
    });
    for sentence in &broken {
        // A log that cannot be written is no fault; the status tells.
        let _ = writeln!(err, "check failed: {}", printable(sentence));
    }
    Ok(if broken.is_empty() { ExitStatus::Done } else { ExitStatus::CheckFailed })
}

/// The document of choices, or why there is none: one that was named must be right, one that lies
/// beside the plan may be missing or of another plan.
fn find_choices(
    arguments: &ReportArguments,
    plan: &Plan,
) -> Result<Result<Choices, String>, Diagnostic> {
    if let Some(path) = &arguments.choices {
        return choices::read(path, plan).map(Ok);
    }
    Ok(choices::read_beside(&arguments.plan, plan))
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "give a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in
            [("0", 0), ("250MB", 250_000_000), ("4 GiB", 4 << 30), ("12kB", 12_000), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for text in ["", "MB", "-1", "1.5MB", "99999999999GB", "1 mb"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for text in ["-1", "NaN", "inf", "x"] {
            assert!(parse_seconds(text).is_err(), "{text}");
        }
    }
}
