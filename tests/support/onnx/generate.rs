//! Random small quantized networks.
//!
//! Scales are small odd numbers times powers of two, chosen so that every real factor of a
//! requantization is exactly a multiplier of few bits over a power of two, and every bias exactly a
//! multiple of it. The integer network of such a model is exact, and only the rounding of ties is left
//! to state: the generator says for every quantizer which it is.

use super::builder::ModelBuilder;
pub use super::forms::{Form, Quantizer};
use super::scale::{Scale, width};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeSet;
use tract_onnx::pb::ModelProto;
use tract_onnx::pb::tensor_proto::DataType;

/// How the integer network rounds what lies in the middle between two integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// To the larger one: requantizations by arithmetic.
    Up,
    /// To the even one: the input, and functions that become tables.
    Even,
}

/// What a network brings and returns.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The model.
    pub model: ModelProto,
    /// Its form.
    pub form: Form,
    /// Dimensions of its input, as the model has them.
    pub input: Vec<usize>,
    /// The first quantizer.
    pub quantizer: Quantizer,
    /// Whether the input holds integers of that quantizer rather than reals.
    pub integers: bool,
    /// Tensors whose quantizers round ties to even; all others round up.
    pub even: BTreeSet<String>,
    /// The tensor that the network returns.
    pub output: String,
    /// The quantizer whose integers the output holds, if it does not hold reals.
    pub stored: Option<Quantizer>,
    /// Width asked of multipliers; otherwise it is chosen by layer.
    pub multiplier_bits: Option<u32>,
}

/// What generated networks may do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whether multipliers of up to 12 bits occur, for which that width must be asked.
    pub wide: bool,
    /// Steps between input and output.
    pub steps: i64,
}

/// Where the elements of an activation come from, which decides how they are requantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The input.
    Client,
    /// A quantizer of a sum with a linear layer, or a table: the range is known for certain.
    Quantized,
    /// A quantizer whose range the compiler may narrow.
    Narrowed,
    /// A sum or concatenation without a quantizer.
    Exact,
}

/// An activation.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    /// Tensor of reals, or of integers in the form of operators on integers.
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) quantizer: Quantizer,
    /// Integers that occur, without zero point.
    pub(super) range: (i64, i64),
    pub(super) source: Source,
}

impl Activation {
    pub(super) fn bits(&self) -> u32 {
        bits(self.range)
    }

    /// Largest magnitude.
    pub(super) fn magnitude(&self) -> f64 {
        let (lo, hi) = self.range;
        lo.abs().max(hi.abs()) as f64 * f64::from(self.quantizer.scale.value())
    }

    /// How its requantization rounds, if that is certain.
    pub(super) fn ties(&self) -> Option<Ties> {
        match self.source {
            Source::Client | Source::Exact => Some(Ties::Up),
            Source::Quantized | Source::Narrowed if self.bits() <= 6 => Some(Ties::Even),
            Source::Quantized => Some(Ties::Up),
            Source::Narrowed => None,
        }
    }

    pub(super) fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Reals before their quantizer.
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    /// Real factors of integers, one list a summand.
    pub(super) factors: Vec<Vec<Scale>>,
    /// Largest magnitude.
    pub(super) magnitude: f64,
    /// How its quantizer rounds, if that is certain.
    pub(super) ties: Option<Ties>,
    /// Whether a linear layer takes part, so that the compiler never narrows the range.
    pub(super) linear: bool,
}

/// A network under construction.
pub(super) struct Network {
    pub(super) rng: ChaCha20Rng,
    pub(super) builder: ModelBuilder,
    pub(super) form: Form,
    pub(super) int4: bool,
    pub(super) wide: bool,
    even: BTreeSet<String>,
}

impl Network {
    pub(super) fn draw(&mut self, lo: i64, hi: i64) -> i64 {
        lo + (self.rng.next_u64() % (hi - lo + 1).cast_unsigned()).cast_signed()
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        self.draw(0, count as i64 - 1) as usize
    }

    pub(super) fn chance(&mut self, hits: i64, of: i64) -> bool {
        self.draw(1, of) <= hits
    }

