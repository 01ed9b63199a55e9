//! Reads the text form of a graph back, so that golden tests of passes start from text.
//!
//! Types are read and compared with what the operator makes; nothing else is verified here.

use super::op::{
    AveragePool, BatchNormParams, BinaryOp, Bounds, ChannelAffine, ConvParams, Function,
    GraphInput, Op, QuantizeParams, QuantizedTensor, Quantizer, Rounding, SliceAxis,
};
use super::{Graph, NodeIndex, Origin};
use crate::geometry::Window;
use crate::integer::{InputElement, InputLayout, IntRange, Quantization};
use crate::tensor::{ElementType, IntType, Shape, Tensor, TensorData, TensorType};
use std::collections::HashMap;
use std::str::FromStr;

/// Where a text stops being a graph, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// The graph that `text` describes.
///
/// # Errors
/// With the first line that is not understood.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut graph = Graph::default();
    let mut tensors = HashMap::new();
    let mut outputs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        parse_line(line.trim(), &mut graph, &mut tensors, &mut outputs)
            .map_err(|what| ParseError { line: index + 1, what })?;
    }
    graph.set_outputs(outputs);
    Ok(graph)
}

fn parse_line(
    line: &str,
    graph: &mut Graph,
    tensors: &mut HashMap<String, NodeIndex>,
    outputs: &mut Vec<NodeIndex>,
) -> Result<(), String> {
    if line.is_empty() {
        return Ok(());
    }
    if let Some(name) = line.strip_prefix("graph ") {
        graph.name = decode(name)?;
        return Ok(());
    }
    if let Some(name) = line.strip_prefix("return ") {
        outputs.push(lookup(tensors, name)?);
        return Ok(());
    }
    let (head, ty) = line.rsplit_once(" : ").ok_or("no type")?;
    let (tensor, head) = head.split_once(" = ").ok_or("no `=`")?;
    let name = decode(tensor.strip_prefix('%').ok_or("a tensor starts with %")?)?;
    let mut words = head.split(' ');
    let call = words.next().unwrap_or_default();
    let (mnemonic, inputs) = match call.strip_suffix(')').and_then(|call| call.split_once('(')) {
        Some((mnemonic, inputs)) => {
            (mnemonic, inputs.split(',').map(|name| lookup(tensors, name)).collect())
        }
        None => (call, Ok(Vec::new())),
    };
    let attributes: HashMap<&str, &str> = words.filter_map(|word| word.split_once('=')).collect();
    let ty = tensor_type(ty)?;
    let origin = match attributes.get("from").and_then(|from| from.split_once(',')) {
        Some((node, operator)) => Origin::new(decode(node)?, decode(operator)?),
        None => Origin::new(name.clone(), mnemonic),
    };
    let op = Attributes(attributes).op(mnemonic, &ty)?;
    let id = graph.add(origin, name.clone(), op, &inputs?).map_err(|error| error.to_string())?;
    if graph.node(id).ty != ty {
        return Err(format!("type {}, expected {ty}", graph.node(id).ty));
    }
    tensors.insert(name, id);
    Ok(())
}

struct Attributes<'a>(HashMap<&'a str, &'a str>);

