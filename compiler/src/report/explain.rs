//! Why the plan does a step as it does: the candidates there were, and what decided.

use super::Report;
use super::grid::{Align, Grid, paragraph};
use super::rows::{Row, long_bits};
use super::units::{bytes, count, seconds, some_bytes};
use crate::choices::{CandidateChoice, LayerChoices};
use heq_ir::diagnostic::{Code, Diagnostic, printable};
use heq_ir::plan::Plan;
use serde_json::{Value, json};

/// Names that are suggested instead of one that does not exist.
const SUGGESTIONS: usize = 3;

impl Report<'_> {
    /// Indices of the steps that `name` means: the number of a row, or the name of an ONNX node.
    fn named(&self, name: &str) -> Vec<usize> {
        let named = |row: &&Row<'_>| row.layer.name == name;
        let found: Vec<usize> = self.rows.iter().filter(named).map(|row| row.index).collect();
        let number = name.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match number {
            Some(index) if found.is_empty() && index < self.rows.len() => vec![index],
            _ => found,
        }
    }

    /// The steps that `name` means, each with its candidates.
    ///
    /// # Errors
    /// [`Code::BadOption`] if there is no such layer, or nothing is known of why the plan is as it is.
    fn explained(&self, name: &str) -> Result<Vec<(&Row<'_>, Option<&LayerChoices>)>, Diagnostic> {
        let steps = self.named(name);
        if steps.is_empty() {
            return Err(unknown_layer(self.plan, name));
        }
        if let Err(why) = self.options.choices {
            let remedy = "compile the model again, and keep PLAN.choices.json beside the plan";
            return Err(Diagnostic::new(Code::BadOption, "--explain", why, remedy));
        }
        Ok(steps.iter().map(|&index| (&self.rows[index], self.layer_choices(index))).collect())
    }

    /// Why the steps of a layer are as they are, as text; `name` is a row's number or a node's name.
    ///
    /// # Errors
    /// [`Code::BadOption`] if there is no such layer, or nothing is known of why the plan is as it is.
    pub fn explain(&self, name: &str) -> Result<String, Diagnostic> {
        let steps = self.explained(name)?;
        let texts = steps.into_iter().map(|(row, choices)| self.explain_step(row, choices));
        Ok(texts.collect::<Vec<_>>().join("\n"))
    }

    /// The same as JSON: an entry a step.
    ///
    /// # Errors
    /// As [`Report::explain`].
    pub fn explain_json(&self, name: &str) -> Result<Value, Diagnostic> {
        let entry = |(row, choices): (&Row<'_>, Option<&LayerChoices>)| {
            json!({
                "step": row.index + 1,
                "name": row.layer.name,
                "kind": row.layer.kind.op().name(),
                "choices": choices,
            })
        };
        Ok(self.explained(name)?.into_iter().map(entry).collect())
    }

    fn explain_step(&self, row: &Row<'_>, choices: Option<&LayerChoices>) -> String {
        let head = format!(
            "step {}: {} {}, {} {}",
            row.index + 1,
            row.layer.operator,
            row.layer.name,
            row.layer.kind.kernel(),
            long_bits(row),
        );
        let mut text = paragraph("", &printable(&head), 0);
        let Some(choices) = choices.filter(|choices| !choices.candidates.is_empty()) else {
            return text + "  there was no choice\n";
        };
        let unit = self.choices().map_or("", |choices| choices.solver.unit.as_str());
        let kept = choices.candidates.len();
        let summary = format!(
            "{}, of which {kept} are shown: the first is the plan's, then the least worse, and the best of every packing",
            count(choices.considered.max(kept), "candidate")
        );
        text.push_str(&paragraph("  ", &summary, 2));
        let mut grid = Grid::new(&[
            ("", Align::Left),
            ("candidate", Align::Left),
            ("up", Align::Right),
            ("down", Align::Right),
            ("OTs", Align::Right),
            ("fl", Align::Right),
            ("client", Align::Right),
            ("server", Align::Right),
            ("by itself", Align::Right),
            ("worse by", Align::Right),
        ]);
        for candidate in &choices.candidates {
            grid.row([
                if candidate.chosen { "*" } else { "" }.to_owned(),
                printable(&candidate.label),
                bytes(candidate.bytes_up),
                bytes(candidate.bytes_down),
                some_bytes(self.row_bytes(candidate.rows)),
                candidate.flights.to_string(),
                seconds(candidate.client_us / 1e6),
                seconds(candidate.server_us / 1e6),
                seconds(candidate.path_us / 1e6),
                excess(candidate, unit),
            ]);
            if !candidate.chosen && !candidate.why_not.is_empty() {
                grid.note(&printable(&candidate.why_not));
            }
        }
        text.push_str(&grid.render_wrapped(1));
        for rejection in &choices.rejected {
            let line = format!("{}: {}", rejection.what, rejection.why);
            text.push_str(&paragraph("  not", &printable(&line), 6));
        }
        text
    }

    /// Bytes both ways of `rows` of the OT extension, pro rata.
    pub(super) fn row_bytes(&self, rows: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count times a positive number; float casts saturate"
        )]
        let bytes = (rows as f64 * self.plan.spec().ot.bytes_per_row()).round() as u64;
        bytes
    }

    /// Bytes of a candidate both ways, its random OTs included.
    pub(super) fn candidate_bytes(&self, candidate: &CandidateChoice) -> u64 {
        let wire = candidate.bytes_up.saturating_add(candidate.bytes_down);
        wire.saturating_add(self.row_bytes(candidate.rows))
    }
}

/// By how much the objective would be worse with a candidate.
pub(super) fn excess(candidate: &CandidateChoice, unit: &str) -> String {
    if candidate.chosen {
        return "chosen".to_owned();
    }
    match unit {
        "us" => seconds(candidate.excess / 1e6),
        "bytes" => super::units::bytes_f64(candidate.excess),
        unit => format!("{:.3} {unit}", candidate.excess),
    }
}

/// The diagnostic for a layer that is not in the plan, with the names that are closest.
#[must_use]
pub fn unknown_layer(plan: &Plan, name: &str) -> Diagnostic {
    let mut names: Vec<&str> = plan.layers().iter().map(|layer| layer.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names.sort_by_key(|known| distance(name, known));
    names.truncate(SUGGESTIONS);
    let remedy = format!(
        "give a number from 1 to {}, or a name such as {}",
        plan.layers().len(),
        names.join(", ")
    );
    let what = format!("the plan has no layer `{name}`");
    Diagnostic::new(Code::BadOption, "--explain", what, remedy)
}

/// Characters that must be put in, taken out or replaced to turn `a` into `b`; of long names only the
/// beginnings are compared.
fn distance(a: &str, b: &str) -> usize {
    const COMPARED: usize = 200;
    let b: Vec<char> = b.chars().take(COMPARED).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(COMPARED).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances_count_edits() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("conv1", "conv2", 1), ("c/Conv", "/c1/Conv", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
