//! Mutations of what a model says.

use super::Dice;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
};

const INTEGERS: &[i64] = &[
    i64::MIN,
    i64::MAX,
    -1,
    0,
    1,
    2,
    3,
    7,
    64,
    255,
    65_535,
    1 << 20,
    1 << 31,
    -(1 << 31),
    1 << 32,
    1 << 40,
    1 << 62,
    -(1 << 62),
];

const REALS: &[f32] = &[
    0.0,
    -0.0,
    -1.0,
    1e-45,
    1e-38,
    1e-20,
    1e20,
    f32::MAX,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

const OPERATORS: &[&str] = &[
    "Add",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "BipolarQuant",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Elu",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "LeakyRelu",
    "Loop",
    "MatMul",
    "MatMulInteger",
    "MaxPool",
    "Mul",
    "PRelu",
    "Pad",
    "Pow",
    "QGemm",
    "QLinearAdd",
    "QLinearConcat",
    "QLinearConv",
    "QLinearMatMul",
    "Quant",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Trunc",
    "Unsqueeze",
    "Where",
];

const ATTRIBUTES: &[&str] = &[
    "allowzero",
    "alpha",
    "auto_pad",
    "axes",
    "axis",
    "beta",
    "block_size",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "epsilon",
    "group",
    "keepdims",
    "kernel_shape",
    "mode",
    "narrow",
    "num_outputs",
    "output_dtype",
    "pads",
    "perm",
    "rounding_mode",
    "saturate",
    "signed",
    "strides",
    "to",
    "transA",
    "transB",
    "value",
];

/// One random change.
pub(super) fn mutate(dice: &mut Dice, model: &mut ModelProto) {
    match dice.draw(0, 40) {
        0 => {
            let version = dice.pick(&[i64::MIN, -1, 0, 1, 6, 9, 10, 12, 13, 25, i64::MAX]);
            let index = dice.index(model.opset_import.len());
            if let Some(set) = model.opset_import.get_mut(index) {
                set.version = version;
            }
            return;
        }
        1 => {
            model.opset_import.clear();
            return;
        }
        2 => model.opset_import.extend_from_within(..),
        _ => {}
    }
    let Some(graph) = &mut model.graph else { return };
    if graph.node.is_empty() || graph.initializer.is_empty() {
        return;
    }
    match dice.draw(0, 9) {
        0 | 1 => nodes(dice, graph),
        2 | 3 => initializer(dice, graph),
        4 => parameter(dice, graph),
        5 | 6 => attribute(dice, graph),
        7 => ends(dice, graph),
        8 => insert(dice, graph),
        _ => external(dice, graph),
    }
}

/// Nodes dropped, repeated, exchanged, connected otherwise, renamed.
fn nodes(dice: &mut Dice, graph: &mut GraphProto) {
    let (at, other) = (dice.index(graph.node.len()), dice.index(graph.node.len()));
    let outputs: Vec<String> =
        graph.node.iter().filter_map(|node| node.output.first().cloned()).collect();
    let name = outputs.get(other).cloned().unwrap_or_default();
    let node = &mut graph.node[at];
    let slot = dice.index(node.input.len());
    match dice.draw(0, 13) {
        0 => drop(graph.node.remove(at)),
        1 => {
            let node = node.clone();
            graph.node.push(node);
        }
        2 => graph.node.swap(at, other),
        3 => node.input.reverse(),
        // Often a cycle.
        4 if slot < node.input.len() => node.input[slot] = name,
        5 => node.output = vec![name],
        6 => node.op_type = dice.pick(OPERATORS).into(),
        7 => node.domain = dice.pick(&["", "com.microsoft", "qonnx.custom_op.general", "x"]).into(),
        8 => node.input.truncate(slot),
        9 => node.input.push(name),
        10 => node.output.push(name),
        11 => node.output.clear(),
        12 if slot < node.input.len() => node.input[slot].clear(),
        _ => graph.node.reverse(),
    }
}

/// Shapes, types and data of constants.
fn initializer(dice: &mut Dice, graph: &mut GraphProto) {
    let (at, other) = (dice.index(graph.initializer.len()), dice.index(graph.initializer.len()));
    let name = graph.initializer[other].name.clone();
    let tensor = &mut graph.initializer[at];
    let axis = dice.index(tensor.dims.len());
    match dice.draw(0, 9) {
        0 if axis < tensor.dims.len() => tensor.dims[axis] = dice.pick(INTEGERS),
        1 => tensor.dims.push(dice.pick(INTEGERS)),
        2 => tensor.dims.clear(),
        3 => tensor.data_type = dice.draw(-1, 25) as i32,
        4 => tensor.raw_data.truncate(tensor.raw_data.len() / 2),
        5 => tensor.raw_data.extend([1; 3]),
        6 => {
            tensor.float_data.truncate(tensor.float_data.len() / 2);
            tensor.int32_data.push(dice.pick(INTEGERS) as i32);
        }
        7 => tensor.name = name,
        8 => tensor.dims.resize(dice.draw(3, 2000) as usize, 1),
        _ => drop(graph.initializer.remove(at)),
    }
}

/// Values of constants with few elements: scales, zero points, bounds, shapes, biases.
fn parameter(dice: &mut Dice, graph: &mut GraphProto) {
    let mut small: Vec<&mut TensorProto> = graph
        .initializer
        .iter_mut()
        .filter(|tensor| tensor.dims.iter().all(|&dim| (0..=16).contains(&dim)))
        .collect();
    let at = dice.index(small.len());
    let Some(tensor) = small.get_mut(at) else { return };
    let (real, integer) = (dice.pick(REALS), dice.pick(INTEGERS));
    let element = dice.index(4);
    if let Some(value) = tensor.float_data.get_mut(element) {
        *value = real;
    }
    if let Some(value) = tensor.int32_data.get_mut(element) {
        *value = integer as i32;
    }
    if let Some(value) = tensor.int64_data.get_mut(element) {
        *value = integer;
    }
    if tensor.data_type == DataType::Float as i32 {
        let bytes = real.to_le_bytes();
        if let Some(raw) = tensor.raw_data.get_mut(element * 4..element * 4 + 4) {
            raw.copy_from_slice(&bytes);
        }
    } else if let Some(raw) = tensor.raw_data.get_mut(..8) {
        raw.copy_from_slice(&integer.to_le_bytes());
    }
}

fn attribute(dice: &mut Dice, graph: &mut GraphProto) {
    let at = dice.index(graph.node.len());
    let attributes = &mut graph.node[at].attribute;
    let index = dice.index(attributes.len());
    if attributes.is_empty() || dice.draw(0, 3) == 0 {
        let integers = (0..dice.draw(1, 5)).map(|_| dice.pick(INTEGERS)).collect();
        let ty = dice.pick(&[AttributeType::Int, AttributeType::Ints, AttributeType::Float]);
        attributes.push(AttributeProto {
            name: dice.pick(ATTRIBUTES).into(),
            r#type: ty as i32,
            i: dice.pick(INTEGERS),
            f: dice.pick(REALS),
            ints: integers,
            ..Default::default()
        });
        return;
    }
    let attribute = &mut attributes[index];
    let slot = dice.index(attribute.ints.len());
    match dice.draw(0, 6) {
        0 => attribute.i = dice.pick(INTEGERS),
        1 => attribute.f = dice.pick(REALS),
        2 if slot < attribute.ints.len() => attribute.ints[slot] = dice.pick(INTEGERS),
        3 => attribute.ints.truncate(slot),
        4 => attribute.ints.extend([1, 1]),
        5 => attribute.r#type = dice.draw(0, 15) as i32,
        _ => attribute.name = dice.pick(ATTRIBUTES).into(),
    }
}

/// Inputs and outputs of the graph.
fn ends(dice: &mut Dice, graph: &mut GraphProto) {
    match dice.draw(0, 5) {
        0 => graph.input.clear(),
        1 => graph.output.clear(),
        2 => graph.input.extend_from_within(..),
        3 => {
            let index = dice.index(graph.node.len());
            if let (Some(output), Some(name)) =
                (graph.output.first_mut(), graph.node[index].output.first())
            {
                output.name.clone_from(name);
            }
        }
        _ => {
            let ty = graph.input.first_mut().and_then(|input| input.r#type.as_mut());
            let Some(TypeValue::TensorType(tensor)) = ty.and_then(|ty| ty.value.as_mut()) else {
                return;
            };
            if dice.draw(0, 3) == 0 {
                tensor.elem_type = dice.draw(-1, 25) as i32;
            }
            let Some(shape) = &mut tensor.shape else { return };
            let axis = dice.index(shape.dim.len());
            if let Some(dim) = shape.dim.get_mut(axis) {
                dim.value = match dice.draw(0, 5) {
                    0 => None,
                    1 => Some(Dim::DimParam("N".into())),
                    _ => Some(Dim::DimValue(dice.pick(INTEGERS))),
                };
            }
        }
    }
}

/// Operators that make much of little, and deep chains, before an input of a node.
fn insert(dice: &mut Dice, graph: &mut GraphProto) {
    let at = dice.index(graph.node.len());
    let slot = dice.index(graph.node[at].input.len());
    let Some(source) = graph.node[at].input.get(slot).cloned() else { return };
    let tag = dice.draw(0, i64::MAX - 1);
    let name = |part: &str| format!("{part}_{tag}");
    let rank = dice.draw(1, 5) as usize;
    let integers = |values: Vec<i64>| TensorProto {
        name: name("values"),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        int64_data: values,
        ..Default::default()
    };
    let node = |operator: &str, inputs: Vec<String>, output: String| NodeProto {
        op_type: operator.into(),
        input: inputs,
        output: vec![output],
        ..Default::default()
    };
    let large = dice.pick(&[100, 5_000, 1 << 20, 1 << 31, 1 << 40, i64::MAX]);
    match dice.draw(0, 5) {
        0 => {
            graph.initializer.push(integers(vec![large; rank]));
            let made = node("ConstantOfShape", vec![name("values")], name("made"));
            graph.node.insert(at, made);
        }
        1 => {
            graph.initializer.push(integers(vec![large; 2 * rank]));
            let made = node("Pad", vec![source, name("values")], name("made"));
            graph.node.insert(at, made);
        }
        2 => {
            graph.initializer.push(integers(vec![dice.pick(INTEGERS); 1]));
            let values = || name("values");
            let made =
                node("Slice", vec![source, values(), values(), values(), values()], name("made"));
            graph.node.insert(at, made);
        }
        3 => {
            let target = if dice.draw(0, 1) == 0 { vec![1, -1] } else { vec![large; rank] };
            graph.initializer.push(integers(target));
            let depth = dice.draw(100, 1500);
            let mut above = source;
            for step in 0..depth {
                let made = if step == depth - 1 { name("made") } else { name(&format!("r{step}")) };
                graph.node.insert(
                    at + step as usize,
                    node("Reshape", vec![above, name("values")], made.clone()),
                );
                above = made;
            }
            let last = at + depth as usize;
            graph.node[last].input[slot] = name("made");
            return;
        }
        4 => {
            // Twice as long with every step.
            let mut above = source;
            let depth = dice.draw(10, 50);
            for step in 0..depth {
                let made = if step == depth - 1 { name("made") } else { name(&format!("c{step}")) };
                let mut concat = node("Concat", vec![above.clone(), above], made.clone());
                concat.attribute.push(AttributeProto {
                    name: "axis".into(),
                    r#type: AttributeType::Int as i32,
                    i: dice.draw(0, 1),
                    ..Default::default()
                });
                graph.node.insert(at + step as usize, concat);
                above = made;
            }
            let last = at + depth as usize;
            graph.node[last].input[slot] = name("made");
            return;
        }
        _ => {
            let mut made = node(dice.pick(OPERATORS), vec![source], name("made"));
            made.domain = dice.pick(&["", "com.microsoft"]).into();
            graph.node.insert(at, made);
        }
    }
    graph.node[at + 1].input[slot] = name("made");
}

/// A constant that claims to lie in another file.
fn external(dice: &mut Dice, graph: &mut GraphProto) {
    let at = dice.index(graph.initializer.len());
    let tensor = &mut graph.initializer[at];
    tensor.data_location = Some(1);
    let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
    let location =
        dice.pick(&["../../etc/passwd", "/etc/passwd", "weights.bin", "", "a/../b", "."]);
    tensor.external_data = vec![
        entry("location", location.into()),
        entry("offset", dice.pick(INTEGERS).to_string()),
        entry("length", dice.pick(INTEGERS).to_string()),
    ];
}
