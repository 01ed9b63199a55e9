//! Integer outputs as users read them: real values, the largest of each sample, and its name.

use crate::{Array, ArrayData, DataError, Labels};
use heq_ir::plan::Plan;
use heq_ir::plan::reveal::Reveal;
use serde::Serialize;
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

/// A line for each of the first samples: the largest output and its value, or the indices that `plan`
/// reveals; behind each class its name, if there are labels.
#[must_use]
pub fn describe_outputs(outputs: &[Vec<i64>], plan: &Plan, labels: Option<&Labels>) -> String {
    describe(outputs, MAX_LINES, plan.reveal(), plan.spec().output_scale, labels)
}

/// The lines of [`describe_outputs`], of at most `most` samples.
pub(crate) fn describe(
    outputs: &[Vec<i64>],
    most: usize,
    reveal: Reveal,
    scale: f64,
    labels: Option<&Labels>,
) -> String {
    let mut text = String::new();
    for (sample, output) in outputs.iter().enumerate().take(most) {
        if let Some(words) = words(output, reveal, scale, labels) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "sample {sample}: {words}");
        }
    }
    if outputs.len() > most {
        let _ = writeln!(text, "and {} more", outputs.len() - most);
    }
    text
}

fn words(output: &[i64], reveal: Reveal, scale: f64, labels: Option<&Labels>) -> Option<String> {
    let name = |class| labels.and_then(|labels| labels.name(class));
    let named = |words: String, name: Option<&str>| match name {
        Some(name) => format!("{words} {name}"),
        None => words,
    };
    let index = |class: &i64| named(class.to_string(), class_of(*class).and_then(name));
    match reveal {
        Reveal::Logits => {
            let top = top1(output)?;
            Some(named(format!("class {top} ({:.4})", real(output[top], scale)), name(top)))
        }
        Reveal::Top { k: 1 } => output.first().map(|class| format!("class {}", index(class))),
        Reveal::Top { .. } => {
            let classes: Vec<String> = output.iter().map(index).collect();
            Some(format!("classes {}", classes.join(", ")))
        }
    }
}

/// A revealed index as one.
fn class_of(index: i64) -> Option<usize> {
    usize::try_from(index).ok()
}

/// A `heq-output/1` document.
#[derive(Serialize)]
pub(crate) struct OutputDocument<'a> {
    schema: &'static str,
    /// Digest of the plan.
    plan: String,
    samples: Vec<SampleDocument<'a>>,
}

/// What a client learned of one sample.
#[derive(Serialize)]
struct SampleDocument<'a> {
    #[serde(flatten)]
    output: Revealed<'a>,
    /// The largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Revealed<'a> {
    Values(Vec<f32>),
    Indices(&'a [i64]),
}

impl<'a> OutputDocument<'a> {
    pub(crate) fn new(outputs: &'a [Vec<i64>], plan: &Plan, labels: Option<&'a Labels>) -> Self {
        let (reveal, scale) = (plan.reveal(), plan.spec().output_scale);
        let sample = |output: &'a Vec<i64>| SampleDocument::new(output, reveal, scale, labels);
        Self {
            schema: "heq-output/1",
            plan: plan.digest().to_string(),
            samples: outputs.iter().map(sample).collect(),
        }
    }
}

impl<'a> SampleDocument<'a> {
    fn new(output: &'a [i64], reveal: Reveal, scale: f64, labels: Option<&'a Labels>) -> Self {
        let (revealed, class) = match reveal {
            Reveal::Logits => {
                let values = output.iter().map(|&value| real(value, scale)).collect();
                (Revealed::Values(values), top1(output))
            }
            Reveal::Top { .. } => {
                let best = output.first().copied().and_then(class_of);
                (Revealed::Indices(output), best)
            }
        };
        let label = class.and_then(|class| labels?.name(class));
        Self { output: revealed, class, label }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_is_largest() {
        assert_eq!(top1(&[1, 5, -3, 5]), Some(1));
        assert_eq!(top1(&[]), None);
    }

    /// A sample as a line and as JSON, with labels and without; lines without are read by other programs.
    #[test]
    fn samples_are_described_with_their_names() {
        let labels = Labels::parse(b"zero\none: \"1\"\ntwo, too", "labels", 3).unwrap();
        let top = |k| Reveal::Top { k };
        for (output, reveal, plain, named, json, label) in [
            (
                &[-4_i64, 1, 3][..],
                Reveal::Logits,
                "class 2 (0.3000)",
                "class 2 (0.3000) two, too",
                r#"{"values":[-0.4,0.1,0.3],"class":2"#,
                r#","label":"two, too"}"#,
            ),
            (
                &[1],
                top(1),
                "class 1",
                "class 1 one: \"1\"",
                r#"{"indices":[1],"class":1"#,
                r#","label":"one: \"1\""}"#,
            ),
            (
                &[2, 0],
                top(2),
                "classes 2, 0",
                "classes 2 two, too, 0 zero",
                r#"{"indices":[2,0],"class":2"#,
                r#","label":"two, too"}"#,
            ),
            (&[9], top(1), "class 9", "class 9", r#"{"indices":[9],"class":9"#, "}"),
            (&[-1], top(1), "class -1", "class -1", r#"{"indices":[-1]"#, "}"),
        ] {
            for (labels, line, end) in [(None, plain, "}"), (Some(&labels), named, label)] {
                assert_eq!(words(output, reveal, 0.1, labels).as_deref(), Some(line));
                let document = SampleDocument::new(output, reveal, 0.1, labels);
                let document = serde_json::to_string(&document).unwrap();
                assert_eq!(document, format!("{json}{end}"));
            }
        }
        assert_eq!(words(&[], Reveal::Logits, 0.1, Some(&labels)), None);
    }

    #[test]
    fn long_lists_are_cut() {
        let outputs = [vec![0, 1], vec![3, 2], vec![0, 1]];
        let text = |most| describe(&outputs, most, Reveal::Logits, 1.0, None);
        let two = "sample 0: class 1 (1.0000)\nsample 1: class 0 (3.0000)\n";
        assert_eq!(text(2), format!("{two}and 1 more\n"));
        assert_eq!(text(usize::MAX), format!("{two}sample 2: class 1 (1.0000)\n"));
    }
}
