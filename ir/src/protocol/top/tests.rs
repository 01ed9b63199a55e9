//! The circuits in the clear against sorting, and what they cost.

use super::*;
use crate::protocol::clear::ClearMachine;
use crate::traffic::FlightClock;

/// Planes of any size in the clear.
struct FlatClear;

impl FlatMachine for FlatClear {
    type Plane = Vec<bool>;
    type Error = Infallible;

    fn xor(&mut self, a: &Vec<bool>, b: &Vec<bool>) -> Vec<bool> {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a ^ b).collect()
    }

    fn not(&mut self, a: &Vec<bool>, elements: usize) -> Vec<bool> {
        assert_eq!(a.len(), elements);
        a.iter().map(|a| !a).collect()
    }

    fn and(
        &mut self,
        group: &Products<Vec<bool>>,
        elements: usize,
    ) -> Result<Vec<Vec<bool>>, Infallible> {
        assert!(group.others.iter().chain([&group.common]).all(|plane| plane.len() == elements));
        let product = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(a, b)| a & b).collect();
        Ok(group.others.iter().map(|b| product(&group.common, b)).collect())
    }

    fn gather(
        &mut self,
        planes: &[Vec<bool>],
        elements: usize,
        source: impl Fn(usize) -> Option<[usize; 2]>,
    ) -> Vec<bool> {
        (0..elements).map(|i| source(i).is_some_and(|[plane, bit]| planes[plane][bit])).collect()
    }
}

fn planes(values: &[u64], bits: u32) -> Vec<Vec<bool>> {
    (0..bits).map(|bit| values.iter().map(|value| value >> bit & 1 == 1).collect()).collect()
}

fn numbers(planes: &[Vec<bool>], count: usize) -> Vec<usize> {
    let bit = |(j, plane): (usize, &Vec<bool>), i: usize| usize::from(plane[i]) << j;
    (0..count).map(|i| planes.iter().enumerate().map(|plane| bit(plane, i)).sum()).collect()
}

/// The definition.
fn sorted<T: Ord>(values: &[T], k: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..values.len()).collect();
    indices.sort_by_key(|&index| (std::cmp::Reverse(&values[index]), index));
    indices.truncate(k);
    indices
}

fn check(values: &[u64], bits: u32, k: usize) {
    let Ok(found) = top(&mut FlatClear, planes(values, bits), values.len(), k);
    assert_eq!(found.len(), index_bits(values.len()) as usize);
    let expected = sorted(values, k);
    assert_eq!(numbers(&found, expected.len()), expected, "{values:?} {k}");
}

#[test]
fn every_small_list_is_sorted_with_its_ties() {
    for (count, bits) in [(1, 2), (2, 3), (3, 2), (4, 2), (5, 2), (6, 1), (7, 1), (9, 1)] {
        let choices = 1_u64 << bits;
        for list in 0..choices.pow(count) {
            let digit = |i| list / choices.pow(i) % choices;
            let values: Vec<u64> = (0..count).map(digit).collect();
            for k in 1..=values.len().min(6) {
                check(&values, bits, k);
            }
        }
    }
}

#[test]
fn long_lists_are_sorted() {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state >> 40
    };
    for (count, bits) in [(10, 3), (17, 6), (31, 2), (100, 5), (257, 16), (1000, 7)] {
        let values: Vec<u64> = (0..count).map(|_| next() & ((1 << bits) - 1)).collect();
        for k in [1, 2, 3, 5, 7, 8, 16] {
            check(&values, bits, k);
        }
        // The best at every end, all equal, ascending, descending.
        for values in [
            vec![0; count],
            vec![(1 << bits) - 1; count],
            (0..count as u64).map(|i| i & ((1 << bits) - 1)).collect(),
            (0..count as u64).rev().map(|i| i & ((1 << bits) - 1)).collect(),
        ] {
            check(&values, bits, 1);
            check(&values, bits, 5);
        }
    }
}

#[test]
fn bits_of_accumulators_keep_the_signed_order() {
    for (acc_bits, guard_bits) in [(4, 0), (4, 1), (3, 2), (2, 3), (1, 0)] {
        let word_bits = acc_bits + guard_bits;
        let words = 1_u64 << word_bits;
        let (x, y): (Vec<u64>, Vec<u64>) =
            (0..words).flat_map(|x| (0..words).map(move |y| (x, y))).unzip();
        let Ok(planes) = sum_bits(&mut ClearMachine::new(&x, &y), acc_bits, guard_bits);
        assert_eq!(planes.len(), acc_bits as usize);
        let half = 1 << (acc_bits - 1);
        let bits = |plane: &[u64]| -> Vec<bool> {
            (0..x.len()).map(|i| plane[i / 64] >> (i % 64) & 1 == 1).collect()
        };
        let planes: Vec<Vec<bool>> = planes.iter().map(|plane| bits(plane)).collect();
        for ((x, y), found) in x.iter().zip(&y).zip(numbers(&planes, x.len())) {
            let sum = (x.wrapping_add(*y) << (64 - word_bits)).cast_signed() >> (64 - acc_bits);
            assert_eq!(found as i64 - half, sum, "l = {acc_bits}, g = {guard_bits}: {x} + {y}");
        }
    }
}

/// docs/protocols/top.md has these.
#[test]
fn bits_random_ots_and_flights() {
    let words = |acc_bits| TopSource::Words { acc_bits, guard_bits: 1 };
    for (source, count, k, bytes, rots, flights) in [
        (TopSource::Bits { bits: 4 }, 2, 1, 14, 14, 3),
        (words(16), 10, 1, 678, 1214, 31),
        (words(16), 10, 3, 1336, 2470, 66),
        (words(20), 1000, 1, 56_036, 147_080, 78),
        (words(20), 1000, 5, 137_832, 368_280, 246),
        (words(20), 1000, 8, 185_188, 498_052, 246),
    ] {
        let traffic = traffic(source, count, k);
        let (up, down) = traffic.payload_bytes();
        let found =
            (up + down, traffic.rot_counts().total(), FlightClock::default().advance(&traffic));
        assert_eq!(found, (bytes, rots, flights), "{source:?} {count} {k}");
    }
}

#[test]
fn networks_have_no_needless_comparators() {
    for (length, k, comparators, depth) in [
        (1, 1, 1, 1),
        (1, 2, 1, 1),
        (2, 2, 3, 2),
        (2, 4, 3, 2),
        (4, 4, 8, 3),
        (4, 8, 9, 3),
        (8, 8, 20, 4),
    ] {
        let network = Network::new(length, k);
        let count: usize = network.layers.iter().map(Vec::len).sum();
        assert_eq!((count, network.layers.len()), (comparators, depth), "{length} {k}");
    }
}
