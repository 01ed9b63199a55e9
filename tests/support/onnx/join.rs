//! Steps of generated networks that pool, look up, move or join activations.

use super::builder::{Attribute, MICROSOFT};
use super::forms::Form;
use super::generate::{Activation, Network, Source, Sum, Ties};
use super::scale::Scale;
use tract_onnx::pb::tensor_proto::DataType;

impl Network {
    pub(super) fn channels_first(&mut self, x: &str) -> String {
        self.builder.node("", "Transpose", &[x], &[("perm", Attribute::Ints(vec![0, 3, 1, 2]))])
    }

    pub(super) fn max_pool(&mut self, x: &Activation) -> Option<Activation> {
        let pools = matches!(x.source, Source::Quantized | Source::Narrowed);
        if !pools || x.dims.len() == 2 {
            return None;
        }
        if self.form != Form::QOperator && self.chance(1, 5) {
            let name = self.builder.node("", "GlobalMaxPool", &[&x.name], &[]);
            let mut dims = x.dims.clone();
            dims[2..].fill(1);
            return Some(Activation { name, dims, ..x.clone() });
        }
        let (attributes, dims) = self.pool(x, &[1, 2, 3], true)?;
        let name = self.builder.node("", "MaxPool", &[&x.name], &attributes);
        Some(Activation { name, dims, ..x.clone() })
    }

    /// Attributes of a window, and dimensions of the result.
    fn pool(&mut self, x: &Activation, taps: &[i64], pads: bool) -> Option<Pool> {
        let (mut kernel, mut strides) = (vec![], vec![]);
        let (mut before, mut after) = (vec![], vec![]);
        let mut dims = x.dims[..2].to_vec();
        for &extent in &x.dims[2..] {
            let taps = taps[self.index(taps.len())];
            let most = if pads { taps - 1 } else { 0 };
            let (head, tail) = (self.draw(0, most), self.draw(0, most));
            let stride = self.draw(1, 2);
            let room = extent as i64 + head + tail - taps;
            if room < 0 {
                return None;
            }
            dims.push((room / stride + 1) as usize);
            kernel.push(taps);
            strides.push(stride);
            before.push(head);
            after.push(tail);
        }
        let attributes = vec![
            ("kernel_shape", Attribute::Ints(kernel)),
            ("strides", Attribute::Ints(strides)),
            ("pads", Attribute::Ints([before, after].concat())),
        ];
        Some((attributes, dims))
    }

    /// An average over a power of two of elements, with or without a quantizer behind it.
    pub(super) fn average_pool(&mut self, x: &Activation) -> Option<Activation> {
        if x.dims.len() == 2 || x.source == Source::Exact {
            return None;
        }
        let plane: usize = x.dims[2..].iter().product();
        let global = plane.is_power_of_two() && plane > 1 && self.chance(2, 3);
        let integers = self.form == Form::QOperator;
        let (operator, attributes, dims, area) = if global {
            let mut dims = x.dims.clone();
            dims[2..].fill(1);
            ("GlobalAveragePool", Vec::new(), dims, plane as i64)
        } else {
            let pads = self.chance(1, 3);
            let (mut attributes, dims) = self.pool(x, &[2, 4], pads)?;
            if pads {
                attributes.push(("count_include_pad", Attribute::Int(1)));
            }
            let Attribute::Ints(kernel) = &attributes[0].1 else { return None };
            let area = kernel.iter().product();
            ("AveragePool", attributes, dims, area)
        };
        let scale = x.quantizer.scale.times(Scale::power(-(area as u64).ilog2().cast_signed()));
        let factors = vec![vec![scale]];
        if integers {
            let to = self.integer_output(
                &factors,
                x.magnitude(),
                Some(Ties::Up),
                Source::Narrowed,
                &dims,
            )?;
            let (x_scale, x_zero) = self.parameters(&x.quantizer);
            let (y_scale, y_zero) = self.parameters(&to.quantizer);
            let inputs = [x.name.as_str(), &x_scale, &x_zero, &y_scale, &y_zero];
            let operator = format!("QLinear{operator}");
            let name = self.builder.node(MICROSOFT, &operator, &inputs, &attributes);
            return Some(Activation { name, ..to });
        }
        let name = self.builder.node("", operator, &[&x.name], &attributes);
        if self.chance(1, 3) && x.bits() <= 6 {
            let range = (x.range.0 * area, x.range.1 * area);
            let quantizer = super::generate::Quantizer { scale, ..x.quantizer };
            return Some(Activation { name, dims, quantizer, range, source: Source::Exact });
        }
        let magnitude = x.magnitude();
        self.quantize_sum(&Sum {
            name,
            dims,
            factors,
            magnitude,
            ties: Some(Ties::Up),
            linear: false,
        })
    }

