//! The subcommand `calibrate`.

use super::Output;
use super::args::CalibrateArguments;
use crate::calibrate::calibrate;
use crate::error::RunError;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use heq_data::plan_files::write_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::predict::CostProfile;

/// What the profile says of its origin.
const COMMAND: &str = "heq-run calibrate";

pub(super) fn run(
    arguments: &CalibrateArguments,
    output: &mut Output<'_>,
) -> Result<(), Diagnostic> {
    let threads = arguments.threads.map(|threads| format!(" --threads {threads}"));
    let command = format!("{COMMAND}{}", threads.unwrap_or_default());
    let err = &mut *output.err;
    let progress = |what: &str| drop(writeln!(err, "measuring {what}"));
    let costs = calibrate(&command, progress).map_err(RunError::into_diagnostic)?;
    let text = serde_json::to_string_pretty(&costs).map_err(|error| {
        Diagnostic::new(Code::Internal, "heq-run", error.to_string(), "please report it")
    })?;
    write_file(&arguments.output, format!("{text}\n").as_bytes())?;
    // The table repeats what is in the file.
    let _ = writeln!(output.out, "{}", table(&costs));
    Ok(())
}

fn table(costs: &CostProfile) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["primitive", "microseconds"]);
    let mut row = |name: String, time_us: f64| {
        table.add_row([name, format!("{time_us:.3}")]);
    };
    for ring in &costs.rings {
        let name =
            |what: &str| format!("{what}, N {} log q {}", ring.ring_degree, ring.modulus_bits);
        let of_request = ring.ring_degree as f64 / 1000.0;
        row(name("request"), ring.encrypt_us + of_request * ring.encrypt_coefficient_ns);
        row(name("product"), ring.product_us);
        row(name("response"), ring.respond_us);
        for switch in &ring.key_switches {
            row(name(&format!("key switch of {} digits", switch.digits)), switch.switch_us);
        }
    }
    for extension in &costs.extensions {
        let name = extension.extension;
        row(format!("random OT, {name}, either party"), costs.row_us(extension.extension));
    }
    row("base OTs".to_owned(), costs.base_ots_us[0]);
    row("message".to_owned(), costs.message_us);
    row("waking a thread".to_owned(), costs.wake_us);
    table
}
