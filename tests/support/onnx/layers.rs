//! Steps of generated networks that read one activation: linear layers, pooling, functions, moves.

use super::builder::{Attribute, MICROSOFT};
use super::forms::{Form, Weights, signed_range};
use super::generate::{Activation, Last, Network, Source, Sum, Ties};
use super::scale::{Scale, width};
use tract_onnx::pb::tensor_proto::DataType;

/// Most elements of an activation.
const MAX_ELEMENTS: usize = 300;

/// A linear layer.
pub(super) struct Linear {
    operator: &'static str,
    attributes: Vec<(&'static str, Attribute)>,
    weights: Weights,
    bias: Option<Vec<i64>>,
    dims: Vec<usize>,
    /// Real factor of the integer sums of every output channel.
    factors: Vec<Scale>,
    /// Largest magnitude of the integer sums of every output channel.
    sums: Vec<i64>,
}

impl Network {
    /// One random step, or none if it does not fit.
    pub(super) fn step(&mut self, x: Activation) -> Activation {
        let made = match self.draw(0, 12) {
            0..=2 => self.quantized_linear(&x),
            3 => self.max_pool(&x),
            4 => self.average_pool(&x),
            5 => self.function(&x),
            6 | 7 => self.residual(&x),
            8 => self.concatenation(&x),
            9 => self.moved(&x),
            10 => self.requantized(&x),
            11 => self.function(&x),
            _ => self.flattened(&x),
        };
        made.filter(|made| made.elements() <= MAX_ELEMENTS).unwrap_or(x)
    }

    /// What a network ends with.
    pub(super) fn finish(&mut self, x: Activation) -> Last {
        if self.form != Form::QOperator && self.chance(2, 3) {
            let flat = if self.chance(1, 2) { self.flattened(&x) } else { None };
            let x = flat.as_ref().unwrap_or(&x);
            let sum = if self.chance(1, 4) { self.residual_sum(x) } else { None };
            let sum = sum.or_else(|| self.linear_sum(x, None));
            if let Some(sum) = sum.filter(|sum| width(&sum.factors.concat()) <= 9) {
                return Last::Reals(sum.name);
            }
        }
        if x.source != Source::Client && self.chance(1, 3) {
            return Last::Quantized(x);
        }
        for _ in 0..64 {
            if let Some(made) = self.quantized_linear(&x) {
                return Last::Quantized(made);
            }
        }
        Last::Quantized(x)
    }

    pub(super) fn quantized_linear(&mut self, x: &Activation) -> Option<Activation> {
        if self.form == Form::QOperator {
            let linear = self.linear(x, None)?;
            return self.linear_on_integers(x, &linear);
        }
        let sum = self.linear_sum(x, None)?;
        self.quantize_sum(&sum)
    }

    /// A linear layer with all that may follow it before a quantizer; `same` asks for the dimensions
    /// of its input, or for those given.
    pub(super) fn linear_sum(&mut self, x: &Activation, same: Option<&[usize]>) -> Option<Sum> {
        let mut linear = self.linear(x, same)?;
        let weights = self.weights(&linear.weights);
        let matrix = linear.operator == "MatMul";
        let bias = linear.bias.clone().map(|bias| self.bias(&bias, &linear.factors));
        let mut inputs = vec![x.name.as_str(), &weights];
        inputs.extend(bias.as_deref().filter(|_| !matrix));
        let mut name = self.builder.node("", linear.operator, &inputs, &linear.attributes);
        if let Some(bias) = bias.filter(|_| matrix) {
            name = self.builder.node("", "Add", &[&name, &bias], &[]);
        }
        if self.chance(1, 3) {
            name = self.normalized(&name, &mut linear.factors);
        }
        Some(Sum {
            name,
            dims: linear.dims.clone(),
            magnitude: linear.magnitude(),
            factors: vec![linear.factors],
            ties: Some(Ties::Up),
            linear: true,
        })
    }

