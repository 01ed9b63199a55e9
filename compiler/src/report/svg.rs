//! Charts as SVG: bars beside each other by row, and points.
//!
//! A chart is fluid, as wide as its place with text of one size, or of a fixed width. Everything that
//! comes from a file is escaped.

use heq_ir::diagnostic::printable;
use std::fmt::Write as _;

/// How wide a chart is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChartWidth {
    /// As wide as its place.
    Fluid,
    /// So many pixels.
    Fixed(u32),
}

/// A part of a bar.
pub(super) struct Segment {
    /// Class of its colour.
    pub(super) class: &'static str,
    pub(super) value: f64,
    /// What a pointer over it shows.
    pub(super) title: String,
}

/// A row of a bar chart: one bar, or two above each other.
pub(super) struct BarRow {
    pub(super) label: String,
    pub(super) bars: Vec<Vec<Segment>>,
    /// What stands at the right.
    pub(super) value: String,
}

/// A colour and what it stands for.
pub(super) type Key = (&'static str, &'static str);

/// A bar chart.
pub(super) struct BarChart {
    /// What a reader of the page that sees no picture is told.
    pub(super) title: String,
    pub(super) keys: Vec<Key>,
    pub(super) rows: Vec<BarRow>,
    /// Text of a value on the axis.
    pub(super) tick: fn(f64) -> String,
}

/// A point of a scatter chart.
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) is_chosen: bool,
    pub(super) title: String,
}

/// A scatter chart.
pub(super) struct Scatter {
    pub(super) title: String,
    pub(super) points: Vec<Point>,
    pub(super) x_name: &'static str,
    pub(super) y_name: &'static str,
    pub(super) x_tick: fn(f64) -> String,
    pub(super) y_tick: fn(f64) -> String,
}

/// Pixels for labels at the left of bars, and for values at their right.
const LABEL: u32 = 196;
const VALUE: u32 = 86;
/// Characters of a label that fit.
pub(super) const LABEL_CHARS: usize = 26;
/// Pixels of a row, of the legend, and of the axis.
const ROW: u32 = 22;
const LEGEND: u32 = 30;
const AXIS: u32 = 24;
/// Most rows of a chart: more than a plan has steps.
const MAX_ROWS: u32 = 20_000;

/// Text from a file for HTML and SVG, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Ends of ticks from 0 to at most `max`: multiples of 1, 2 or 5 times a power of ten, at most five.
fn ticks(from: f64, to: f64) -> Vec<f64> {
    let span = to - from;
    if !span.is_finite() || span <= 0.0 {
        return vec![];
    }
    let magnitude = 10_f64.powf((span / 4.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    let step = steps.into_iter().find(|step| span / step <= 4.5).unwrap_or(10.0 * magnitude);
    let first = (from / step).ceil();
    let marks = (0..6).map(|index| (first + f64::from(index)) * step);
    marks.filter(|mark| *mark <= to).collect()
}

/// Opens the picture, and in it the plot between `left` and `right` pixels from the edges, `top` from
/// above: lengths that follow are a share of the plot, and what lies outside of it is negative or above
/// 100 %.
fn open(
    title: &str,
    width: ChartWidth,
    height: u32,
    [left, right]: [u32; 2],
    [top, plot]: [u32; 2],
) -> String {
    let title = escape(title);
    let name = format!("role=\"img\" aria-label=\"{title}\"><title>{title}</title>");
    let (root, plot_width) = match width {
        // Of an svg element, percentages count without its padding.
        ChartWidth::Fluid => (
            format!(
                "style=\"width:100%;overflow:visible;padding:0 {right}px 0 {left}px\" height=\"{height}\" {name}"
            ),
            "x=\"0\" width=\"100%\"".to_owned(),
        ),
        ChartWidth::Fixed(pixels) => (
            format!(
                "width=\"{pixels}\" height=\"{height}\" viewBox=\"0 0 {pixels} {height}\" \
                 xmlns=\"http://www.w3.org/2000/svg\" {name}"
            ),
            format!("x=\"{left}\" width=\"{}\"", pixels.saturating_sub(left + right)),
        ),
    };
    format!(
        "<svg class=\"chart\" {root}<svg {plot_width} y=\"{top}\" height=\"{plot}\" overflow=\"visible\">"
    )
}

impl BarChart {
    fn row_count(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(MAX_ROWS).min(MAX_ROWS)
    }

    /// Height of the chart in pixels.
    pub(super) fn height(&self) -> u32 {
        LEGEND + self.row_count() * ROW + AXIS
    }

    /// The chart as an SVG element.
    pub(super) fn draw(&self, width: ChartWidth) -> String {
        let rows = self.row_count();
        let plot = rows * ROW;
        let mut svg =
            open(&self.title, width, self.height(), [LABEL, VALUE], [LEGEND, plot + AXIS]);
        let (mut x, y) = (-i64::from(LABEL), -i64::from(LEGEND));
        for (class, name) in &self.keys {
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"2\"/>\
                 <text x=\"{}\" y=\"{}\">{name}</text>",
                y + 4,
                x + 17,
                y + 14,
            );
            x += 36 + 7 * i64::try_from(name.len()).unwrap_or(0);
        }
        let bar_sum = |bar: &Vec<Segment>| bar.iter().map(|part| part.value).sum::<f64>();
        let sums = self.rows.iter().flat_map(|row| row.bars.iter().map(bar_sum));
        let max = sums.filter(|sum| sum.is_finite()).fold(0.0, f64::max);
        let percent = |value: f64| if max > 0.0 { value / max * 100.0 } else { 0.0 };
        for tick in ticks(0.0, max) {
            let at = percent(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.3}%\" x2=\"{at:.3}%\" y1=\"0\" y2=\"{plot}\"/>\
                 <text class=\"tick\" x=\"{at:.3}%\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                plot + 15,
                (self.tick)(tick)
            );
        }
        for (index, row) in (0..rows).zip(&self.rows) {
            let count = u32::try_from(row.bars.len().clamp(1, 2)).unwrap_or(1);
            let thickness = if count == 1 { 14 } else { 8 };
            for (lane, bar) in (0..count).zip(&row.bars) {
                let y = index * ROW + (ROW - count * thickness) / 2 + lane * thickness;
                let mut start = 0.0;
                for part in bar.iter().filter(|part| part.value > 0.0) {
                    let _ = write!(
                        svg,
                        "<rect class=\"{}\" x=\"{:.3}%\" y=\"{y}\" width=\"{:.3}%\" \
                         height=\"{thickness}\"><title>{}</title></rect>",
                        part.class,
                        percent(start),
                        percent(part.value),
                        escape(&part.title),
                    );
                    start += part.value;
                }
            }
        }
        for (index, row) in (0..rows).zip(&self.rows) {
            let y = index * ROW + 15;
            let label = escape(&super::grid::shorten(&printable(&row.label), LABEL_CHARS));
            let _ = write!(
                svg,
                "<text x=\"-8\" y=\"{y}\" text-anchor=\"end\">{label}<title>{}</title></text>\
                 <text class=\"value\" x=\"100%\" dx=\"{VALUE}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
                escape(&row.label),
                escape(&row.value),
            );
        }
        svg + "</svg></svg>"
    }
}

