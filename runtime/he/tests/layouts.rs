//! Convolutions in random layouts, merged or not, over rings of one to three primes: the shares sum to
//! the plain convolution, and both parties do exactly what the layout counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

mod common;

use common::{Session, params};
use heq_he::product::{RequestBlock, WeightRow, sum_products};
use heq_he::sampling::Seed;
use heq_he::server::Request;
use heq_he::{Window, leaf_order};
use heq_ir::eval::convolve;
use heq_ir::geometry::{Chw, ConvGeometry, Window as Kernel};
use heq_ir::layout::{
    ConvLayout, ConvTile, GroupPlacement, LayoutCounts, OutputRun, PartyOperations, WeightPlacer,
    group_planes,
};
use heq_ir::params::RlweParams;
use heq_ir::secure::Packing;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const SHARE_BITS: u32 = 12;
const WORD_BITS: u32 = SHARE_BITS + 1;

/// Rings with key switching of one, two and three primes, each with room for the noise of any layer.
const RINGS: [((usize, u32), (u32, u32)); 4] =
    [((2048, 36), (17, 3)), ((4096, 50), (40, 2)), ((4096, 70), (36, 2)), ((8192, 120), (50, 3))];

fn difference(after: PartyOperations, before: PartyOperations) -> PartyOperations {
    PartyOperations {
        transforms: after.transforms - before.transforms,
        weight_transforms: after.weight_transforms - before.weight_transforms,
        products: after.products - before.products,
        key_switches: after.key_switches - before.key_switches,
    }
}

/// One layer in `session`, whose operations are compared to the counts of its layout.
struct Layer<'a> {
    session: &'a Session,
    layout: &'a ConvLayout,
    counts: LayoutCounts,
    drop_bits: u32,
}

impl Layer<'_> {
    fn requests(&self, shares: [&[u64]; 2], rng: &mut ChaCha20Rng) -> RequestBlock {
        let Session { client, key, server, .. } = self.session;
        let mut block = RequestBlock::with_capacity(server.basis(), self.counts.requests());
        let window = self.layout.request_window();
        for request in 0..self.counts.requests() {
            let seed = Seed::derive(&[3; 32], "request", request as u64);
            let elements = |shares: &'_ [u64]| -> Vec<(usize, u64)> {
                let runs = self.layout.request_runs(request);
                let placed = runs.flat_map(|run| run.elements());
                placed.map(|(coefficient, index)| (coefficient, shares[index])).collect()
            };
            let message = key.encrypt(
                client,
                &seed,
                elements(shares[0]).into_iter(),
                SHARE_BITS,
                Window::new(client, window),
                self.drop_bits,
                rng,
            );
            let bytes = client.params().coefficient_bytes(window.1, self.drop_bits);
            assert_eq!(message.len() as u64, bytes);
            let request = Request::decode(
                server,
                &seed,
                &message,
                elements(shares[1]).into_iter(),
                SHARE_BITS,
                Window::new(server, window),
                self.drop_bits,
                rng,
            )
            .unwrap();
            let [c0, c1] = request.parts();
            block.push(server.basis(), c0, c1);
        }
        block
    }

    fn weights(&self, weights: &[i64]) -> Vec<WeightRow> {
        let (basis, counts) = (self.session.server.basis(), self.counts);
        let placer = WeightPlacer::new(self.layout);
        let row = |row| {
            let levels = counts.merge_levels;
            let mut polynomials = WeightRow::halved(basis, counts.input_tiles, levels);
            let elements = |tile| {
                placer.elements(row, tile).map(|placed| {
                    let weight = weights[placed.index];
                    (placed.coefficient, if placed.is_negated { -weight } else { weight })
                })
            };
            polynomials.extend(basis, (0..counts.input_tiles).map(elements));
            polynomials
        };
        (0..counts.rows).map(row).collect()
    }

    /// The sum of both parties' shares of every output mod `2^WORD_BITS`.
    fn responses(
        &self,
        requests: &RequestBlock,
        weights: &[WeightRow],
        rng: &mut ChaCha20Rng,
    ) -> Vec<Option<u64>> {
        let Session { client, key, server, keys } = self.session;
        let spacings: Vec<usize> = self.layout.merge_spacings().collect();
        let mut outputs = Vec::new();
        for response in 0..self.counts.responses() {
            let leaves = self.counts.leaves_of(response);
            let placed = |run: OutputRun| {
                let outputs = run.outputs[0].into_iter().flat_map(|first| first..);
                run.coefficients().zip(outputs)
            };
            let placed: Vec<_> = self.layout.response_runs(response).flat_map(placed).collect();
            let coefficients = placed.iter().map(|&(coefficient, _)| coefficient);
            let mut order = leaf_order(self.counts.merge_levels, leaves.len());
            let leaf = |index: usize| {
                assert_eq!(order.next(), Some(index));
                let leaf = leaves.start + index;
                let first = self.counts.requests_of(leaf).start;
                let row = &weights[self.counts.row_of(leaf)];
                sum_products(server.basis(), requests, first, row)
            };
            let (message, of_server) = keys
                .respond(
                    server,
                    &spacings,
                    leaves.len(),
                    leaf,
                    coefficients.clone(),
                    WORD_BITS,
                    self.drop_bits,
                    rng,
                )
                .unwrap();
            let of_client = key
                .share_response(client, &message, self.drop_bits, coefficients, WORD_BITS, rng)
                .unwrap();
            for ((&(_, index), a), b) in placed.iter().zip(of_client).zip(of_server) {
                outputs.resize(outputs.len().max(index + 1), None);
                assert_eq!(outputs[index].replace((a + b) % (1 << WORD_BITS)), None);
            }
        }
        outputs
    }
}

