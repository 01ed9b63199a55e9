//! What a run cost, predicted against measured, as a table for people.

use crate::session::Mode;
use crate::stats::{Measured, SessionStats};
use comfy_table::{CellAlignment, Table, presets};
use heq_ir::diagnostic::cell;
use heq_ir::plan::Plan;
use heq_ir::plan::cost::PartCost;
use std::io::Write;

/// Prints one row a step and the totals; a log that cannot be written is no fault.
pub(super) fn print(plan: &Plan, stats: &SessionStats, err: &mut dyn Write) {
    let cost = stats.predicted(plan);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "step",
        "kernel",
        "bytes predicted",
        "measured",
        "flights",
        "measured",
        "ms",
    ]);
    for ((layer, cost), measured) in plan.layers().iter().zip(&cost.layers).zip(&stats.layers) {
        table.add_row(row(&cell(&layer.name), layer.kind.kernel(), cost, measured));
    }
    table.add_row(row("all steps", "", &cost.online(), &stats.online()));
    table.add_row(row("random OTs", "", &cost.correlations, &stats.correlations));
    table.add_row(row("set-up", "", &cost.setup, &stats.setup));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = writeln!(err, "{table}\n{}", line(stats));
    if plan.batch() > 1 {
        let _ = writeln!(err, "each inference is of {} samples", plan.batch());
    }
}

fn row(name: &str, kernel: &str, cost: &PartCost, measured: &Measured) -> [String; 7] {
    [
        name.to_owned(),
        kernel.to_owned(),
        cost.bytes().to_string(),
        (measured.bytes_up + measured.bytes_down).to_string(),
        cost.flights.to_string(),
        measured.flights.to_string(),
        format!("{:.1}", measured.wall_s * 1e3),
    ]
}

/// The totals in one line.
pub(super) fn line(stats: &SessionStats) -> String {
    let online = stats.online();
    let milliseconds = |part: &Measured| part.wall_s * 1e3;
    let what = match stats.mode {
        Mode::Whole => "",
        Mode::Prepare => " prepared",
        Mode::Prepared => " that were prepared",
    };
    let store = match stats.mode {
        Mode::Whole => String::new(),
        Mode::Prepare | Mode::Prepared => format!("; store {:.1} ms", stats.store_s * 1e3),
    };
    format!(
        "{} inference(s){what}: {} bytes up, {} down, {} flights, {:.1} ms; random OTs {} bytes, {:.1} \
         ms, waited for {:.1} ms; set-up {} bytes, {:.1} ms{store}",
        stats.inferences,
        online.bytes_up,
        online.bytes_down,
        online.flights,
        milliseconds(&online),
        stats.correlations.bytes_up + stats.correlations.bytes_down,
        milliseconds(&stats.correlations),
        stats.rots.waited_s * 1e3,
        stats.setup.bytes_up + stats.setup.bytes_down,
        milliseconds(&stats.setup),
    )
}
