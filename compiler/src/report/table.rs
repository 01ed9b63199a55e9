//! The report as text for people: assumptions first, then a row a step, totals, what the client is
//! told, advice.

use super::grid::{Align, Grid, paragraph};
use super::prepared::sum;
use super::rows::{Row, shared_text, short_bits, short_step};
use super::units::{bytes, count, percent, seconds, share, some_bytes};
use super::{Report, assumptions};
use heq_ir::diagnostic::printable;
use heq_ir::plan::cost::PartCost;
use heq_ir::predict::{Bound, PartPrediction};
use heq_ir::traffic::RotSender;

/// Where paragraphs begin.
const INDENT: usize = 13;

/// Columns of the table, all of which fit; the name gives way.
const COLUMNS: [(&str, Align); 11] = [
    ("#", Align::Right),
    ("layer", Align::Left),
    ("step", Align::Left),
    ("bits", Align::Left),
    ("up", Align::Right),
    ("down", Align::Right),
    ("OTs", Align::Right),
    ("fl", Align::Right),
    ("time", Align::Right),
    ("bound", Align::Left),
    ("%", Align::Right),
];

/// What the short words mean.
const LEGEND: &str = "conv and matmul: N/log2 q, * several elements a coefficient, + merged responses; \
                      OTs: bytes of random OTs both ways, pro rata; fl: flights; %: share of the bytes";

/// The column that gives way.
const NAME: usize = 1;

/// What a step is bound by, in a word that fits.
pub(super) fn bound_word(bound: Bound) -> &'static str {
    match bound {
        Bound::Bandwidth => "link",
        Bound::Latency => "RTT",
        Bound::RandomOts => "OTs",
        Bound::Nothing | Bound::ClientCpu | Bound::ServerCpu => bound.name(),
    }
}