/// Pixels of a scatter chart: its plot, and what is left, right, above and below it.
const PLOT: u32 = 200;
const SCATTER_LEFT: u32 = 76;
const SCATTER_RIGHT: u32 = 40;
const SCATTER_TOP: u32 = 24;
const SCATTER_BELOW: u32 = 40;

/// Both ends of an axis for `values`, with room around them.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = if high > low { (high - low) * 0.08 } else { (high.abs() * 0.1).max(1e-9) };
    ((low - room).max(0.0), high + room)
}

impl Scatter {
    /// The chart as an SVG element.
    pub(super) fn draw(&self, width: ChartWidth) -> String {
        let height = SCATTER_TOP + PLOT + SCATTER_BELOW;
        let sides = [SCATTER_LEFT, SCATTER_RIGHT];
        let mut svg = open(&self.title, width, height, sides, [SCATTER_TOP, PLOT]);
        let is_finite = |point: &&Point| point.x.is_finite() && point.y.is_finite();
        let points: Vec<&Point> = self.points.iter().filter(is_finite).collect();
        let (x_low, x_high) = extent(points.iter().map(|point| point.x));
        let (y_low, y_high) = extent(points.iter().map(|point| point.y));
        let across = |x: f64| (x - x_low) / (x_high - x_low) * 100.0;
        let down = |y: f64| f64::from(PLOT) * (1.0 - (y - y_low) / (y_high - y_low));
        let _ = write!(svg, "<rect class=\"frame\" width=\"100%\" height=\"{PLOT}\"/>");
        for tick in ticks(x_low, x_high) {
            let at = across(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.3}%\" x2=\"{at:.3}%\" y1=\"0\" y2=\"{PLOT}\"/>\
                 <text class=\"tick\" x=\"{at:.3}%\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                PLOT + 16,
                (self.x_tick)(tick)
            );
        }
        for tick in ticks(y_low, y_high) {
            let at = down(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{at:.2}\" y2=\"{at:.2}\"/>\
                 <text class=\"tick\" x=\"-6\" y=\"{:.2}\" text-anchor=\"end\">{}</text>",
                at + 4.0,
                (self.y_tick)(tick)
            );
        }
        // The chosen one is drawn last, above the others.
        let lost = points.iter().filter(|point| !point.is_chosen);
        let chosen = points.iter().filter(|point| point.is_chosen);
        for point in lost.chain(chosen) {
            let (class, radius) = if point.is_chosen { ("chosen", 7) } else { ("lost", 4) };
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{:.3}%\" cy=\"{:.2}\" r=\"{radius}\"><title>{}</title></circle>",
                across(point.x),
                down(point.y),
                escape(&point.title),
            );
        }
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"50%\" y=\"{}\" text-anchor=\"middle\">{}</text>\
             <text class=\"tick\" x=\"-6\" y=\"-10\" text-anchor=\"end\">{}</text></svg></svg>",
            PLOT + 34,
            self.x_name,
            self.y_name,
        );
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href='x'>\"&\u{7}"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\u{fffd}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (from, to) in [(0.0, 1.0), (0.0, 473_321.0), (3.1, 3.2), (0.0, 1e-7), (5e9, 6e12)] {
            let marks = ticks(from, to);
            assert!((2..=6).contains(&marks.len()), "{from} to {to}: {marks:?}");
            assert!(marks.iter().all(|mark| (from..=to).contains(mark)), "{marks:?}");
        }
        assert!(ticks(0.0, 0.0).is_empty() && ticks(0.0, f64::INFINITY).is_empty());
    }

    #[test]
    fn points_stay_in_the_plot() {
        let points = [(1.0, 2.0), (1.0, 2.0), (f64::NAN, 1.0)];
        let points = points.map(|(x, y)| Point { x, y, is_chosen: false, title: "<p>".to_owned() });
        let chart = Scatter {
            title: "t".to_owned(),
            points: points.into(),
            x_name: "x",
            y_name: "y",
            x_tick: |x| x.to_string(),
            y_tick: |y| y.to_string(),
        };
        let svg = chart.draw(ChartWidth::Fixed(400));
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("cx=\"50.000%\" cy=\"100.00\"") && !svg.contains("<p>"), "{svg}");
    }
}