impl Attributes<'_> {
    fn op(&self, mnemonic: &str, ty: &TensorType) -> Result<Op, String> {
        Ok(match mnemonic {
            "input" => Op::Input(self.input(ty)?),
            "constant" => Op::Constant(self.constant(ty)?),
            "quantized_constant" => Op::QuantizedConstant(QuantizedTensor {
                shape: ty.shape.clone(),
                values: self.list("values")?,
                range: self.range()?,
                scale: self.list("scale")?,
                axis: self.optional("axis")?,
            }),
            "quantize_linear" => Op::QuantizeLinear(self.quantize_params()?),
            "dequantize_linear" => Op::DequantizeLinear(self.quantize_params()?),
            "quantize" => {
                let rounding = match self.0.get("rounding") {
                    None => Rounding::HalfEven,
                    Some(&"floor") => Rounding::Floor,
                    Some(other) => return Err(format!("unknown rounding {other}")),
                };
                let quantization = Quantization { scale: self.one("scale")?, range: self.range()? };
                Op::Quantize(Quantizer { quantization, rounding })
            }
            "clip" => Op::Clip(Bounds { lower: self.one("lower")?, upper: self.one("upper")? }),
            "relu" => Op::Relu,
            "elu" => Op::Function(Function::Elu { alpha: self.one("alpha")? }),
            "gelu" => Op::Function(Function::Gelu { tanh: self.one("tanh")? }),
            "hard_sigmoid" => Op::Function(Function::HardSigmoid {
                alpha: self.one("alpha")?,
                beta: self.one("beta")?,
            }),
            "hard_swish" => Op::Function(Function::HardSwish),
            "leaky_relu" => Op::Function(Function::LeakyRelu { slopes: self.list("slopes")? }),
            "sigmoid" => Op::Function(Function::Sigmoid),
            "tanh" => Op::Function(Function::Tanh),
            "add" => Op::Binary(BinaryOp::Add),
            "div" => Op::Binary(BinaryOp::Div),
            "mul" => Op::Binary(BinaryOp::Mul),
            "sub" => Op::Binary(BinaryOp::Sub),
            "conv" => Op::Conv(ConvParams {
                kernel: self.0.contains_key("kernel").then(|| self.tuple("kernel")).transpose()?,
                strides: self.tuple("strides")?,
                pads: self.tuple("pads")?,
                dilations: self.dilations()?,
                groups: self.optional("groups")?.unwrap_or(1),
            }),
            "mat_mul" => Op::MatMul,
            "gemm" => Op::Gemm { trans_b: self.one("trans_b")? },
            "batch_normalization" => Op::BatchNormalization(BatchNormParams {
                gamma: self.list("gamma")?,
                beta: self.list("beta")?,
                mean: self.list("mean")?,
                variance: self.list("variance")?,
                epsilon: self.one("epsilon")?,
            }),
            "channel_affine" => Op::ChannelAffine(ChannelAffine {
                multiplier: self.list("multiplier")?,
                offset: self.list("offset")?,
            }),
            "max_pool" => Op::MaxPool(self.window()?),
            "average_pool" => Op::AveragePool(AveragePool {
                window: self.window()?,
                count_pads: self.one("count_pads")?,
            }),
            "flatten" => Op::Flatten { axis: self.one("axis")? },
            "reshape" => {
                Op::Reshape { target: self.list("target")?, allow_zero: self.one("allow_zero")? }
            }
            "transpose" => Op::Transpose {
                perm: self.0.contains_key("perm").then(|| self.list("perm")).transpose()?,
            },
            "pad" => {
                let (before, after) = (self.tuple_list("before")?, self.tuple_list("after")?);
                same_length(before.len(), after.len())?;
                let pads = before.into_iter().zip(after);
                Op::Pad(pads.map(|(before, after)| [before, after]).collect())
            }
            "slice" => {
                let (start, len) = (self.tuple_list("start")?, self.tuple_list("len")?);
                let step: Vec<i64> = self.list("step")?;
                same_length(start.len(), step.len())?;
                same_length(start.len(), len.len())?;
                let axes = start.into_iter().zip(step).zip(len);
                Op::Slice(axes.map(|((start, step), len)| SliceAxis { start, step, len }).collect())
            }
            "concat" => Op::Concat { axis: self.one("axis")? },
            "softmax" => Op::Softmax { axis: self.one("axis")?, log: false },
            "log_softmax" => Op::Softmax { axis: self.one("axis")?, log: true },
            "arg_max" => Op::ArgMax { axis: self.one("axis")?, keep_dims: self.one("keep_dims")? },
            _ => return Err(format!("unknown operator {mnemonic}")),
        })
    }

    fn input(&self, ty: &TensorType) -> Result<GraphInput, String> {
        let layout = match self.0.get("layout") {
            None => InputLayout::Nchw,
            Some(&"nhwc") => InputLayout::Nhwc,
            Some(other) => return Err(format!("unknown layout {other}")),
        };
        let element = match self.0.get("integer") {
            None => InputElement::Real,
            Some(ty) => InputElement::Integer {
                ty: int_type(ty).ok_or("bad integer type")?,
                zero_point: self.one("zero_point")?,
            },
        };
        Ok(GraphInput { ty: ty.clone(), layout, element })
    }

    fn window(&self) -> Result<Window, String> {
        Ok(Window {
            kernel: self.tuple("kernel")?,
            strides: self.tuple("strides")?,
            pads: self.tuple("pads")?,
            dilations: self.dilations()?,
        })
    }

    fn dilations(&self) -> Result<[usize; 2], String> {
        if self.0.contains_key("dilations") { self.tuple("dilations") } else { Ok([1, 1]) }
    }

    fn tuple_list(&self, name: &str) -> Result<Vec<usize>, String> {
        let value = self.value(name)?;
        let parse = |part: &str| part.parse().map_err(|_| format!("{name}={value} is no tuple"));
        value.split(',').filter(|_| !value.is_empty()).map(parse).collect()
    }

    fn constant(&self, ty: &TensorType) -> Result<Tensor, String> {
        let data = match ty.element {
            ElementType::Float => TensorData::Float(self.list("values")?),
            ElementType::Int(int) => {
                let range = if self.0.contains_key("range") { self.range()? } else { int.range() };
                TensorData::Int { ty: int, range, values: self.list("values")? }
            }
        };
        Ok(Tensor { shape: ty.shape.clone(), data })
    }

    fn quantize_params(&self) -> Result<QuantizeParams, String> {
        Ok(QuantizeParams {
            scale: self.list("scale")?,
            zero_point: self.list("zero_point")?,
            ty: int_type(self.value("type")?).ok_or("bad integer type")?,
            axis: self.optional("axis")?,
        })
    }

    fn value(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).copied().ok_or_else(|| format!("no attribute {name}"))
    }

    fn one<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let value = self.value(name)?;
        value.parse().map_err(|_| format!("{name}={value} is not understood"))
    }

    fn optional<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.0.contains_key(name).then(|| self.one(name)).transpose()
    }

    fn list<T: FromStr>(&self, name: &str) -> Result<Vec<T>, String> {
        let value = self.value(name)?;
        let fail = || format!("{name}={value} is not a list");
        let inner =
            value.strip_prefix('[').and_then(|value| value.strip_suffix(']')).ok_or_else(fail)?;
        inner
            .split(',')
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|_| fail()))
            .collect()
    }

    fn tuple<const N: usize>(&self, name: &str) -> Result<[usize; N], String> {
        self.tuple_list(name)?.try_into().map_err(|_| format!("{name} is not {N} numbers"))
    }

    fn range(&self) -> Result<IntRange, String> {
        let (lo, hi) = self.value("range")?.split_once("..").ok_or("a range is LO..HI")?;
        match (lo.parse(), hi.parse()) {
            (Ok(lo), Ok(hi)) => Ok(IntRange { lo, hi }),
            _ => Err("a range is LO..HI".into()),
        }
    }
}

