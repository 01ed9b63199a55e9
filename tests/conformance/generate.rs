//! Random integer networks: every layer, in graphs that branch and join.

use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::{
    InputElement, InputLayout, InputMap, IntRange, IntegerLayer, IntegerNetwork, IntegerOp,
    LinearTerm, MaxPoolOp, NetworkInput, NetworkOutput, Quantization, Requantize, ScaledTerm,
    SumOp, TableOp, Term, ValueId, View, ViewAxis,
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::Arc;

/// A value that layers can read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    pub(crate) id: ValueId,
    pub(crate) shape: Chw,
    pub(crate) range: IntRange,
    /// The client computes it alone.
    pub(crate) client: bool,
}

/// Builds a network layer by layer.
pub(crate) struct Builder {
    rng: ChaCha20Rng,
    pub(crate) network: IntegerNetwork,
    /// Every value that a layer may read, the input first.
    pub(crate) values: Vec<Value>,
}

/// Most elements of a value.
const MAX_ELEMENTS: usize = 500;

impl Builder {
    pub(crate) fn new(seed: u64, shape: Chw, range: IntRange) -> Self {
        let input = NetworkInput {
            name: "x".to_owned(),
            shape,
            layout: InputLayout::Nchw,
            element: InputElement::Real,
            map: InputMap::identity(),
            quantization: Quantization { scale: 0.25, range },
            rounding: heq_ir::integer::Rounding::HalfEven,
        };
        let output = NetworkOutput { name: "y".to_owned(), value: ValueId(0), scale: 0.5 };
        let network = IntegerNetwork {
            name: format!("generated {seed}"),
            input,
            layers: Vec::new(),
            output,
            batch: 1,
        };
        let values = vec![Value { id: ValueId(0), shape, range, client: true }];
        Self { rng: ChaCha20Rng::seed_from_u64(seed), network, values }
    }