    /// Notes how the quantizer that makes a tensor rounds.
    pub(super) fn rounds(&mut self, tensor: &str, ties: Ties) {
        if ties == Ties::Even {
            self.even.insert(tensor.into());
        }
    }

    /// Whether the compiler certainly keeps factors exact, even before an output of one bit.
    fn keeps(&self, factors: &[Scale], linear: bool) -> bool {
        if linear && self.wide {
            return width(factors) <= 12;
        }
        // Rounded to fewer bits, 7 looks precise enough.
        width(factors) <= 3 && factors.iter().all(|factor| factor.odd < 7)
    }

    /// A scale for the output of a sum of this magnitude, at which all its factors are exact.
    pub(super) fn output_scale(
        &mut self,
        factors: &[Vec<Scale>],
        magnitude: f64,
        bits: u32,
        ties: Option<Ties>,
        linear: bool,
    ) -> Option<Scale> {
        let common: Vec<i64> = [1, 3, 5]
            .into_iter()
            .filter(|odd| factors.iter().flatten().all(|factor| factor.odd % odd == 0))
            .collect();
        let least = factors.iter().flatten().map(|factor| factor.exponent).min()?;
        for attempt in 0..12 {
            let odd = common[self.index(common.len())];
            let spread = self.draw(0, 3) - attempt / 4;
            let steps = magnitude / 2.0_f64.powi(bits as i32 - 1) / odd as f64;
            let mut exponent = steps.log2().ceil() as i32 - spread as i32;
            if ties.is_none() {
                exponent = exponent.min(least);
            }
            let scale = Scale { odd, exponent };
            let quotients: Vec<Vec<Scale>> = factors
                .iter()
                .map(|list| list.iter().filter_map(|factor| factor.over(scale)).collect())
                .collect();
            let fits = quotients.iter().all(|list| self.keeps(list, linear));
            if fits && width(&quotients.concat()) <= 14 && (-20..16).contains(&exponent) {
                return Some(scale);
            }
        }
        None
    }

    /// A random activation function and quantizer behind a sum; `None` if no scale fits.
    pub(super) fn quantize_sum(&mut self, sum: &Sum) -> Option<Activation> {
        let bits = self.draw(2, 8) as u32;
        let scale = self.output_scale(&sum.factors, sum.magnitude, bits, sum.ties, sum.linear)?;
        let rectified = self.chance(1, 2);
        let signed = if rectified { self.chance(1, 3) } else { self.chance(5, 6) };
        let quantizer = self.storage(bits, signed, scale);
        let (mut lo, mut hi) = quantizer.range();
        let mut x = sum.name.clone();
        if rectified {
            if self.chance(2, 3) {
                x = self.builder.node("", "Relu", &[&x], &[]);
                lo = lo.max(0);
            } else {
                let (lower, upper) = (self.draw(-2, 1), self.draw(3, 20));
                let (lower, upper) = (4 * lower, 4 * upper + self.draw(-1, 1));
                let bound = |steps: i64| scale.value() * steps as f32 / 4.0;
                let bounds = [
                    self.builder.floats(&[], &[bound(lower)]),
                    self.builder.floats(&[], &[bound(upper)]),
                ];
                x = self.builder.node("", "Clip", &[&x, &bounds[0], &bounds[1]], &[]);
                (lo, hi) = (lo.max(lower / 4).min(hi), hi.min((upper + 2) / 4).max(lo));
            }
        }
        if bits_of_nothing((lo, hi)) {
            return None;
        }
        let name = self.quantized(&x, &quantizer, sum.ties.unwrap_or(Ties::Up));
        let source = if sum.linear { Source::Quantized } else { Source::Narrowed };
        Some(Activation { name, dims: sum.dims.clone(), quantizer, range: (lo, hi), source })
    }