impl Report<'_> {
    /// The report as text.
    #[must_use]
    pub fn to_table(&self) -> String {
        let mut text = self.head();
        text.push_str(&self.steps());
        self.finish(text)
    }

    /// The report as text, with every column and as wide as they are.
    #[must_use]
    pub fn to_wide_table(&self) -> String {
        let mut text = self.head();
        text.push_str(&self.all_columns());
        self.finish(text)
    }

    fn head(&self) -> String {
        let paragraphs = self.assumptions();
        let lines =
            paragraphs.iter().map(|(label, text)| paragraph(label, &printable(text), INDENT));
        lines.collect::<String>() + "\n"
    }

    fn finish(&self, mut text: String) -> String {
        text.push('\n');
        text.push_str(&self.totals());
        text.push_str(&self.keys());
        if let Some(measured) = self.options.measured {
            text.push('\n');
            text.push_str(&self.measured_table(measured));
        }
        text.push_str("\nWhat the plan tells the client\n");
        for (label, told) in self.disclosure() {
            text.push_str(&paragraph(&format!("  {label}"), &printable(&told), INDENT));
        }
        text.push('\n');
        text.push_str(&self.advice());
        text
    }

    fn steps(&self) -> String {
        let mut grid = Grid::new(&COLUMNS);
        let whole = self.bytes().total() as f64;
        let mut last = None;
        for at in self.order() {
            let row = &self.rows[at];
            if row.is_local() {
                continue;
            }
            // The steps of a node follow each other: its name stands at the first.
            let name = row.layer.name.as_str();
            let shown = if last == Some(name) { String::new() } else { printable(name) };
            last = Some(name);
            grid.row([
                (row.index + 1).to_string(),
                shown,
                short_step(row),
                short_bits(row),
                bytes(row.cost.bytes_up),
                bytes(row.cost.bytes_down),
                some_bytes(row.bytes.rots()),
                row.cost.flights.to_string(),
                seconds(row.time.wall_s),
                bound_word(row.time.bound).to_owned(),
                percent(share(row.bytes.total() as f64, whole)).replace(" %", ""),
            ]);
            if let Some(others) = shared_text(row) {
                grid.note(&printable(&others));
            }
        }
        grid.rule();
        let online = &self.online;
        let cells = [
            "all".to_owned(),
            String::new(),
            String::new(),
            bytes(online.bytes_up),
            bytes(online.bytes_down),
            bytes(self.bytes().rots()),
            online.flights.to_string(),
            seconds(self.prediction.online_s()),
            String::new(),
            "100".to_owned(),
        ];
        grid.row(std::iter::once(String::new()).chain(cells));
        let mut text = grid.render(Some(NAME));
        text.push_str(&paragraph("", LEGEND, 0));
        text.push_str(&self.folded());
        text
    }

    /// Steps that are not shown.
    fn folded(&self) -> String {
        let local: Vec<&Row<'_>> = self.rows.iter().filter(|row| row.is_local()).collect();
        if local.is_empty() {
            return String::new();
        }
        let time = local.iter().map(|row| row.time.wall_s).sum();
        let what = count(local.len(), "local step");
        let note = format!(
            "{what} without traffic, {} together, not shown; --wide has all",
            seconds(time)
        );
        paragraph("", &note, 0)
    }

    fn totals(&self) -> String {
        let mut grid = Grid::new(&[
            ("", Align::Left),
            ("up", Align::Right),
            ("down", Align::Right),
            ("both", Align::Right),
            ("flights", Align::Right),
            ("time", Align::Right),
            ("client CPU", Align::Right),
            ("server CPU", Align::Right),
            ("network", Align::Right),
        ]);
        for (what, cost, time) in self.parts().into_iter().chain(self.phases()) {
            grid.row([
                what.to_owned(),
                bytes(cost.bytes_up),
                bytes(cost.bytes_down),
                bytes(cost.bytes()),
                cost.flights.to_string(),
                seconds(time.wall_s),
                seconds(time.client_cpu_s),
                seconds(time.server_cpu_s),
                if time.network_s > 0.0 { seconds(time.network_s) } else { String::new() },
            ]);
        }
        let mut text = grid.render(None);
        if let Some(samples) = self.samples() {
            text.push_str(&paragraph("", &samples, 0));
        }
        text.push_str(&paragraph("", &self.ots(), 0));
        text.push_str(&paragraph("", &self.memory_text(), 0));
        text.push_str(&paragraph("", &self.prepared_text(), 0));
        text
    }

    /// The parts of a session with their cost and time: an inference, its random OTs, the set-up.
    pub(super) fn parts(&self) -> [(&'static str, PartCost, PartPrediction); 3] {
        [
            ("one inference", self.online, sum(&self.prediction)),
            ("its random OTs, beside it", self.cost.correlations, self.prediction.correlations),
            ("set-up, once a session", self.cost.setup, self.prediction.setup),
        ]
    }

    /// What a sample takes, if an inference is of several.
    pub(super) fn samples(&self) -> Option<String> {
        let batch = self.plan.batch() as u64;
        let of_one = |total: u64| bytes(total.div_ceil(batch));
        (batch > 1).then(|| {
            format!(
                "one inference is of {batch} samples, a sample of {}, {} of random OTs and {}",
                of_one(self.online.bytes()),
                of_one(self.cost.correlations.bytes()),
                seconds(self.prediction.online_s() / batch as f64),
            )
        })
    }

    /// How random OTs are made.
    pub(super) fn ots(&self) -> String {
        let (rots, ot) = (self.plan.rots(), self.plan.spec().ot);
        format!(
            "random OTs: {} sent by the server, {} by the client, made by {ot} in {}, {:.2} bytes a row; \
             {} of the set-up",
            rots.server_sends,
            rots.client_sends,
            count(self.ot_messages(), "message"),
            ot.bytes_per_row(),
            bytes(2 * ot.setup_bytes().iter().sum::<u64>()),
        )
    }

    /// Messages that make the random OTs of an inference.
    pub(super) fn ot_messages(&self) -> usize {
        RotSender::ALL.map(|sender| self.plan.rot_chunks(sender).len()).iter().sum()
    }

    /// Peak memory of both parties.
    pub(super) fn memory_text(&self) -> String {
        let (client, server) = (&self.memory.client, &self.memory.server);
        format!(
            "memory at most: client {}, server {}, of which {} and {} are held throughout",
            bytes(client.peak()),
            bytes(server.peak()),
            bytes(client.kept),
            bytes(server.kept),
        )
    }

    /// The keys of the set-up.
    fn keys(&self) -> String {
        let sets = self.plan.rlwe().iter().enumerate();
        sets.map(|(set, params)| {
            let galois_keys = self.plan.galois_spacings(set).len() as u64;
            let merging = match galois_keys {
                0 => String::new(),
                keys => {
                    format!(", {} of {keys} Galois keys", bytes(keys * params.galois_key_bytes()))
                }
            };
            let text = format!(
                "keys of the set-up for N = {}, log2 q = {}: {} to encrypt zeros{merging}",
                params.ring_degree(),
                params.modulus_bits(),
                bytes(params.polynomial_bytes(0)),
            );
            paragraph("", &text, 0)
        })
        .collect()
    }

    fn advice(&self) -> String {
        let Some(choices) = self.choices() else {
            let why = self.options.choices.err().unwrap_or_default();
            return paragraph("advice", &format!("none: {}", printable(why)), INDENT);
        };
        let mut text = String::from("What would save most\n");
        for (index, advice) in choices.advice.iter().take(assumptions::ADVICE).enumerate() {
            let saves = assumptions::advice_text(advice);
            text.push_str(&paragraph(&format!("  {}.", index + 1), &printable(&saves), 5));
        }
        if choices.advice.is_empty() {
            text.push_str("  no change that was tried saves anything\n");
        }
        if let Some(fixed) = self.against_fixed() {
            text.push_str(&paragraph("  -", &printable(&fixed), 5));
        }
        text
    }
}
