//! Sums of products against exact integers, on every path.

use super::*;
use crate::Ring;
use crate::modulus::wide;
use crate::sampling::Seed;
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

fn ring(ring_degree: usize, modulus_bits: u32, special_bits: Option<u32>) -> Ring {
    let key_switch = special_bits.map(|special_bits| KeySwitchSpec { special_bits, digits: 2 });
    let spec = RlweSpec { key_switch, ..RlweSpec::new(ring_degree, modulus_bits) };
    Ring::new(RlweParams::check(spec).unwrap())
}

/// Every path of one prime.
fn every_path(modulus: Modulus) -> Vec<Multiplier> {
    let mut kernels = vec![Kernel::Portable(portable::Kernel::new(modulus))];
    #[cfg(target_arch = "x86_64")]
    kernels.extend(ifma::Kernel::new(&modulus).map(Kernel::Ifma));
    kernels.into_iter().map(|kernel| Multiplier { modulus, kernel }).collect()
}

#[test]
fn sums_agree_with_exact_integers() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let widest = (1 << 50) - 27;
    let small = [
        12_289,
        1_073_479_681,
        (1 << 32) - 5,
        4_294_967_311,
        (1 << 40) - 87,
        (1 << 48) - 59,
        widest,
    ]
    .into_iter()
    .flat_map(|q| [(q, 0, 0, q), (q, 1, 0, q), (q, 5, 2, q), (q, 300, 7, 3)]);
    // The largest residues, and as many tiles as a sum takes before it is reduced, and one more.
    let large = [15, 16, 17, 64, 4095, 4096, 1 << 16].map(|tiles| (widest, tiles, 1, 1));
    for (q, tiles, first, near) in small.chain(large) {
        let modulus = Modulus::new(q);
        let mut random = |count| {
            let draw = || q - 1 - if near == 1 { 0 } else { rng.next_u64() % near };
            std::iter::repeat_with(draw).take(count).collect::<Vec<_>>()
        };
        let [c0, c1, w] = [first + tiles, first + tiles, tiles].map(|n| random(n * LANES));
        for multiplier in every_path(modulus) {
            let place = |words: &[u64], width| {
                let mut plane = Plane::new(width, 1, words.len() / LANES + 3);
                for (index, polynomial) in words.chunks(LANES).enumerate() {
                    multiplier.place(&mut plane, index, polynomial);
                }
                plane
            };
            let request_width = multiplier.request_width();
            let placed = [&c0, &c1].map(|words| place(words, request_width));
            let w_placed = place(&w, multiplier.weight_width());
            let mut sums = [[0; LANES], [q - 1; LANES]];
            let parts = placed.each_ref().map(|plane| plane.block(0, first..first + tiles));
            multiplier.add_block(parts, w_placed.block(0, 0..tiles), sums.each_mut());
            for (part, (sums, start)) in [&c0, &c1].iter().zip(sums.iter().zip([0, q - 1])) {
                for lane in [0, 7, 8, 13, 16, 31] {
                    let at = |words: &[u64], tile: usize| words[tile * LANES + lane];
                    // Exact: 2^16 products below 2^100.
                    let products = (0..tiles).map(|i| wide(at(part, first + i), at(&w, i)));
                    let expected = (products.sum::<u128>() + u128::from(start)) % u128::from(q);
                    assert_eq!(u128::from(sums[lane]), expected, "q = {q}, {tiles} tiles");
                }
            }
        }
    }
}

#[test]
fn products_agree_with_wide_arithmetic() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    for q in [3, 12_289, 1_073_479_681, (1 << 50) - 27] {
        let modulus = Modulus::new(q);
        let mut draw = |i: u64| if i < 8 { q - 1 - i % 2 } else { rng.next_u64() % q };
        let [a, b, sum] = [(); 3].map(|()| (0..256).map(&mut draw).collect::<Vec<_>>());
        for multiplier in every_path(modulus) {
            let mut sums = sum.clone();
            multiplier.multiply_add(&mut sums, &a, &b);
            for i in 0..256 {
                assert_eq!(sums[i], modulus.add(sum[i], modulus.mul(a[i], b[i])), "q = {q}");
            }
        }
    }
}

#[test]
fn rows_hold_scaled_weights_of_any_size() {
    for (ring_degree, modulus_bits, special_bits) in
        [(1024, 26, None), (2048, 38, Some(14)), (4096, 106, None), (8192, 120, Some(50))]
    {
        let ring = ring(ring_degree, modulus_bits, special_bits);
        let basis = ring.extended_basis();
        let weights: Vec<Vec<(usize, i64)>> = vec![
            vec![(0, 1 << 62), (1, -(1 << 62)), (ring_degree - 1, -7)],
            vec![(ring_degree / 2, i64::MAX), (3, i64::MIN), (4, 0)],
            vec![],
        ];
        let halvings = 3;
        let mut row = WeightRow::halved(basis, 4, halvings);
        row.extend(basis, [[(5, 5)].into_iter()].into_iter());
        row.clear();
        row.extend(basis, weights.iter().map(|weights| weights.iter().copied()));
        let mut requests = RequestBlock::with_capacity(basis, 5);
        let mut expected = [(); 2].map(|()| vec![0; basis.polynomial_words()]);
        let uniform = |index| basis.evaluate_uniform(&Seed::derive(&[9; 32], "part", index));
        requests.push(basis, &uniform(100), &uniform(101));
        for (tile, weights) in weights.iter().enumerate() {
            let parts = [0, 1].map(|part| uniform(2 * tile as u64 + part));
            requests.push(basis, &parts[0], &parts[1]);
            let mut evaluations = vec![0; basis.polynomial_words()];
            for (modulus, place) in basis.places() {
                let inverse = modulus.inverse(1 << halvings);
                for &(position, weight) in weights {
                    let residue = i128::from(weight).rem_euclid(i128::from(modulus.value()));
                    let residue = u64::try_from(residue).unwrap();
                    evaluations[place.start + position] = modulus.mul(residue, inverse);
                }
            }
            basis.forward(&mut evaluations);
            for (expected, part) in expected.iter_mut().zip(&parts) {
                basis.multiply_add(expected, part, &evaluations);
            }
        }
        assert_eq!((row.len(), requests.len()), (3, 4));
        assert!(sum_products(basis, &requests, 1, &row) == expected, "N = {ring_degree}");
    }
}
