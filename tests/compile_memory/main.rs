//! The memory that compiling a large layer takes, by weight.
//!
//! Weights are most of a model, and each of them is in several forms on its way: a byte of the file,
//! 8 bytes in the graph, 4 in the network. This is what must not be there twice.

#[path = "../onnx_import/memory.rs"]
mod memory;

use heq_ir::plan::AccStrategy;
use heq_tests::compile_bytes;
use heq_tests::onnx::builder::{ModelBuilder, encode};
use memory::take_peak;
use tract_onnx::pb::tensor_proto::DataType;

const INPUTS: usize = 2048;
const OUTPUTS: usize = 2048;

/// Constants are folded from one list of 8 bytes a weight into another; that happens while nothing else
/// but the file holds them.
const MOST_BYTES_PER_WEIGHT: usize = 16;

/// What does not grow with the weights.
const MOST_OTHER_BYTES: usize = 16 << 20;

/// The weights of a dense layer, quantized by a `DequantizeLinear` behind 8-bit integers.
fn dense() -> Vec<u8> {
    let mut builder = ModelBuilder::new(13);
    builder.raw = true;
    builder.input("x", DataType::Float, &[1, INPUTS]);
    let scale = builder.floats(&[], &[0.125]);
    let zero = builder.ints(DataType::Uint8, &[], &[0]);
    let signed_zero = builder.ints(DataType::Int8, &[], &[0]);
    let values: Vec<i64> =
        (0_i64..).map(|index| index * 31 % 15 - 7).take(INPUTS * OUTPUTS).collect();
    let weights = builder.ints(DataType::Int8, &[OUTPUTS, INPUTS], &values);
    let quantized = builder.node("", "QuantizeLinear", &["x", &scale, &zero], &[]);
    let real = builder.node("", "DequantizeLinear", &[&quantized, &scale, &zero], &[]);
    let weights = builder.node("", "DequantizeLinear", &[&weights, &scale, &signed_zero], &[]);
    let transposed = builder.node("", "Transpose", &[&weights], &[]);
    let sums = builder.node("", "MatMul", &[&real, &transposed], &[]);
    builder.output(&sums, DataType::Float);
    encode(&builder.finish())
}

#[test]
fn weights_are_in_few_places_at_a_time() {
    let bytes = dense();
    take_peak();
    let compiled = compile_bytes(&bytes, AccStrategy::WeightAware);
    let peak = take_peak();
    assert_eq!(compiled.weights.layers()[0].weights.len(), INPUTS * OUTPUTS);
    let most = bytes.len() + MOST_BYTES_PER_WEIGHT * INPUTS * OUTPUTS + MOST_OTHER_BYTES;
    println!("{peak} bytes at the peak, of at most {most}");
    assert!(peak <= most, "{peak} bytes are more than {most}");
}
