//! Rearranged elements, and what is computed at import.

use super::builder::Builder;
use tract_onnx::pb::tensor_proto::DataType;

const IMAGE: &[i64] = &[1, 2, 5, 5];

#[test]
fn target_shapes_are_computed() {
    // The way PyTorch exports x.view(x.size(0), -1).
    Builder::fixed(IMAGE)
        .opset(11)
        .list("zero", &[0])
        .list("minus", &[-1])
        .node("Shape", &["x"], "a")
        .node("Gather", &["a", "zero"], "b")
        .node("Squeeze", &["b"], "c")
        .node("Unsqueeze", &["c"], "d")
        .ints("axes", &[0])
        .node("Concat", &["d", "minus"], "e")
        .int("axis", 0)
        .node("Cast", &["e"], "f")
        .int("to", 7)
        .node("Reshape", &["x", "f"], "y")
        .check_operators(&["reshape target=[1,-1] allow_zero=false"]);
    Builder::fixed(IMAGE)
        .list("start", &[-2])
        .list("end", &[100])
        .list("first", &[1, 2])
        .node("Shape", &["x"], "a")
        .node("Slice", &["a", "start", "end"], "b")
        .node("Mul", &["b", "b"], "c")
        .node("Concat", &["first", "c"], "d")
        .int("axis", 0)
        .node("Reshape", &["x", "d"], "y")
        .refuse("cannot be reshaped to [1, 2, 25, 25]");
    Builder::fixed(IMAGE)
        .node("Relu", &["x"], "s")
        .node("Reshape", &["x", "s"], "y")
        .refuse("is computed, not constant");
}

/// A model that returns a constant.
fn constant(dims: &[i64], values: &[f32]) -> Builder {
    let mut model = Builder::fixed(&[1]).floats("x", dims, values);
    model.graph.input.clear();
    model
}

