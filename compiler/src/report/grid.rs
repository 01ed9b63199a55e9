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

/// A table: one column may give way so that it keeps within [`WIDTH`].
pub(crate) struct Grid {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Line>,
}

/// How a column gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flexible {
    /// None does: the table is as wide as it is.
    None,
    /// The names in this column are cut.
    Cut(usize),
    /// The text in this column goes on in further lines.
    Wrap(usize),
}

/// Fewest characters of a line in a column that wraps.
const LEAST_WRAPPED: usize = 12;

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
        self.set(flexible.map_or(Flexible::None, Flexible::Cut))
    }

    /// The table, with what does not fit into column `flexible` in further lines.
    pub(crate) fn render_wrapped(&self, flexible: usize) -> String {
        self.set(Flexible::Wrap(flexible))
    }

    fn set(&self, flexible: Flexible) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| length(name)).collect();
        for line in &self.rows {
            let Line::Cells(cells) = line else { continue };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = length(cell).max(*width);
            }
        }
        let gaps = widths.len().saturating_sub(1);
        let excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(WIDTH);
        let (index, least) = match flexible {
            Flexible::None => (usize::MAX, 0),
            Flexible::Cut(index) => (index, 1),
            Flexible::Wrap(index) => (index, LEAST_WRAPPED),
        };
        if let Some(width) = widths.get_mut(index).filter(|width| **width > least) {
            *width = width.saturating_sub(excess).max(least);
        }
        let total = widths.iter().sum::<usize>() + gaps;
        let names = self.columns.iter().map(|(name, _)| (*name).to_owned());
        let mut text = self.line(&names.collect::<Vec<_>>(), &widths);
        let rule = "\u{2500}".repeat(total) + "\n";
        text.push_str(&rule);
        for line in &self.rows {
            match line {
                Line::Cells(cells) => text.push_str(&self.lines(cells, &widths, flexible)),
                Line::Note(note) => text.push_str(&paragraph("", note, 6)),
                Line::Rule => text.push_str(&rule),
            }
        }
        text
    }

    /// A row: what does not fit into a column that wraps stands below, in lines of its own.
    fn lines(&self, cells: &[String], widths: &[usize], flexible: Flexible) -> String {
        let Flexible::Wrap(index) = flexible else { return self.line(cells, widths) };
        let (Some(cell), Some(&width)) = (cells.get(index), widths.get(index)) else {
            return self.line(cells, widths);
        };
        let mut pieces = wrap(cell, width).into_iter();
        let mut first = cells.to_vec();
        first[index] = pieces.next().unwrap_or_default();
        let mut text = self.line(&first, widths);
        for piece in pieces {
            let mut cells = vec![String::new(); cells.len()];
            cells[index] = piece;
            text.push_str(&self.line(&cells, widths));
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

/// The words of `text` in lines of at most `width` characters; a longer word is a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `text` in at most `width` characters. Of the name of a node, whole components at its front are left
/// out if at least two remain; of another name, what is in the middle.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let count = length(text);
    if count <= width {
        return text.to_owned();
    }
    let ends = text.match_indices('/').skip(1).map(|(at, _)| &text[at..]);
    let mut ends = ends.filter(|end| end.matches('/').count() >= 2);
    if let Some(end) = ends.find(|end| length(end) < width) {
        return format!("\u{2026}{end}");
    }
    let kept = width.saturating_sub(1);
    // Names that are no paths differ at their front.
    let tail = if text.contains('/') { kept - kept / 3 } else { kept / 3 };
    let head = kept - tail;
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
    fn long_text_goes_on_below() {
        let mut grid = Grid::new(&[("what", Align::Left), ("n", Align::Right)]);
        grid.row(["word ".repeat(40), "12".to_owned()]);
        let text = grid.render_wrapped(0);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!((text.matches("word").count(), text.lines().count()), (40, 5), "{text}");
        assert!(!text.contains('\u{2026}'), "{text}");
    }

    #[test]
    fn paragraphs_keep_within_the_width() {
        let text = paragraph("label", &"word ".repeat(60), 12);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("label       word word"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("            word")), "{text}");
    }

    #[test]
    fn names_are_cut_where_they_say_least() {
        assert_eq!(shorten("/layer1/layer1.0/conv1/Conv", 22), "\u{2026}/layer1.0/conv1/Conv");
        assert_eq!(shorten("/layer1/layer1.0/conv1/Conv", 12), "\u{2026}/conv1/Conv");
        assert_eq!(shorten("/layer1/conv1/DequantizeLinear", 16), "/laye\u{2026}tizeLinear");
        assert_eq!(shorten("abcdefghij", 7), "abcd\u{2026}ij");
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abc", 1), "\u{2026}");
    }
}
