//! Nothing random serves twice: masks, seeds, pads and keys of a run, and of two.

use super::frames::{options, with_weights};
use super::recording::{Frame, session};
use super::steps::{both, establish, extend, shape};
use heq_ir::packing::unpack_wide_bits;
use heq_ir::plan::{LinearStep, OtExtension, Plan};
use heq_ir::traffic::{RotRun, RotSender, Step};
use heq_ot::{RotReceiverBatch, RotSenderBatch};
use heq_runtime::protocol::Role;
use heq_tests::compile_lenet;
use std::collections::BTreeSet;

const INFERENCES: usize = 2;

/// The requests and the responses of linear step `step`, in all inferences: the last messages of lane 0, of
/// which the plan says how many there are.
fn messages(plan: &Plan, frames: &[Vec<Frame>; 2], step: usize) -> [Vec<Vec<u8>>; 2] {
    let lane = |frames: &[Frame]| {
        let payloads = frames.iter().filter(|frame| frame.lane == 0);
        payloads.map(|frame| frame.payload.clone()).collect::<Vec<_>>()
    };
    let mut rest = [lane(&frames[0]), lane(&frames[1])].map(|payloads| payloads.into_iter().rev());
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..INFERENCES {
        for (index, traffic) in plan.layer_traffic().iter().enumerate().rev() {
            for part in traffic.steps.iter().rev() {
                let counts = match part {
                    Step::Up { count, .. } => [*count, 0],
                    Step::Down { count, .. } => [0, *count],
                    Step::Exchange { .. } => [1, 1],
                };
                for (party, count) in counts.into_iter().enumerate() {
                    let taken = rest[party].by_ref().take(count as usize);
                    let is_wanted = index == step && !matches!(part, Step::Exchange { .. });
                    found[party].extend(taken.filter(|_| is_wanted));
                }
            }
        }
    }
    found
}

/// Asserts that no two of `messages`, polynomials of `length` coefficients of `bits` bits, are near each other
/// in more than a tenth of their coefficients: two that share a mask are so in nearly all, independent ones in 1 of 128.
fn check_apart(name: &str, messages: &[Vec<u8>], bits: u32, length: usize) {
    assert!(messages.len() > 1, "{name}");
    let words: Vec<Vec<u128>> =
        messages.iter().map(|message| unpack_wide_bits(message, bits, length).unwrap()).collect();
    let (mask, near) = ((1_u128 << bits) - 1, 1_u128 << (bits - 8));
    for (index, a) in words.iter().enumerate() {
        for (other, b) in words[..index].iter().enumerate() {
            let pairs = a.iter().zip(b);
            let close =
                pairs.filter(|(a, b)| a.wrapping_sub(**b).wrapping_add(near) & mask < 2 * near);
            assert!(close.count() * 10 < length, "{name}: {other} and {index}");
        }
    }
}

/// Of weights of zero a response is its mask alone, and of an input of zero a request of the first layer is.
#[test]
fn masks_and_seeds_of_a_run_are_distinct() {
    let compiled = compile_lenet(&options(OtExtension::SoftSpoken { field_bits: 4 }));
    let zero = with_weights(&compiled, |spec| {
        spec.layers.iter_mut().for_each(|layer| layer.weights.fill(0));
    });
    let sample = vec![0; zero.plan.spec().input.shape.len()];
    let (_, frames) = session(&zero, &vec![sample; INFERENCES]);
    let steps: Vec<(usize, LinearStep<'_>)> = zero.plan.linear_steps().collect();
    for (index, step) in &steps {
        let [requests, responses] = messages(&zero.plan, &frames, *index);
        let (counts, choice) = (step.layout.counts(), step.choice);
        assert_eq!(requests.len(), INFERENCES * counts.requests());
        assert_eq!(responses.len(), INFERENCES * counts.responses());
        let bits = step.params.modulus_bits();
        let n = step.params.ring_degree();
        check_apart(&format!("responses {index}"), &responses, bits - choice.response_drop_bits, n);
        if *index == steps[0].0 {
            let (_, window) = step.layout.request_window();
            let bits = bits - choice.request_drop_bits;
            check_apart(&format!("requests {index}"), &requests, bits, window);
        }
    }
}

#[test]
fn nothing_of_two_sessions_is_equal() {
    for ot in [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }] {
        let compiled = compile_lenet(&options(ot));
        let sample = vec![0; compiled.plan.spec().input.shape.len()];
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        for _ in 0..2 {
            let (_, frames) = session(&compiled, &vec![sample.clone(); INFERENCES]);
            // Shorter ones may be equal by chance.
            for frame in frames.into_iter().flatten().filter(|frame| frame.payload.len() >= 16) {
                count += 1;
                let length = frame.payload.len();
                assert!(seen.insert(frame.payload), "{ot}: {length} bytes on lane {}", frame.lane);
            }
        }
        assert!(count > 50, "{ot}: {count}");
    }
}

/// The pads of every element of a plane, as words.
fn pads<'a>(pad: impl Fn(usize) -> &'a [u64], elements: usize) -> Vec<u64> {
    let planes: Vec<&[u64]> = (0..64).map(pad).collect();
    let bit = |element: usize, plane: &[u64]| plane[element / 64] >> (element % 64) & 1;
    let word = |element| planes.iter().rev().fold(0, |sum, plane| sum << 1 | bit(element, plane));
    (0..elements).map(word).collect()
}

/// Of both directions, several extensions and all threads. 300 000 words of 64 bits have two equal ones with
/// probability 2^-28, for the seed at hand.
#[test]
fn pads_of_a_session_are_distinct() {
    let runs: Vec<RotRun> = [(1, 20_000), (3, 5000), (1, 2000)]
        .into_iter()
        .flat_map(|(planes, elements)| {
            RotSender::ALL.map(|sender| RotRun { sender, planes, elements, bits: 64 })
        })
        .collect();
    for ot in [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }] {
        let party = |role: Role| {
            let runs = runs.clone();
            move |channel: &mut heq_net::Channel| {
                let mut extension = establish(role, ot, channel);
                let own = if role == Role::Server { RotSender::Server } else { RotSender::Client };
                let mut words = Vec::new();
                for _ in 0..2 {
                    let mut stocks = extend(&mut extension, role, &runs, channel);
                    for run in &runs {
                        let shape = shape(run);
                        if run.sender != own {
                            let _held_by_the_peer: RotReceiverBatch =
                                stocks.receiver.take(shape).unwrap();
                            continue;
                        }
                        let batch: RotSenderBatch = stocks.sender.take(shape).unwrap();
                        for plane in 0..shape.planes {
                            words.extend(pads(|bit| batch.pads0(plane, bit), shape.elements));
                            words.extend(pads(|bit| batch.pads1(plane, bit), shape.elements));
                        }
                    }
                }
                words
            }
        };
        let (client, server, _) = both(party(Role::Client), party(Role::Server));
        let mut words = [client, server].concat();
        let count = words.len();
        assert_eq!(count, 2 * 2 * 2 * (20_000 + 3 * 5000 + 2000));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "{ot}");
    }
}
