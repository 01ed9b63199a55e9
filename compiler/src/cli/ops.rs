//! `heqc ops`: the register of the importer, as it is.

use super::args::OpsArguments;
use super::print;
use crate::support;
use heq_ir::diagnostic::Diagnostics;
use std::io::Write;

pub(super) fn run(arguments: &OpsArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let text = match (arguments.json, arguments.markdown) {
        (true, _) => format!("{:#}\n", support::to_json()),
        (false, true) => support::to_markdown(),
        (false, false) => support::to_table(),
    };
    print(out, &text)
}
