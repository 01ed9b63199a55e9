//! The table with every column, as wide as they are.

use super::Report;
use super::grid::{Align, Grid};
use super::rows::{Row, long_bits};
use super::units::{bytes, percent, power_of_two, seconds, share};
use heq_ir::diagnostic::{cell, printable};
use heq_ir::layout::{ConvTile, GroupPlacement};
use heq_ir::params::{KeySwitchSpec, RlweParams};
use heq_ir::secure::Packing;

/// Every column, in the words of docs/report.md.
pub(super) const COLUMNS: [(&str, Align); 32] = [
    ("#", Align::Right),
    ("layer", Align::Left),
    ("operator", Align::Left),
    ("kernel", Align::Left),
    ("bits", Align::Left),
    ("out", Align::Left),
    ("N", Align::Right),
    ("log2 q", Align::Right),
    ("packing", Align::Left),
    ("tile", Align::Left),
    ("cts up/down", Align::Right),
    ("drop", Align::Right),
    ("NTTs", Align::Right),
    ("switches", Align::Right),
    ("requests", Align::Right),
    ("responses", Align::Right),
    ("bits up", Align::Right),
    ("bits down", Align::Right),
    ("OTs up", Align::Right),
    ("OTs down", Align::Right),
    ("flights", Align::Right),
    ("client CPU", Align::Right),
    ("server CPU", Align::Right),
    ("network", Align::Right),
    ("time", Align::Right),
    ("bound", Align::Left),
    ("client mem", Align::Right),
    ("server mem", Align::Right),
    ("margin", Align::Right),
    ("failure", Align::Right),
    ("% bytes", Align::Right),
    ("% time", Align::Right),
];

impl Report<'_> {
    /// The table of all steps with every column.
    pub(super) fn all_columns(&self) -> String {
        let mut grid = Grid::new(&COLUMNS);
        for at in self.order() {
            grid.row(self.wide_cells(&self.rows[at]));
        }
        grid.render(None)
    }

    /// The cells of a row, one for each of [`COLUMNS`]; empty where a figure makes no sense.
    pub(super) fn wide_cells(&self, row: &Row<'_>) -> [String; COLUMNS.len()] {
        let [degree, modulus, packing, tile, ciphertexts, drop, transforms, switches] =
            linear_cells(self, row);
        let (whole, online_s) = (self.bytes().total() as f64, self.prediction.online_s());
        let [client_memory, server_memory] = row.memory;
        let exact = |bytes: u64| if bytes == 0 { String::new() } else { bytes.to_string() };
        let held = |memory: u64| if memory == 0 { String::new() } else { bytes(memory) };
        [
            (row.index + 1).to_string(),
            cell(&row.layer.name),
            printable(&row.layer.operator),
            row.layer.kind.kernel().to_owned(),
            long_bits(row),
            row.shape.clone(),
            degree,
            modulus,
            packing,
            tile,
            ciphertexts,
            drop,
            transforms,
            switches,
            exact(row.bytes.requests),
            exact(row.bytes.responses),
            exact(row.bytes.bits_up),
            exact(row.bytes.bits_down),
            exact(row.bytes.rots_up),
            exact(row.bytes.rots_down),
            row.cost.flights.to_string(),
            seconds(row.time.client_cpu_s),
            seconds(row.time.server_cpu_s),
            seconds(row.time.network_s),
            seconds(row.time.wall_s),
            row.time.bound.name().to_owned(),
            held(client_memory),
            held(server_memory),
            row.noise.map_or(String::new(), |noise| format!("{:.2}", noise.margin)),
            row.noise.map_or(String::new(), |noise| power_of_two(noise.failure_log2)),
            percent(share(row.bytes.total() as f64, whole)),
            percent(share(row.time.wall_s, online_s)),
        ]
    }
}

/// N, `log2 q`, packing, tile, requests and responses, dropped bits, transforms of both parties without
/// those of weights, key switches.
fn linear_cells(report: &Report<'_>, row: &Row<'_>) -> [String; 8] {
    let Some(step) = &row.linear else { return Default::default() };
    let counts = step.layout.counts();
    let operations = report.plan.linear_operations(row.index).unwrap_or_default();
    let (client, server) = (&operations.client, &operations.server);
    [
        step.params.ring_degree().to_string(),
        modulus(step.params),
        packing(step.op.packing),
        tile(&step.choice.tile),
        format!("{}/{}", counts.requests(), counts.responses()),
        format!("{}/{}", step.choice.request_drop_bits, step.choice.response_drop_bits),
        (client.transforms + server.transforms).to_string(),
        server.key_switches.to_string(),
    ]
}

/// A packing; nothing if coefficients hold one element.
pub(super) fn packing(packing: Packing) -> String {
    match packing {
        Packing::None => String::new(),
        Packing::WithinChannel { .. } | Packing::CrossChannel { .. } => packing.to_string(),
    }
}

/// `log2 q`, and with key switching that of the special prime and the number of digits.
pub(super) fn modulus(params: &RlweParams) -> String {
    let bits = params.modulus_bits();
    match params.spec().key_switch {
        Some(KeySwitchSpec { special_bits, digits }) => format!("{bits}+{special_bits}:{digits}"),
        None => bits.to_string(),
    }
}

/// A tile as `rows x columns` of outputs, with the samples before them if there are several, then planes to kernels, of so many groups (`*` beside each
/// other in a slot, `**` apart from each other), and how many leaves a response merges.
pub(super) fn tile(tile: &ConvTile) -> String {
    let [rows, columns] = tile.output;
    let samples = if tile.samples > 1 { format!("{}x", tile.samples) } else { String::new() };
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
    format!("{samples}{rows}x{columns} {}>{}{groups}{merged}", tile.planes, tile.kernels)
}
