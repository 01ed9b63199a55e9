//! One of the targets of `heq_tests::fuzz`: the one that the program is named after.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| heq_tests::fuzz::run(env!("CARGO_BIN_NAME"), bytes));
