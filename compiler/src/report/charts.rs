//! The charts of a report: bytes and time by layer, predicted against measured, candidates of a step.

use super::Report;
use super::measured::Measurement;
use super::rows::{ByMechanism, Group, groups};
use super::svg::{BarChart, BarRow, ChartWidth, Key, LABEL_CHARS, Point, Scatter, Segment};
use super::units::{bytes, bytes_f64, seconds};
use crate::choices::LayerChoices;
use heq_ir::predict::Bound;
use std::fmt::Write as _;

/// Bytes by what they are for, each with its colour.
const MECHANISMS: [Key; 4] = [
    ("c1", "requests up"),
    ("c2", "responses down"),
    ("c3", "steps on bits"),
    ("c4", "random OTs, pro rata"),
];

/// What time is bound by, each with its colour.
const BOUNDS: [(Bound, Key); 6] = [
    (Bound::ClientCpu, ("c1", "client CPU")),
    (Bound::ServerCpu, ("c2", "server CPU")),
    (Bound::Bandwidth, ("c3", "bandwidth")),
    (Bound::Latency, ("c5", "latency")),
    (Bound::RandomOts, ("c4", "random OTs")),
    (Bound::Nothing, ("c6", "not told")),
];

/// Width of a chart that is a file of its own, in pixels.
const FILE_WIDTH: u32 = 960;

impl Report<'_> {
    /// Bytes by layer, and by what they are for.
    pub(super) fn bytes_chart(&self) -> BarChart {
        let row = |group: &Group<'_>| {
            let mut sum = ByMechanism::default();
            group.rows.iter().for_each(|&at| sum += self.rows[at].bytes);
            let parts = [sum.requests, sum.responses, sum.bits(), sum.rots()];
            let segment = |(value, (class, what)): (u64, Key)| Segment {
                class,
                value: value as f64,
                title: format!("{}: {what}, {value} bytes", group.name),
            };
            BarRow {
                label: group.label(LABEL_CHARS),
                bars: vec![parts.into_iter().zip(MECHANISMS).map(segment).collect()],
                value: bytes(sum.total()),
            }
        };
        BarChart {
            title: "Bytes of an inference by layer".to_owned(),
            keys: MECHANISMS.to_vec(),
            rows: groups(&self.rows).iter().map(row).collect(),
            tick: bytes_f64,
        }
    }

    /// Predicted time by layer, and by what its steps are bound by.
    pub(super) fn time_chart(&self) -> BarChart {
        let mut keys: Vec<Key> = Vec::new();
        let mut row = |group: &Group<'_>| {
            let wall = |at: &usize| self.rows[*at].time.wall_s;
            let mut parts = Vec::new();
            for (bound, (class, what)) in BOUNDS {
                let bound_by = |at: &&usize| self.rows[**at].time.bound == bound;
                let value: f64 = group.rows.iter().filter(bound_by).map(wall).sum();
                if value > 0.0 {
                    let title = format!("{}: bound by {what}, {}", group.name, seconds(value));
                    parts.push(Segment { class, value, title });
                    if !keys.contains(&(class, what)) {
                        keys.push((class, what));
                    }
                }
            }
            BarRow {
                label: group.label(LABEL_CHARS),
                bars: vec![parts],
                value: seconds(group.rows.iter().map(wall).sum()),
            }
        };
        let rows = groups(&self.rows).iter().map(&mut row).collect();
        let title = "Predicted time by layer".to_owned();
        BarChart { title, keys, rows, tick: seconds }
    }

    /// Predicted against measured time by layer.
    pub(super) fn measured_chart(&self, measured: &Measurement) -> BarChart {
        let (steps, _) = self.comparisons(measured);
        let row = |group: &Group<'_>| {
            let steps = || group.rows.iter().filter_map(|&at| steps.get(at));
            let times = [
                ("c1", "predicted", steps().map(|step| step.predicted_s).sum::<f64>()),
                ("c5", "measured", steps().map(|step| step.measured_s).sum()),
            ];
            let bar = |(class, what, value): (&'static str, &str, f64)| {
                let title = format!("{}: {what} {}", group.name, seconds(value));
                vec![Segment { class, value, title }]
            };
            BarRow {
                label: group.label(LABEL_CHARS),
                bars: times.map(bar).into(),
                value: seconds(times[1].2),
            }
        };
        BarChart {
            title: "Predicted and measured time by layer".to_owned(),
            keys: vec![("c1", "predicted"), ("c5", "measured")],
            rows: groups(&self.rows).iter().map(row).collect(),
            tick: seconds,
        }
    }

    /// The candidates of a step, by bytes and time.
    pub(super) fn candidates_chart(&self, choices: &LayerChoices) -> Scatter {
        let point = |candidate: &crate::choices::CandidateChoice| {
            let all = self.candidate_bytes(candidate);
            let time = seconds(candidate.path_us / 1e6);
            let state = if candidate.chosen { "chosen: " } else { "" };
            Point {
                x: all as f64,
                y: candidate.path_us / 1e6,
                is_chosen: candidate.chosen,
                title: format!("{state}{}: {}, {time}", candidate.label, bytes(all)),
            }
        };
        Scatter {
            title: format!("Candidates of step {} by bytes and time", choices.step + 1),
            points: choices.candidates.iter().map(point).collect(),
            x_name: "bytes, random OTs pro rata included",
            y_name: "time",
            x_tick: bytes_f64,
            y_tick: seconds,
        }
    }

    /// The charts of layers as one SVG file.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let width = ChartWidth::Fixed(FILE_WIDTH);
        let mut charts = vec![self.bytes_chart(), self.time_chart()];
        charts.extend(self.options.measured.map(|measured| self.measured_chart(measured)));
        let (mut body, mut y) = (String::new(), 0_usize);
        for chart in charts {
            // Writing to a string cannot fail.
            let _ = write!(
                body,
                "<text class=\"head\" x=\"20\" y=\"{}\">{}</text><g transform=\"translate(20 {})\">{}</g>",
                y + 30,
                chart.title,
                y + 44,
                chart.draw(width)
            );
            y += 44 + chart.height() as usize + 16;
        }
        let (full, style) = (FILE_WIDTH + 40, super::html::chart_style());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" height=\"{y}\" \
             viewBox=\"0 0 {full} {y}\"><style>{style}</style>\
             <rect class=\"page\" width=\"100%\" height=\"100%\"/>{body}</svg>\n"
        )
    }
}