#[test]
fn constants_are_computed() {
    let x = || constant(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let two = || x().floats("c", &[], &[2.0]);
    for (model, expected) in [
        (x().node("Transpose", &["x"], "y"), "[0.0,3.0,1.0,4.0,2.0,5.0]"),
        (two().node("Pow", &["x", "c"], "y"), "[0.0,1.0,4.0,9.0,16.0,25.0]"),
        (two().node("Div", &["x", "c"], "y"), "[0.0,0.5,1.0,1.5,2.0,2.5]"),
        (two().node("Sub", &["c", "x"], "y"), "[2.0,1.0,0.0,-1.0,-2.0,-3.0]"),
        (
            x().floats("c", &[2, 1], &[10.0, 20.0]).node("Add", &["x", "c"], "y"),
            "[10.0,11.0,12.0,23.0,24.0,25.0]",
        ),
        (x().node("Neg", &["x"], "y"), "[-0.0,-1.0,-2.0,-3.0,-4.0,-5.0]"),
        (
            constant(&[2], &[4.0, 16.0]).node("Sqrt", &["x"], "a").node("Reciprocal", &["a"], "y"),
            "[0.5,0.25]",
        ),
        (
            x().list("i", &[-1, 0]).node("Gather", &["x", "i"], "y").int("axis", 1),
            "[2.0,0.0,5.0,3.0]",
        ),
        (
            x().list("p", &[0, 1, 1, -1]).node("Pad", &["x", "p"], "y"),
            "[0.0,0.0,1.0,0.0,3.0,4.0,0.0,0.0,0.0]",
        ),
        (
            x().node("Concat", &["x", "x"], "y").int("axis", 1),
            "[0.0,1.0,2.0,0.0,1.0,2.0,3.0,4.0,5.0,3.0,4.0,5.0]",
        ),
        (x().node("Cast", &["x"], "y").int("to", 3), "[0,1,2,3,4,5]"),
    ] {
        model.check_operators(&[&format!("constant values={expected}")]);
    }
    x().list("i", &[2]).node("Gather", &["x", "i"], "y").refuse("an index");
    x().floats("c", &[2], &[1.0; 2]).node("Add", &["x", "c"], "y").refuse("broadcast");
    constant(&[1], &[300.0]).node("Cast", &["x"], "y").int("to", 3).refuse("does not fit");
    constant(&[1], &[f32::NAN]).node("Cast", &["x"], "y").int("to", 7).refuse("does not fit");
}

#[test]
fn integer_arithmetic_is_checked() {
    let model = |operator: &str, a: i64, b: i64| {
        let mut model = Builder::fixed(&[1]).list("a", &[a]).list("b", &[b]);
        model.graph.input.clear();
        model.node(operator, &["a", "b"], "y")
    };
    for (operator, a, b, expected) in
        [("Div", -7, 2, -3), ("Mul", -7, 2, -14), ("Pow", -2, 3, -8), ("Sub", 1, 2, -1)]
    {
        model(operator, a, b).check_operators(&[&format!("constant values=[{expected}]")]);
    }
    for (operator, a, b) in
        [("Div", 1, 0), ("Div", i64::MIN, -1), ("Mul", 1 << 62, 2), ("Pow", 2, 64), ("Pow", 2, -1)]
    {
        model(operator, a, b).refuse("does not fit its type i64");
    }
    let int8 = Builder::fixed(&[1]).int8("a", &[], &[100]).node("Add", &["a", "a"], "y");
    int8.refuse("does not fit its type i8");
}

#[test]
fn computed_constants_are_bounded() {
    let filled = |extent: i64| {
        Builder::fixed(&[1, 2]).list("n", &[extent]).node("ConstantOfShape", &["n"], "a")
    };
    filled(3).node("Identity", &["a"], "y").check_operators(&["constant values=[0.0,0.0,0.0]"]);
    filled(1 << 30).node("Relu", &["a"], "y").refuse("HEQ-8001");
    filled(1 << 40).node("Relu", &["a"], "y").refuse("too large");
    filled(-1).node("Relu", &["a"], "y").refuse("positive extents");
    // Each is within the bound of one tensor, all together are not.
    let mut model = filled(1 << 23);
    for index in 0..9 {
        let output = if index == 8 { "y".to_owned() } else { format!("c{index}") };
        model = model.node("Mul", &["a", "a"], &output);
    }
    model.refuse("HEQ-8001");
    filled(1 << 23)
        .node("Concat", &["a", "a", "a"], "y")
        .int("axis", 0)
        .refuse("a constant of 25165824 elements");
}

#[test]
fn reshapes() {
    let model = || Builder::fixed(&[1, 2, 1, 1]);
    let reshape = |target| format!("reshape target={target} allow_zero=false");
    for (model, target) in [
        (model().node("Squeeze", &["x"], "y"), "[2]"),
        (model().opset(11).node("Squeeze", &["x"], "y").ints("axes", &[2, -1]), "[1,2]"),
        (model().list("a", &[3]).node("Squeeze", &["x", "a"], "y"), "[1,2,1]"),
        (model().list("a", &[0, -1]).node("Unsqueeze", &["x", "a"], "y"), "[1,1,2,1,1,1]"),
        (model().opset(11).node("Unsqueeze", &["x"], "y").ints("axes", &[1]), "[1,1,2,1,1]"),
    ] {
        model.check_operators(&[&reshape(target)]);
    }
    model().list("a", &[1]).node("Squeeze", &["x", "a"], "y").refuse("dimension 1");
    model().list("a", &[1, 1]).node("Unsqueeze", &["x", "a"], "y").refuse("axes=[1, 1]");
    model().list("a", &[0; 9]).node("Unsqueeze", &["x", "a"], "y").refuse("13 dimensions");
    model().list("s", &[1; 9]).node("Reshape", &["x", "s"], "y").refuse("9 dimensions");
    model().node("Transpose", &["x"], "y").ints("perm", &[0, 1, 1, 2]).refuse("do not fit");
}

#[test]
fn slices() {
    let model = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        Builder::fixed(&[1, 2, 5, 7])
            .list("starts", starts)
            .list("ends", ends)
            .list("axes", axes)
            .list("steps", steps)
            .node("Slice", &["x", "starts", "ends", "axes", "steps"], "y")
    };
    for (starts, ends, axes, steps, expected) in [
        (&[0][..], &[i64::MAX][..], &[2][..], &[2][..], "start=0,0,0,0 step=[1,1,2,1] len=1,2,3,7"),
        (&[-3, 1], &[-1, 100], &[3, 2], &[1, 3], "start=0,0,1,4 step=[1,1,3,1] len=1,2,2,2"),
        (&[-1], &[i64::MIN], &[-1], &[-2], "start=0,0,0,6 step=[1,1,1,-2] len=1,2,5,4"),
        (&[100], &[2], &[3], &[-1], "start=0,0,0,6 step=[1,1,1,-1] len=1,2,5,4"),
        (
            &[0],
            &[1],
            &[1],
            &[i64::MAX],
            "start=0,0,0,0 step=[1,9223372036854775807,1,1] len=1,1,5,7",
        ),
    ] {
        model(starts, ends, axes, steps).check_operators(&[&format!("slice {expected}")]);
    }
    model(&[0], &[5], &[2], &[1]).check(&["%x = input : f32[1,2,5,7]"]);
    model(&[3], &[3], &[2], &[1]).refuse("keeps nothing");
    model(&[0], &[3], &[2], &[0]).refuse("keeps nothing");
    model(&[0], &[3], &[2], &[i64::MIN]).refuse("keeps nothing");
    model(&[0, 0], &[1, 1], &[2, -2], &[1, 1]).refuse("named twice");
    model(&[0, 0], &[1], &[2, 3], &[1, 1]).refuse("differ in their number");
    model(&[0], &[1], &[4], &[1]).refuse("no dimension 4");
    Builder::fixed(&[1, 2, 5, 7])
        .opset(9)
        .node("Slice", &["x"], "y")
        .ints("starts", &[0, 1])
        .ints("ends", &[1, 2])
        .check_operators(&["slice start=0,1,0,0 step=[1,1,1,1] len=1,1,5,7"]);
}

