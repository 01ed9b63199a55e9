//! Time of the arithmetic kernels, one core, fixed seed: transforms, products, rows of weights.
//!
//! Run with `cargo bench -p heq-he --bench kernels`, and a part of a name to run what has it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use heq_he::product::{RequestBlock, WeightRow, add_products};
use heq_he::{Basis, Ring};
use heq_ir::params::{ParamsError, RlweParams, RlweSpec};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Ring degrees and widths of q: the widest of each degree, and narrower ones of one prime.
const RINGS: [(usize, u32); 9] = [
    (1024, 26),
    (2048, 30),
    (2048, 38),
    (2048, 50),
    (4096, 30),
    (4096, 50),
    (4096, 106),
    (8192, 50),
    (8192, 120),
];

/// Residues of each prime: small enough for all of them.
fn draw(basis: Basis<'_>, rng: &mut ChaCha20Rng) -> Vec<u64> {
    (0..basis.polynomial_words()).map(|_| u64::from(rng.next_u32() >> 7)).collect()
}

fn transforms(criterion: &mut Criterion, ring: &Ring, name: &str, rng: &mut ChaCha20Rng) {
    let basis = ring.basis();
    let mut values = draw(basis, rng);
    criterion.bench_function(&format!("ntt/forward/{name}"), |bencher| {
        bencher.iter(|| basis.forward(black_box(&mut values)));
    });
    criterion.bench_function(&format!("ntt/inverse/{name}"), |bencher| {
        bencher.iter(|| basis.inverse(black_box(&mut values)));
    });
    let mut row = WeightRow::with_capacity(basis, 16);
    let weights: Vec<(usize, i64)> = (0..144).map(|i| (i * 7, i as i64 - 72)).collect();
    let mut group = criterion.benchmark_group("weights");
    group.throughput(Throughput::Elements(16));
    group.bench_function(format!("144 in each of 16/{name}"), |bencher| {
        bencher.iter(|| {
            row.clear();
            row.extend(basis, std::iter::repeat_n(black_box(&weights).iter().copied(), 16));
        });
    });
}

/// `rows` rows of `tiles` weight polynomials against the same requests, `group` rows at a time: an
/// element of the throughput is a product of both parts.
fn products(
    criterion: &mut Criterion,
    ring: &Ring,
    name: &str,
    [rows, tiles, group]: [usize; 3],
    rng: &mut ChaCha20Rng,
) {
    let basis = ring.basis();
    let mut requests = RequestBlock::with_capacity(basis, tiles);
    for _ in 0..tiles {
        requests.push(basis, &draw(basis, rng), &draw(basis, rng));
    }
    let rows: Vec<WeightRow> = (0..rows)
        .map(|row| {
            let mut weights = WeightRow::with_capacity(basis, tiles);
            let polynomial = |tile| [(row % 7, 3), (tile, -2)].into_iter();
            weights.extend(basis, (0..tiles).map(polynomial));
            weights
        })
        .collect();
    let rows: Vec<&WeightRow> = rows.iter().collect();
    let mut sums = vec![[(); 2].map(|()| vec![0; basis.polynomial_words()]); group];
    let mut benches = criterion.benchmark_group("products");
    benches.throughput(Throughput::Elements((rows.len() * tiles) as u64));
    let id = format!("{name}/rows{}/tiles{tiles}/group{group}", rows.len());
    benches.bench_function(id, |bencher| {
        bencher.iter(|| {
            for rows in rows.chunks(group) {
                add_products(basis, &requests, 0, rows, black_box(&mut sums[..rows.len()]));
            }
        });
    });
}

fn main() -> Result<(), ParamsError> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .without_plots()
        .configure_from_args();
    let criterion = &mut criterion;
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    for (ring_degree, modulus_bits) in RINGS {
        let params = RlweParams::check(RlweSpec::new(ring_degree, modulus_bits))?;
        let (ring, name) = (Ring::new(params), format!("n{ring_degree}_q{modulus_bits}"));
        transforms(criterion, &ring, &name, &mut rng);
        // One row that stays in the cache, and 8192 polynomials of 2048 coefficients from memory.
        products(criterion, &ring, &name, [1, 16, 1], &mut rng);
        products(criterion, &ring, &name, [4, 16, 4], &mut rng);
        if ring_degree == 2048 {
            for (tiles, group) in [(1, 1), (16, 1), (16, 4), (64, 4)] {
                products(criterion, &ring, &name, [8192 / tiles, tiles, group], &mut rng);
            }
        }
    }
    criterion.final_summary();
    Ok(())
}
