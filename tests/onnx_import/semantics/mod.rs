//! A slow direct evaluation of ONNX models in exact arithmetic, written from the operators'
//! specifications and independent of the importer.
//!
//! Numbers are dyadic and nothing is rounded, except where the specification rounds: at quantizers, in
//! the way that the caller states for each, and in transcendental functions, which are computed in
//! double precision. Sources: the ONNX operator specification, ONNX Runtime's contributed operators,
//! QONNX's operator pages.

mod dyadic;
mod integer;
mod layers;
mod moves;
mod quantizers;

pub(crate) use dyadic::Dyadic;

use heq_tests::onnx::generate::Ties;
use std::collections::{BTreeSet, HashMap};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

/// A tensor; integers are dyadic numbers like any other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Vec<Dyadic>,
    pub(crate) ty: DataType,
}

impl Tensor {
    /// A tensor of reals.
    fn reals(dims: Vec<usize>, values: Vec<Dyadic>) -> Self {
        assert_eq!(dims.iter().product::<usize>(), values.len());
        Self { dims, values, ty: DataType::Float }
    }

    fn map(&self, f: impl Fn(Dyadic) -> Dyadic) -> Self {
        Self { values: self.values.iter().map(|&x| f(x)).collect(), ..self.clone() }
    }

    fn scalar(&self) -> Dyadic {
        assert_eq!(self.values.len(), 1, "a scalar");
        self.values[0]
    }

    fn integers(&self) -> Vec<i64> {
        self.values.iter().map(|value| value.integer() as i64).collect()
    }

    /// Elements of every index of `axis`: before, along, behind.
    fn split(&self, axis: usize) -> (usize, usize, usize) {
        let (before, behind) = (&self.dims[..axis], &self.dims[axis + 1..]);
        (before.iter().product(), self.dims[axis], behind.iter().product())
    }
}

/// What deviates from the specification, knowingly.
pub(crate) struct Rules<'a> {
    /// Tensors whose quantizers round ties to even; all others round them up.
    pub(crate) even: &'a BTreeSet<String>,
    /// Tensors of reals whose quantizers are left out.
    pub(crate) elided: &'a BTreeSet<String>,
}

/// All tensors of a graph whose nodes are in order, for one input.
pub(crate) fn evaluate(
    graph: &GraphProto,
    input: Tensor,
    rules: &Rules<'_>,
) -> HashMap<String, Tensor> {
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    tensors.insert(graph.input[0].name.clone(), input);
    for initializer in &graph.initializer {
        tensors.insert(initializer.name.clone(), constant(initializer));
    }
    let mut unquantized = HashMap::new();
    for node in &graph.node {
        let call = Call { node, tensors: &tensors, rules };
        let result = call.run(&mut unquantized);
        tensors.insert(node.output[0].clone(), result);
    }
    tensors
}

/// One node with what it reads.
struct Call<'a> {
    node: &'a NodeProto,
    tensors: &'a HashMap<String, Tensor>,
    rules: &'a Rules<'a>,
}

impl Call<'_> {
    fn run(&self, unquantized: &mut HashMap<String, Tensor>) -> Tensor {
        let x = self.input(0);
        let zero = Dyadic::ZERO;
        match self.node.op_type.as_str() {
            "QuantizeLinear" => {
                unquantized.insert(self.node.output[0].clone(), x.clone());
                self.quantize_linear()
            }
            "DequantizeLinear" => match unquantized.get(&self.node.input[0]) {
                Some(source) if self.rules.elided.contains(&self.node.output[0]) => source.clone(),
                _ => self.dequantize_linear(),
            },
            "Clip" => {
                if let Some(source) = unquantized.get(&self.node.input[0]).cloned() {
                    unquantized.insert(self.node.output[0].clone(), source);
                }
                let (lo, hi) = (self.input(1).scalar(), self.input(2).scalar());
                x.map(|x| x.max(lo).min(hi))
            }
            "Quant" if self.rules.elided.contains(&self.node.output[0]) => x.clone(),
            "Quant" => self.quant(),
            "BipolarQuant" => self.bipolar_quant(),
            "Relu" => x.map(|x| x.max(zero)),
            "LeakyRelu" => self.leaky_relu(x),
            "PRelu" => {
                let y =
                    broadcast(x, self.input(1), |x, slope| if x < zero { x * slope } else { x });
                Tensor::reals(x.dims.clone(), y.values)
            }
            "Sigmoid" => sigmoid(x),
            "Tanh" => x.map(|x| Dyadic::from_f64(x.to_f64().tanh())),
            "HardSigmoid" => {
                let (alpha, beta) = (self.float("alpha", 0.2), self.float("beta", 0.5));
                let one = Dyadic::from(1);
                x.map(|x| (x * alpha + beta).max(zero).min(one))
            }
            "HardSwish" => x.map(|x| {
                let x = x.to_f64();
                Dyadic::from_f64(x * (x / 6.0 + 0.5).clamp(0.0, 1.0))
            }),
            "Add" => broadcast(x, self.input(1), |a, b| a + b),
            "Sub" => broadcast(x, self.input(1), |a, b| a - b),
            "Mul" => broadcast(x, self.input(1), |a, b| a * b),
            "Conv" => self.conv(x, self.input(1), self.optional(2)),
            "MatMul" => layers::product(x, self.input(1)),
            "Gemm" => self.gemm(x, self.input(1), self.optional(2)),
            "BatchNormalization" => self.batch_normalization(),
            "MaxPool" => self.max_pool(x),
            "AveragePool" => self.average_pool(x),
            "GlobalMaxPool" => layers::global(x, |plane| plane.iter().copied().max().unwrap()),
            "GlobalAveragePool" => layers::global(x, layers::mean),
            "Softmax" => x.clone(),
            "Flatten" => self.flatten(),
            "Reshape" => self.reshape(),
            "Transpose" => self.transpose(),
            "Pad" => self.pad(),
            "Slice" => self.slice(),
            "Concat" => {
                let parts: Vec<&Tensor> =
                    (0..self.node.input.len()).map(|i| self.input(i)).collect();
                self.concat(&parts)
            }
            _ => self.on_integers(),
        }
    }

    fn input(&self, slot: usize) -> &Tensor {
        self.optional(slot).unwrap_or_else(|| panic!("input {slot} of {:?}", self.node.op_type))
    }

    fn optional(&self, slot: usize) -> Option<&Tensor> {
        let name = self.node.input.get(slot).filter(|name| !name.is_empty())?;
        Some(&self.tensors[name])
    }

    fn ties(&self) -> Ties {
        if self.rules.even.contains(&self.node.output[0]) { Ties::Even } else { Ties::Up }
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        let found = self.node.attribute.iter().find(|attribute| attribute.name == name);
        found.map_or(default, |attribute| attribute.i)
    }

    fn float(&self, name: &str, default: f32) -> Dyadic {
        let found = self.node.attribute.iter().find(|attribute| attribute.name == name);
        Dyadic::from_f64(f64::from(found.map_or(default, |attribute| attribute.f)))
    }

    fn list(&self, name: &str) -> Option<Vec<i64>> {
        let found = self.node.attribute.iter().find(|attribute| attribute.name == name);
        found.map(|attribute| attribute.ints.clone())
    }

    fn text(&self, name: &str) -> &str {
        let found = self.node.attribute.iter().find(|attribute| attribute.name == name);
        found.map_or("", |attribute| str::from_utf8(&attribute.s).unwrap())
    }

    fn axis(&self, name: &str, default: i64, rank: usize) -> usize {
        let axis = self.int(name, default);
        usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).unwrap()
    }

    fn leaky_relu(&self, x: &Tensor) -> Tensor {
        let alpha = self.float("alpha", 0.01);
        x.map(|x| if x < Dyadic::ZERO { x * alpha } else { x })
    }
}