    pub(crate) fn draw(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.rng.next_u64() % (hi - lo + 1).cast_unsigned()).cast_signed()
    }

    fn draw_size(&mut self, lo: usize, hi: usize) -> usize {
        self.draw(lo as i64, hi as i64) as usize
    }

    fn draw_bool(&mut self) -> bool {
        self.draw(0, 1) == 1
    }

    pub(crate) fn last(&self) -> Value {
        *self.values.last().unwrap()
    }

    /// A value read before, the latest more often.
    fn pick(&mut self) -> Value {
        let back = self.draw(0, 3).min(self.draw(0, 3)) as usize;
        self.values[self.values.len().saturating_sub(1 + back)]
    }

    pub(crate) fn push(
        &mut self,
        inputs: &[Value],
        shape: Chw,
        range: IntRange,
        client: bool,
        op: IntegerOp,
    ) -> Value {
        let index = self.network.layers.len();
        let operator = match &op {
            IntegerOp::Sum(_) => "Sum",
            IntegerOp::MaxPool(_) => "MaxPool",
            IntegerOp::Table(_) => "Table",
            IntegerOp::View(_) => "View",
            IntegerOp::Reshape(_) => "Reshape",
            IntegerOp::Concat { .. } => "Concat",
        };
        self.network.layers.push(IntegerLayer {
            name: format!("{operator} {index}"),
            operator: operator.to_owned(),
            tensor: format!("t{index}"),
            inputs: inputs.iter().map(|value| value.id).collect(),
            op,
        });
        let id = ValueId(index + 1);
        self.network.output.value = id;
        let value = Value { id, shape, range, client };
        self.values.push(value);
        value
    }

    pub(crate) fn linear_term(&mut self, input: Chw, out_channels: usize, window: Window) -> Term {
        let divides =
            |&g: &usize| input.channels.is_multiple_of(g) && out_channels.is_multiple_of(g);
        let shared = (2..=4).rev().find(divides);
        let groups = shared.filter(|_| self.draw_bool()).unwrap_or(1);
        let geometry = ConvGeometry { input, out_channels, window, groups, batch: 1 };
        let weight_bits = self.draw(1, 8) as u32;
        let multiplier_bits = self.draw(0, 5) as u32;
        let half = 1_i64 << (weight_bits - 1);
        let most = ((1_i64 << multiplier_bits) - 1).max(1);
        let count = geometry.fan_in() * out_channels;
        let weights = (0..count).map(|_| self.draw(-half, half - 1) as i32);
        let weights = Arc::new(weights.collect());
        let multipliers = (0..out_channels).map(|_| self.draw(-most, most)).collect();
        Term::Linear(LinearTerm { geometry, weights, weight_bits, multipliers, multiplier_bits })
    }

    pub(crate) fn scaled_term(&mut self, input: Chw, window: Window) -> Term {
        Term::Scaled(ScaledTerm { input, window, factor: self.draw(-9, 9) })
    }

    pub(crate) fn sum(
        &mut self,
        inputs: &[Value],
        terms: Vec<Term>,
        output: Chw,
        requantize: Option<Requantize>,
    ) -> Value {
        let any_linear = terms.iter().any(|term| matches!(term, Term::Linear(_)));
        let common = self.draw(-50, 50);
        let bias = (0..output.channels)
            .map(|_| if any_linear { self.draw(-500, 500) } else { common })
            .collect();
        let exact = |range: IntRange, term: &Term| match term {
            Term::Scaled(term) => {
                let area = (term.window.kernel[0] * term.window.kernel[1]) as i64;
                let (lo, hi) = (range.lo.min(0) * area, range.hi.max(0) * area);
                (term.factor * lo).abs().max((term.factor * hi).abs())
            }
            Term::Linear(_) => 0,
        };
        let most: i64 =
            inputs.iter().zip(&terms).map(|(value, term)| exact(value.range, term)).sum();
        let unclamped = IntRange { lo: common - most, hi: common + most };
        let range = requantize.map_or(unclamped, |requantize| requantize.range);
        let op = IntegerOp::Sum(SumOp { output, terms, bias, requantize });
        self.push(inputs, output, range, false, op)
    }

    /// One linear layer on the last value.
    pub(crate) fn linear(
        &mut self,
        out_channels: usize,
        window: Window,
        requantize: Option<Requantize>,
    ) -> Value {
        let input = self.last();
        let term = self.linear_term(input.shape, out_channels, window);
        let [height, width] = window.output(input.shape.height, input.shape.width).unwrap();
        self.sum(&[input], vec![term], Chw::new(out_channels, height, width), requantize)
    }

    pub(crate) fn max_pool(&mut self, input: Value, window: Window) -> Value {
        let [height, width] = window.output(input.shape.height, input.shape.width).unwrap();
        let output = Chw::new(input.shape.channels, height, width);
        let op = IntegerOp::MaxPool(MaxPoolOp { input: input.shape, window });
        self.push(&[input], output, input.range, input.client, op)
    }

    pub(crate) fn reshape(&mut self, input: Value, shape: Chw) -> Value {
        self.push(&[input], shape, input.range, input.client, IntegerOp::Reshape(shape))
    }

    pub(crate) fn concat(&mut self, inputs: &[Value]) -> Value {
        let channels = inputs.iter().map(|value| value.shape.channels).sum();
        let range = inputs.iter().map(|value| value.range).reduce(union).unwrap();
        let client = inputs.iter().all(|value| value.client);
        self.push(
            inputs,
            Chw { channels, ..inputs[0].shape },
            range,
            client,
            IntegerOp::Concat { batch: 1 },
        )
    }

    pub(crate) fn view(&mut self, input: Value, view: View) -> Value {
        let pads = view.pads(input.shape).unwrap();
        let zero = IntRange { lo: 0, hi: 0 };
        let range = if pads { union(input.range, zero) } else { input.range };
        self.push(&[input], view.output, range, input.client, IntegerOp::View(view))
    }

    pub(crate) fn table(&mut self, input: Value) -> Value {
        let lo = self.draw(-40, 3);
        let output = IntRange { lo, hi: lo + self.draw(0, 255) };
        let tables = if self.draw_bool() { input.shape.channels } else { 1 };
        let size = (input.range.hi - input.range.lo + 1) as usize;
        let values = (0..size * tables).map(|_| self.draw(output.lo, output.hi)).collect();
        let op = TableOp { inputs: vec![input.range], output, values };
        self.push(&[input], input.shape, output, false, IntegerOp::Table(op))
    }

    /// A window that fits `shape` and whose every position reads an element.
    fn window(&mut self, shape: Chw) -> Window {
        let extents = [shape.height, shape.width];
        let mut axis = |extent: usize| {
            let kernel = self.draw_size(1, extent.min(3));
            let dilation = if extent > 2 * kernel { self.draw_size(1, 2) } else { 1 };
            let pads = kernel.min(2) - 1;
            (
                kernel,
                self.draw_size(1, 2),
                self.draw_size(0, pads),
                self.draw_size(0, pads),
                dilation,
            )
        };
        let ([r, vertical, top, bottom, dy], [s, horizontal, left, right, dx]) = {
            let y = axis(extents[0]);
            let x = axis(extents[1]);
            ([y.0, y.1, y.2, y.3, y.4], [x.0, x.1, x.2, x.3, x.4])
        };
        Window {
            kernel: [r, s],
            strides: [vertical, horizontal],
            pads: [top, left, bottom, right],
            dilations: [dy, dx],
        }
    }

    fn requantize(&mut self) -> Requantize {
        let (limit, shift) = ([1, 3, 5, 15, 20, 63, 200][self.draw_size(0, 6)], self.draw(0, 9));
        let lo = [0, 0, -limit / 2, -limit, 3][self.draw_size(0, 4)];
        Requantize { shift: shift as u32, range: IntRange { lo, hi: lo + limit } }
    }

    fn random_view(&mut self, input: Value) -> View {
        let mut order = [0, 1, 2];
        if self.draw_bool() {
            order.rotate_left(self.draw_size(0, 2));
        }
        if self.draw_bool() {
            order.swap(1, 2);
        }
        let extents = [input.shape.channels, input.shape.height, input.shape.width];
        let mut lengths = [0; 3];
        let pads = self.draw_bool();
        let axes = [0, 1, 2].map(|d| {
            let extent = extents[order[d]];
            let steps = if extent > 2 { [1, 1, 2, -1] } else { [1, 1, 1, -1] };
            let step: i64 = steps[self.draw_size(0, 3)];
            let most = extent.div_ceil(step.unsigned_abs() as usize);
            lengths[d] = self.draw_size(most.div_ceil(2), most);
            let mut start = if step < 0 { extent as i64 - 1 } else { 0 };
            if pads {
                start -= step * self.draw(0, 1);
                lengths[d] += self.draw_size(0, 2);
            }
            ViewAxis { source: order[d], start, step }
        });
        View { axes, output: Chw::new(lengths[0], lengths[1], lengths[2]), batch: 1 }
    }

    /// One random layer; nothing if the one drawn does not fit.
    fn step(&mut self) {
        let input = self.pick();
        let Value { shape, range, .. } = input;
        let narrow = range.hi - range.lo <= 255;
        let linear = range.lo.abs().max(range.hi.abs()) < 1 << 10;
        let requantize = self.requantize();
        let window = self.window(shape);
        let [height, width] = window.output(shape.height, shape.width).unwrap();
        let channels = self.draw_size(1, 6);
        let output = Chw::new(channels, height, width);
        let pooled = Chw { channels: shape.channels, ..output };
        let alike: Vec<Value> =
            self.values.iter().filter(|value| value.shape == output).copied().collect();
        match self.draw(0, 11) {
            // Linear layers that are added, with what has the shape of their sum.
            0..=3 if linear => {
                let count = self.draw_size(1, 3);
                let mut inputs = vec![input; count];
                let mut terms: Vec<Term> =
                    (0..count).map(|_| self.linear_term(shape, channels, window)).collect();
                if let Some(other) = alike.last() {
                    let term = self.scaled_term(other.shape, Window::POINT);
                    let position = self.draw_size(0, count);
                    inputs.insert(position, *other);
                    terms.insert(position, term);
                }
                self.sum(&inputs, terms, output, Some(requantize));
            }
            4 | 5 if range.hi < 1 << 16 => {
                let mut inputs = vec![input];
                let mut terms = vec![self.scaled_term(shape, window)];
                if let Some(other) = self.values.iter().rfind(|value| value.shape == pooled) {
                    let other = *other;
                    inputs.push(other);
                    terms.push(self.scaled_term(other.shape, Window::POINT));
                }
                let requantize = Some(requantize).filter(|_| self.draw_bool());
                self.sum(&inputs, terms, pooled, requantize);
            }
            6 => {
                let view = self.random_view(input);
                if view.output.len() <= MAX_ELEMENTS {
                    self.view(input, view);
                }
            }
            7 => {
                let divisor = (1..=shape.len()).rev().find(|d| shape.len() % d == 0 && d % 3 > 0);
                let channels = divisor.unwrap_or(1);
                self.reshape(input, Chw::new(channels, 1, shape.len() / channels));
            }
            8 | 9 => {
                let fits = |value: &&Value| {
                    [value.shape.height, value.shape.width] == [shape.height, shape.width]
                };
                let mut inputs: Vec<Value> = self.values.iter().filter(fits).copied().collect();
                let first = inputs.len().saturating_sub(self.draw_size(1, 3));
                inputs.drain(..first);
                if inputs.iter().map(|value| value.shape.len()).sum::<usize>() <= MAX_ELEMENTS {
                    self.concat(&inputs);
                }
            }
            10 if narrow => {
                self.table(input);
            }
            11 if narrow => {
                self.max_pool(input, window);
            }
            _ => {}
        }
    }

    /// A random network.
    pub(crate) fn generate(seed: u64) -> IntegerNetwork {
        let ranges = [IntRange { lo: 0, hi: 15 }, IntRange { lo: -128, hi: 127 }];
        let mut builder = Self::new(seed, Chw::new(1, 1, 1), ranges[seed as usize % 2]);
        let shape =
            Chw::new(builder.draw_size(1, 4), builder.draw_size(3, 8), builder.draw_size(3, 8));
        builder.network.input.shape = shape;
        builder.values[0].shape = shape;
        for _ in 0..builder.draw(1, 7) {
            builder.step();
        }
        builder.finish();
        builder.network
    }

    /// Ends the network: with an accumulator, plain or reordered, or with what there is.
    fn finish(&mut self) {
        let last = self.last();
        let wide = last.range.lo.abs().max(last.range.hi.abs()) >= 1 << 10;
        if !last.client && (wide || self.draw(0, 3) == 0) {
            return;
        }
        let flat = self.reshape(last, Chw::new(last.shape.len(), 1, 1));
        let out_channels = self.draw_size(1, 10);
        let output = Chw::new(out_channels, 1, 1);
        let mut terms = vec![self.linear_term(flat.shape, out_channels, Window::POINT)];
        let mut inputs = vec![flat];
        if self.draw(0, 3) == 0 {
            terms.push(self.linear_term(flat.shape, out_channels, Window::POINT));
            inputs.push(flat);
        }
        let last = self.sum(&inputs, terms, output, None);
        if self.draw(0, 3) == 0 {
            self.reshape(last, Chw::new(1, 1, out_channels));
        }
    }
}

pub(crate) fn union(a: IntRange, b: IntRange) -> IntRange {
    IntRange { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) }
}
