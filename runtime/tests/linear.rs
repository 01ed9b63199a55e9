//! Linear layers between two parties: random shapes in every packing against the reference
//! convolution, and the lift at boundary values.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clippy exempts test functions, not their helpers"
)]

mod common;

use common::{Case, Parties, share, signed_bits};
use heq_he::Ring;
use heq_ir::eval::convolve;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::integer::IntRange;
use heq_ir::layout::{ConvLayout, ConvTile, GroupPlacement, group_planes};
use heq_ir::params::{KeySwitchSpec, RlweParams, RlweSpec};
use heq_ir::plan::weights::LinearWeights;
use heq_ir::plan::{LinearChoice, LinearStep};
use heq_ir::secure::{Domain, LinearOp, Packing};
use heq_net::memory;
use heq_runtime::error::RunError;
use heq_runtime::protocol::Role;
use heq_runtime::protocol::keys::{self, KeySet};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// Ring degree, bits of q, and bits of P with the number of digits.
type RingChoice = (usize, u32, Option<(u32, u32)>);

/// Rings of one to three primes, with and without key switching.
const RINGS: [RingChoice; 8] = [
    (1024, 26, None),
    (2048, 36, Some((17, 3))),
    (2048, 50, None),
    (4096, 50, Some((40, 2))),
    (4096, 72, Some((34, 3))),
    (4096, 100, None),
    (8192, 110, Some((50, 3))),
    (8192, 120, Some((50, 3))),
];

/// Deviations of the noise that fit its window: 10^7 coefficients fail with probability 10^-6.
const MARGIN: f64 = 8.0;

fn params((ring_degree, modulus_bits, key_switch): RingChoice) -> RlweParams {
    let key_switch =
        key_switch.map(|(special_bits, digits)| KeySwitchSpec { special_bits, digits });
    RlweParams::check(RlweSpec { ring_degree, modulus_bits, key_switch }).unwrap()
}

/// Random numbers and choices.
struct Draw(ChaCha20Rng);

impl Draw {
    /// A number between `least` and `most`.
    fn number(&mut self, least: usize, most: usize) -> usize {
        least + self.0.next_u64() as usize % (most + 1 - least)
    }

    fn bits(&mut self, least: u32, most: u32) -> u32 {
        self.number(least as usize, most as usize) as u32
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.number(0, choices.len() - 1)]
    }

    fn geometry(&mut self) -> ConvGeometry {
        loop {
            let groups = self.one_of(&[1, 1, 1, 2, 3, 5]);
            let (size, kernel) = self.one_of(&[(1, 1), (5, 2), (9, 3), (13, 3), (20, 4)]);
            let mut up_to = |most| self.number(1, most);
            let window = Window {
                kernel: [up_to(kernel), up_to(kernel)],
                strides: [up_to(3), up_to(3)],
                pads: [(); 4].map(|()| up_to(3) - 1),
                dilations: [up_to(2), up_to(2)],
            };
            let channels = if size == 1 { 40 } else { 9 };
            let geometry = ConvGeometry {
                input: Chw::new(groups * up_to(channels), up_to(size), up_to(size)),
                out_channels: groups * up_to(channels),
                window,
                groups,
                batch: 1,
            };
            if geometry.output().is_some() {
                return geometry;
            }
        }
    }

    fn tile(&mut self, geometry: &ConvGeometry, packing: Packing, levels: u32) -> Option<ConvTile> {
        let output = geometry.output()?;
        let planes = group_planes(geometry, packing)?;
        Some(ConvTile {
            output: [self.number(1, output.height), self.number(1, output.width)],
            groups: self.number(1, geometry.groups),
            placement: self.one_of(&[GroupPlacement::Dense, GroupPlacement::Spread]),
            planes: self.number(1, planes),
            kernels: self.number(1, geometry.group_outputs()),
            merge_levels: self.bits(0, levels),
            samples: 1,
        })
    }

    fn range(&mut self) -> IntRange {
        let bits = self.bits(1, 8);
        let width = (1_i64 << bits) - 1;
        let lo = self.one_of(&[0, 0, -(1 << (bits - 1)), -(1 << (bits - 1)), 5, -300]);
        IntRange { lo, hi: lo + width }
    }
}

