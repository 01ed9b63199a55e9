//! `heqc diff`: what differs between two plans.

use super::print;
use crate::diff::PlanDiff;
use crate::settings::SituationSettings;
use clap::Args;
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::Diagnostics;
use heq_ir::predict::Situation;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heqc diff before.heq after.heq --network lan")]
pub(super) struct DiffArguments {
    /// The plan that is compared with
    pub(super) a: PathBuf,
    /// The plan whose differences from it are shown
    pub(super) b: PathBuf,
    #[command(flatten)]
    pub(super) situation: SituationSettings,
    /// Print a heq-diff/1 document
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &DiffArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let (a, b) = (read_plan(&arguments.a)?, read_plan(&arguments.b)?);
    let profile = arguments.situation.profile()?;
    let (link, threads) = arguments.situation.plain();
    let situation = Situation { profile: &profile, link, threads, is_shared: false };
    let diff = PlanDiff::new(&a, &b, &situation);
    let text = if arguments.json { format!("{:#}\n", diff.to_json()) } else { diff.to_table() };
    print(out, &text)
}