fn sigmoid(x: &Tensor) -> Tensor {
    x.map(|x| Dyadic::from_f64(1.0 / (1.0 + (-x.to_f64()).exp())))
}

/// Multidirectional broadcasting.
fn broadcast(a: &Tensor, b: &Tensor, f: impl Fn(Dyadic, Dyadic) -> Dyadic) -> Tensor {
    let rank = a.dims.len().max(b.dims.len());
    let extended = |dims: &[usize]| [vec![1; rank - dims.len()], dims.to_vec()].concat();
    let (left, right) = (extended(&a.dims), extended(&b.dims));
    let dims: Vec<usize> = left
        .iter()
        .zip(&right)
        .map(|(&l, &r)| {
            assert!(l == r || l == 1 || r == 1, "broadcasts");
            l.max(r)
        })
        .collect();
    let at = |dims: &[usize], position: &[usize]| {
        let clipped = position.iter().zip(dims).map(|(&p, &dim)| (p.min(dim - 1), dim));
        clipped.fold(0, |index, (p, dim)| index * dim + p)
    };
    let values = moves::positions(&dims)
        .map(|position| f(a.values[at(&left, &position)], b.values[at(&right, &position)]))
        .collect();
    Tensor::reals(dims, values)
}

/// The elements of an initializer.
fn constant(proto: &TensorProto) -> Tensor {
    let dims: Vec<usize> = proto.dims.iter().map(|&dim| dim as usize).collect();
    let count: usize = dims.iter().product();
    let ty = DataType::try_from(proto.data_type).unwrap();
    let raw = &proto.raw_data;
    let bytes = |width: usize| raw.chunks(width);
    let integers: Vec<i64> = match ty {
        DataType::Float => Vec::new(),
        _ if raw.is_empty() && !proto.int64_data.is_empty() => proto.int64_data.clone(),
        _ if raw.is_empty() => proto.int32_data.iter().map(|&value| i64::from(value)).collect(),
        DataType::Int64 => bytes(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect(),
        DataType::Int32 => {
            bytes(4).map(|b| i64::from(i32::from_le_bytes(b.try_into().unwrap()))).collect()
        }
        DataType::Int8 => raw.iter().map(|&b| i64::from(b.cast_signed())).collect(),
        _ => raw.iter().map(|&b| i64::from(b)).collect(),
    };
    let nibbles = |signed: bool| {
        let halves = integers.iter().flat_map(|&byte| [byte & 15, byte >> 4 & 15]);
        halves.take(count).map(move |v| if signed && v > 7 { v - 16 } else { v }).collect()
    };
    let integers = match ty {
        DataType::Int4 => nibbles(true),
        DataType::Uint4 => nibbles(false),
        _ => integers,
    };
    let values = if ty == DataType::Float {
        let reals: Vec<f32> = match raw.is_empty() {
            true => proto.float_data.clone(),
            false => bytes(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        };
        reals.iter().map(|&value| Dyadic::from_f64(f64::from(value))).collect()
    } else {
        integers.iter().map(|&value| Dyadic::from(i128::from(value))).collect()
    };
    let tensor = Tensor { dims, values, ty };
    assert_eq!(tensor.values.len(), count, "{}", proto.name);
    tensor
}