/// Takes off each channel of the outputs `[K, OH, OW]` what lies midway between its extremes.
fn centre(bias: &mut [i64], sums: &[i64]) {
    let per_channel = sums.len() / bias.len();
    for (bias, sums) in bias.iter_mut().zip(sums.chunks(per_channel)) {
        *bias = -sums.iter().min().unwrap().midpoint(*sums.iter().max().unwrap());
    }
}

/// Widths of fields that hold every sum of `geometry`, a little wider at random; no packing is as wide
/// as it likes. In half of the cases within channels biases move the sums to where they are narrowest,
/// and accumulators hold no more than these.
fn widths(
    draw: &mut Draw,
    geometry: &ConvGeometry,
    weights: &mut LinearWeights,
    range: IntRange,
    x: &[i64],
) -> (u32, Packing) {
    let kind = draw.number(0, 3);
    if kind == 0 {
        return (draw.bits(3, 16), Packing::None);
    }
    let folded: Vec<i64> = weights.folded().collect();
    let zeros = vec![0; geometry.out_channels];
    let bare = convolve(geometry, &folded, &zeros, x);
    if kind == 1 {
        centre(&mut weights.bias, &bare);
    }
    let bare_bits = signed_bits(&bare);
    let mut acc_bits = signed_bits(&convolve(geometry, &folded, &weights.bias, x)).max(2);
    if kind > 1 {
        acc_bits = acc_bits.max(bare_bits) + draw.bits(0, 2);
    }
    if kind < 3 {
        let field_bits = acc_bits.max(bare_bits) + 1 + draw.bits(0, 2);
        return (acc_bits, Packing::WithinChannel { fields: draw.bits(2, 4), field_bits });
    }
    let most = range.lo.abs().max(range.hi.abs());
    let kernels = folded.chunks(geometry.fan_in());
    let low = kernels.map(|kernel| most * kernel.iter().map(|w| w.abs()).sum::<i64>());
    let low_bits = signed_bits(low.collect::<Vec<_>>().iter());
    let field_bits = acc_bits.max(low_bits + 1) + draw.bits(0, 2);
    (acc_bits, Packing::CrossChannel { field_bits })
}

/// What a case covered: packing, whether products alone need more bits than accumulators have, levels
/// of merging, primes of q, lifted elements, noise.
struct Covered {
    packing: Packing,
    is_bare_wider: bool,
    merge_levels: u32,
    limbs: usize,
    lifted: usize,
    /// Whether noise often leaves the window of an exact result.
    is_noisy: bool,
}