/// Runs a convolution; every pair of shares is `2*y` or one more.
fn check(geometry: ConvGeometry, tile: ConvTile, params: RlweParams, rng: &mut ChaCha20Rng) {
    let context = format!("{geometry:?} {tile:?} {params}");
    let layout = &ConvLayout::new(geometry, Packing::None, tile, params.ring_degree()).unwrap();
    let spacings: Vec<usize> = layout.merge_spacings().collect();
    let session = &Session::new(params, &spacings, rng);
    let layer = Layer { session, layout, counts: layout.counts(), drop_bits: 1 };
    let mask = (1 << SHARE_BITS) - 1;
    let mut draw =
        |count: usize| -> Vec<u64> { (0..count).map(|_| rng.next_u64() & mask).collect() };
    let shares = [draw(geometry.input.len()), draw(geometry.input.len())];
    let weights = draw(geometry.fan_in() * geometry.out_channels);
    let weights: Vec<i64> = weights.iter().map(|w| w.cast_signed() % 15 - 7).collect();
    let x: Vec<i64> =
        shares[0].iter().zip(&shares[1]).map(|(a, b)| (a + b).cast_signed()).collect();
    let expected = convolve(&geometry, &weights, &vec![0; geometry.out_channels], &x);

    let before = [&session.client, &session.server].map(|ring| ring.operations().counts());
    let requests = layer.requests([&shares[0], &shares[1]], rng);
    let rows = layer.weights(&weights);
    let sums = layer.responses(&requests, &rows, rng);
    let after = [&session.client, &session.server].map(|ring| ring.operations().counts());

    assert_eq!(sums.len(), expected.len(), "{context}");
    for (index, (sum, expected)) in sums.iter().zip(&expected).enumerate() {
        let delta = sum.unwrap().cast_signed() - 2 * expected;
        let delta = delta.rem_euclid(1 << WORD_BITS);
        assert!((0..=1).contains(&delta), "{context}: output {index} is off by {delta}");
    }
    let counted = difference(after[0], before[0]);
    assert_eq!(counted, layer.counts.client_operations(&params), "{context}");
    let counted = difference(after[1], before[1]);
    assert_eq!(counted, layer.counts.server_operations(&params), "{context}");
}

/// A layer and a tile that fits the ring.
fn draw_layer(ring_degree: usize, rng: &mut ChaCha20Rng) -> (ConvGeometry, ConvTile) {
    loop {
        let mut pick =
            |least: usize, most: usize| least + rng.next_u32() as usize % (most + 1 - least);
        let groups = [1, 1, 2, 3][pick(0, 3)];
        let kernel = [pick(1, 3), pick(1, 3)];
        let window = Kernel {
            kernel,
            strides: [pick(1, 2), pick(1, 2)],
            pads: [pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2)],
            dilations: [pick(1, 2), pick(1, 2)],
        };
        let geometry = ConvGeometry {
            input: Chw::new(groups * pick(1, 6), pick(1, 12), pick(1, 12)),
            out_channels: groups * pick(1, 9),
            window,
            groups,
            batch: 1,
        };
        let Some(output) = geometry.output() else { continue };
        let Some(planes) = group_planes(&geometry, Packing::None) else { continue };
        let placement = [GroupPlacement::Dense, GroupPlacement::Spread][pick(0, 1)];
        let tile = ConvTile {
            output: [pick(1, output.height), pick(1, output.width)],
            groups: pick(1, groups),
            placement,
            planes: pick(1, planes),
            kernels: pick(1, geometry.group_outputs()),
            merge_levels: pick(0, 4) as u32,
            samples: 1,
        };
        if ConvLayout::new(geometry, Packing::None, tile, ring_degree).is_ok() {
            return (geometry, tile);
        }
    }
}

#[test]
fn shares_of_any_layout_sum_to_the_convolution() {
    // Without optimisation the kernels are slow.
    let cases = if cfg!(debug_assertions) { 24 } else { 240 };
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut merged = 0;
    for case in 0..cases {
        let (ring, key_switch) = RINGS[case % RINGS.len()];
        let params = params(ring, Some(key_switch));
        let (geometry, tile) = draw_layer(ring.0, &mut rng);
        merged += usize::from(tile.merge_levels > 0);
        check(geometry, tile, params, &mut rng);
    }
    assert!(merged > cases / 4, "{merged}");
}