    /// A convolution of an image, a product of a vector.
    pub(super) fn linear(&mut self, x: &Activation, same: Option<&[usize]>) -> Option<Linear> {
        let wide_input = x.bits() > 8;
        let bits = if wide_input || self.wide { self.draw(2, 5) } else { self.draw(2, 8) } as u32;
        let bipolar = self.form == Form::Qonnx && self.chance(1, 8);
        let bits = if bipolar { 1 } else { bits };
        let (operator, dims, attributes, out) = match x.dims.len() {
            2 => self.product(x, same),
            _ => self.convolution(x, same)?,
        };
        let axis = usize::from(operator == "MatMul" || !transposed(&attributes));
        let axis = if operator == "Conv" { 0 } else { axis };
        let channels = dims[axis];
        let most = if self.wide { 3 } else { 1 };
        let odds: &[i64] = if self.wide { &[1, 3, 5, 7] } else { &[1, 3] };
        let exponent = self.draw(-7, -2) as i32;
        let count = if self.chance(1, 2) { channels } else { 1 };
        let scales: Vec<Scale> = (0..count)
            .map(|_| {
                let odd = odds[self.index(odds.len())];
                Scale { odd, exponent: exponent + self.draw(0, most) as i32 }
            })
            .collect();
        let (lo, hi) = signed_range(bits);
        let values = (0..dims.iter().product())
            .map(|_| match bipolar {
                true => 2 * self.draw(0, 1) - 1,
                false => self.draw(lo, hi),
            })
            .collect();
        let weights = Weights { dims, values, bits, scales, axis };
        let factors: Vec<Scale> = (0..channels)
            .map(|channel| x.quantizer.scale.times(weights.scales[channel % count]))
            .collect();
        let mut sums = weights.absolute_sums();
        sums.iter_mut().for_each(|sum| *sum *= x.range.0.abs().max(x.range.1.abs()));
        let bias = self.chance(2, 3).then(|| {
            sums.iter_mut()
                .map(|sum| {
                    let most = (*sum / 4 + 1).min(30_000);
                    let bias = self.draw(-most, most);
                    *sum += bias.abs();
                    bias
                })
                .collect()
        });
        Some(Linear { operator, attributes, weights, bias, dims: out, factors, sums })
    }

    /// Operator, dimensions of its weights, attributes, dimensions of its result.
    fn product(&mut self, x: &Activation, same: Option<&[usize]>) -> Layer {
        let features = x.dims[1];
        let outputs = same.map_or_else(|| self.draw(2, 10) as usize, |dims| dims[1]);
        let out = vec![1, outputs];
        if self.chance(1, 3) {
            return ("MatMul", vec![features, outputs], Vec::new(), out);
        }
        if self.chance(1, 3) {
            return ("Gemm", vec![features, outputs], Vec::new(), out);
        }
        ("Gemm", vec![outputs, features], vec![("transB", Attribute::Int(1))], out)
    }

    fn convolution(&mut self, x: &Activation, same: Option<&[usize]>) -> Option<Layer> {
        let channels = x.dims[1];
        let spatial = &x.dims[2..];
        let groups = match self.draw(0, 3) {
            0 => channels,
            1 if channels.is_multiple_of(2) => 2,
            _ => 1,
        };
        let mut outputs = groups * self.draw(1, 2) as usize;
        if groups == 1 {
            outputs = self.draw(1, 5) as usize;
        }
        let automatic = same.is_none() && self.chance(1, 6);
        let groups = match same {
            Some(dims) if !dims[1].is_multiple_of(groups) => 1,
            _ => groups,
        };
        outputs = same.map_or(outputs, |dims| dims[1]);
        let (mut kernel, mut strides, mut dilations) = (vec![], vec![], vec![]);
        let (mut before, mut after, mut out) = (vec![], vec![], vec![1, outputs]);
        for (axis, &extent) in spatial.iter().enumerate() {
            let taps = self.draw(1, 3);
            let dilation = if self.chance(1, 4) { 2 } else { 1 };
            let reach = dilation * (taps - 1) + 1;
            let stride = if same.is_none() && self.chance(1, 3) { 2 } else { 1 };
            let (mut head, mut tail) = (self.draw(0, reach - 1), self.draw(0, reach - 1));
            if let Some(dims) = same {
                // The result is as long as asked.
                let missing = dims[2 + axis] as i64 - extent as i64 + reach - 1;
                if missing < 0 || missing > 2 * (reach - 1) {
                    return None;
                }
                head = self.draw((missing - reach + 1).max(0), missing.min(reach - 1));
                tail = missing - head;
            }
            let length = if automatic {
                (extent as i64 + stride - 1) / stride
            } else {
                let room = extent as i64 + head + tail - reach;
                if room < 0 {
                    return None;
                }
                room / stride + 1
            };
            kernel.push(taps);
            strides.push(stride);
            dilations.push(dilation);
            before.push(head);
            after.push(tail);
            out.push(length as usize);
        }
        let mut dims = vec![outputs, channels / groups];
        dims.extend(kernel.iter().map(|&taps| taps as usize));
        let mut attributes = vec![
            ("strides", Attribute::Ints(strides)),
            ("dilations", Attribute::Ints(dilations)),
            ("group", Attribute::Int(groups as i64)),
        ];
        if self.chance(2, 3) {
            attributes.push(("kernel_shape", Attribute::Ints(kernel)));
        }
        attributes.push(if automatic {
            ("auto_pad", Attribute::Text(["SAME_UPPER", "SAME_LOWER"][self.index(2)]))
        } else {
            ("pads", Attribute::Ints([before, after].concat()))
        });
        Some(("Conv", dims, attributes, out))
    }

