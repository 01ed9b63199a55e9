//! Two parties in one process that run a single linear step on ideal random OTs.
#![allow(dead_code, reason = "every test binary uses a part")]

mod steps;

use heq_he::Ring;
use heq_he::client::SecretKey;
use heq_he::server::ServerKeys;
use heq_ir::eval::{convolve, wrap};
use heq_ir::integer::IntRange;
use heq_ir::layout::PartyOperations;
use heq_ir::plan::LinearStep;
use heq_ir::plan::cost::LinearOperations;
use heq_ir::plan::weights::LinearWeights;
use heq_ir::rounding::EarlyRounding;
use heq_ir::secure::Domain;
use heq_net::{Meter, memory};
use heq_runtime::error::RunError;
use heq_runtime::protocol::Role;
use heq_runtime::protocol::keys::{self, KeySet};
use heq_runtime::protocol::linear::{self, Layer, PreparedWeights, RequestSeeds};
use heq_runtime::share::{Words, mask};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use steps::{Stocks, both, check_traffic, ideal_stocks};

/// Both parties with their keys for the parameters of one step.
pub(crate) struct Parties {
    client_ring: Ring,
    client_key: SecretKey,
    server_ring: Ring,
    server_keys: ServerKeys,
}

impl Parties {
    pub(crate) fn new(step: &LinearStep<'_>, rng: &mut ChaCha20Rng) -> Self {
        let (client_ring, server_ring) = (Ring::new(*step.params), Ring::new(*step.params));
        let spacings: Vec<usize> = step.layout.merge_spacings().collect();
        let set = KeySet { index: 0, spacings: &spacings, nonce: &[1; 32] };
        let (mut client_end, mut server_end) = memory::pair();
        let client_key = keys::client(&mut client_end, &client_ring, set, rng).unwrap();
        let server_keys = keys::server(&mut server_end, &server_ring, set, rng).unwrap();
        let galois = step.params.galois_key_bytes() + 8;
        let bytes = step.params.polynomial_bytes(0) + 8 + spacings.len() as u64 * galois;
        assert_eq!(client_end.snapshot().bytes_sent, bytes);
        Self { client_ring, client_key, server_ring, server_keys }
    }
}

/// A step on its operand, which both parties hold `shares` of.
pub(crate) struct Case<'a> {
    pub(crate) step: &'a LinearStep<'a>,
    pub(crate) operand: Domain,
    /// The client's and the server's.
    pub(crate) shares: [&'a [u64]; 2],
    pub(crate) weights: &'a LinearWeights,
    /// Memory for transformed weights in bytes.
    pub(crate) cache: usize,
}

/// What a run of a step showed.
pub(crate) struct Seen {
    pub(crate) outputs: [Words; 2],
    meter: Meter,
    /// Of the server before the step.
    pub(crate) preparation: PartyOperations,
    pub(crate) operations: LinearOperations,
}