    /// A function of every element and a quantizer; ties are far away unless the function is exact.
    pub(super) fn function(&mut self, x: &Activation) -> Option<Activation> {
        if !matches!(x.source, Source::Quantized | Source::Narrowed) {
            return None;
        }
        let integers = self.form == Form::QOperator;
        let operators: &[&str] = if integers {
            &["LeakyRelu", "Sigmoid"]
        } else if self.opset() < 14 {
            &["HardSigmoid", "LeakyRelu", "PRelu", "Sigmoid", "Swish", "Tanh"]
        } else {
            &["HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Sigmoid", "Swish", "Tanh"]
        };
        let operator = operators[self.index(operators.len())];
        let dyadic = self.chance(2, 3);
        let slope = if dyadic { [0.125_f32, 0.25][self.index(2)] } else { 0.1 };
        let value = |x: f64| match operator {
            "LeakyRelu" | "PRelu" => x.max(0.0) + f64::from(slope) * x.min(0.0),
            "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
            "Tanh" => x.tanh(),
            "HardSigmoid" => (0.25 * x + 0.5).clamp(0.0, 1.0),
            "Swish" => x / (1.0 + (-x).exp()),
            _ => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        };
        let scale = f64::from(x.quantizer.scale.value());
        let values: Vec<f64> =
            (x.range.0..=x.range.1).map(|step| value(step as f64 * scale)).collect();
        let largest = values.iter().map(|y| y.abs()).fold(0.0, f64::max);
        let exact =
            operator == "HardSigmoid" || dyadic && ["LeakyRelu", "PRelu"].contains(&operator);
        let bits = self.draw(2, 8) as u32;
        let exponent = (largest / 2.0_f64.powi(bits as i32)).max(1e-4).log2().round() as i32;
        let far = |to: &Scale| {
            let steps = |y: &f64| y / f64::from(to.value());
            let near = |y: &f64| (steps(y) - steps(y).floor() - 0.5).abs() < 1e-6;
            exact || !values.iter().any(near)
        };
        let odds = [[1, 3, 5], [3, 5, 1], [5, 1, 3]][self.index(3)];
        let to = odds.into_iter().map(|odd| Scale { odd, exponent }).find(far)?;
        let bits = if integers { 8 } else { bits };
        let signed = values.iter().any(|&y| y < 0.0) || self.chance(1, 3);
        let quantizer = self.storage(bits, signed, to);
        let range = quantizer.range();
        let made = Activation {
            name: String::new(),
            dims: x.dims.clone(),
            quantizer,
            range,
            source: Source::Quantized,
        };
        let alpha = [("alpha", Attribute::Float(slope))];
        let hard = [("alpha", Attribute::Float(0.25)), ("beta", Attribute::Float(0.5))];
        let attributes: &[(&str, Attribute)] = match operator {
            "LeakyRelu" => &alpha,
            "HardSigmoid" => &hard,
            _ => &[],
        };
        if integers {
            let (x_scale, x_zero) = self.parameters(&x.quantizer);
            let (y_scale, y_zero) = self.parameters(&quantizer);
            let inputs = [x.name.as_str(), &x_scale, &x_zero, &y_scale, &y_zero];
            let operator = format!("QLinear{operator}");
            let name = self.builder.node(MICROSOFT, &operator, &inputs, attributes);
            self.rounds(&name, Ties::Even);
            return Some(Activation { name, ..made });
        }
        let name = match operator {
            "Swish" => {
                let gate = self.builder.node("", "Sigmoid", &[&x.name], &[]);
                self.builder.node("", "Mul", &[&x.name, &gate], &[])
            }
            "PRelu" => {
                let mut dims = vec![x.dims[1]];
                dims.resize(x.dims.len() - 1, 1);
                let slopes = self.builder.floats(&dims, &vec![slope; x.dims[1]]);
                self.builder.node("", "PRelu", &[&x.name, &slopes], &[])
            }
            _ => self.builder.node("", operator, &[&x.name], attributes),
        };
        let name = self.quantized(&name, &quantizer, Ties::Even);
        Some(Activation { name, ..made })
    }

