//! The text form of an integer network: one line a layer, for golden tests and for reading.

use heq_ir::geometry::Window;
use heq_ir::graph::text::SHOWN_ELEMENTS;
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerNetwork, IntegerOp, LinearTerm,
    NetworkInput, Rounding, SumOp, Term,
};
use std::fmt::{Display, Write};

/// The text form of `network`. Lists of more than [`SHOWN_ELEMENTS`] numbers are cut short.
#[must_use]
pub fn text(network: &IntegerNetwork) -> String {
    let mut out = format!("network {}\n", network.name);
    input_text(&mut out, &network.input);
    for (index, layer) in network.layers.iter().enumerate() {
        let op = match &layer.op {
            IntegerOp::Sum(sum) => sum_text(sum),
            IntegerOp::MaxPool(pool) => {
                format!("max_pool {}{}", pool.input, window_text(&pool.window))
            }
            IntegerOp::Table(table) => format!(
                "table {}->{} values={}",
                table.inputs.iter().copied().map(interval).collect::<Vec<_>>().join(","),
                interval(table.output),
                list(&table.values)
            ),
            IntegerOp::View(view) => {
                let axes: Vec<String> = view
                    .axes
                    .iter()
                    .map(|axis| format!("{}:{}:{}", axis.source, axis.start, axis.step))
                    .collect();
                format!("view ->{} axes=[{}]", view.output, axes.join(","))
            }
            IntegerOp::Reshape(shape) => format!("reshape ->{shape}"),
            IntegerOp::Concat { .. } => "concat".into(),
        };
        let inputs: Vec<String> = layer.inputs.iter().map(|input| input.0.to_string()).collect();
        let _ = writeln!(
            out,
            "{} = {}({}) {op} of {:?} as {:?}",
            index + 1,
            layer.operator,
            inputs.join(","),
            layer.name,
            layer.tensor
        );
    }
    let output = &network.output;
    let _ =
        writeln!(out, "return {} as {:?} scale={:?}", output.value.0, output.name, output.scale);
    out
}

fn input_text(out: &mut String, input: &NetworkInput) {
    let (scale, range) = (input.quantization.scale, interval(input.quantization.range));
    let _ = write!(out, "0 = input {:?} {} scale={scale:?} range={range}", input.name, input.shape);
    if input.layout == InputLayout::Nhwc {
        out.push_str(" nhwc");
    }
    if let InputElement::Integer { ty, zero_point } = input.element {
        let _ = write!(out, " integer={ty} zero_point={zero_point}");
    }
    if input.rounding == Rounding::Floor {
        out.push_str(" rounding=floor");
    }
    if input.map != InputMap::identity() {
        let _ = write!(out, " map={:?}*x+{:?}", input.map.multiplier, input.map.offset);
    }
    out.push('\n');
}

fn sum_text(sum: &SumOp) -> String {
    let mut out = format!("sum {}", sum.output);
    for term in &sum.terms {
        match term {
            Term::Linear(linear) => out.push_str(&linear_text(linear)),
            Term::Scaled(scaled) => {
                let _ = write!(out, " + {}*{}", scaled.factor, scaled.input);
                if scaled.window != Window::POINT {
                    out.push_str(&window_text(&scaled.window));
                }
            }
        }
    }
    let _ = write!(out, " bias={}", list(&sum.bias));
    if let Some(requantize) = sum.requantize {
        let _ = write!(out, " shift={} range={}", requantize.shift, interval(requantize.range));
    }
    out
}

fn linear_text(linear: &LinearTerm) -> String {
    let geometry = &linear.geometry;
    let mut out = format!(" + linear {}{}", geometry.input, window_text(&geometry.window));
    if geometry.groups != 1 {
        let _ = write!(out, " groups={}", geometry.groups);
    }
    let _ = write!(
        out,
        " weights={} weight_bits={} multipliers={} multiplier_bits={}",
        list(&linear.weights),
        linear.weight_bits,
        list(&linear.multipliers),
        linear.multiplier_bits,
    );
    out
}

fn window_text(window: &Window) -> String {
    let Window { kernel, strides, pads, dilations } = window;
    let mut out = format!(" kernel={kernel:?} strides={strides:?} pads={pads:?}");
    if *dilations != [1, 1] {
        let _ = write!(out, " dilations={dilations:?}");
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
