//! The sections of the page.

use crate::choices::{FixedChoice, LayerChoices};
use crate::report::explain::excess;
use crate::report::grid::{Align, shorten};
use crate::report::measured::{Comparison, Measurement};
use crate::report::rows::{Row, long_bits, short_bits, short_step};
use crate::report::svg::{ChartWidth, escape};
use crate::report::table::bound_word;
use crate::report::units::{bytes, bytes_change, count, percent, percent_change, seconds, share};
use crate::report::{Report, assumptions, wide};
use std::fmt::Write as _;

/// Candidates of a step that are listed; the chart shows all.
const LISTED: usize = 12;

/// Characters of a name in the table of steps; a pointer over the row shows all.
const NAME_CHARS: usize = 28;

/// Single choices for all layers that are shown at once; the others unfold.
const FIXED: usize = 5;

/// Steps whose candidates are shown at once; the others unfold.
const UNFOLDED: usize = 1;

/// A cell: its class, its text, and the value that it is sorted by.
struct Cell<'a> {
    class: &'static str,
    text: &'a str,
    value: f64,
}

fn cell(html: &mut String, cell: &Cell<'_>) {
    // A long name breaks between its components.
    let text = match cell.class {
        "w" => escape(cell.text).replace('/', "/<wbr>"),
        _ => escape(cell.text),
    };
    // Writing to a string cannot fail.
    let _ = write!(html, "<td class=\"{}\" data-v=\"{}\">{text}</td>", cell.class, cell.value);
}

fn plain_cells<'a>(cells: impl IntoIterator<Item = (&'static str, &'a str)>) -> String {
    let cells = cells.into_iter();
    cells.map(|(class, text)| format!("<td class=\"{class}\">{}</td>", escape(text))).collect()
}

/// Headings of the table of steps with their classes; numbers can be sorted by.
const HEADINGS: [(&str, &str); 16] = [
    ("n", "#"),
    ("w", "layer"),
    ("", "step"),
    ("", "bits"),
    ("n wide", "requests"),
    ("n wide", "responses"),
    ("n", "up"),
    ("n", "down"),
    ("n", "OTs"),
    ("n", "flights"),
    ("n wide", "client"),
    ("n wide", "server"),
    ("n wide", "network"),
    ("n", "time"),
    ("", "bound"),
    ("n", "bytes"),
];

/// Single choices for all layers as rows of a table.
fn fixed_rows(choices: &[FixedChoice]) -> String {
    let row = |fixed: &FixedChoice| {
        format!(
            "<tr><td class=\"w\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escape(&fixed.label),
            seconds(fixed.latency_s),
            bytes(fixed.bytes)
        )
    };
    choices.iter().map(row).collect()
}

/// `text` as the beginning of a sentence.
fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}