    /// Elements picked, permuted or padded.
    pub(super) fn moved(&mut self, x: &Activation) -> Option<Activation> {
        let rank = x.dims.len();
        let mut dims = x.dims.clone();
        let axis = 1 + self.index(rank - 1);
        let name = match self.draw(0, 2) {
            0 if rank == 4 => {
                let perm = [[0, 1, 3, 2], [0, 2, 1, 3], [0, 3, 1, 2]][self.index(3)];
                dims = perm.iter().map(|&source| x.dims[source as usize]).collect();
                let perm = [("perm", Attribute::Ints(perm.to_vec()))];
                self.builder.node("", "Transpose", &[&x.name], &perm)
            }
            1 if rank > 2 && self.form != Form::QOperator => {
                let mut pads = vec![0; 2 * rank];
                (pads[axis], pads[axis + rank]) = (self.draw(0, 2), self.draw(0, 1));
                dims[axis] += (pads[axis] + pads[axis + rank]) as usize;
                let pads = self.builder.ints(DataType::Int64, &[pads.len()], &pads);
                self.builder.node("", "Pad", &[&x.name, &pads], &[])
            }
            _ => {
                let extent = x.dims[axis] as i64;
                if extent < 3 {
                    return None;
                }
                let step: i64 = [1, 2, -1, -2][self.index(4)];
                let (first, end) = (self.draw(0, 1), extent - self.draw(0, 1));
                let (start, stop) = match step > 0 {
                    true => (first, if self.chance(1, 2) { i64::MAX } else { end }),
                    false => {
                        (end - 1, if self.chance(1, 2) { i64::MIN } else { first - extent - 1 })
                    }
                };
                let last = match (step > 0, stop) {
                    (true, i64::MAX) => extent,
                    (true, _) => end,
                    (false, i64::MIN) => -1,
                    (false, _) => first - 1,
                };
                dims[axis] =
                    ((last - start).unsigned_abs() as usize).div_ceil(step.unsigned_abs() as usize);
                let mut constant = |value: i64| self.builder.ints(DataType::Int64, &[1], &[value]);
                let inputs =
                    [constant(start), constant(stop), constant(axis as i64), constant(step)];
                let [start, stop, axis, step] = inputs;
                self.builder.node("", "Slice", &[&x.name, &start, &stop, &axis, &step], &[])
            }
        };
        Some(Activation { name, dims, ..x.clone() })
    }

    /// A sum of an activation and a linear layer of it, without quantizers in between.
    pub(super) fn residual_sum(&mut self, x: &Activation) -> Option<Sum> {
        let branch = self.linear_sum(x, Some(&x.dims))?;
        let skip = if self.chance(1, 3) {
            self.linear_sum(x, Some(&x.dims))?
        } else {
            Sum {
                name: x.name.clone(),
                dims: x.dims.clone(),
                factors: vec![vec![x.quantizer.scale]],
                magnitude: x.magnitude(),
                ties: Some(Ties::Up),
                linear: false,
            }
        };
        Some(self.added(branch, skip, true))
    }