    /// A constant bias, one multiple of a factor a channel.
    fn bias(&mut self, bias: &[i64], factors: &[Scale]) -> String {
        let count = bias.len();
        if self.form == Form::Qonnx || self.chance(1, 2) {
            let reals: Vec<f32> =
                bias.iter().zip(factors).map(|(&b, factor)| b as f32 * factor.value()).collect();
            return self.builder.floats(&[count], &reals);
        }
        let integers = self.builder.ints(DataType::Int32, &[count], bias);
        let scales: Vec<f32> = factors.iter().map(|factor| factor.value()).collect();
        let scale = self.builder.floats(&[count], &scales);
        let axis = [("axis", Attribute::Int(0))];
        self.builder.node("", "DequantizeLinear", &[&integers, &scale], &axis)
    }

    /// A batch normalization whose map is exact; multiplies the factors.
    fn normalized(&mut self, x: &str, factors: &mut [Scale]) -> String {
        const EPSILON: f32 = 1.0 / 1024.0;
        let count = factors.len();
        let dims = [count];
        let (mut gamma, mut beta) = (vec![], vec![]);
        let (mut mean, mut variance) = (vec![], vec![]);
        for factor in factors.iter_mut() {
            let odd = if self.wide { [1, 3, 5][self.index(3)] } else { 1 };
            let (root, numerator) = (self.draw(-1, 2) as i32, Scale { odd, exponent: 0 });
            let sign = if self.chance(1, 6) { -1.0 } else { 1.0 };
            mean.push(self.draw(-9, 9) as f32 * factor.value());
            let exponent = if self.chance(1, 2) { root } else { 0 };
            gamma.push(sign * numerator.value() * 2.0_f32.powi(exponent));
            variance.push(4.0_f32.powi(root) - EPSILON);
            *factor = factor.times(Scale { odd, exponent: exponent - root });
            beta.push(self.draw(-9, 9) as f32 * factor.value());
        }
        let [gamma, beta, mean, variance] =
            [gamma, beta, mean, variance].map(|values| self.builder.floats(&dims, &values));
        self.builder.node(
            "",
            "BatchNormalization",
            &[x, &gamma, &beta, &mean, &variance],
            &[("epsilon", Attribute::Float(EPSILON))],
        )
    }

    pub(super) fn linear_on_integers(
        &mut self,
        x: &Activation,
        linear: &Linear,
    ) -> Option<Activation> {
        let Linear { weights, factors, .. } = linear;
        let to = self.integer_output(
            std::slice::from_ref(factors),
            linear.magnitude(),
            Some(Ties::Up),
            Source::Quantized,
            &linear.dims,
        )?;
        let (x_scale, x_zero) = self.parameters(&x.quantizer);
        let (y_scale, y_zero) = self.parameters(&to.quantizer);
        let (ty, zero) =
            if self.chance(1, 4) { (DataType::Uint8, 128) } else { (DataType::Int8, 0) };
        let count = weights.scales.len();
        let dims: Vec<usize> = if count > 1 { vec![count] } else { vec![] };
        let scales: Vec<f32> = weights.scales.iter().map(|scale| scale.value()).collect();
        let stored: Vec<i64> = weights.values.iter().map(|value| value + zero).collect();
        let w = self.builder.ints(ty, &weights.dims, &stored);
        let w_scale = self.builder.floats(&dims, &scales);
        let w_zero = self.builder.ints(ty, &dims, &vec![zero; count]);
        let bias = linear.bias.as_ref().filter(|_| linear.operator != "MatMul");
        let bias = bias.map(|bias| self.builder.ints(DataType::Int32, &[bias.len()], bias));
        let mut inputs = vec![x.name.as_str(), &x_scale, &x_zero, &w, &w_scale, &w_zero];
        let (domain, operator) = match linear.operator {
            "Conv" => ("", "QLinearConv"),
            "MatMul" => ("", "QLinearMatMul"),
            _ => (MICROSOFT, "QGemm"),
        };
        if domain == MICROSOFT {
            inputs.push(bias.as_deref().unwrap_or(""));
            inputs.extend([y_scale.as_str(), &y_zero]);
        } else {
            inputs.extend([y_scale.as_str(), &y_zero]);
            inputs.extend(bias.as_deref());
        }
        let name = self.builder.node(domain, operator, &inputs, &linear.attributes);
        Some(Activation { name, ..to })
    }