impl Report<'_> {
    /// The figures of an inference at a glance.
    pub(super) fn tiles(&self) -> String {
        let (online, memory) = (&self.online, &self.memory);
        let tiles = [
            (bytes(online.bytes_up), "up: client to server"),
            (bytes(online.bytes_down), "down: server to client"),
            (bytes(self.cost.correlations.bytes()), "random OTs, both ways"),
            (online.flights.to_string(), "flights"),
            (seconds(self.prediction.online_s()), "predicted time"),
            (bytes(memory.client.peak()), "memory of the client"),
            (bytes(memory.server.peak()), "memory of the server"),
        ];
        let tile = |(figure, what): (String, &str)| {
            format!("<div class=\"card tile\"><b>{figure}</b><span>{what}</span></div>\n")
        };
        format!(
            "<div class=\"tiles\">\n{}</div>\n<p class=\"soft\">One inference; set-up is below.</p>\n",
            tiles.map(tile).concat()
        )
    }

    /// The table of steps, and one with every column.
    pub(super) fn steps_section(&self) -> String {
        let mut html = format!(
            "<p class=\"soft\">Steps {}; docs/report.md defines the columns. \"bytes\" is the share of all \
             bytes.</p>\n<table>\n<thead><tr>",
            self.order_note()
        );
        for (class, name) in HEADINGS {
            let sort = if class.starts_with('n') { " data-sort=\"\"" } else { "" };
            let _ = write!(html, "<th class=\"{class}\"{sort}>{name}</th>");
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for at in self.order() {
            html.push_str(&self.step_row(&self.rows[at]));
        }
        html.push_str("</tbody>\n<tfoot><tr>");
        let (sum, online) = (self.bytes(), &self.online);
        let [(.., time), ..] = self.parts();
        let foot = [
            String::new(),
            "all".to_owned(),
            String::new(),
            String::new(),
            bytes(sum.requests),
            bytes(sum.responses),
            bytes(online.bytes_up),
            bytes(online.bytes_down),
            bytes(sum.rots()),
            online.flights.to_string(),
            seconds(time.client_cpu_s),
            seconds(time.server_cpu_s),
            seconds(time.network_s),
            seconds(time.wall_s),
            String::new(),
            "100 %".to_owned(),
        ];
        let classes = HEADINGS.iter().map(|(class, _)| *class);
        html.push_str(&plain_cells(classes.zip(foot.iter().map(String::as_str))));
        html.push_str("</tr></tfoot>\n</table>\n");
        html.push_str(
            "<details><summary>Every column</summary>\n<div class=\"scroll\"><table>\n<thead><tr>",
        );
        for (name, align) in wide::COLUMNS {
            let class = if align == Align::Right { "n" } else { "" };
            let _ = write!(html, "<th class=\"{class}\">{name}</th>");
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for at in self.order() {
            let cells = self.wide_cells(&self.rows[at]);
            let classes =
                wide::COLUMNS.map(|(_, align)| if align == Align::Right { "n" } else { "" });
            let cells = plain_cells(classes.into_iter().zip(cells.iter().map(String::as_str)));
            let _ = writeln!(html, "<tr>{cells}</tr>");
        }
        html + "</tbody>\n</table></div></details>\n"
    }

    fn step_row(&self, row: &Row<'_>) -> String {
        let whole = self.bytes().total() as f64;
        let part = share(row.bytes.total() as f64, whole);
        let (sum, time) = (&row.bytes, &row.time);
        let amount = |number: u64| (bytes(number), number as f64);
        let duration = |time: f64| (seconds(time), time);
        let text = |text: String| (text, 0.0);
        let cells: [(String, f64); HEADINGS.len()] = [
            ((row.index + 1).to_string(), row.index as f64 + 1.0),
            text(shorten(&row.layer.name, NAME_CHARS)),
            text(short_step(row)),
            text(short_bits(row)),
            amount(sum.requests),
            amount(sum.responses),
            amount(row.cost.bytes_up),
            amount(row.cost.bytes_down),
            amount(sum.rots()),
            (row.cost.flights.to_string(), row.cost.flights as f64),
            duration(time.client_cpu_s),
            duration(time.server_cpu_s),
            duration(time.network_s),
            duration(time.wall_s),
            text(bound_word(time.bound).to_owned()),
            (percent(part), part),
        ];
        let class = if row.is_local() { " class=\"local\"" } else { "" };
        let (name, operator) = (&row.layer.name, &row.layer.operator);
        let title =
            format!("{name}: {operator} as {}, {}", row.layer.kind.kernel(), long_bits(row));
        let mut html = format!("<tr{class} title=\"{}\">", escape(&title));
        for ((class, _), (text, value)) in HEADINGS.iter().zip(&cells) {
            let shown = if *value == 0.0 && class.starts_with('n') { "" } else { text };
            cell(&mut html, &Cell { class, text: shown, value: *value });
        }
        html + "</tr>\n"
    }

    pub(super) fn measured_section(&self, measured: &Measurement) -> String {
        let (steps, parts) = self.comparisons(measured);
        let exact = steps.iter().chain(&parts[..]).all(Comparison::is_exact);
        let verdict = if exact {
            "Bytes each way and flights of every step equal the predicted ones."
        } else {
            "Bytes or flights differ from the predicted ones, which must not be: report this fault."
        };
        let mut html = format!(
            "<p>{} over link {}. {verdict} Times are of one; the figures at the right are measured.</p>\n",
            count(measured.inferences() as usize, "inference"),
            escape(measured.link_name()),
        );
        html.push_str(&self.measured_chart(measured).draw(ChartWidth::Fluid));
        html.push_str(
            "<table>\n<thead><tr><th></th><th class=\"n\">bytes off by</th><th class=\"n\">predicted</th>\
             <th class=\"n\">measured</th><th class=\"n\">error</th></tr></thead>\n<tbody>\n",
        );
        for ((what, ..), found) in self.parts().iter().zip(&parts) {
            let measured = found.measured.bytes_up().saturating_add(found.measured.bytes_down());
            let cells = [
                bytes_change(found.predicted.bytes(), measured),
                seconds(found.predicted_s),
                seconds(found.measured_s),
                percent_change(found.time_error()),
            ];
            let cells = plain_cells(cells.iter().map(|text| ("n", text.as_str())));
            let _ = writeln!(html, "<tr><td>{what}</td>{cells}</tr>");
        }
        html + "</tbody>\n</table>\n"
    }

    pub(super) fn advice_section(&self) -> String {
        let Some(choices) = self.choices() else {
            let why = self.options.choices.err().unwrap_or_default();
            return format!("<p class=\"soft\">No advice: {}</p>", escape(why));
        };
        let advice = choices.advice.iter().take(assumptions::ADVICE);
        let items: String = advice
            .map(|advice| format!("<li>{}</li>\n", escape(&assumptions::advice_text(advice))))
            .collect();
        let mut html = if items.is_empty() {
            "<p>No change that was tried saves anything.</p>\n".to_owned()
        } else {
            format!("<div class=\"card\"><ol>\n{items}</ol></div>\n")
        };
        if choices.fixed.is_empty() {
            return html;
        }
        if let Some(fixed) = self.against_fixed() {
            let _ = writeln!(html, "<p>{}.</p>", escape(&capitalized(&fixed)));
        }
        html.push_str(
            "<p>The same model with one choice for all of its layers, on the network that the plan was \
             chosen for:</p>\n<table>\n<thead><tr>\
             <th>choice</th><th class=\"n\">time</th><th class=\"n\">bytes</th></tr></thead>\n<tbody>\n",
        );
        if self.is_as_chosen() {
            let _ = writeln!(
                html,
                "<tr class=\"chosen\"><td>this plan</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                seconds(self.prediction.online_s()),
                bytes(self.inference_bytes())
            );
        }
        let (first, others) = choices.fixed.split_at(choices.fixed.len().min(FIXED));
        html.push_str(&fixed_rows(first));
        html.push_str("</tbody>\n</table>\n");
        if !others.is_empty() {
            let _ = writeln!(
                html,
                "<details><summary>{}</summary>\n<table>\n<tbody>\n{}</tbody>\n</table></details>",
                count(others.len(), "slower choice"),
                fixed_rows(others)
            );
        }
        html
    }

    pub(super) fn session_section(&self) -> String {
        let mut html = String::from(
            "<table>\n<thead><tr><th></th><th class=\"n\">up</th><th class=\"n\">down</th>\
             <th class=\"n\">flights</th><th class=\"n\">time</th><th class=\"n\">client CPU</th>\
             <th class=\"n\">server CPU</th></tr></thead>\n<tbody>\n",
        );
        for (what, cost, time) in self.parts().into_iter().chain(self.phases()) {
            let cells = [
                bytes(cost.bytes_up),
                bytes(cost.bytes_down),
                cost.flights.to_string(),
                seconds(time.wall_s),
                seconds(time.client_cpu_s),
                seconds(time.server_cpu_s),
            ];
            let cells = plain_cells(cells.iter().map(|text| ("n", text.as_str())));
            let _ = writeln!(html, "<tr><td>{what}</td>{cells}</tr>");
        }
        html.push_str("</tbody>\n</table>\n");
        if let Some(samples) = self.samples() {
            let _ = writeln!(html, "<p>{}</p>", escape(&samples));
        }
        let _ = write!(
            html,
            "<p>{}</p>\n<p>{}</p>\n<p>{}</p>\n",
            escape(&self.ots()),
            escape(&self.memory_text()),
            escape(&self.prepared_text())
        );
        html
    }

    /// For each step that had a choice its candidates, the steps that take longest unfolded.
    pub(super) fn candidates_section(&self) -> String {
        let Some(choices) = self.choices() else {
            let why = self.options.choices.err().unwrap_or_default();
            return format!("<p class=\"soft\">Not known: {}</p>", escape(why));
        };
        let with_choice = || choices.layers.iter().filter(|layer| layer.candidates.len() > 1);
        let mut by_time: Vec<&LayerChoices> = with_choice().collect();
        let wall =
            |layer: &LayerChoices| self.rows.get(layer.step).map_or(0.0, |row| row.time.wall_s);
        by_time.sort_by(|a, b| wall(b).total_cmp(&wall(a)));
        let unfolded: Vec<usize> = by_time.iter().take(UNFOLDED).map(|layer| layer.step).collect();
        let mut html = String::from(
            "<p class=\"soft\">What each step could have been. A point is a candidate that no other one \
             beats in everything; the red one is in the plan.</p>\n",
        );
        for layer in with_choice() {
            html.push_str(&self.candidates(layer, unfolded.contains(&layer.step)));
        }
        html
    }

    fn candidates(&self, layer: &LayerChoices, is_open: bool) -> String {
        let Some(row) = self.rows.get(layer.step) else { return String::new() };
        let unit = self.choices().map_or("", |choices| choices.solver.unit.as_str());
        let mut html = format!(
            "<details{}><summary><b>{}</b> {} <span class=\"soft\">{}: {} of {}</span></summary>\n",
            if is_open { " open" } else { "" },
            layer.step + 1,
            escape(&row.layer.name),
            escape(&short_step(row)),
            layer.candidates.len(),
            count(layer.considered.max(layer.candidates.len()), "candidate"),
        );
        html.push_str(&self.candidates_chart(layer).draw(ChartWidth::Fluid));
        html.push_str(
            "<table>\n<thead><tr><th>candidate</th><th class=\"n\">bytes</th><th class=\"n\">flights</th>\
             <th class=\"n\">time</th><th class=\"n\">worse by</th></tr></thead>\n<tbody>\n",
        );
        for candidate in layer.candidates.iter().take(LISTED) {
            let class = if candidate.chosen { " class=\"chosen\"" } else { "" };
            let label = escape(&candidate.label);
            let cells = [
                bytes(self.candidate_bytes(candidate)),
                candidate.flights.to_string(),
                seconds(candidate.path_us / 1e6),
                excess(candidate, unit),
            ];
            let cells = plain_cells(cells.iter().map(|text| ("n", text.as_str())));
            let why = match escape(&candidate.why_not) {
                why if why.is_empty() => String::new(),
                why => format!("<br><span class=\"soft\">{why}</span>"),
            };
            let _ = writeln!(html, "<tr{class}><td class=\"w\">{label}{why}</td>{cells}</tr>");
        }
        html.push_str("</tbody>\n</table>\n");
        if layer.candidates.len() > LISTED {
            let more = count(layer.candidates.len() - LISTED, "more candidate");
            let _ = writeln!(
                html,
                "<p class=\"soft\">and {more}, see --explain {}</p>",
                layer.step + 1
            );
        }
        for rejection in &layer.rejected {
            let (what, why) = (escape(&rejection.what), escape(&rejection.why));
            let _ = writeln!(html, "<p><b>{what}</b> <span class=\"soft\">{why}</span></p>");
        }
        html + "</details>\n"
    }
}
