//! Imports and compiles any bytes as an ONNX model: no panic, and no diagnostic that blames heqc.
#![no_main]

use heq_tests::onnx::exercise::exercise;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(found) = exercise(bytes) {
        panic!("{found}");
    }
});
