//! Integer outputs as users read them: real values, and the largest of each sample.

use crate::{Array, ArrayData, DataError};
use heq_ir::plan::Plan;
use heq_ir::plan::reveal::Reveal;
use std::fmt::Write as _;
use std::path::Path;

/// Samples that are described one by one; the rest is in the output file.
const MAX_LINES: usize = 20;

/// The outputs `[B][n]` of `plan` as `[B, n]`: values as float32, each times the plan's scale, and
/// indices as int64.
///
/// # Errors
/// [`DataError`] if the samples have different lengths.
pub fn outputs_array(path: &Path, outputs: &[Vec<i64>], plan: &Plan) -> Result<Array, DataError> {
    let shape = vec![outputs.len(), outputs.first().map_or(0, Vec::len)];
    let values = outputs.iter().flatten().copied();
    let scale = plan.spec().output_scale;
    let data = match plan.reveal() {
        Reveal::Logits => ArrayData::F32(values.map(|value| real(value, scale)).collect()),
        Reveal::Top { .. } => ArrayData::I64(values.collect()),
    };
    Array::new(path.display().to_string(), shape, data)
}

/// The real value of an integer output.
#[expect(clippy::cast_possible_truncation, reason = "outputs are float32, as the model's are")]
fn real(value: i64, scale: f64) -> f32 {
    (value as f64 * scale) as f32
}

/// Index of the largest value, the first of equal ones.
#[must_use]
pub fn top1(output: &[i64]) -> Option<usize> {
    (0..output.len()).min_by_key(|&index| (std::cmp::Reverse(output[index]), index))
}

/// A line for every sample: the largest output and its value, or the indices that `plan` reveals.
#[must_use]
pub fn describe_outputs(outputs: &[Vec<i64>], plan: &Plan) -> String {
    let scale = plan.spec().output_scale;
    describe(outputs, |output| match plan.reveal() {
        Reveal::Logits => {
            let top = top1(output)?;
            Some(format!("class {top} ({:.4})", real(output[top], scale)))
        }
        Reveal::Top { k: 1 } => output.first().map(|class| format!("class {class}")),
        Reveal::Top { .. } => {
            let classes: Vec<String> = output.iter().map(ToString::to_string).collect();
            Some(format!("classes {}", classes.join(", ")))
        }
    })
}

fn describe(outputs: &[Vec<i64>], words: impl Fn(&[i64]) -> Option<String>) -> String {
    let mut text = String::new();
    for (sample, output) in outputs.iter().enumerate().take(MAX_LINES) {
        if let Some(words) = words(output) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "sample {sample}: {words}");
        }
    }
    if outputs.len() > MAX_LINES {
        let _ = writeln!(text, "and {} more", outputs.len() - MAX_LINES);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_largest() {
        assert_eq!(top1(&[1, 5, -3, 5]), Some(1));
        assert_eq!(top1(&[]), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let text = describe(&vec![vec![0, 1]; 25], |_| Some("class 1".to_owned()));
        assert!(text.starts_with("sample 0: class 1\n") && text.ends_with("and 5 more\n"));
    }
}
