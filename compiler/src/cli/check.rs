//! `heqc check`: what a model is made of, without a plan.

use super::args::CheckArguments;
use super::{print, print_notes};
use crate::check::check;
use crate::model::Model;
use heq_ir::diagnostic::Diagnostics;
use std::io::Write;

pub(super) fn run(
    arguments: &CheckArguments,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Diagnostics> {
    let model = Model::read(&arguments.model)?;
    let checked = check(&model.bytes, &model.name, &arguments.import.options(model.external()))?;
    print_notes(&checked.notes, err);
    let text =
        if arguments.json { format!("{:#}\n", checked.to_json()) } else { checked.to_table() };
    print(out, &text)
}