fn same_length(a: usize, b: usize) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(format!("lists of {a} and {b} numbers")) }
}

fn lookup(tensors: &HashMap<String, NodeIndex>, name: &str) -> Result<NodeIndex, String> {
    let name = decode(name.strip_prefix('%').ok_or("a tensor starts with %")?)?;
    tensors.get(&name).copied().ok_or_else(|| format!("no tensor {name}"))
}

fn tensor_type(text: &str) -> Result<TensorType, String> {
    let fail = || format!("{text} is not a type");
    let (element, dims) =
        text.strip_suffix(']').and_then(|text| text.split_once('[')).ok_or_else(fail)?;
    let element = match element {
        "f32" => ElementType::Float,
        other => ElementType::Int(int_type(other).ok_or_else(fail)?),
    };
    let dims: Result<Vec<usize>, _> =
        dims.split(',').filter(|dim| !dim.is_empty()).map(str::parse).collect();
    let shape = dims.ok().and_then(Shape::new).ok_or_else(fail)?;
    Ok(TensorType { element, shape })
}

fn int_type(text: &str) -> Option<IntType> {
    let (signed, bits) = match text.strip_prefix('i') {
        Some(bits) => (true, bits),
        None => (false, text.strip_prefix('u')?),
    };
    Some(IntType { signed, bits: bits.parse().ok().filter(|bits| (1..=64).contains(bits))? })
}

