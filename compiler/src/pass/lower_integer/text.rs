//! The text form of an integer network: one line a layer, for golden tests and for reading.

use heq_ir::graph::text::SHOWN_ELEMENTS;
use heq_ir::integer::{IntRange, IntegerNetwork, IntegerOp, LinearOp};
use std::fmt::{Display, Write};

/// The text form of `network`. Lists of more than [`SHOWN_ELEMENTS`] numbers are cut short.
#[must_use]
pub fn text(network: &IntegerNetwork) -> String {
    let mut out = format!("network {}\n", network.name);
    let input = &network.input;
    let (scale, range) = (input.quantization.scale, interval(input.quantization.range));
    let _ =
        writeln!(out, "0 = input {:?} {} scale={scale:?} range={range}", input.name, input.shape);
    for (index, layer) in network.layers.iter().enumerate() {
        let op = match &layer.op {
            IntegerOp::Linear(linear) => linear_text(linear),
            IntegerOp::MaxPool(pool) => format!(
                "max_pool {} kernel={:?} strides={:?} pads={:?}",
                pool.input, pool.window.kernel, pool.window.strides, pool.window.pads
            ),
            IntegerOp::Flatten => "flatten".into(),
        };
        let _ = writeln!(
            out,
            "{} = {}({}) {op} of {:?}",
            index + 1,
            layer.operator,
            layer.input.0,
            layer.name
        );
    }
    let output = &network.output;
    let _ =
        writeln!(out, "return {} as {:?} scale={:?}", output.value.0, output.name, output.scale);
    out
}

fn linear_text(linear: &LinearOp) -> String {
    let geometry = &linear.geometry;
    let mut out = format!("linear {}", geometry.input);
    if let Some(output) = geometry.output() {
        let _ = write!(out, "->{output}");
    }
    let window = &geometry.window;
    let _ = write!(
        out,
        " kernel={:?} strides={:?} pads={:?} weights={} weight_bits={} multipliers={} \
         multiplier_bits={} bias={}",
        window.kernel,
        window.strides,
        window.pads,
        list(&linear.weights),
        linear.weight_bits,
        list(&linear.multipliers),
        linear.multiplier_bits,
        list(&linear.bias)
    );
    if let Some(requantize) = linear.requantize {
        let _ = write!(out, " shift={} range={}", requantize.shift, interval(requantize.range));
    }
    out
}

fn interval(range: IntRange) -> String {
    format!("{}..{}", range.lo, range.hi)
}

fn list<T: Display>(values: &[T]) -> String {
    let shown: Vec<String> = values.iter().take(SHOWN_ELEMENTS).map(T::to_string).collect();
    let rest = values.len() - shown.len();
    let more = if rest == 0 { String::new() } else { format!(",...{rest} more") };
    format!("[{}{more}]", shown.join(","))
}