    fn added(&mut self, first: Sum, second: Sum, linear: bool) -> Sum {
        let (first, second) = if self.chance(1, 2) { (first, second) } else { (second, first) };
        let operator = if self.chance(1, 4) { "Sub" } else { "Add" };
        let name = self.builder.node("", operator, &[&first.name, &second.name], &[]);
        Sum {
            name,
            dims: first.dims,
            factors: [first.factors, second.factors].concat(),
            magnitude: first.magnitude + second.magnitude,
            ties: Some(Ties::Up),
            linear,
        }
    }

    pub(super) fn residual(&mut self, x: &Activation) -> Option<Activation> {
        if self.form == Form::QOperator {
            let other = self.linear(x, Some(&x.dims))?;
            let other = self.linear_on_integers(x, &other)?;
            return self.added_on_integers(x, &other);
        }
        if self.chance(1, 2) {
            let sum = self.residual_sum(x)?;
            return self.quantize_sum(&sum);
        }
        let branch = self.linear_sum(x, Some(&x.dims))?;
        let branch = self.quantize_sum(&branch)?;
        let part = |x: &Activation| Sum {
            name: x.name.clone(),
            dims: x.dims.clone(),
            factors: vec![vec![x.quantizer.scale]],
            magnitude: x.magnitude(),
            ties: None,
            linear: false,
        };
        let sum = self.added(part(x), part(&branch), false);
        self.quantize_sum(&sum)
    }

    fn added_on_integers(&mut self, a: &Activation, b: &Activation) -> Option<Activation> {
        let factors = [vec![a.quantizer.scale], vec![b.quantizer.scale]];
        let magnitude = a.magnitude() + b.magnitude();
        let to =
            self.integer_output(&factors, magnitude, Some(Ties::Up), Source::Narrowed, &a.dims)?;
        let mut inputs = Vec::new();
        for operand in [a, b] {
            let (scale, zero) = self.parameters(&operand.quantizer);
            inputs.extend([operand.name.clone(), scale, zero]);
        }
        let (scale, zero) = self.parameters(&to.quantizer);
        inputs.extend([scale, zero]);
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let name = self.builder.node(MICROSOFT, "QLinearAdd", &inputs, &[]);
        Some(Activation { name, ..to })
    }

    /// An activation beside a layer of it on the same grid, or two layers under one quantizer.
    pub(super) fn concatenation(&mut self, x: &Activation) -> Option<Activation> {
        let axis =
            [("axis", Attribute::Int(1 - if self.chance(1, 3) { x.dims.len() as i64 } else { 0 }))];
        if self.form == Form::QOperator {
            // Equal parameters on both sides, so nothing is rounded.
            let (scale, zero) = self.parameters(&x.quantizer);
            let inputs = [scale.as_str(), &zero, &x.name, &scale, &zero, &x.name, &scale, &zero];
            let name = self.builder.node(MICROSOFT, "QLinearConcat", &inputs, &axis);
            return Some(self.doubled(x, name));
        }
        if x.source == Source::Exact || self.chance(1, 4) {
            let name = self.builder.node("", "Concat", &[&x.name, &x.name], &axis);
            return Some(self.doubled(x, name));
        }
        let first = self.linear_sum(x, Some(&x.dims))?;
        let second = self.linear_sum(x, Some(&x.dims))?;
        let name = self.builder.node("", "Concat", &[&first.name, &second.name], &axis);
        let mut dims = x.dims.clone();
        dims[1] *= 2;
        self.quantize_sum(&Sum {
            name,
            dims,
            factors: [first.factors, second.factors].concat(),
            magnitude: first.magnitude.max(second.magnitude),
            ties: Some(Ties::Up),
            linear: true,
        })
    }

    fn doubled(&self, x: &Activation, name: String) -> Activation {
        let mut dims = x.dims.clone();
        dims[1] *= 2;
        Activation { name, dims, ..x.clone() }
    }

    fn opset(&self) -> i64 {
        self.builder.opset
    }
}

type Pool = (Vec<(&'static str, Attribute)>, Vec<usize>);
