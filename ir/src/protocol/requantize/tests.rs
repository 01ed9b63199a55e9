//! Requantization in all its forms against its definition, and what the forms cost.

use super::*;
use crate::protocol::clear::ClearMachine;
use crate::protocol::count::CountMachine;
use crate::protocol::to_arithmetic::ToArithmeticForm;
use crate::traffic::{FlightClock, Traffic};

fn widths(acc_bits: u32, guard_bits: u32, shift: u32, limit: u32) -> RequantizeWidths {
    let result_bits = u32::BITS - limit.leading_zeros();
    RequantizeWidths { acc_bits, guard_bits, shift, result_bits, limit }
}

/// The definition, on the sum of two words.
fn expected(widths: &RequantizeWidths, sum: u64) -> u64 {
    let unused = 64 - widths.word_bits();
    let value = ((sum << unused).cast_signed() >> unused) >> widths.removed_bits();
    value.clamp(0, i64::from(widths.limit)).cast_unsigned()
}

/// All pairs of words of a width, those of one sum after the other, in parts that fit a cache.
struct AllPairs {
    parts: Vec<(Range<u64>, ClearMachine)>,
    words_of_sum: usize,
}

impl AllPairs {
    fn new(bits: u32) -> Self {
        let words = 1_u64 << bits;
        // Sums of fewer than 64 pairs would share words of a plane.
        let pairs_of_sum = words.max(64);
        let sums = (1 << 16) / pairs_of_sum;
        let part = |first: u64| {
            let sums = first..words.min(first + sums);
            let pairs = sums.clone().flat_map(|sum| {
                (0..pairs_of_sum).map(move |x| (x % words, sum.wrapping_sub(x) % words))
            });
            let (x, y): (Vec<u64>, Vec<u64>) = pairs.unzip();
            (sums, ClearMachine::new(&x, &y))
        };
        let parts = (0..words.div_ceil(sums)).map(|index| part(index * sums)).collect();
        Self { parts, words_of_sum: (pairs_of_sum / 64) as usize }
    }

    fn check(&mut self, widths: &RequantizeWidths, form: &RequantizeForm) {
        for (sums, machine) in &mut self.parts {
            let planes = requantize(machine, widths, form).unwrap();
            assert_eq!(planes.len(), widths.result_bits as usize);
            for (j, plane) in planes.iter().enumerate() {
                for (sum, found) in sums.clone().zip(plane.chunks(self.words_of_sum)) {
                    let is_set = expected(widths, sum) >> j & 1 == 1;
                    let wanted = if is_set { u64::MAX } else { 0 };
                    assert!(
                        found.iter().all(|&word| word == wanted),
                        "{widths:?} {form:?}: bit {j} of {sum}"
                    );
                }
            }
        }
    }
}

/// All widths of `acc_bits` with a given number of guard bits.
fn all_widths(acc_bits: u32, guard_bits: u32) -> impl Iterator<Item = RequantizeWidths> {
    (0..acc_bits - 1).flat_map(move |shift| {
        (1..1 << (acc_bits - shift - 1))
            .map(move |limit| widths(acc_bits, guard_bits, shift, limit))
    })
}

