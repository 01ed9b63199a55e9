//! The integer network computed as docs/integer-network.md says, without plans.

use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{IntegerNetwork, IntegerOp, LinearTerm, Requantize, SumOp, Term};

/// All values of the network on `x`: 0 is the input, `i + 1` the output of layer `i`. The sums of
/// layer `i` are made in accumulators of `widths(i)` bits, or in unbounded ones; the number of sums
/// that wrapped is returned, too.
pub(crate) fn evaluate_wrapped(
    network: &IntegerNetwork,
    x: &[i64],
    widths: &dyn Fn(usize) -> Option<u32>,
) -> (Vec<Vec<i64>>, u64) {
    let mut overflows = 0;
    let mut values = vec![x.to_vec()];
    let mut shapes = vec![network.input.shape];
    for (index, layer) in network.layers.iter().enumerate() {
        let inputs: Vec<&[i64]> = layer.inputs.iter().map(|id| values[id.0].as_slice()).collect();
        let shape = shapes[layer.inputs[0].0];
        let (shape, value) = match &layer.op {
            IntegerOp::Sum(op) => {
                let (sums, wrapped) = sum(op, &inputs, widths(index));
                overflows += wrapped;
                (op.output, sums)
            }
            IntegerOp::MaxPool(op) => {
                let [height, width] = op.window.output(shape.height, shape.width).unwrap();
                let output = Chw::new(shape.channels, height, width);
                let largest = |window: Vec<i64>| window.into_iter().max().unwrap();
                (output, windows(&op.window, shape, output, inputs[0]).map(largest).collect())
            }
            IntegerOp::Table(op) => {
                let size = op.size().unwrap();
                let plane = shape.height * shape.width;
                let look_up = |(i, x): (usize, &i64)| {
                    let first = if op.values.len() > size { i / plane * size } else { 0 };
                    op.values[first + op.position(&[*x]).unwrap()]
                };
                (shape, inputs[0].iter().enumerate().map(look_up).collect())
            }
            IntegerOp::View(view) => {
                let sources = view.sources(shape).unwrap();
                (view.output, sources.iter().map(|at| at.map_or(0, |at| inputs[0][at])).collect())
            }
            IntegerOp::Reshape(shape) => (*shape, inputs[0].to_vec()),
            IntegerOp::Concat { .. } => {
                let channels = layer.inputs.iter().map(|id| shapes[id.0].channels).sum();
                (Chw { channels, ..shape }, inputs.concat())
            }
        };
        assert_eq!(value.len(), shape.len(), "{}", layer.name);
        shapes.push(shape);
        values.push(value);
    }
    (values, overflows)
}

fn sum(op: &SumOp, inputs: &[&[i64]], width: Option<u32>) -> (Vec<i64>, u64) {
    let plane = op.output.height * op.output.width;
    let mut sum: Vec<i64> = (0..op.output.len()).map(|i| op.bias[i / plane]).collect();
    for (term, x) in op.terms.iter().zip(inputs) {
        let values: Vec<i64> = match term {
            Term::Linear(term) => linear(term, x),
            Term::Scaled(term) => windows(&term.window, term.input, op.output, x)
                .map(|window| term.factor * window.iter().sum::<i64>())
                .collect(),
        };
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    // What a requantization adds before its shift, so that its least result is 0.
    let offset = op.requantize.map_or(0, |requantize| {
        let half = if requantize.shift > 0 { 1 << (requantize.shift - 1) } else { 0 };
        half - (requantize.range.lo << requantize.shift)
    });
    let mut overflows = 0;
    for z in &mut sum {
        let moved = *z + offset;
        let wrapped = width.map_or(moved, |width| {
            let modulus = 1_i64 << width;
            (moved + modulus / 2).rem_euclid(modulus) - modulus / 2
        });
        overflows += u64::from(wrapped != moved);
        *z = wrapped;
        if let Some(Requantize { shift, range }) = op.requantize {
            *z = range.lo + (wrapped >> shift).clamp(0, range.hi - range.lo);
        }
    }
    (sum, overflows)
}

fn linear(term: &LinearTerm, x: &[i64]) -> Vec<i64> {
    let ConvGeometry { input, window, .. } = term.geometry;
    let output = term.geometry.output().unwrap();
    let (inputs, outputs) = (term.geometry.group_inputs(), term.geometry.group_outputs());
    let [r, s] = window.kernel;
    let mut y = Vec::new();
    for k in 0..output.channels {
        for oy in 0..output.height {
            for ox in 0..output.width {
                let mut acc = 0;
                for (c, i, j) in (0..inputs)
                    .flat_map(|c| (0..r).flat_map(move |i| (0..s).map(move |j| (c, i, j))))
                {
                    let extents = [input.height, input.width];
                    if let Some([iy, ix]) = window.source([oy, ox], [i, j], extents) {
                        let w = term.weights[((k * inputs + c) * r + i) * s + j];
                        let channel = k / outputs * inputs + c;
                        acc += i64::from(w) * x[input.index(channel, iy, ix)];
                    }
                }
                y.push(acc * term.multipliers[k]);
            }
        }
    }
    y
}

/// The elements that every window of every channel reads.
fn windows<'a>(
    window: &'a Window,
    input: Chw,
    output: Chw,
    x: &'a [i64],
) -> impl Iterator<Item = Vec<i64>> + 'a {
    (0..output.len()).map(move |i| {
        let plane = output.height * output.width;
        let (c, oy, ox) = (i / plane, i % plane / output.width, i % output.width);
        let [r, s] = window.kernel;
        (0..r * s)
            .filter_map(|tap| {
                let extents = [input.height, input.width];
                let [iy, ix] = window.source([oy, ox], [tap / s, tap % s], extents)?;
                Some(x[input.index(c, iy, ix)])
            })
            .collect()
    })
}