/// Draws a layer and runs it; `None` if what was drawn does not fit together.
fn try_case(draw: &mut Draw) -> Option<Covered> {
    let geometry = draw.geometry();
    let ring = draw.one_of(&RINGS);
    let range = draw.range();
    let (weight_bits, multiplier_bits) = (draw.bits(1, 5), draw.one_of(&[0, 0, 3]));
    let lowest = -(1_i64 << (weight_bits - 1));
    let mut weights = LinearWeights {
        weights: (0..geometry.fan_in() * geometry.out_channels)
            .map(|_| common::draw(IntRange { lo: lowest, hi: -lowest - 1 }, &mut draw.0) as i32)
            .collect(),
        multipliers: (0..geometry.out_channels)
            .map(|_| draw.number(0, (1 << multiplier_bits) - 1).max(1) as i64)
            .collect(),
        bias: (0..geometry.out_channels).map(|_| draw.number(0, 40) as i64 - 20).collect(),
    };
    let x: Vec<i64> = (0..geometry.input.len()).map(|_| common::draw(range, &mut draw.0)).collect();
    let (acc_bits, packing) = widths(draw, &geometry, &mut weights, range, &x);
    let guard_bits = if packing == Packing::None { draw.bits(1, 3) } else { 1 };
    let rounded_bits = match draw.number(0, 2) {
        0 if acc_bits > guard_bits + 1 => draw.bits(guard_bits + 1, acc_bits - 1),
        _ => 0,
    };
    let op = LinearOp {
        geometry,
        weight_bits,
        multiplier_bits,
        acc_bits,
        guard_bits,
        rounded_bits,
        packing,
    };
    let fields = op.packing.field_bits();
    if op.word_bits() > 62 || op.operand_bits() > 48 {
        return None;
    }
    let is_shared = packing == Packing::None || range.hi - range.lo < 1 << (fields - 1);
    let is_shared = is_shared && draw.number(0, 2) > 0;
    let params = params(ring);
    let tile = draw.tile(&geometry, packing, if ring.2.is_some() { 5 } else { 0 })?;
    let layout = ConvLayout::new(geometry, packing, tile, params.ring_degree()).ok()?;
    let mut choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: draw.bits(0, 8),
        response_drop_bits: draw.bits(0, 12),
        weight_norm_squared_log2: 0,
    };
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout: layout.clone() };
    let norm = weights.norm_squared(&step).log2().ceil() as u32;
    choice.weight_norm_squared_log2 = norm;
    let fits =
        |choice: &LinearChoice| choice.noise_model().margin(&params, op.precise_bits()) > MARGIN;
    if !fits(&choice) {
        choice = LinearChoice { request_drop_bits: 0, response_drop_bits: 0, ..choice };
    }
    // Where words are rounded, as noisy as they may be.
    if op.precise_bits() < op.word_bits() {
        let limit = params.modulus_bits() - 1;
        let choices = (0..=limit).map(|bits| LinearChoice { response_drop_bits: bits, ..choice });
        choice = choices.take_while(fits).last().unwrap_or(choice);
    }
    if op.word_bits() >= params.modulus_bits() {
        return None;
    }
    if !fits(&choice) || u128::from(op.max_weight_coefficient()) >= params.modulus() {
        return None;
    }
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout };
    let (operand, shares) = if is_shared {
        let bits = draw.bits(op.operand_bits(), 48);
        (Domain::Arithmetic { bits, range }, share(&x, bits, &mut draw.0))
    } else {
        let own = x.iter().map(|x| x.cast_unsigned()).collect();
        (Domain::Client { range }, [own, vec![0; x.len()]])
    };
    let cache = draw.one_of(&[0, 100_000, usize::MAX]);
    let [client, server] = &shares;
    let case = Case { step: &step, operand, shares: [client, server], weights: &weights, cache };
    case.check(&Parties::new(&step, &mut draw.0));
    let lifted = step.lifted_elements(operand).len();
    let merge_levels = choice.tile.merge_levels;
    let (folded, zeros) = (weights.folded().collect::<Vec<_>>(), vec![0; geometry.out_channels]);
    let is_bare_wider = signed_bits(&convolve(&geometry, &folded, &zeros, &x)) > acc_bits;
    let is_noisy = choice.noise_model().margin(&params, op.word_bits()) < 2.0;
    Some(Covered { packing, is_bare_wider, merge_levels, limbs: params.limbs(), lifted, is_noisy })
}

#[test]
fn shares_of_any_layer_sum_to_the_convolution() {
    // Without optimisation the kernels are slow.
    let cases = if cfg!(debug_assertions) { 40 } else { 2_400 };
    let mut draw = Draw(ChaCha20Rng::seed_from_u64(41));
    let mut covered = Vec::new();
    while covered.len() < cases {
        covered.extend(try_case(&mut draw));
    }
    let least = |what: &str, share: usize, holds: &dyn Fn(&Covered) -> bool| {
        let count = covered.iter().filter(|case| holds(case)).count();
        // A few cases may miss what is rare.
        assert!(cases < 1_000 || count * share >= cases, "{what}: {count} of {cases}");
    };
    let fields = |case: &Covered| case.packing.input_fields();
    least("unpacked", 8, &|case| case.packing == Packing::None);
    least("within", 8, &|case| matches!(case.packing, Packing::WithinChannel { .. }));
    least("wider without bias", 20, &|case| {
        case.is_bare_wider && matches!(case.packing, Packing::WithinChannel { .. })
    });
    least("across", 12, &|case| matches!(case.packing, Packing::CrossChannel { .. }));
    least("four fields", 20, &|case| fields(case) == 4);
    least("lifted", 4, &|case| case.lifted > 0);
    least("merged", 4, &|case| case.merge_levels > 0);
    least("noisy", 20, &|case| case.is_noisy);
    least("noisy and merged", 60, &|case| case.is_noisy && case.merge_levels > 0);
    least("merged fields", 10, &|case| case.merge_levels > 0 && fields(case) > 1);
    for limbs in 1..=3 {
        least("limbs", 8, &|case| case.limbs == limbs);
    }
}

