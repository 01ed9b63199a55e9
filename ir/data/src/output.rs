//! Integer outputs as users read them: real values, and the largest of each sample.

use crate::{Array, ArrayData, DataError};
use std::fmt::Write as _;
use std::path::Path;

/// Samples that are described one by one; the rest is in the output file.
const MAX_LINES: usize = 20;

/// Integer outputs `[B][n]` as float32 `[B, n]`, each times `scale`.
///
/// # Errors
/// [`DataError`] if the samples have different lengths.
pub fn outputs_array(path: &Path, outputs: &[Vec<i64>], scale: f64) -> Result<Array, DataError> {
    let shape = vec![outputs.len(), outputs.first().map_or(0, Vec::len)];
    let values = outputs.iter().flatten().map(|&value| real(value, scale)).collect();
    Array::new(path.display().to_string(), shape, ArrayData::F32(values))
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

/// A line for every sample: the largest output and its value.
#[must_use]
pub fn describe_outputs(outputs: &[Vec<i64>], scale: f64) -> String {
    let mut text = String::new();
    for (sample, output) in outputs.iter().enumerate().take(MAX_LINES) {
        if let Some(top) = top1(output) {
            // Writing to a string cannot fail.
            let _ =
                writeln!(text, "sample {sample}: class {top} ({:.4})", real(output[top], scale));
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
        let text = describe_outputs(&vec![vec![0, 1]; 25], 0.5);
        assert!(text.starts_with("sample 0: class 1 (0.5000)\n") && text.ends_with("and 5 more\n"));
    }
}
