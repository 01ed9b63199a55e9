//! Tables of text that keep within a number of columns, and paragraphs that do.

use std::fmt::Write as _;

/// Width of reports in characters.
pub(crate) const WIDTH: usize = 100;

/// How a column is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: one column may be cut so that it keeps within [`WIDTH`].
pub(crate) struct Grid {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Line>,
}

enum Line {
    Cells(Vec<String>),
    Note(String),
    Rule,
}

impl Grid {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a cell a column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(Line::Cells(cells.into_iter().collect()));
    }

    /// Adds a paragraph under the row before.
    pub(crate) fn note(&mut self, text: &str) {
        self.rows.push(Line::Note(text.to_owned()));
    }

    /// Adds a line.
    pub(crate) fn rule(&mut self) {
        self.rows.push(Line::Rule);
    }

    /// The table, column `flexible` cut as far as needed; with none it is as wide as it is.
    pub(crate) fn render(&self, flexible: Option<usize>) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| length(name)).collect();
        for line in &self.rows {
            let Line::Cells(cells) = line else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = length(cell).max(*width);
            }
        }
        let gaps = widths.len().saturating_sub(1);
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(WIDTH);
        if let Some(width) = flexible.and_then(|index| widths.get_mut(index)) {
            *width = width.saturating_sub(excess).max(1);
        }
        let total = widths.iter().sum::<usize>() + gaps;
        let names = self.columns.iter().map(|(name, _)| (*name).to_owned());
        let mut text = self.line(&names.collect::<Vec<_>>(), &widths);
        let rule = "\u{2500}".repeat(total) + "\n";
        text.push_str(&rule);
        for line in &self.rows {
            match line {
                Line::Cells(cells) => text.push_str(&self.line(cells, &widths)),
                Line::Note(note) => text.push_str(&paragraph("", note, 6)),
                Line::Rule => text.push_str(&rule),
            }
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut text = String::new();
        for (index, ((cell, &width), (_, align))) in
            cells.iter().zip(widths).zip(&self.columns).enumerate()
        {
            let cell = shorten(cell, width);
            let gap = " ".repeat(width.saturating_sub(length(&cell)));
            let space = if index > 0 { " " } else { "" };
            // Writing to a string cannot fail.
            let _ = match align {
                Align::Left => write!(text, "{space}{cell}{gap}"),
                Align::Right => write!(text, "{space}{gap}{cell}"),
            };
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// `text` in at most `width` characters, of which the last say more than those in the middle.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let count = length(text);
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept / 3, kept - kept / 3);
    let (head, tail) = (text.chars().take(head), text.chars().skip(count - tail));
    head.chain(std::iter::once('\u{2026}')).chain(tail).collect()
}

/// `text` under `label`, in lines that keep within [`WIDTH`] and begin at column `indent`.
pub(crate) fn paragraph(label: &str, text: &str, indent: usize) -> String {
    let mut lines = format!("{label:<indent$}");
    let mut column = length(&lines);
    let mut is_first = true;
    for word in text.split_whitespace() {
        let width = length(word);
        if !is_first && column + 1 + width > WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if !is_first {
            lines.push(' ');
            column += 1;
        }
        is_first = false;
        lines.push_str(word);
        column += width;
    }
    lines.truncate(lines.trim_end().len());
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_column_gives_way() {
        let mut grid = Grid::new(&[("name", Align::Left), ("n", Align::Right)]);
        grid.row(["x".repeat(150), "12".to_owned()]);
        grid.row(["short".to_owned(), "3".to_owned()]);
        grid.note("why");
        let cut = grid.render(Some(0));
        assert!(cut.lines().all(|line| line.chars().count() <= WIDTH), "{cut}");
        assert!(cut.contains('\u{2026}') && cut.contains("\n      why\n"), "{cut}");
        assert!(grid.render(None).contains(&"x".repeat(150)));
    }

    #[test]
    fn paragraphs_keep_within_the_width() {
        let text = paragraph("label", &"word ".repeat(60), 12);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("label       word word"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("            word")), "{text}");
    }

    #[test]
    fn names_are_cut_in_the_middle() {
        assert_eq!(shorten("abcdefghij", 7), "ab\u{2026}ghij");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abc", 1), "\u{2026}");
    }
}
