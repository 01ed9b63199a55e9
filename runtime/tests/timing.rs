//! Whether the time of a comparison or a requantization depends on a party's secret words: the means for
//! fixed and for random words are compared by Welch's t-test.
//!
//! A party runs alone, its peer's messages wait in the channel, and both kinds of words come in random
//! order and are made in the same way. Runs that an interrupt made slow are cropped; noise of the machine
//! that still shows is told from a dependence by repetition. |t| < 4.5 is the usual bound.
//! `HEQ_TIMING_RUNS=100000 cargo test --release -p heq-runtime --test timing` takes as many runs for each
//! of the four cases, in minutes; without it, a few thousand.
//!
//! Source: [RBV17, Sections 2 and 3].
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

#[path = "common/steps.rs"]
mod steps;

use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::to_arithmetic::wrap;
use heq_ir::traffic::Traffic;
use heq_net::memory;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::protocol::{Link, Role};
use heq_runtime::share::{mask, planes_of_words};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::hint::black_box;
use std::time::Instant;
use steps::{ideal_stocks, received_bytes};

const ELEMENTS: usize = 256;

const WIDTHS: RequantizeWidths =
    RequantizeWidths { acc_bits: 16, guard_bits: 1, shift: 8, result_bits: 4, limit: 15 };

const CARRY: CarryForm = CarryForm { compared_bits: 9, digit_bits: 3 };

const FORMS: [RequantizeForm; 2] = [
    RequantizeForm { carry: CARRY, sums: AdderForm::Ripple, range: AdderForm::Ripple },
    RequantizeForm { carry: CARRY, sums: AdderForm::Select, range: AdderForm::Select },
];

/// Largest |t| that says nothing.
const BOUND: f64 = 4.5;

/// Parts of the fastest runs that are looked at.
const CROPS: [f64; 3] = [0.5, 0.9, 0.99];

/// Times that a case is repeated before its dependence is believed.
const ATTEMPTS: usize = 3;

fn runs() -> usize {
    std::env::var("HEQ_TIMING_RUNS").map_or(3000, |runs| runs.parse().unwrap())
}

/// A secret is fixed or random.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Fixed,
    Random,
}

impl Class {
    fn words(self, rng: &mut ChaCha20Rng) -> Vec<u64> {
        let kept = if self == Self::Random { mask(WIDTHS.word_bits()) } else { 0 };
        (0..ELEMENTS).map(|_| rng.next_u64() & kept).collect()
    }
}

/// Seconds of `runs` runs on what `prepare` makes, in random order of classes.
fn sample<T>(
    runs: usize,
    mut prepare: impl FnMut(Class, &mut ChaCha20Rng) -> T,
    run: impl Fn(T),
) -> Vec<(Class, f64)> {
    let mut rng = ChaCha20Rng::seed_from_u64(77);
    let mut samples = Vec::with_capacity(runs);
    for _ in 0..runs {
        let class = if rng.next_u32() & 1 == 0 { Class::Fixed } else { Class::Random };
        let prepared = prepare(class, &mut rng);
        let start = Instant::now();
        run(prepared);
        samples.push((class, start.elapsed().as_secs_f64()));
    }
    samples
}

/// Welch's t of the two classes, of all samples but those slower than the part `crop` of them.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "statistics of small numbers"
)]
fn welch(samples: &[(Class, f64)], crop: f64) -> f64 {
    let mut times: Vec<f64> = samples.iter().map(|(_, time)| *time).collect();
    times.sort_by(f64::total_cmp);
    let slowest = times[((times.len() - 1) as f64 * crop) as usize];
    let moments = |class: Class| {
        let of = || {
            samples.iter().filter(move |(c, time)| *c == class && *time <= slowest).map(|(_, t)| t)
        };
        let count = of().count() as f64;
        let mean = of().sum::<f64>() / count;
        let variance = of().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    };
    let (fixed, random) = (moments(Class::Fixed), moments(Class::Random));
    (fixed.0 - random.0) / (fixed.1 + random.1).sqrt()
}

fn largest(samples: &[(Class, f64)]) -> f64 {
    CROPS.iter().map(|&crop| welch(samples, crop).abs()).fold(0.0, f64::max)
}

/// Times `step` of `role` on its words.
fn time(
    runs: usize,
    role: Role,
    traffic: &Traffic,
    step: impl Fn(&mut Link<'_>, &[u64]),
) -> Vec<(Class, f64)> {
    let due = received_bytes(traffic, role);
    let prepare = |class: Class, rng: &mut ChaCha20Rng| {
        let words = class.words(rng);
        let [client, server] = ideal_stocks(&traffic.rots, rng);
        let stocks = if role == Role::Client { client } else { server };
        let (own_end, mut peer_end) = memory::pair();
        for &bytes in &due {
            let mut message = vec![0; bytes];
            rng.fill_bytes(&mut message);
            peer_end.send(&message).unwrap();
        }
        (words, stocks, own_end, peer_end)
    };
    sample(runs, prepare, |(words, mut stocks, mut own_end, _peer_end)| {
        step(&mut stocks.link(role, &mut own_end), &words);
    })
}

fn check(name: &str, traffic: &Traffic, step: impl Fn(&mut Link<'_>, &[u64])) {
    for role in [Role::Client, Role::Server] {
        let mut found = Vec::new();
        while found.len() < ATTEMPTS && found.last().is_none_or(|t| *t >= BOUND) {
            found.push(largest(&time(runs(), role, traffic, &step)));
        }
        eprintln!("{name} of {role:?}: |t| = {found:.2?} over {} runs", runs());
        assert!(found.last().is_some_and(|t| *t < BOUND), "{name} of {role:?}: |t| = {found:?}");
    }
}

#[test]
fn times_do_not_depend_on_secret_words() {
    let mut counter = CountMachine::new(ELEMENTS);
    let Ok(_) = wrap(&mut counter, WIDTHS.removed_bits(), CARRY);
    check("comparison", &counter.finish(), |link, words| {
        let planes = planes_of_words(words, WIDTHS.word_bits());
        wrap(&mut Gates::new(link, &planes, ELEMENTS), WIDTHS.removed_bits(), CARRY).unwrap();
    });
    for form in FORMS {
        let mut counter = CountMachine::new(ELEMENTS);
        let Ok(_) = requantize(&mut counter, &WIDTHS, &form);
        check(&format!("requantization {form}"), &counter.finish(), |link, words| {
            let planes = planes_of_words(words, WIDTHS.word_bits());
            requantize(&mut Gates::new(link, &planes, ELEMENTS), &WIDTHS, &form).unwrap();
        });
    }
}

#[test]
fn a_branch_on_a_secret_is_seen() {
    let branching = |words: Vec<u64>| {
        for word in words.repeat(20) {
            if word & 1 == 1 {
                black_box(black_box(word).wrapping_mul(word));
            }
        }
    };
    let found = largest(&sample(2000, |class, rng| class.words(rng), branching));
    assert!(found > BOUND, "{found}");
}
