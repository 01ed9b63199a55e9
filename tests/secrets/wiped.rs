//! Of inputs, outputs and weights nothing is left in memory that a party has freed.
//!
//! The sequences are of values side by side as the parties hold them: words, and as they lie in a file. What
//! a layer computes with is in other orders and mod primes, and is not looked for here; its types are in
//! `types.rs`. Copies in registers and on the stack are out of reach, and the compiler of the plan and
//! whoever reads pictures and prints results wipe nothing.

use crate::freed::{Pattern, found_in_freed};
use heq_data::plan_files::read_weights;
use heq_ir::eval::evaluate;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::codec::encode_weights;
use heq_net::memory;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PreparedPlan, PreparedServer};
use heq_tests::{compiled_lenet, lenet, samples};
use zeroize::Zeroizing;

/// Values side by side that make a pattern.
const WINDOW: usize = 16;

/// The first stretch of values of which few are equal.
fn stretch<T: Copy + Ord>(values: &[T]) -> &[T] {
    let varied = |window: &&[T]| {
        let mut sorted = window.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        2 * sorted.len() >= window.len().min(12)
    };
    let length = WINDOW.min(values.len());
    values.windows(length).find(varied).unwrap_or_else(|| panic!("the values are too much alike"))
}

fn words(name: &'static str, values: &[i64]) -> Pattern {
    Pattern::of(name, stretch(values).iter().map(|value| value.to_le_bytes()))
}

#[test]
fn the_allocator_sees_what_is_not_wiped() {
    let secret: Vec<u64> = (0..64_u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let pattern =
        || vec![Pattern::of("secret", secret[10..20].iter().map(|word| word.to_le_bytes()))];
    let (_, found) = found_in_freed(pattern(), || drop(Zeroizing::new(secret.clone())));
    assert!(found.is_empty(), "{found:?}");
    let (_, found) = found_in_freed(pattern(), || drop(secret.clone()));
    assert_eq!(found, ["secret"]);
    let grown = || {
        let mut copy = Zeroizing::new(secret.clone());
        copy.reserve(1);
    };
    assert_eq!(found_in_freed(pattern(), grown).1, ["secret"], "growing leaves a copy");
}

#[test]
fn what_a_session_frees_holds_no_input_output_or_weight() {
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let input = samples(&compiled.plan, &lenet("input.npy"), 2);
    let expected: Vec<Vec<i64>> = input
        .iter()
        .map(|x| evaluate(&compiled.plan, &compiled.weights, x).unwrap().output().to_vec())
        .collect();
    let file = Zeroizing::new(encode_weights(compiled.weights.spec()).unwrap());
    let layer = &compiled.weights.layers()[0];
    let folded: Vec<i64> = layer.folded().collect();
    let narrow = |values: &[i64]| -> Vec<[u8; 4]> {
        stretch(values).iter().map(|&value| i32::try_from(value).unwrap().to_le_bytes()).collect()
    };
    let patterns = vec![
        words("input", &input[0]),
        words("output", &expected[0]),
        words("bias", &layer.bias),
        words("folded weights as words", &folded),
        Pattern::of("folded weights", narrow(&folded)),
        Pattern::of("weights", stretch(&layer.weights).iter().map(|weight| weight.to_le_bytes())),
        Pattern::of("file of weights", stretch(&file[file.len() / 2..]).iter().map(|&byte| [byte])),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lenet.server.heq");
    std::fs::write(&path, &*file).unwrap();
    let plans = [0, 1].map(|_| PreparedPlan::new(compiled.plan.clone()));
    let run = || {
        let weights = read_weights(&path, &compiled.plan).unwrap();
        let prepared = PreparedServer::new(&plans[1], &weights, 1 << 30).unwrap();
        drop(weights);
        let (client_end, server_end) = memory::pair();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| run_server(&plans[1], &prepared, None, server_end));
            let client = run_client(&plans[0], client_end, &input);
            server.join().unwrap().unwrap();
            Zeroizing::new(client.unwrap().0)
        })
    };
    let (outputs, found) = found_in_freed(patterns, run);
    assert_eq!(*outputs, expected);
    assert!(found.is_empty(), "freed without being wiped: {found:?}");
}
