//! Requantization between two parties on ideal random OTs, against its definition: every pair of shares
//! of narrow accumulators, and random ones of wide accumulators, in every form.
//!
//! `HEQ_EXHAUSTIVE=1 cargo test --release -p heq-runtime --test requantize` runs every case of narrow
//! accumulators in every form, and ten million random ones. Without it the cases of 7 and 8 bits run in
//! one of the forms each, and there are fewer random ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

#[path = "common/steps.rs"]
mod steps;

use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_runtime::protocol::Role;
use heq_runtime::protocol::gates::Gates;
use heq_runtime::share::{Plane, mask, planes_of_words, words_of_planes};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use steps::{check_traffic, two_parties};

fn is_exhaustive() -> bool {
    std::env::var_os("HEQ_EXHAUSTIVE").is_some()
}

fn widths(acc_bits: u32, guard_bits: u32, shift: u32, limit: u32) -> RequantizeWidths {
    let result_bits = u32::BITS - limit.leading_zeros();
    RequantizeWidths { acc_bits, guard_bits, shift, result_bits, limit }
}

/// The low `bits` bits of a word, read as signed.
fn signed(word: u64, bits: u32) -> i64 {
    (word << (u64::BITS - bits)).cast_signed() >> (u64::BITS - bits)
}

/// Requantizes what `client` and `server` are shares of, with results from `lo` on, and compares.
fn check(
    widths: &RequantizeWidths,
    lo: i64,
    form: &RequantizeForm,
    client: &[u64],
    server: &[u64],
) {
    assert!(widths.is_valid(), "{widths:?}");
    let (elements, bits) = (client.len(), widths.word_bits());
    let mut counter = CountMachine::new(elements);
    let Ok(_) = requantize(&mut counter, widths, form);
    let traffic = counter.finish();
    let offset = widths.offset(lo);
    let moved: Vec<u64> = server.iter().map(|x| x.wrapping_add(offset) & mask(bits)).collect();
    let (client_bits, server_bits, meter) = two_parties(&traffic.rots, |link| {
        let words = if link.role == Role::Client { client } else { &moved };
        requantize(&mut Gates::new(link, &planes_of_words(words, bits), elements), widths, form)
    });
    check_traffic(meter, &traffic, "requantization");
    let opened: Vec<Plane> = client_bits.iter().zip(&server_bits).map(|(a, b)| a.xor(b)).collect();
    for (i, found) in words_of_planes(&opened, elements).iter().enumerate() {
        let sum = signed(client[i].wrapping_add(moved[i]), bits) >> widths.removed_bits();
        let expected = sum.clamp(0, i64::from(widths.limit));
        let shares = (client[i], server[i]);
        assert_eq!(found.cast_signed(), expected, "{widths:?} {form:?} lo={lo} {shares:?}");
    }
}

/// Every pair of words of `bits` bits: the clients', the servers'.
fn all_pairs(bits: u32) -> (Vec<u64>, Vec<u64>) {
    (0..1_u64 << (2 * bits)).map(|pair| (pair >> bits, pair & mask(bits))).unzip()
}

#[test]
fn every_pair_of_shares_of_narrow_accumulators() {
    let mut case = 0;
    for (acc_bits, guard_bits) in
        [(2, 1), (3, 2), (4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (6, 0), (6, 1), (7, 1), (8, 1)]
    {
        let (client, server) = all_pairs(acc_bits + guard_bits);
        for shift in 0..acc_bits - 1 {
            for limit in 1..1 << (acc_bits - shift - 1) {
                case += 1;
                let widths = widths(acc_bits, guard_bits, shift, limit);
                let mut forms: Vec<_> = RequantizeForm::all(&widths).collect();
                if !is_exhaustive() {
                    // A few of many: another part for each case.
                    let part = if acc_bits < 7 { 8 } else { forms.len() };
                    forms = forms.into_iter().skip(case % part).step_by(part).collect();
                }
                // The offset is added to a word that takes every value, so any zero point will do.
                let lo = [0, -i64::from(limit), 5, -128][case % 4];
                for form in &forms {
                    check(&widths, lo, form, &client, &server);
                }
            }
        }
    }
}

#[test]
fn offset_is_rounding_and_zero_point() {
    for (acc_bits, guard_bits) in [(2, 0), (5, 1), (6, 2), (8, 1)] {
        for shift in 0..acc_bits - 1 {
            for limit in 1..1 << (acc_bits - shift - 1) {
                let widths = widths(acc_bits, guard_bits, shift, limit);
                for lo in -128..128 {
                    let half = (1_i64 << shift) / 2;
                    for acc in -1_i64 << (acc_bits - 1)..1 << (acc_bits - 1) {
                        let exact = acc + half - (lo << shift);
                        let moved =
                            (acc << guard_bits).cast_unsigned().wrapping_add(widths.offset(lo));
                        let found = signed(moved, widths.word_bits()) >> guard_bits;
                        if signed(exact.cast_unsigned(), acc_bits) != exact {
                            continue;
                        }
                        let hi = lo + i64::from(limit);
                        let expected = ((acc + half) >> shift).clamp(lo, hi);
                        let found = (found >> shift).clamp(0, i64::from(limit)) + lo;
                        assert_eq!(found, expected, "{widths:?} lo={lo} acc={acc}");
                    }
                }
            }
        }
    }
}

#[test]
fn random_shares_of_wide_accumulators() {
    let (batches, elements) = if is_exhaustive() { (100, 100_000) } else { (22, 20_000) };
    let mut rng = ChaCha20Rng::seed_from_u64(14);
    for batch in 0..batches {
        let acc_bits = 14 + batch % 11;
        let mut below = |end: u32| rng.next_u32() % end;
        let result_bits = 1 + below(8);
        let limit = (1 << (result_bits - 1)) + below(1 << (result_bits - 1));
        let limit = if batch % 3 == 0 { (1 << result_bits) - 1 } else { limit };
        let (guard_bits, shift) = (below(3), below(acc_bits - result_bits));
        let lo = i64::from(below(256)) - 128;
        let widths = widths(acc_bits, guard_bits, shift, limit);
        let bits = widths.word_bits();
        let client: Vec<u64> = (0..elements).map(|_| rng.next_u64() & mask(bits)).collect();
        // Uniform sums are nearly all out of range: of two, one is near it.
        let near = mask(bits.min(widths.removed_bits() + result_bits + 1));
        let mut sum = |index: usize| match index % 2 {
            0 => rng.next_u64(),
            _ => (rng.next_u64() & near).wrapping_sub(near / 4).wrapping_sub(widths.offset(lo)),
        };
        let server: Vec<u64> = client
            .iter()
            .enumerate()
            .map(|(index, share)| sum(index).wrapping_sub(*share) & mask(bits))
            .collect();
        let forms: Vec<_> = RequantizeForm::all(&widths).collect();
        let some = if is_exhaustive() { 4 } else { 2 };
        // A few of many: others for each batch.
        for form in
            (0..some).map(|i| &forms[(i * forms.len() / some + batch as usize) % forms.len()])
        {
            check(&widths, lo, form, &client, &server);
        }
    }
}