/// Shares mod `2^bits` of values of `range`: random ones, and for every fourth element in turn one of all
/// pairs of an extreme value and an extreme share.
fn boundary_shares(
    range: IntRange,
    field_bits: u32,
    bits: u32,
    count: usize,
    rng: &mut ChaCha20Rng,
) -> [Vec<u64>; 2] {
    let (full, half) = (1_u64 << field_bits, 1_u64 << (field_bits - 1));
    let mut extremes = Vec::new();
    for value in [range.lo, range.lo + 1, range.lo.midpoint(range.hi), range.hi - 1, range.hi] {
        let moved = (value - range.lo).cast_unsigned();
        for share in [0, 1, half - 1, half, half + 1, full - 1, full, full + half] {
            // The client's share is extreme, or the server's of `x - lo` is.
            extremes.extend([(value, share), (value, moved.wrapping_sub(share))]);
        }
    }
    let pairs = (0..count).map(|index| match index % 4 {
        0 => extremes[index / 4 % extremes.len()],
        _ => (common::draw(range, rng), rng.next_u64()),
    });
    let share = |(value, share): (i64, u64)| {
        let all = (1 << bits) - 1;
        (share & all, value.cast_unsigned().wrapping_sub(share) & all)
    };
    let (client, server) = pairs.map(share).unzip();
    [client, server]
}

#[test]
fn no_element_of_millions_is_lifted_wrongly() {
    // At l = 6 all pairs of a value and a share come up many times. Elements of the first tile of every
    // request are in the lowest field; a third of all or more are lifted.
    let size = if cfg!(debug_assertions) { 128 } else { 1536 };
    let mut lifted = 0;
    let within = |fields, field_bits| Packing::WithinChannel { fields, field_bits };
    for (acc_bits, packing, ring) in [
        (6, within(2, 7), (2048, 36, None)),
        (19, within(2, 20), (2048, 53, None)),
        (11, within(4, 12), (4096, 72, None)),
        (9, within(3, 13), (2048, 50, None)),
        (7, Packing::CrossChannel { field_bits: 7 }, (2048, 36, None)),
    ] {
        let params = params(ring);
        let channels = packing.planes_per_coefficient();
        let input = Chw::new(channels, size, size);
        let geometry =
            ConvGeometry { input, out_channels: 1, window: Window::POINT, groups: 1, batch: 1 };
        let op = LinearOp {
            geometry,
            weight_bits: 2,
            multiplier_bits: 0,
            acc_bits,
            guard_bits: 1,
            rounded_bits: 0,
            packing,
        };
        let tile = ConvTile {
            output: [32, params.ring_degree() / 32],
            groups: 1,
            placement: GroupPlacement::Dense,
            planes: 1,
            kernels: 1,
            merge_levels: 0,
            samples: 1,
        };
        let choice = LinearChoice {
            rlwe: 0,
            tile,
            request_drop_bits: 0,
            response_drop_bits: 0,
            weight_norm_squared_log2: (channels as f64 * packing.norm_factor()).log2().ceil()
                as u32,
        };
        assert!(choice.noise_model().margin(&params, op.precise_bits()) > MARGIN);
        let layout = ConvLayout::new(geometry, packing, tile, params.ring_degree()).unwrap();
        let step = LinearStep { op: &op, choice: &choice, params: &params, layout };
        let weights =
            LinearWeights { weights: vec![1; channels], multipliers: vec![1], bias: vec![0] };
        // The widest range whose outputs fit: all that a field holds, moved to 0, but in the fourth row.
        let half = (1 << (acc_bits - 1)) / channels as i64;
        let range = IntRange { lo: -half, hi: half - 1 };
        let mut rng = ChaCha20Rng::seed_from_u64(u64::from(acc_bits));
        let bits = op.operand_bits() + 3;
        let [client, server] =
            boundary_shares(range, packing.field_bits(), bits, geometry.input.len(), &mut rng);
        let operand = Domain::Arithmetic { bits, range };
        let shares = [client.as_slice(), server.as_slice()];
        let case = Case { step: &step, operand, shares, weights: &weights, cache: usize::MAX };
        case.check(&Parties::new(&step, &mut rng));
        lifted += step.lifted_elements(operand).len();
    }
    assert!(cfg!(debug_assertions) || lifted >= 2_000_000, "{lifted}");
}

