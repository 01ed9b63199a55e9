//! Tables of benches: lines for a terminal, and Markdown between markers in docs/results.md.

use crate::root;
use serde_json::Value;
use std::process::Command;

/// Name of a column, how wide it is in a terminal, and how it shows a row.
pub type Column = (&'static str, usize, fn(&Value) -> String);

/// The columns of `cargo xtask bench NAME`, the first of which is the name of the row.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// NAME.
    pub bench: &'static str,
    /// All columns.
    pub columns: &'static [Column],
}

impl Table {
    /// Names of the columns.
    #[must_use]
    pub fn heading(&self) -> String {
        self.aligned(|(name, ..)| (*name).to_owned())
    }

    /// A row.
    #[must_use]
    pub fn line(&self, row: &Value) -> String {
        self.aligned(|(_, _, show)| show(row))
    }

    fn aligned(&self, cell: impl Fn(&Column) -> String) -> String {
        let cells = self.columns.iter().enumerate().map(|(index, column)| {
            let (text, width) = (cell(column), column.1);
            if index == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
        });
        cells.collect::<Vec<_>>().join(" ")
    }

    /// Puts the rows of `document`, if there are any, between the markers of docs/results.md.
    ///
    /// # Panics
    /// If file or markers are not there.
    pub fn write(&self, document: &Value) {
        if document["rows"].as_array().is_none_or(Vec::is_empty) {
            return;
        }
        let path = root().join("docs/results.md");
        let old = std::fs::read_to_string(&path).unwrap();
        let [begin, end] =
            ["begin", "end"].map(|word| format!("<!-- {}: {word} -->\n", self.bench));
        let (before, rest) = old.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(&end).unwrap();
        let new = format!("{before}{begin}{}{end}{after}", self.markdown(document));
        std::fs::write(path, new).unwrap();
    }

    /// Where the rows are from, and a table of them.
    fn markdown(&self, document: &Value) -> String {
        let date = Command::new("date").args(["-u", "+%F"]).output();
        let date = date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let text = |name: &str| document[name].as_str().unwrap_or("unknown");
        let mut table = format!(
            "\nMachine: {}. Load: {}. Date: {}. Commit: `{}`. Command: `cargo xtask bench {} --write`.\n\n",
            text("machine"),
            text("load"),
            date.unwrap_or_default(),
            text("commit").get(..12).unwrap_or("unknown"),
            self.bench,
        );
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        table += &row(self.columns.iter().map(|(name, ..)| (*name).to_owned()).collect());
        table += &format!("|---|{}\n", "---:|".repeat(self.columns.len() - 1));
        for one in document["rows"].as_array().into_iter().flatten() {
            table += &row(self.columns.iter().map(|(_, _, show)| show(one)).collect());
        }
        table + "\n"
    }
}

/// Bytes as MB.
#[must_use]
pub fn megabytes(bytes: &Value) -> String {
    format!("{:.3}", bytes.as_f64().unwrap_or(f64::NAN) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_are_lines_and_markdown() {
        let columns: &[Column] = &[
            ("name", 6, |row| row["name"].as_str().unwrap_or("").to_owned()),
            ("MB", 6, |row| megabytes(&row["bytes"])),
        ];
        let table = Table { bench: "x", columns };
        let row = json!({ "name": "a", "bytes": 1_500_000 });
        assert_eq!(table.heading(), "name       MB");
        assert_eq!(table.line(&row), "a       1.500");
        let text = table.markdown(&json!({ "rows": [row], "machine": "m", "load": "1.0" }));
        assert!(text.contains("Machine: m. Load: 1.0."), "{text}");
        assert!(text.ends_with("| name | MB |\n|---|---:|\n| a | 1.500 |\n\n"), "{text}");
    }
}
