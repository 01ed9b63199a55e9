//! The report as one HTML page: no other file, no script needed to read it, light or dark as the reader
//! prefers. Everything that comes from a file is escaped.

mod sections;

use super::svg::{ChartWidth, escape};
use super::{Report, SortBy};
use std::fmt::Write as _;

const STYLE: &str = include_str!("style.css");
const CHART_STYLE: &str = include_str!("chart.css");
const SCRIPT: &str = include_str!("sort.js");

/// The style of charts, for those that are a file of their own.
pub(super) fn chart_style() -> &'static str {
    CHART_STYLE
}

impl Report<'_> {
    /// The report as one HTML page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let name = escape(&self.plan.spec().model);
        let mut body = format!("<h1>{name}</h1>\n");
        body.push_str(&definitions(&self.assumptions()));
        body.push_str(&self.tiles());
        section(&mut body, "Bytes by layer", &self.bytes_chart().draw(ChartWidth::Fluid));
        section(&mut body, "Predicted time by layer", &self.time_section());
        if let Some(measured) = self.options.measured {
            section(&mut body, "Predicted against measured", &self.measured_section(measured));
        }
        section(&mut body, "Steps", &self.steps_section());
        section(&mut body, "What would save most", &self.advice_section());
        section(&mut body, "A session", &self.session_section());
        section(&mut body, "What the plan tells the client", &definitions(&self.disclosure()));
        section(&mut body, "Candidates", &self.candidates_section());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{name}: cost of the plan</title>\n\
             <style>\n{STYLE}{CHART_STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n"
        )
    }

    fn time_section(&self) -> String {
        let mut html = String::from(
            "<p class=\"soft\">A layer's colour is what its steps wait for most of their time.</p>",
        );
        html.push_str(&self.time_chart().draw(ChartWidth::Fluid));
        html
    }

    /// Whether a section that shows steps one by one follows the order of the plan.
    fn order_note(&self) -> &'static str {
        match self.options.sort {
            SortBy::Order => "in the order in which they run",
            SortBy::Bytes => "most bytes first",
            SortBy::Time => "most time first",
        }
    }
}

/// Adds a section with its heading.
fn section(body: &mut String, heading: &str, content: &str) {
    // Writing to a string cannot fail.
    let _ = write!(body, "<section>\n<h2>{heading}</h2>\n{content}\n</section>\n");
}

/// Labelled paragraphs.
fn definitions(paragraphs: &[(&'static str, String)]) -> String {
    let entries = paragraphs.iter();
    let entries: String = entries
        .map(|(label, text)| format!("<dt>{label}</dt><dd>{}</dd>\n", escape(text)))
        .collect();
    format!("<dl class=\"card\">\n{entries}</dl>\n")
}
