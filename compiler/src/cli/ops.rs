//! `heqc ops`: the register of the importer, as it is.

use super::args::OpsArguments;
use super::print;
use comfy_table::{Table, presets};
use heq_ir::diagnostic::Diagnostics;
use serde_json::json;
use std::io::Write;

pub(super) fn run(arguments: &OpsArguments, out: &mut dyn Write) -> Result<(), Diagnostics> {
    let entries = heq_onnx::ops::register();
    if arguments.json {
        let operators: Vec<_> = entries
            .map(|entry| {
                json!({"domain": entry.domain, "operator": entry.operator, "forms": entry.forms})
            })
            .collect();
        let document = json!({"schema": "heq-ops/1", "operators": operators});
        return print(out, &format!("{document:#}\n"));
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(["domain", "operator", "forms"]);
    for entry in entries {
        table.add_row([entry.domain, entry.operator, entry.forms]);
    }
    print(out, &format!("{table}\n"))
}
