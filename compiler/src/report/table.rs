//! The report as a table for people: assumptions first, then a row a step, then totals.

use super::{bits, rows};
use comfy_table::{CellAlignment, Table, presets};
use heq_ir::diagnostic::{cell, printable};
use heq_ir::layout::{ConvTile, GroupPlacement};
use heq_ir::params::security::COMPUTATIONAL_SECURITY_BITS;
use heq_ir::params::{KeySwitchSpec, RlweParams};
use heq_ir::plan::cost::{LinearOperations, PartCost};
use heq_ir::plan::reveal::Reveal;
use heq_ir::plan::{AccStrategy, LinearStep, Plan};
use heq_ir::rounding::AccRounding;
use std::fmt::Write as _;

const COLUMNS: [&str; 16] = [
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
    "drop",
    "NTTs",
    "switches",
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
         input {} {}   output {}, opened to the client\n\
         accumulators {}   failure and leakage at most 2^-{} an inference   {} bit security\n\
         {}{}bytes are on the wire, headers included; up is client to server\n\n",
        printable(&spec.model),
        plan.digest(),
        printable(&spec.input.name),
        spec.input.shape,
        opened(plan),
        spec.acc_strategy,
        spec.error_budget_log2,
        COMPUTATIONAL_SECURITY_BITS,
        calibration(plan),
        rounding(plan),
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(COLUMNS);
    for (index, row) in rows(plan).enumerate() {
        let linear = row.linear.as_ref().map_or_else(Default::default, |step| {
            linear_cells(step, &plan.linear_operations(index).unwrap_or_default())
        });
        let [degree, modulus, tile, ciphertexts, drop, transforms, switches] = linear;
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
            drop,
            transforms,
            switches,
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
    for (set, params) in plan.rlwe().iter().enumerate() {
        let galois_keys = plan.galois_spacings(set).len() as u64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  of it the keys for N = {}, log2 q = {}: {} bytes to encrypt zeros, {} of {galois_keys} \
             Galois keys",
            params.ring_degree(),
            modulus(params),
            params.polynomial_bytes(0),
            galois_keys * params.galois_key_bytes(),
        );
    }
    let rots = plan.rots();
    let _ = writeln!(
        text,
        "random OTs an inference: {} sent by the server, {} by the client, made ahead by {}: {:.2} bytes a \
         row, {} bytes of the set-up",
        rots.server_sends,
        rots.client_sends,
        spec.ot,
        spec.ot.bytes_per_row(),
        2 * spec.ot.setup_bytes().iter().sum::<u64>(),
    );
    text
}

/// What the client learns.
fn opened(plan: &Plan) -> String {
    let values = format!("{} of {} values", printable(&plan.spec().output_name), plan.classes());
    match plan.reveal() {
        Reveal::Logits => values,
        Reveal::Top { k: 1 } => format!("{values}: the index of the largest and no value"),
        Reveal::Top { k } => {
            format!("{values}: the indices of the {k} largest in order and no value")
        }
    }
}

/// What calibrated widths rest on, as a line of its own; nothing of other widths.
fn calibration(plan: &Plan) -> String {
    let spec = plan.spec();
    let (AccStrategy::Calibrated { margin_bits }, Some(calibration)) =
        (spec.acc_strategy, &spec.calibration)
    else {
        return String::new();
    };
    format!(
        "widths are empirical, what {} samples took and --margin {margin_bits}: on other data a sum may \
         overflow, and the result is then wrong without an error; \"free\" is what the samples left\n",
        calibration.samples
    )
}

/// What early rounding may change, as a line of its own; nothing if all is exact.
fn rounding(plan: &Plan) -> String {
    match plan.spec().rounding {
        AccRounding::Exact => String::new(),
        rule @ AccRounding::Within { .. } => format!(
            "rounding {rule}: d low bits of accumulators are dropped early; about {:.1} requantized \
             elements an inference are off by one, fewer where results are clamped\n",
            plan.differing_elements()
        ),
    }
}

/// N, `log2 q`, tile, requests and responses, dropped bits, transforms of both parties without those
/// of weights, key switches.
fn linear_cells(step: &LinearStep<'_>, operations: &LinearOperations) -> [String; 7] {
    let LinearStep { choice, params, layout, .. } = step;
    let counts = layout.counts();
    let (client, server) = (&operations.client, &operations.server);
    [
        params.ring_degree().to_string(),
        modulus(params),
        tile(&choice.tile),
        format!("{}/{}", counts.requests(), counts.responses()),
        format!("{}/{}", choice.request_drop_bits, choice.response_drop_bits),
        (client.transforms + server.transforms).to_string(),
        server.key_switches.to_string(),
    ]
}

/// `log2 q`, and with key switching that of the special prime and the number of digits.
fn modulus(params: &RlweParams) -> String {
    let bits = params.modulus_bits();
    match params.spec().key_switch {
        Some(KeySwitchSpec { special_bits, digits }) => format!("{bits}+{special_bits}:{digits}"),
        None => bits.to_string(),
    }
}

/// A tile as `rows x columns` of outputs, then planes to kernels, of so many groups (`*` beside each
/// other in a slot, `**` apart from each other), and how many leaves a response merges.
fn tile(tile: &ConvTile) -> String {
    let [rows, columns] = tile.output;
    let groups = match (tile.groups, tile.placement) {
        (1, _) => String::new(),
        (groups, GroupPlacement::Dense) => format!(" *{groups}"),
        (groups, GroupPlacement::Spread) => format!(" **{groups}"),
    };
    let merged = if tile.merge_levels > 0 {
        format!(" /{}", 1_u32 << tile.merge_levels)
    } else {
        String::new()
    };
    format!("{rows}x{columns} {}>{}{groups}{merged}", tile.planes, tile.kernels)
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