fn decode(name: &str) -> Result<String, String> {
    let fail = || format!("{name} is not a name");
    let mut bytes = Vec::with_capacity(name.len());
    let mut parts = name.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let code = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.ok_or_else(fail)?);
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8(bytes).map_err(|_| fail())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::text;

    /// Reads a graph and writes it again: the same lines, nodes in any order.
    fn check(written: &str) {
        let graph = parse(written).unwrap();
        let mut lines: Vec<String> = text(&graph).lines().map(String::from).collect();
        let mut expected: Vec<&str> = written.lines().collect();
        lines.sort();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    #[test]
    fn text_is_read_back_as_written() {
        check(
            "graph a%20model
%x = input : f32[1,1,4,4]
%b = constant values=[0.5,-1e-5] : f32[2]
%n = constant values=[1,2] range=0..7 : u8[2]
%w = quantized_constant values=[1,-2] scale=[0.5,0.25] range=-3..3 axis=0 : f32[2,1,1,1]
%/q/x = quantize_linear(%x) scale=[0.5] zero_point=[3] type=u8 : u8[1,1,4,4]
%c = clip(%/q/x) lower=0.0 upper=15.0 : u8[1,1,4,4]
%d = dequantize_linear(%c) scale=[0.5] zero_point=[3] type=u8 axis=1 : f32[1,1,4,4]
%y = conv(%d,%w,%b) kernel=1,1 strides=1,1 pads=0,0,0,0 from=/c1/Conv,Conv : f32[1,2,4,4]
%a = channel_affine(%y) multiplier=[1.0,2.5] offset=[0.0,inf] : f32[1,2,4,4]
%r = relu(%a) : f32[1,2,4,4]
%p = max_pool(%r) kernel=2,2 strides=2,2 pads=0,0,0,0 : f32[1,2,2,2]
%z = quantize(%p) scale=0.1 range=-8..7 : f32[1,2,2,2]
%f = flatten(%z) axis=1 : f32[1,8]
%s = reshape(%f) target=[1,-1] allow_zero=false : f32[1,8]
%t = transpose(%s) perm=[1,0] : f32[8,1]
return %t
return %n
",
        );
        // The other operators, and the other values of parameters that are left out above.
        check(
            "graph g
%x = input layout=nhwc integer=i8 zero_point=-3 : f32[1,2,4,4]
%x0 = constant values=[-0.5] : f32[]
%w = quantized_constant values=[1,2] scale=[0.1] range=-8..7 : f32[2,1,1,1]
%c = conv(%x,%w) strides=1,1 pads=2,0,0,0 dilations=2,3 groups=2 : f32[1,2,6,4]
%q = quantize(%c) scale=0.1 range=0..7 rounding=floor : f32[1,2,6,4]
%f0 = elu(%q) alpha=0.1 : f32[1,2,6,4]
%f1 = gelu(%f0) tanh=true : f32[1,2,6,4]
%f2 = hard_sigmoid(%f1) alpha=0.2 beta=0.5 : f32[1,2,6,4]
%f3 = hard_swish(%f2) : f32[1,2,6,4]
%f4 = leaky_relu(%f3) slopes=[0.01,0.25] : f32[1,2,6,4]
%f5 = sigmoid(%f4) : f32[1,2,6,4]
%f6 = tanh(%f5) : f32[1,2,6,4]
%b0 = add(%f6,%x0) : f32[1,2,6,4]
%b1 = div(%b0,%x0) : f32[1,2,6,4]
%b2 = mul(%b1,%x0) : f32[1,2,6,4]
%b3 = sub(%b2,%x0) : f32[1,2,6,4]
%n = batch_normalization(%b3) gamma=[1.0,0.3] beta=[-1.0,0.0] mean=[0.0,1e-7] variance=[1.0,2.0] epsilon=1e-5 : f32[1,2,6,4]
%m = max_pool(%n) kernel=2,1 strides=1,1 pads=0,0,0,0 dilations=2,1 : f32[1,2,4,4]
%a = average_pool(%m) kernel=2,2 strides=2,2 pads=0,0,0,0 count_pads=false : f32[1,2,2,2]
%p = pad(%a) before=0,0,1,2 after=0,0,3,0 : f32[1,2,6,4]
%p0 = pad(%x0) before= after= : f32[]
%s = slice(%p) start=0,1,5,0 step=[1,1,-2,3] len=1,1,3,2 : f32[1,1,3,2]
%s0 = slice(%x0) start= step=[] len= : f32[]
%k = concat(%s,%s,%s) axis=3 : f32[1,1,3,6]
%r = reshape(%k) target=[1,-1] allow_zero=true : f32[1,18]
%v = constant values=[5] : i4[1]
%g0 = softmax(%r) axis=1 : f32[1,18]
%g1 = log_softmax(%g0) axis=0 : f32[1,18]
%t = transpose(%g1) : f32[18,1]
%d = mat_mul(%g1,%t) : f32[1,1]
%e = gemm(%d,%d,%d) trans_b=true : f32[1,1]
%z = arg_max(%e) axis=1 keep_dims=false : i64[1]
return %z
",
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line) in [
            ("graph g\n%x = input", 1 + 1),
            ("%x = input : f32[1]\n\n%y = nonsense(%x) : f32[1]", 3),
            ("%y = relu(%x) : f32[1]", 1),
            ("%x = input : f32[1]\n%y = relu(%x) : f32[2]", 2),
            ("%x = constant values=sha256:00 : f32[1]", 1),
            ("return %zz", 1),
            ("%x = input : f32[1]\n%y = pad(%x) before=0 after=0,1 : f32[1]", 2),
            ("%x = input : f32[1]\n%y = slice(%x) start=0 step=[1,1] len=1 : f32[1]", 2),
            ("%x%2 = input : f32[1]", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