    fn new(seed: u64, form: Form, limits: Limits) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let int4 = form == Form::Qdq && rng.next_u64().is_multiple_of(3);
        let opset = if int4 { 21 } else { [13, 17, 19][(rng.next_u64() % 3) as usize] };
        let mut builder = ModelBuilder::new(opset);
        builder.raw = rng.next_u64().is_multiple_of(2);
        Self { rng, builder, form, int4, wide: limits.wide, even: BTreeSet::new() }
    }

    /// The input and its quantizer.
    fn begin(&mut self, first: &mut Generated) -> Activation {
        let channels = self.draw(1, 3) as usize;
        let mut side = || self.draw(3, 7) as usize;
        let (height, columns) = (side(), side());
        let dims = match self.draw(0, 5) {
            0 => vec![1, channels, columns + 4],
            1 => vec![1, channels * columns],
            _ => vec![1, channels, height, columns],
        };
        let odd = [1, 1, 3, 5][self.index(4)];
        let scale = Scale { odd, exponent: self.draw(-8, 0) as i32 };
        let bits = self.draw(2, 8) as u32;
        let signed = self.chance(1, 2);
        let quantizer = self.storage(bits, signed, scale);
        let integers = self.form != Form::Qonnx && self.form != Form::Qcdq && self.chance(1, 4);
        let last = dims.len() == 4 && self.chance(1, 4);
        let given = if last { vec![1, dims[2], dims[3], dims[1]] } else { dims.clone() };
        let ty = if integers { quantizer.ty } else { DataType::Float };
        self.builder.input("x", ty, &given);
        let mut name = "x".to_owned();
        let early = self.chance(1, 2);
        if last && early {
            name = self.channels_first(&name);
        }
        name = match (integers, self.form == Form::QOperator) {
            (true, true) => name,
            (true, false) => self.dequantize_linear(&name, &quantizer),
            (false, true) => self.quantize_linear(&name, &quantizer, Ties::Even),
            (false, false) => self.quantized(&name, &quantizer, Ties::Even),
        };
        if last && !early {
            name = self.channels_first(&name);
        }
        (first.input, first.quantizer, first.integers) = (given, quantizer, integers);
        Activation { name, dims, quantizer, range: quantizer.range(), source: Source::Client }
    }

    /// The last tensor; integers or reals.
    fn end(&mut self, last: Last, generated: &mut Generated) {
        let (name, ty) = match last {
            Last::Reals(name) => (name, DataType::Float),
            Last::Quantized(x) if self.form != Form::QOperator => (x.name, DataType::Float),
            Last::Quantized(x) if self.chance(1, 2) => {
                generated.stored = Some(x.quantizer);
                (x.name, x.quantizer.ty)
            }
            Last::Quantized(x) => (self.dequantize_linear(&x.name, &x.quantizer), DataType::Float),
        };
        self.builder.output(&name, ty);
        generated.output = name;
    }
}

/// How a network ends.
pub(super) enum Last {
    /// In a sum without quantizer.
    Reals(String),
    /// In a quantizer.
    Quantized(Activation),
}

/// Bits that hold the differences within a range.
pub(super) fn bits((lo, hi): (i64, i64)) -> u32 {
    i64::BITS - (hi - lo).leading_zeros()
}

fn bits_of_nothing((lo, hi): (i64, i64)) -> bool {
    lo >= hi || lo > 0 || hi < 0
}

/// The network of a seed.
#[must_use]
pub fn generate(seed: u64, limits: Limits) -> Generated {
    let form = [Form::Qdq, Form::Qcdq, Form::QOperator, Form::Qonnx][(seed % 4) as usize];
    let mut network = Network::new(seed, form, limits);
    let mut generated = Generated {
        model: ModelProto::default(),
        form,
        input: Vec::new(),
        quantizer: Quantizer { scale: Scale::power(0), zero: 0, ty: DataType::Int8, lo: 0, hi: 0 },
        integers: false,
        even: BTreeSet::new(),
        output: String::new(),
        stored: None,
        multiplier_bits: limits.wide.then_some(12),
    };
    let mut x = network.begin(&mut generated);
    for _ in 0..network.draw(1, limits.steps) {
        x = network.step(x);
    }
    let last = network.finish(x);
    network.end(last, &mut generated);
    generated.even = network.even;
    generated.model = network.builder.finish();
    generated
}