    /// What an operator on integers makes; the name is still missing.
    pub(super) fn integer_output(
        &mut self,
        factors: &[Vec<Scale>],
        magnitude: f64,
        ties: Option<Ties>,
        source: Source,
        dims: &[usize],
    ) -> Option<Activation> {
        let linear = source == Source::Quantized;
        let scale = self.output_scale(factors, magnitude, 8, ties, linear)?;
        let signed = self.chance(1, 2);
        let quantizer = self.storage(8, signed, scale);
        let (lo, hi) = quantizer.range();
        let range = (lo, hi);
        (lo <= 0 && hi >= 0).then(|| Activation {
            name: String::new(),
            dims: dims.to_vec(),
            quantizer,
            range,
            source,
        })
    }

    /// Another quantizer, after a map of every channel if the form has one.
    fn requantized(&mut self, x: &Activation) -> Option<Activation> {
        if self.form == Form::QOperator {
            return None;
        }
        let mut factors = vec![x.quantizer.scale];
        let mut name = x.name.clone();
        let mut magnitude = x.magnitude();
        if self.chance(1, 2) && x.source != Source::Exact {
            factors = vec![x.quantizer.scale; x.dims[1]];
            name = self.normalized(&name, &mut factors);
            magnitude = 2.0 * magnitude + 40.0 * f64::from(x.quantizer.scale.value());
        }
        let ties = x.ties();
        let sum = Sum {
            name,
            dims: x.dims.clone(),
            factors: vec![factors],
            magnitude,
            ties,
            linear: false,
        };
        let made = self.quantize_sum(&sum)?;
        // On its own grid, the input stays the client's.
        let same = made.quantizer.scale == x.quantizer.scale;
        (!same || x.source != Source::Client).then_some(made)
    }

    /// The elements as a vector.
    pub(super) fn flattened(&mut self, x: &Activation) -> Option<Activation> {
        if x.dims.len() == 2 {
            return None;
        }
        let dims = vec![1, x.elements()];
        let name = match self.draw(0, 2) {
            0 => self.builder.node("", "Flatten", &[&x.name], &[]),
            1 => {
                let target = self.builder.ints(DataType::Int64, &[2], &[0, -1]);
                self.builder.node("", "Reshape", &[&x.name, &target], &[])
            }
            _ => {
                let target = self.builder.ints(DataType::Int64, &[2], &[1, dims[1] as i64]);
                self.builder.node("", "Reshape", &[&x.name, &target], &[])
            }
        };
        Some(Activation { name, dims, ..x.clone() })
    }
}

type Layer = (&'static str, Vec<usize>, Vec<(&'static str, Attribute)>, Vec<usize>);

fn transposed(attributes: &[(&str, Attribute)]) -> bool {
    attributes.iter().any(|(name, _)| *name == "transB")
}

impl Linear {
    /// Largest magnitude of the sums, in reals.
    fn magnitude(&self) -> f64 {
        let real = |(sum, factor): (&i64, &Scale)| *sum as f64 * f64::from(factor.value());
        self.sums.iter().zip(&self.factors).map(real).fold(0.0, f64::max)
    }
}

impl Weights {
    /// `sum(|w|)` of every output channel.
    fn absolute_sums(&self) -> Vec<i64> {
        let mut sums = vec![0; self.dims[self.axis]];
        let inner: usize = self.dims[self.axis + 1..].iter().product();
        for (index, value) in self.values.iter().enumerate() {
            sums[index / inner % self.dims[self.axis]] += value.abs();
        }
        sums
    }
}
