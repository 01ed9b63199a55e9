//! `heqc report`: what a plan will cost.

use super::print;
use crate::choices::{self, Choices};
use crate::report::{CostLimits, Measurement, Report, ReportOptions, SortBy};
use clap::{Args, ValueEnum};
use heq_data::costs::read_costs;
use heq_data::parse_size;
use heq_data::plan_files::{read_plan, write_file};
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics, ExitStatus, printable};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::predict::CostProfile;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Threads of each party, if nobody names any.
const DEFAULT_THREADS: usize = 2;

/// Most threads that a prediction is made for.
const MAX_THREADS: usize = 1024;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heqc report plan.heq\n  \
                        heqc report plan.heq --format html --output report.html --measured stats.json\n  \
                        heqc report plan.heq --explain /conv1/Conv\n  \
                        heqc report plan.heq --max-bytes 250MB --max-flights 400")]
pub(super) struct ReportArguments {
    /// The plan
    pub(super) plan: PathBuf,
    /// How to print it: a table, a heq-report/1 document, a page of its own, or the charts alone
    #[arg(long, value_enum, default_value = "table")]
    pub(super) format: ReportFormat,
    /// The same as --format json
    #[arg(long)]
    pub(super) json: bool,
    /// The table with every column, as wide as they are
    #[arg(long)]
    pub(super) wide: bool,
    /// Write to this file instead
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) situation: SituationArguments,
    /// What `heq-run --stats` wrote: adds what was measured, and the error of the prediction
    #[arg(long, value_name = "STATS.json")]
    pub(super) measured: Option<PathBuf>,
    /// Why a layer is computed as it is: its candidates, and what decided; a name or a row's number
    #[arg(long, value_name = "LAYER")]
    pub(super) explain: Option<String>,
    /// Why the plan is as it is (default: PLAN.choices.json beside the plan)
    #[arg(long, value_name = "FILE")]
    pub(super) choices: Option<PathBuf>,
    /// Order of the rows
    #[arg(long, value_enum, default_value = "order")]
    pub(super) sort: SortArgument,
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

/// What times are predicted for.
#[derive(Debug, Args)]
pub(super) struct SituationArguments {
    /// The link between the parties (default: that of the measurement or of the plan's choice, else wan)
    #[arg(long, value_name = "lan|wan|mobile|BANDWIDTH,RTT")]
    pub(super) network: Option<LinkProfile>,
    /// Times of the machine's primitives, as `heq-run calibrate` measures them
    #[arg(long, value_name = "COSTS.json")]
    pub(super) profile: Option<PathBuf>,
    /// Threads of each party (default: those of the plan's choice, else 2)
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub(super) threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    Table,
    Json,
    Html,
    Svg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SortArgument {
    Order,
    Bytes,
    Time,
}

pub(super) fn run(
    arguments: &ReportArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<ExitStatus, Diagnostics> {
    let plan = read_plan(&arguments.plan)?;
    let choices = find_choices(arguments, &plan)?;
    let measured = arguments.measured.as_deref();
    let measured = measured.map(|path| Measurement::read(path, &plan)).transpose()?;
    let profile = arguments.situation.profile()?;
    let chosen = choices.as_ref().ok();
    let report = Report::new(
        &plan,
        ReportOptions {
            link: arguments.situation.link(chosen, measured.as_ref()),
            profile: &profile,
            threads: arguments.situation.threads(chosen),
            is_shared: measured.as_ref().is_some_and(Measurement::is_local),
            choices: choices.as_ref().map_err(String::as_str),
            measured: measured.as_ref(),
            sort: match arguments.sort {
                SortArgument::Order => SortBy::Order,
                SortArgument::Bytes => SortBy::Bytes,
                SortArgument::Time => SortBy::Time,
            },
        },
    );
    let text = render(arguments, &report)?;
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

fn render(arguments: &ReportArguments, report: &Report<'_>) -> Result<String, Diagnostics> {
    let format = if arguments.json { ReportFormat::Json } else { arguments.format };
    let explain = arguments.explain.as_deref();
    Ok(match (format, explain) {
        (ReportFormat::Table, Some(layer)) => report.explain(layer)?,
        (ReportFormat::Table, None) if arguments.wide => report.to_wide_table(),
        (ReportFormat::Table, None) => report.to_table(),
        (ReportFormat::Json, explain) => {
            let mut document = report.to_json();
            if let Some(layer) = explain {
                document["explain"] = report.explain_json(layer)?;
            }
            format!("{document:#}\n")
        }
        (ReportFormat::Html | ReportFormat::Svg, Some(_)) => {
            let what = "explains a layer as a table or as JSON";
            let remedy = "leave it out: the page has the candidates of every layer";
            return Err(Diagnostic::new(Code::BadOption, "--explain", what, remedy).into());
        }
        (ReportFormat::Html, None) => report.to_html(),
        (ReportFormat::Svg, None) => report.to_svg(),
    })
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
    let path = choices::default_path(&arguments.plan);
    if !path.exists() {
        return Ok(Err(format!("there is no {} beside the plan", file_name(&path))));
    }
    let found = choices::read(&path, plan);
    Ok(found.map_err(|error| format!("{} beside the plan {}", file_name(&path), error.what)))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

impl SituationArguments {
    /// The link: the one that was named, that of the run, that of the choice, or wan.
    fn link(
        &self,
        choices: Option<&Choices>,
        measured: Option<&Measurement>,
    ) -> Option<LinkProfile> {
        let of_choice = || choices.and_then(|choices| choices.assumptions.network.parse().ok());
        match (self.network, measured) {
            (Some(link), _) => Some(link),
            (None, Some(run)) if run.is_local() => run.link(),
            (None, _) => Some(of_choice().unwrap_or(LinkProfile::WAN)),
        }
    }

    fn threads(&self, choices: Option<&Choices>) -> usize {
        let of_choice = choices.map(|choices| choices.assumptions.threads);
        let of_choice = of_choice.filter(|threads| (1..=MAX_THREADS).contains(threads));
        self.threads.or(of_choice).unwrap_or(DEFAULT_THREADS)
    }

    /// Link and threads where no plan's choice and no run says anything.
    pub(super) fn plain(&self) -> (Option<LinkProfile>, usize) {
        (self.link(None, None), self.threads(None))
    }

    /// The cost profile that was named, or the built-in one.
    pub(super) fn profile(&self) -> Result<CostProfile, Diagnostic> {
        self.profile.as_deref().map_or_else(|| Ok(CostProfile::default()), read_costs)
    }
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "give a number of seconds".to_owned())
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
    threads.ok_or_else(|| format!("give a number from 1 to {MAX_THREADS}"))
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
