//! What a report is made for, and its form.

use crate::choices::Choices;
use crate::report::{Measurement, Report, ReportOptions, SortBy};
use clap::{Args, ValueEnum};
use heq_data::costs::read_costs;
use heq_ir::diagnostic::{Code, Diagnostic, Diagnostics};
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::predict::CostProfile;
use std::path::PathBuf;

/// Threads of each party, if nobody names any.
const DEFAULT_THREADS: usize = 2;

/// Most threads that a prediction is made for.
const MAX_THREADS: usize = 1024;

/// How a plan is reported.
#[derive(Debug, Args)]
pub struct ReportSettings {
    /// How to print it: a table, a heq-report/1 document, a page of its own, or the charts alone
    #[arg(long, value_enum, default_value = "table")]
    format: ReportFormat,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// The table with every column, as wide as they are
    #[arg(long)]
    wide: bool,
    #[command(flatten)]
    situation: SituationSettings,
    /// What `heq-run --stats` wrote: adds what was measured, and the error of the prediction
    #[arg(long, value_name = "STATS.json")]
    measured: Option<PathBuf>,
    /// Why a layer is computed as it is: its candidates, and what decided; a name or a row's number
    #[arg(long, value_name = "LAYER")]
    explain: Option<String>,
    /// Order of the rows
    #[arg(long, value_enum, default_value = "order")]
    sort: SortArgument,
}

/// What times are predicted for.
#[derive(Debug, Args)]
pub struct SituationSettings {
    /// The link between the parties (default: that of the measurement or of the plan's choice, else wan)
    #[arg(long, value_name = "lan|wan|mobile|BANDWIDTH,RTT")]
    network: Option<LinkProfile>,
    /// Times of the machine's primitives, as `heq-run calibrate` measures them
    #[arg(long, value_name = "COSTS.json")]
    profile: Option<PathBuf>,
    /// Threads of each party (default: those of the plan's choice, else 2)
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReportFormat {
    Table,
    Json,
    Html,
    Svg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortArgument {
    Order,
    Bytes,
    Time,
}

impl ReportSettings {
    /// What the named run of `plan` measured, if one is named.
    ///
    /// # Errors
    /// As of [`Measurement::read`].
    pub fn read_measured(&self, plan: &Plan) -> Result<Option<Measurement>, Diagnostic> {
        self.measured.as_deref().map(|path| Measurement::read(path, plan)).transpose()
    }

    /// The cost profile that was named, or the built-in one.
    ///
    /// # Errors
    /// A diagnostic of the file.
    pub fn profile(&self) -> Result<CostProfile, Diagnostic> {
        self.situation.profile()
    }

    /// The report of `plan`, of which `choices` say why it is as it is, or say why nothing does.
    #[must_use]
    pub fn report<'a>(
        &self,
        plan: &'a Plan,
        choices: Result<&'a Choices, &'a str>,
        measured: Option<&'a Measurement>,
        profile: &'a CostProfile,
    ) -> Report<'a> {
        let chosen = choices.ok();
        let options = ReportOptions {
            link: self.situation.link(chosen, measured),
            profile,
            threads: self.situation.threads(chosen),
            is_shared: measured.is_some_and(Measurement::is_local),
            choices,
            measured,
            sort: match self.sort {
                SortArgument::Order => SortBy::Order,
                SortArgument::Bytes => SortBy::Bytes,
                SortArgument::Time => SortBy::Time,
            },
        };
        Report::new(plan, options)
    }

    /// The report in the form that was asked for.
    ///
    /// # Errors
    /// [`Code::BadOption`] for a layer that the plan does not have, or in a form that explains none.
    pub fn render(&self, report: &Report<'_>) -> Result<String, Diagnostics> {
        let format = if self.json { ReportFormat::Json } else { self.format };
        let explain = self.explain.as_deref();
        Ok(match (format, explain) {
            (ReportFormat::Table, Some(layer)) => report.explain(layer)?,
            (ReportFormat::Table, None) if self.wide => report.to_wide_table(),
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
}

impl SituationSettings {
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
    #[must_use]
    pub fn plain(&self) -> (Option<LinkProfile>, usize) {
        (self.link(None, None), self.threads(None))
    }

    /// The cost profile that was named, or the built-in one.
    ///
    /// # Errors
    /// A diagnostic of the file.
    pub fn profile(&self) -> Result<CostProfile, Diagnostic> {
        self.profile.as_deref().map_or_else(|| Ok(CostProfile::default()), read_costs)
    }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
    threads.ok_or_else(|| format!("give a number from 1 to {MAX_THREADS}"))
}