/// Runs one side of a packed layer on shares, whose peer has sent `messages` and nothing else.
fn alone(role: Role, messages: &[Vec<u8>]) -> RunError {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let params = params((2048, 50, None));
    let geometry = ConvGeometry::fully_connected(4, 2);
    let packing = Packing::CrossChannel { field_bits: 9 };
    let op = LinearOp {
        geometry,
        weight_bits: 2,
        multiplier_bits: 0,
        acc_bits: 8,
        guard_bits: 1,
        rounded_bits: 0,
        packing,
    };
    let tile = ConvTile {
        output: [1, 1],
        groups: 1,
        placement: GroupPlacement::Dense,
        planes: 2,
        kernels: 2,
        merge_levels: 0,
        samples: 1,
    };
    let choice = LinearChoice {
        rlwe: 0,
        tile,
        request_drop_bits: 0,
        response_drop_bits: 0,
        weight_norm_squared_log2: 30,
    };
    let layout = ConvLayout::new(geometry, packing, tile, params.ring_degree()).unwrap();
    let step = LinearStep { op: &op, choice: &choice, params: &params, layout };
    let parties = Parties::new(&step, &mut rng);
    let operand = Domain::Arithmetic { bits: 9, range: IntRange { lo: 0, hi: 3 } };
    let weights = LinearWeights { weights: vec![1; 8], multipliers: vec![1; 2], bias: vec![0; 2] };
    let case = Case { step: &step, operand, shares: [&[0; 4]; 2], weights: &weights, cache: 0 };
    case.alone(&parties, role, messages)
}

#[test]
fn malformed_messages_are_the_peers_fault() {
    // Two elements are lifted: a plane of a byte up, corrections of 8 bits down.
    let (plane, corrections) = (vec![0; 1], vec![0; 2]);
    let response = 2048 * 50 / 8;
    for (role, messages) in [
        (Role::Server, vec![vec![]]),
        (Role::Server, vec![vec![0; 2]]),
        (Role::Server, vec![plane.clone(), vec![0; 2048 * 50 / 8 + 1]]),
        (Role::Server, vec![plane, vec![]]),
        (Role::Client, vec![vec![0; 1]]),
        (Role::Client, vec![vec![0; 3]]),
        (Role::Client, vec![corrections.clone(), vec![0; response - 1]]),
        (Role::Client, vec![corrections.clone(), vec![0; response + 1]]),
        // Coefficients that are not below q.
        (Role::Client, vec![corrections, vec![0xff; response]]),
    ] {
        let error = alone(role, &messages);
        let lengths: Vec<usize> = messages.iter().map(Vec::len).collect();
        let blamed = matches!(error, RunError::PeerMisbehaved { .. });
        assert!(blamed, "{role:?} {lengths:?}: {error:?}");
    }
}

#[test]
fn malformed_keys_are_the_peers_fault() {
    let params = params((2048, 36, Some((17, 3))));
    let ring = Ring::new(params);
    let set = KeySet { index: 0, spacings: &[8, 4], nonce: &[1; 32] };
    let (zero, galois) = (params.polynomial_bytes(0) as usize, params.galois_key_bytes() as usize);
    for lengths in [&[zero - 1][..], &[zero, galois + 1], &[zero, galois, zero]] {
        let (mut own_end, mut peer_end) = memory::pair();
        lengths.iter().for_each(|&length| peer_end.send(&vec![0; length]).unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let error = keys::server(&mut own_end, &ring, set, &mut rng).map(|_| ()).unwrap_err();
        assert!(matches!(error, RunError::PeerMisbehaved { .. }), "{lengths:?}: {error:?}");
    }
}