impl Case<'_> {
    /// The client's and the server's random OTs of the step.
    fn stocks(&self) -> [Stocks; 2] {
        let runs = self.step.traffic(self.operand).rots;
        ideal_stocks(&runs, &mut ChaCha20Rng::seed_from_u64(runs.len() as u64))
    }

    pub(crate) fn run(&self, parties: &Parties) -> Seen {
        let Self { step, operand, .. } = *self;
        let count = |ring: &Ring| ring.operations().counts();
        let fresh = count(&parties.server_ring);
        let ring = &parties.server_ring;
        let prepared =
            PreparedWeights::new(ring, step, self.weights, &mut self.cache.clone()).unwrap();
        let before = [&parties.client_ring, &parties.server_ring].map(count);

        let [mut client_stocks, mut server_stocks] = self.stocks();
        let seeds = || RequestSeeds::new([2; 32]);
        let (client, server, meter) = both(
            |channel| {
                let layer = Layer { ring: &parties.client_ring, step, operand };
                let link = &mut client_stocks.link(Role::Client, channel);
                let (key, shares) = (&parties.client_key, self.shares[0]);
                let rng = &mut ChaCha20Rng::seed_from_u64(5);
                linear::client(link, &layer, key, &mut seeds(), shares, rng).unwrap()
            },
            |channel| {
                let layer = Layer { ring: &parties.server_ring, step, operand };
                let link = &mut server_stocks.link(Role::Server, channel);
                let (keys, shares) = (&parties.server_keys, self.shares[1]);
                let rng = &mut ChaCha20Rng::seed_from_u64(4);
                linear::server(link, &layer, keys, &prepared, &mut seeds(), shares, rng).unwrap()
            },
        );
        client_stocks.check_used_up();
        server_stocks.check_used_up();
        let after = [&parties.client_ring, &parties.server_ring].map(count);
        let operations = LinearOperations {
            client: after[0].since(before[0]),
            server: after[1].since(before[1]),
        };
        let preparation = before[1].since(fresh);
        Seen { outputs: [client, server], meter, preparation, operations }
    }

    /// Runs the step and compares: shares stand for `2^g*acc + delta` with delta 0 or 1, or as far off as
    /// rounding leaves room for noise; rounded shares for what a shift takes for the accumulator or one
    /// unit more or less. Traffic and operations are what the step counts.
    pub(crate) fn check(&self, parties: &Parties) -> Seen {
        let Self { step, shares, weights, .. } = *self;
        let (op, counts) = (step.op, step.layout.counts());
        let context = format!("{op:?} {:?} {} {:?}", step.choice, step.params, self.operand);
        let sums = shares[0].iter().zip(shares[1]).map(|(a, b)| a.wrapping_add(*b).cast_signed());
        let bits = if let Domain::Arithmetic { bits, .. } = self.operand { bits } else { 64 };
        let x: Vec<i64> = sums.map(|sum| wrap(sum, bits)).collect();
        let folded: Vec<i64> = weights.folded().collect();
        let expected = convolve(&op.geometry, &folded, &weights.bias, &x);
        let seen = self.run(parties);

        let [client, server] = &seen.outputs;
        assert_eq!((client.len(), server.len()), (expected.len(), expected.len()), "{context}");
        let output_bits = op.acc_bits + op.guard_bits;
        let window = match op.word_bits() - op.precise_bits() {
            0 => 0..=1,
            d => -(1 << (d - 1))..=(1 << (d - 1)) + 1,
        };
        let rounding = EarlyRounding::of(Domain::Accumulator {
            acc_bits: op.acc_bits,
            guard_bits: op.guard_bits,
            max_delta: 1,
            rounded_bits: op.rounded_bits,
        });
        for (index, acc) in expected.iter().enumerate() {
            assert!(client[index].max(server[index]) <= mask(output_bits), "{context}");
            let sum = client[index].wrapping_add(server[index]).cast_signed();
            let delta = wrap(sum.wrapping_sub(acc << op.guard_bits), output_bits);
            assert!(window.contains(&delta), "output {index} is off by {delta}: {context}");
            let Some(rounding) = rounding else { continue };
            let words =
                [rounding.round_client(client[index]), rounding.round_server(server[index])];
            let bits = rounding.rounded_word_bits();
            assert!(words[0].max(words[1]) <= mask(bits), "{context}");
            let sum = (words[0] + words[1]).cast_signed();
            let above = wrap((sum << rounding.accumulator_bits()) - acc, op.acc_bits);
            // Half a unit by noise and one by the two parties, about the middle of the unit.
            let unit = 1 << rounding.accumulator_bits();
            assert!((-2 * unit..=unit).contains(&above), "rounded by {above}: {context}");
        }
        check_traffic(seen.meter, &step.traffic(self.operand), &context);
        let predicted = step.operations();
        assert_eq!(seen.operations.client, predicted.client, "{context}");
        // Rows that are not kept are transformed whenever they are used.
        let limbs = step.params.limbs() as u64;
        let kept = seen.preparation.weight_transforms;
        let used = counts.spatial as u64 * (predicted.server.weight_transforms - kept);
        assert_eq!(kept % (counts.input_tiles as u64 * limbs), 0, "{context}");
        let server = PartyOperations { weight_transforms: used, ..predicted.server };
        assert_eq!(seen.operations.server, server, "{context}");
        seen
    }
}

impl Case<'_> {
    /// The error of the party `role`, whose peer has sent `messages` and nothing else.
    pub(crate) fn alone(&self, parties: &Parties, role: Role, messages: &[Vec<u8>]) -> RunError {
        let Self { step, operand, weights, .. } = *self;
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let [client, server] = self.stocks();
        let mut stocks = if role == Role::Client { client } else { server };
        let (mut own_end, mut peer_end) = memory::pair();
        messages.iter().for_each(|message| peer_end.send(message).unwrap());
        let link = &mut stocks.link(role, &mut own_end);
        let seeds = &mut RequestSeeds::new([2; 32]);
        let [of_client, of_server] = self.shares;
        let result = match role {
            Role::Client => {
                let layer = Layer { ring: &parties.client_ring, step, operand };
                linear::client(link, &layer, &parties.client_key, seeds, of_client, &mut rng)
            }
            Role::Server => {
                let layer = Layer { ring: &parties.server_ring, step, operand };
                let prepared = PreparedWeights::new(layer.ring, step, weights, &mut 0).unwrap();
                let keys = &parties.server_keys;
                linear::server(link, &layer, keys, &prepared, seeds, of_server, &mut rng)
            }
        };
        result.map(|_| ()).unwrap_err()
    }
}

/// Shares mod `2^bits` of `values`, the client's uniform.
pub(crate) fn share(values: &[i64], bits: u32, rng: &mut ChaCha20Rng) -> [Vec<u64>; 2] {
    let client: Vec<u64> = values.iter().map(|_| rng.next_u64() & mask(bits)).collect();
    let other = |(value, share): (&i64, &u64)| value.cast_unsigned().wrapping_sub(*share);
    let server = values.iter().zip(&client).map(|pair| other(pair) & mask(bits)).collect();
    [client, server]
}

/// The smallest signed width that holds all `values`.
pub(crate) fn signed_bits<'a>(values: impl IntoIterator<Item = &'a i64>) -> u32 {
    let bits = |value: &i64| i64::BITS + 1 - (value ^ (value >> 63)).leading_zeros();
    values.into_iter().map(bits).max().unwrap_or(1)
}

/// A value of `range`, the ends more often than others.
pub(crate) fn draw(range: IntRange, rng: &mut ChaCha20Rng) -> i64 {
    let width = range.hi.abs_diff(range.lo) + 1;
    match rng.next_u32() % 8 {
        0 => range.lo,
        1 => range.hi,
        _ => range.lo + (rng.next_u64() % width).cast_signed(),
    }
}
