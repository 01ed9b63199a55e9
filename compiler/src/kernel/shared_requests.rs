//! Linear layers that read the same value as one layer, whose kernels are those of all.
//!
//! The client then encrypts the value once. A smaller window becomes a part of a larger one, its other
//! taps zero, where both read the same inputs for every output: strides and distances of taps agree, and
//! the paddings place it. Which layers may be joined follows from shapes alone.

use crate::analysis::range::NetworkFacts;
use heq_ir::geometry::{ConvGeometry, Window};
use heq_ir::integer::{IntegerNetwork, IntegerOp, LinearTerm, Term};
use heq_ir::secure::{LinearOp, Packing, guard_bits};
use std::sync::Arc;

/// The linear terms of an integer network, by layer and term, that one step computes: one, or several
/// that share requests, ascending.
pub type Terms = Vec<(usize, usize)>;

/// The linear term `(layer, term)` of `network`.
#[must_use]
pub fn linear_term(network: &IntegerNetwork, (layer, term): (usize, usize)) -> Option<&LinearTerm> {
    let IntegerOp::Sum(op) = &network.layers.get(layer)?.op else { return None };
    match op.terms.get(term)? {
        Term::Linear(linear) => Some(linear),
        Term::Scaled(_) => None,
    }
}

/// The linear step of all `terms` of `network`, as wide as the widest of them; `None` if they cannot be
/// joined.
#[must_use]
pub fn joined_op(
    network: &IntegerNetwork,
    facts: &NetworkFacts,
    terms: &[(usize, usize)],
    packing: Packing,
) -> Option<LinearOp> {
    let LinearTerm { geometry, weight_bits, multiplier_bits, .. } = joined_term(network, terms)?;
    let guard = |&(layer, _): &(usize, usize)| {
        let IntegerOp::Sum(op) = &network.layers[layer].op else { return 0 };
        guard_bits(op.linear_terms().count())
    };
    Some(LinearOp {
        geometry,
        weight_bits,
        multiplier_bits,
        acc_bits: terms.iter().map(|&(layer, _)| facts.acc_bits(layer)).max()?,
        guard_bits: terms.iter().map(guard).max()?,
        rounded_bits: 0,
        packing,
    })
}

/// The linear term whose kernels are those of all `terms` of `network`, one after the other; `None` if
/// they cannot be joined.
#[must_use]
pub fn joined_term(network: &IntegerNetwork, terms: &[(usize, usize)]) -> Option<LinearTerm> {
    let parts = terms.iter().map(|&term| linear_term(network, term));
    let parts: Vec<&LinearTerm> = parts.collect::<Option<_>>()?;
    if let [only] = parts[..] {
        return Some(only.clone());
    }
    let geometries: Vec<ConvGeometry> = parts.iter().map(|part| part.geometry).collect();
    let geometry = joined_geometry(&geometries)?;
    let mut weights = vec![0; geometry.weight_count()?];
    let mut joined = LinearTerm {
        geometry,
        weights: Arc::default(),
        weight_bits: parts.iter().map(|part| part.weight_bits).max()?,
        multipliers: Vec::with_capacity(geometry.out_channels),
        multiplier_bits: parts.iter().map(|part| part.multiplier_bits).max()?,
    };
    let [rows, columns] = geometry.window.kernel;
    let mut planes = weights.chunks_exact_mut(rows * columns);
    for part in parts {
        let [top, left] = offset(&geometry, &part.geometry)?;
        let [height, width] = part.geometry.window.kernel;
        for plane in part.weights.chunks_exact(height * width) {
            let joined = planes.next()?;
            for (y, row) in plane.chunks_exact(width).enumerate() {
                joined[(top + y) * columns + left..][..width].copy_from_slice(row);
            }
        }
        joined.multipliers.extend(&part.multipliers);
    }
    Some(LinearTerm { weights: Arc::new(weights), ..joined })
}

/// The geometry of [`joined_term`]: the window is that of the layer whose window holds all others.
#[must_use]
pub fn joined_geometry(parts: &[ConvGeometry]) -> Option<ConvGeometry> {
    let holds_all = |large: &&ConvGeometry| parts.iter().all(|part| offset(large, part).is_some());
    let large = parts.iter().find(holds_all)?;
    let out_channels = parts.iter().map(|part| part.out_channels);
    Some(ConvGeometry { out_channels: out_channels.sum(), ..*large })
}