#[test]
fn every_form_at_every_pair_of_small_words() {
    for (acc_bits, guard_bits) in [(2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (5, 1), (4, 2), (2, 2)] {
        let mut pairs = AllPairs::new(acc_bits + guard_bits);
        for widths in all_widths(acc_bits, guard_bits) {
            for form in RequantizeForm::all(&widths) {
                assert!(widths.is_valid() && form.is_valid(&widths), "{widths:?} {form:?}");
                pairs.check(&widths, &form);
            }
        }
    }
}

/// Every width of accumulators of at most 8 bits with at most 2 guard bits, at every pair of words: all
/// forms of sums and range, and forms of the carry by turns, or all of them at the lowest limit.
#[test]
fn every_width_at_every_pair_of_words() {
    for (acc_bits, guard_bits) in (2..=8).flat_map(|acc_bits| [0, 1, 2].map(|g| (acc_bits, g))) {
        let mut pairs = AllPairs::new(acc_bits + guard_bits);
        for (turn, widths) in all_widths(acc_bits, guard_bits).enumerate() {
            let carries: Vec<CarryForm> = CarryForm::all(widths.removed_bits()).collect();
            let adders = RequantizeForm::all(&widths).filter(|form| form.carry == carries[0]);
            for (index, form) in adders.enumerate() {
                let carry = carries[(turn + index) % carries.len()];
                pairs.check(&widths, &RequantizeForm { carry, ..form });
                if widths.limit == 1 && index == 0 {
                    carries.iter().for_each(|&carry| {
                        pairs.check(&widths, &RequantizeForm { carry, ..form });
                    });
                }
            }
        }
    }
}

/// Compares all forms with the definition at `cases` random pairs of words, a multiple of 64, for every
/// accumulator of 14 to 24 bits; half of the sums lie within or close to the result's range.
fn check_random(cases: usize) {
    let mut state = 1_u64;
    let mut random = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    for acc_bits in 14..=24 {
        let guard_bits = acc_bits % 3;
        let limit: u32 = [15, 255, 3, 14, 200, 1, 127][acc_bits as usize % 7];
        let shift = [0, 4, 8, 16][acc_bits as usize % 4].min(acc_bits - 1 - limit.ilog2() - 1);
        let widths = widths(acc_bits, guard_bits, shift, limit);
        assert!(widths.is_valid(), "{widths:?}");
        let word = (1_u64 << widths.word_bits()) - 1;
        let (mut x, mut y, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for case in 0..cases {
            let near = random() % ((u64::from(limit) + 3) << widths.removed_bits());
            let near = near.wrapping_sub(1 << widths.removed_bits());
            let sum = if case % 2 == 0 { near } else { random() } & word;
            let own = random() & word;
            x.push(own);
            y.push(sum.wrapping_sub(own) & word);
            results.push(expected(&widths, sum));
        }
        let mut machine = ClearMachine::new(&x, &y);
        let mut of_results = ClearMachine::new(&results, &[]);
        for form in RequantizeForm::all(&widths) {
            let planes = requantize(&mut machine, &widths, &form).unwrap();
            for (plane, bit) in planes.iter().zip(0..) {
                assert!(*plane == of_results.server_bit(bit), "{widths:?} {form:?}: bit {bit}");
            }
        }
    }
}

/// A million; ten with `HEQ_EXHAUSTIVE=1`.
#[test]
fn all_forms_at_random_pairs() {
    let is_exhaustive = std::env::var_os("HEQ_EXHAUSTIVE").is_some();
    check_random(64 * if is_exhaustive { 14205 } else { 1421 });
}

#[test]
fn guard_bits_and_delta_fall_to_the_truncation() {
    let widths = widths(8, 1, 3, 7);
    for lo in [0, -4] {
        for acc in -90_i64..90 {
            for delta in 0..2 {
                let y = 0x155_u64;
                let raw = (2 * acc + delta).cast_unsigned().wrapping_sub(y);
                let x = raw.wrapping_add(widths.offset(lo)) & 0x1ff;
                for form in RequantizeForm::all(&widths) {
                    let mut machine = ClearMachine::new(&[x], &[y]);
                    let planes = requantize(&mut machine, &widths, &form).unwrap();
                    let found: i64 =
                        planes.iter().enumerate().map(|(j, p)| ((p[0] & 1) as i64) << j).sum();
                    assert_eq!(found + lo, ((acc + 4) >> 3).clamp(lo, lo + 7), "acc={acc}");
                }
            }
        }
    }
}

#[test]
fn widths_are_checked() {
    let valid = widths(12, 1, 4, 5);
    let with_limit = |result_bits, limit| RequantizeWidths { result_bits, limit, ..valid };
    for (widths, expected) in [
        (valid, true),
        (with_limit(3, 3), false),
        (with_limit(3, 8), false),
        (with_limit(0, 0), false),
        (with_limit(9, 256), false),
        (with_limit(7, 127), true),
        (with_limit(8, 255), false),
        (RequantizeWidths { guard_bits: 52, ..valid }, false),
        (RequantizeWidths { guard_bits: u32::MAX, ..valid }, false),
        (RequantizeWidths { shift: u32::MAX, ..valid }, false),
    ] {
        assert_eq!(widths.is_valid(), expected, "{widths:?}");
    }
}

#[test]
fn forms_are_checked() {
    let widths = widths(12, 1, 4, 5);
    for (compared_bits, digit_bits, expected) in [
        (5, 2, true),
        (0, 1, true),
        (6, 2, false),
        (5, 0, false),
        (5, 5, false),
        (u32::MAX, 1, false),
    ] {
        let carry = CarryForm { compared_bits, digit_bits };
        let form = RequantizeForm { carry, sums: AdderForm::Select, range: AdderForm::Ripple };
        assert_eq!(form.is_valid(&widths), expected, "{form:?}");
    }
}

/// Bits and random OTs an element, and flights.
fn cost(traffic: &Traffic) -> (u64, u64, u64) {
    // A plane of eight elements is a byte: bytes are bits an element.
    let (up, down) = traffic.payload_bytes();
    let rots = traffic.rot_counts().total();
    (up + down, rots / 8, FlightClock::default().advance(traffic))
}

#[test]
fn bits_and_random_ots_of_a_requantization() {
    const RIPPLE: [AdderForm; 2] = [AdderForm::Ripple; 2];
    const SELECT: [AdderForm; 2] = [AdderForm::Select; 2];
    const RANGE: [AdderForm; 2] = [AdderForm::Ripple, AdderForm::Select];
    const SUMS: [AdderForm; 2] = [AdderForm::Select, AdderForm::Ripple];
    // The table of docs/protocols/requantize.md; b conversions to arithmetic are apart.
    for (acc_bits, guard_bits, shift, limit, [compared_bits, digit_bits], [sums, range], costs) in [
        (16, 1, 8, 15, [0, 1], RIPPLE, (84, 39, 18)),
        (16, 1, 8, 15, [2, 2], RIPPLE, (83, 38, 18)),
        (16, 1, 8, 15, [3, 3], RIPPLE, (84, 37, 17)),
        (16, 1, 8, 15, [9, 2], RIPPLE, (99, 39, 14)),
        (16, 1, 8, 15, [9, 3], RIPPLE, (102, 35, 13)),
        (16, 1, 8, 15, [9, 3], RANGE, (116, 38, 10)),
        (16, 1, 8, 15, [8, 3], SELECT, (131, 43, 8)),
        (16, 1, 8, 15, [9, 3], SELECT, (136, 42, 7)),
        (16, 1, 8, 14, [2, 2], RIPPLE, (99, 46, 18)),
        (16, 1, 8, 14, [9, 3], SELECT, (152, 50, 10)),
        (20, 1, 8, 255, [2, 2], RIPPLE, (107, 46, 22)),
        (20, 1, 8, 255, [9, 3], SUMS, (176, 53, 10)),
        (20, 1, 8, 255, [9, 3], SELECT, (190, 56, 7)),
        (13, 1, 8, 3, [2, 2], RIPPLE, (63, 30, 15)),
        (13, 1, 8, 3, [9, 3], SELECT, (100, 31, 7)),
        // Nothing is removed: the first carry is a product of private bits.
        (12, 0, 0, 15, [0, 1], RIPPLE, (80, 37, 13)),
        (12, 0, 0, 15, [0, 1], RANGE, (106, 40, 7)),
    ] {
        let widths = widths(acc_bits, guard_bits, shift, limit);
        let carry = CarryForm { compared_bits, digit_bits };
        let form = RequantizeForm { carry, sums, range };
        assert!(form.is_valid(&widths));
        let mut machine = CountMachine::new(8);
        let Ok(planes) = requantize(&mut machine, &widths, &form);
        assert_eq!(planes.len(), widths.result_bits as usize);
        assert_eq!(cost(&machine.finish()), costs, "{widths:?} {form:?}");
    }
}

#[test]
fn bits_and_random_ots_of_a_conversion() {
    let lifted = |compared_bits, digit_bits| {
        ToArithmeticForm::Lifted(CarryForm { compared_bits, digit_bits })
    };
    for (planes, bits, form, costs) in [
        (4, 16, ToArithmeticForm::Direct, (58, 4, 1)),
        (4, 16, lifted(4, 4), (40, 8, 4)),
        (4, 16, lifted(3, 3), (35, 9, 5)),
        (4, 16, lifted(2, 2), (34, 10, 6)),
        (8, 20, ToArithmeticForm::Direct, (132, 8, 1)),
        (8, 20, lifted(8, 4), (104, 18, 5)),
        (8, 20, lifted(8, 3), (90, 20, 6)),
        (8, 20, lifted(2, 2), (76, 22, 10)),
        (2, 13, ToArithmeticForm::Direct, (25, 2, 1)),
        (2, 13, lifted(2, 2), (18, 4, 4)),
    ] {
        assert!(form.is_valid(planes, bits));
        assert_eq!(cost(&form.traffic(8, planes, bits)), costs, "{planes} {bits} {form:?}");
    }
}
