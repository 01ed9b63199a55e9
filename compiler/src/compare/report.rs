//! A comparison as text and as JSON.

use super::{Comparison, LayerTally, Pair};
use crate::evaluate::percent;
use comfy_table::{CellAlignment, Table, presets};
use heq_ir::diagnostic::{cell, printable};
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Comparison {
    /// The comparison for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let samples = self.samples;
        let mut text = format!(
            "{samples} samples\n\
             plan: the integer network, which a secure run equals bit for bit\n\
             model: the ONNX model with real scales, rounding half to even\n\
             runtime: {}\n",
            printable(&self.runtime)
        );
        for note in &self.notes {
            let _ = writeln!(text, "note: {}", printable(note));
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header(["", "same class", "largest output difference"]);
        for pair in &self.pairs {
            let Pair { views: [a, b], same_class, largest } = pair;
            let agreement = percent(*same_class, samples);
            table.add_row([
                format!("{a} / {b}"),
                format!("{same_class} of {samples} ({agreement:.2} %)"),
                largest.map_or_else(
                    || "not compared: the outputs are of another kind".into(),
                    |steps| format!("{steps:.3} LSB ({:.6})", steps * self.scale),
                ),
            ]);
        }
        let _ = writeln!(text, "{table}");
        for (view, hits) in &self.accuracy {
            let _ = writeln!(
                text,
                "accuracy of {view}: {hits} of {samples} ({:.2} %)",
                percent(*hits, samples)
            );
        }
        if !self.layers.is_empty() {
            text.push_str(&self.layer_table());
            text.push_str(&self.verdict());
        }
        text
    }

    fn layer_table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        table.set_header(["step", "operator", "name", "tensor", "differing", "share", "largest"]);
        for layer in &self.layers {
            table.add_row([
                layer.step.to_string(),
                printable(&layer.operator),
                cell(&layer.name),
                cell(&layer.tensor),
                format!("{} of {}", layer.differing, layer.elements),
                format!("{:.3} %", share(layer)),
                format!("{} LSB", lsb(layer.largest)),
            ]);
        }
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("plan against model, layer by layer\n{table}\n")
    }

    fn verdict(&self) -> String {
        match self.first_difference() {
            None => format!("no layer differs: {} layers were compared\n", self.layers.len()),
            Some(layer) => {
                printable(&format!(
                    "first layer that differs: node {:?} ({}), tensor {:?}: {:.3} % of its elements, by \
                 at most {} LSB",
                    layer.name,
                    layer.operator,
                    layer.tensor,
                    share(layer),
                    lsb(layer.largest)
                )) + "\n"
            }
        }
    }

    /// A `heq-compare/1` document.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let pairs = self.pairs.iter().map(|pair| {
            json!({
                "views": pair.views,
                "same_class": pair.same_class,
                "agreement_percent": percent(pair.same_class, self.samples),
                "largest_difference_lsb": pair.largest,
                "largest_difference": pair.largest.map(|steps| steps * self.scale),
            })
        });
        let accuracy = self.accuracy.iter().map(|(view, hits)| {
            json!({"view": view, "correct": hits, "percent": percent(*hits, self.samples)})
        });
        json!({
            "schema": "heq-compare/1",
            "samples": self.samples,
            "runtime": self.runtime,
            "notes": self.notes,
            "output_scale": self.scale,
            "pairs": pairs.collect::<Vec<_>>(),
            "accuracy": accuracy.collect::<Vec<_>>(),
            "layers": self.layers.iter().map(layer).collect::<Vec<_>>(),
            "first_difference": self.first_difference().map(layer),
        })
    }
}

fn layer(layer: &LayerTally) -> Value {
    json!({
        "step": layer.step,
        "name": layer.name,
        "operator": layer.operator,
        "tensor": layer.tensor,
        "elements": layer.elements,
        "differing": layer.differing,
        "largest_difference_lsb": layer.largest,
    })
}

fn share(layer: &LayerTally) -> f64 {
    percent(layer.differing, layer.elements)
}

/// A number of steps: whole between integers, with a fraction against reals.
fn lsb(steps: f64) -> String {
    if (steps - steps.round()).abs() < 1e-6 { format!("{steps:.0}") } else { format!("{steps:.3}") }
}