/// The tap of the window of `large` that stands for the first of `small`, if every output reads the same
/// inputs by either.
#[must_use]
pub fn offset(large: &ConvGeometry, small: &ConvGeometry) -> Option<[usize; 2]> {
    let (outputs, others) = (large.output()?, small.output()?);
    let extents = [outputs.height, outputs.width];
    if large.groups != 1
        || small.groups != 1
        || large.input != small.input
        || large.batch != small.batch
        || extents != [others.height, others.width]
    {
        return None;
    }
    let along = |axis: usize| {
        let (Window { kernel, strides, pads, dilations }, part) = (large.window, small.window);
        let is_aligned = (strides[axis] == part.strides[axis] || extents[axis] == 1)
            && (dilations[axis] == part.dilations[axis] || part.kernel[axis] == 1);
        let before = pads[axis].checked_sub(part.pads[axis]).filter(|_| is_aligned)?;
        let taps = before.checked_div(dilations[axis])?;
        let fits =
            before.is_multiple_of(dilations[axis]) && taps + part.kernel[axis] <= kernel[axis];
        fits.then_some(taps)
    };
    Some([along(0)?, along(1)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::eval::convolve;
    use heq_ir::geometry::Chw;
    use heq_ir::integer::{
        InputElement, InputLayout, InputMap, IntRange, IntegerLayer, NetworkInput, NetworkOutput,
        Quantization, Rounding, SumOp, ValueId,
    };

    fn network(geometries: &[ConvGeometry]) -> IntegerNetwork {
        let mut state = 7_i32;
        let mut number = move || {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            (state >> 20) % 8
        };
        let layer = |geometry: &ConvGeometry| {
            let linear = LinearTerm {
                geometry: *geometry,
                weights: (0..geometry.weight_count().unwrap())
                    .map(|_| number())
                    .collect::<Vec<i32>>()
                    .into(),
                weight_bits: 4,
                multipliers: (0..geometry.out_channels).map(|_| i64::from(number())).collect(),
                multiplier_bits: 3,
            };
            IntegerLayer {
                name: String::new(),
                operator: String::new(),
                tensor: String::new(),
                inputs: vec![ValueId(0)],
                op: IntegerOp::Sum(SumOp {
                    output: geometry.output().unwrap(),
                    terms: vec![Term::Linear(linear)],
                    bias: vec![0; geometry.out_channels],
                    requantize: None,
                }),
            }
        };
        let quantization = Quantization { scale: 1.0, range: IntRange { lo: -8, hi: 7 } };
        IntegerNetwork {
            name: String::new(),
            input: NetworkInput {
                name: String::new(),
                shape: geometries[0].input,
                layout: InputLayout::Nchw,
                element: InputElement::Real,
                map: InputMap::identity(),
                quantization,
                rounding: Rounding::HalfEven,
            },
            layers: geometries.iter().map(layer).collect(),
            output: NetworkOutput { name: String::new(), value: ValueId(1), scale: 1.0 },
            batch: 1,
        }
    }

    /// Kernel, strides, pads and dilations of layers on `input`, and whether they can be joined.
    fn check_joined(input: Chw, windows: &[Window], expected: bool) {
        let geometry = |(index, &window): (usize, &Window)| ConvGeometry {
            input,
            out_channels: 2 + index,
            window,
            groups: 1,
            batch: 1,
        };
        let geometries: Vec<ConvGeometry> = windows.iter().enumerate().map(geometry).collect();
        let network = network(&geometries);
        let terms: Terms = (0..windows.len()).map(|layer| (layer, 0)).collect();
        let joined = joined_term(&network, &terms);
        assert_eq!(joined.is_some(), expected, "{windows:?}");
        let Some(joined) = joined else { return };
        let x: Vec<i64> = (0..input.len() as i64).map(|i| i * i % 16 - 8).collect();
        let apply = |linear: &LinearTerm| {
            let fan_in = linear.geometry.fan_in();
            let weights = linear.weights.iter().enumerate();
            let folded: Vec<i64> =
                weights.map(|(i, &w)| i64::from(w) * linear.multipliers[i / fan_in]).collect();
            convolve(&linear.geometry, &folded, &vec![0; linear.geometry.out_channels], &x)
        };
        let apart = terms.iter().flat_map(|&term| apply(linear_term(&network, term).unwrap()));
        assert_eq!(apply(&joined), apart.collect::<Vec<_>>(), "{windows:?}");
    }

    #[test]
    fn joined_layers_compute_what_each_does() {
        let input = Chw::new(3, 9, 8);
        let dense = |kernel, stride, pad| Window::dense([kernel; 2], [stride; 2], [pad; 4]);
        let dilated = Window { dilations: [2, 2], ..dense(3, 1, 2) };
        for (windows, expected) in [
            (vec![dense(1, 1, 0), dense(3, 1, 1)], true),
            (vec![dense(3, 2, 1), dense(1, 2, 0)], true),
            (vec![dense(3, 1, 1), dense(1, 1, 0), dense(5, 1, 2)], true),
            (vec![dense(1, 1, 0), dense(1, 1, 0)], true),
            (vec![dense(1, 1, 0), dilated], true),
            (vec![dense(3, 1, 1), Window { dilations: [2, 2], ..dense(5, 1, 4) }], false),
            (vec![Window::dense([1, 3], [1, 1], [0, 1, 0, 1]), dense(3, 1, 1)], true),
            (vec![dense(1, 1, 0), dense(3, 2, 1)], false),
            (vec![dense(1, 1, 0), dense(3, 1, 0)], false),
            (vec![Window::dense([2, 2], [2, 2], [0, 0, 1, 0]), dense(1, 2, 0)], true),
            (vec![Window::dense([2, 2], [1, 1], [1, 1, 0, 0]), dense(3, 1, 1)], true),
            (vec![Window::dense([2, 2], [1, 1], [0, 0, 1, 1]), dense(3, 1, 1)], true),
            // Neither holds the other.
            (
                vec![
                    Window::dense([2, 2], [1, 1], [0, 0, 1, 1]),
                    Window::dense([2, 2], [1, 1], [1, 1, 0, 0]),
                ],
                false,
            ),
            (vec![dense(1, 1, 0), Window::dense([2, 2], [1, 1], [1, 1, 0, 0])], true),
        ] {
            check_joined(input, &windows, expected);
        }
        // A single output has no stride.
        check_joined(Chw::new(2, 3, 3), &[dense(3, 1, 0), dense(3, 2, 0)], true);
        let grouped =
            ConvGeometry { input, out_channels: 3, window: dense(3, 1, 1), groups: 3, batch: 1 };
        assert_eq!(offset(&grouped, &ConvGeometry { groups: 1, ..grouped }), None);
    }
}