#[test]
fn splits_and_joints() {
    let model = |outputs: &[&str]| {
        Builder::fixed(&[1, 6]).node_of("", "Split", &["x"], outputs).int("axis", 1)
    };
    let joined = |model: Builder, parts: &[&str]| model.node("Concat", parts, "y").int("axis", -1);
    joined(model(&["a", "b", "c"]), &["a", "c"]).check(&[
        "%x = input : f32[1,6]",
        "%a = slice(%x) start=0,0 step=[1,1] len=1,2 from=/a,Split : f32[1,2]",
        "%c = slice(%x) start=0,4 step=[1,1] len=1,2 from=/a,Split : f32[1,2]",
        "%y = concat(%a,%c) axis=1 from=/y,Concat : f32[1,4]",
    ]);
    joined(model(&["a", "b"]).opset(11).ints("split", &[5, 1]), &["b", "a"]).check_type("f32[1,6]");
    joined(model(&["a", "b", "c", "d"]).opset(18).int("num_outputs", 4), &["a", "d"])
        .refuse("parts");
    let last = Builder::fixed(&[1, 5])
        .opset(18)
        .node_of("", "Split", &["x"], &["a", "y"])
        .int("axis", 1)
        .int("num_outputs", 2);
    last.check_type("f32[1,2]");
    joined(model(&["a", "b"]).opset(11).ints("split", &[5, 2]), &["b", "a"]).refuse("parts");
    joined(model(&["a", "b", "c", "d"]), &["b", "a"]).refuse("parts");
    Builder::fixed(&[1, 6])
        .node("Concat", &["x"], "y")
        .int("axis", 1)
        .check(&["%x = input : f32[1,6]"]);
}

#[test]
fn padding() {
    let model =
        |pads: &[i64]| Builder::fixed(&[1, 2, 3]).list("p", pads).node("Pad", &["x", "p"], "y");
    model(&[0, 0, 1, 0, 2, 0]).check_operators(&["pad before=0,0,1 after=0,2,0"]);
    model(&[0; 6]).check(&["%x = input : f32[1,2,3]"]);
    model(&[0, 0, -1, 0, 1, -1]).check_operators(&[
        "slice start=0,0,1 step=[1,1,1] len=1,2,1",
        "pad before=0,0,0 after=0,1,0",
    ]);
    model(&[0, 0, -2, 0, 0, -1]).refuse("leave nothing");
    model(&[0, 0, i64::MIN, 0, 0, 0]).refuse("leave nothing");
    model(&[0, 0, i64::MAX, 0, 0, 0]).refuse("too large");
    model(&[0, 0]).refuse("2 pads for 3 axes");
    model(&[0; 6]).text("mode", "reflect").refuse("reflect");
    Builder::fixed(&[1, 2, 3])
        .opset(9)
        .node("Pad", &["x"], "y")
        .ints("pads", &[0, 0, 0, 0, 0, 1])
        .float("value", 0.0)
        .check_operators(&["pad before=0,0,0 after=0,0,1"]);
    Builder::fixed(&[1, 2, 3])
        .list("p", &[1, 2])
        .list("axes", &[-1])
        .node("Pad", &["x", "p", "", "axes"], "y")
        .check_operators(&["pad before=0,0,1 after=0,0,2"]);
    Builder::fixed(&[1, 2])
        .list("p", &[0, 0, 0, 1])
        .floats("v", &[], &[1.0])
        .node("Pad", &["x", "p", "v"], "y")
        .refuse("another value than 0");
}

#[test]
fn dropout_vanishes() {
    Builder::fixed(&[1, 2])
        .floats("r", &[], &[0.5])
        .small(DataType::Bool, "training", &[], &[0])
        .node_of("", "Dropout", &["x", "r", "training"], &["a", "mask"])
        .node("Relu", &["a"], "y")
        .check_operators(&["relu"]);
    Builder::fixed(&[1, 2])
        .node_of("", "Dropout", &["x"], &["a", "mask"])
        .node("Add", &["a", "mask"], "y")
        .refuse("only its first output");
    Builder::fixed(&[1, 2])
        .small(DataType::Bool, "training", &[], &[1])
        .node("Dropout", &["x", "", "training"], "y")
        .refuse("training mode");
}
