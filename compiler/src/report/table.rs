//! The report as a table for people: assumptions first, then a row a step, then totals.

use super::{bits, rows};
use comfy_table::{CellAlignment, Table, presets};
use heq_ir::diagnostic::{cell, printable};
use heq_ir::layout::ConvTile;
use heq_ir::params::security::COMPUTATIONAL_SECURITY_BITS;
use heq_ir::plan::Plan;
use heq_ir::plan::cost::PartCost;
use std::fmt::Write as _;

const COLUMNS: [&str; 13] = [
    "#",
    "operator",
    "name",
    "kernel",
    "bits",
    "out",
    "N",
    "log2 q",
    "tile",
    "cts up/down",
    "bytes up",
    "bytes down",
    "flights",
];

/// Columns from this one on are numbers.
const FIRST_NUMBER: usize = 6;

/// The report of a plan.
#[must_use]
pub fn to_table(plan: &Plan) -> String {
    let cost = plan.cost(1);
    let spec = plan.spec();
    let mut text = format!(
        "model {}   plan {}\n\
         input {} {}   output {} of {} values, opened to the client\n\
         accumulators {}   failure and leakage at most 2^-{} an inference   {} bit security\n\
         bytes are on the wire, headers included; up is client to server\n\n",
        printable(&spec.model),
        plan.digest(),
        printable(&spec.input.name),
        spec.input.shape,
        printable(&spec.output_name),
        plan.output_len(),
        spec.acc_strategy,
        spec.error_budget_log2,
        COMPUTATIONAL_SECURITY_BITS,
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(COLUMNS);
    for (index, row) in rows(plan).enumerate() {
        let (degree, modulus, tile, ciphertexts) =
            row.linear.map_or_else(Default::default, |step| {
                let counts = step.layout.counts();
                (
                    step.params.ring_degree().to_string(),
                    step.params.modulus_bits().to_string(),
                    tile(&step.choice.tile),
                    format!("{}/{}", counts.requests(), counts.responses()),
                )
            });
        table.add_row([
            (index + 1).to_string(),
            printable(&row.layer.operator),
            cell(&row.layer.name),
            row.layer.kind.kernel().to_owned(),
            bits(&row),
            row.shape,
            degree,
            modulus,
            tile,
            ciphertexts,
            row.cost.bytes_up.to_string(),
            row.cost.bytes_down.to_string(),
            row.cost.flights.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(FIRST_NUMBER) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    text.push_str(&table.to_string());
    text.push('\n');
    line(&mut text, "one inference", &cost.online());
    line(&mut text, "its random OTs", &cost.correlations);
    line(&mut text, "set-up, once a session", &cost.setup);
    let rots = plan.rots();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "random OTs an inference: {} sent by the server, {} by the client",
        rots.server_sends, rots.client_sends
    );
    text
}

/// A tile as `rows x columns` of outputs, then input channels to kernels, of so many groups.
fn tile(tile: &ConvTile) -> String {
    let [rows, columns] = tile.output;
    let groups = if tile.groups > 1 { format!(" *{}", tile.groups) } else { String::new() };
    format!("{rows}x{columns} {}>{}{groups}", tile.in_channels, tile.out_channels)
}

fn line(text: &mut String, what: &str, cost: &PartCost) {
    let _ = writeln!(
        text,
        "{what:<22} {:>10} bytes up  {:>10} down  {:>10} in all  {:>4} flights",
        cost.bytes_up,
        cost.bytes_down,
        cost.bytes(),
        cost.flights,
    );
}
