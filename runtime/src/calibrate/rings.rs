//! Operations on polynomials, for rings of every degree and number of limbs.

use super::time_us;
use crate::error::RunError;
use heq_he::client::SecretKey;
use heq_he::product::{RequestBlock, WeightRow, sum_products};
use heq_he::sampling::Seed;
use heq_he::server::{Request, ServerKeys, ZeroKey};
use heq_he::{GaloisKey, Ring, Window};
use heq_ir::params::security::max_modulus_bits;
use heq_ir::params::{KeySwitchSpec, MAX_PRIME_BITS, RlweParams, RlweSpec};
use heq_ir::predict::profile::{KeySwitchCosts, RingCosts};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// Degrees and widths of the moduli: one to three limbs, of primes that share a word and of others.
const RINGS: [(usize, u32); 13] = [
    (1024, 26),
    (2048, 30),
    (2048, 36),
    (2048, 48),
    (2048, 53),
    (4096, 48),
    (4096, 62),
    (4096, 70),
    (4096, 92),
    (4096, 102),
    (8192, 48),
    (8192, 90),
    (8192, 118),
];

/// Numbers of digits of which up to two are measured: the fewest and the most that are possible.
const DIGITS: std::ops::RangeInclusive<u32> = 1..=4;

const SHARE_BITS: u32 = 16;
const REQUEST_DROP_BITS: u32 = 2;
const RESPONSE_DROP_BITS: u32 = 6;

/// Tiles over which products are summed.
const TILES: usize = 8;

/// Rows of weights, which together are larger than the caches of a core.
const ROWS: usize = 32;

/// Weights of a polynomial.
const WEIGHTS: usize = 64;

pub(super) fn measure() -> Result<Vec<RingCosts>, RunError> {
    RINGS.into_iter().map(|(ring_degree, modulus_bits)| ring(ring_degree, modulus_bits)).collect()
}

fn params(
    ring_degree: usize,
    modulus_bits: u32,
    key_switch: Option<KeySwitchSpec>,
) -> Option<RlweParams> {
    RlweParams::check(RlweSpec { ring_degree, modulus_bits, key_switch }).ok()
}

fn ring(ring_degree: usize, modulus_bits: u32) -> Result<RingCosts, RunError> {
    let params_of = |key_switch| params(ring_degree, modulus_bits, key_switch);
    let unknown = RunError::Internal { what: "a ring of the calibration is no ring" };
    let mut bench = Bench::new(Ring::new(params_of(None).ok_or(unknown)?), &[])?;
    let mut costs = bench.costs()?;
    (costs.ring_degree, costs.modulus_bits) = (ring_degree, modulus_bits);
    // The widest special prime that the security table leaves room for takes the fewest digits.
    let room = max_modulus_bits(ring_degree).unwrap_or(0).saturating_sub(modulus_bits);
    let switch =
        |digits| params_of(Some(KeySwitchSpec { special_bits: room.min(MAX_PRIME_BITS), digits }));
    let possible: Vec<RlweParams> = DIGITS.filter_map(switch).collect();
    let ends = possible.first().into_iter().chain(possible.last().filter(|_| possible.len() > 1));
    for params in ends {
        let mut bench = Bench::new(Ring::new(*params), &SPACINGS)?;
        let (switch, merge_us) = bench.key_switch()?;
        costs.merge_us = merge_us;
        costs.key_switches.push(switch);
    }
    Ok(costs)
}

/// Spacings that merge up to eight sums.
const SPACINGS: [usize; 3] = [4, 2, 1];

/// Both parties of a ring.
struct Bench {
    ring: Ring,
    key: SecretKey,
    keys: ServerKeys,
    seed: Seed,
    rng: ChaCha20Rng,
}

impl Bench {
    fn new(ring: Ring, spacings: &[usize]) -> Result<Self, RunError> {
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let seed = Seed::derive(&[1; 32], "calibration", 0);
        let (key, message) = SecretKey::generate(&ring, &seed, &mut rng);
        let zero = ZeroKey::decode(&ring, &seed, &message, &mut rng)?;
        let mut galois = Vec::new();
        for &spacing in spacings {
            let message = key.galois_key(&ring, &seed, spacing, &mut rng)?;
            galois.push(GaloisKey::decode(&ring, &seed, spacing, &message)?);
        }
        Ok(Self { ring, key, keys: ServerKeys::new(zero, galois), seed, rng })
    }

    /// All but key switches.
    fn costs(&mut self) -> Result<RingCosts, RunError> {
        let n = self.ring.params().ring_degree();
        let [whole, half] = [n, n / 2].map(|length| self.request_us(length));
        let (whole, half) = (whole?, half?);
        // The line through two lengths; noise may bend it below zero.
        let line = |side: usize| {
            let slope = (2.0 * (whole[side] - half[side]) / n as f64).max(0.0);
            ((whole[side] - slope * n as f64).max(0.0), slope * 1000.0)
        };
        let ((encrypt_us, encrypt_coefficient_ns), (decode_us, decode_coefficient_ns)) =
            (line(0), line(1));
        let (respond_us, share_us) = self.response_us()?;
        let (product_us, sum_us, weight_us) = self.products_us()?;
        Ok(RingCosts {
            encrypt_us,
            encrypt_coefficient_ns,
            decode_us,
            decode_coefficient_ns,
            product_us,
            sum_us,
            respond_us,
            share_us,
            weight_us,
            zero_key_us: self.zero_key_us()?,
            ..RingCosts::default()
        })
    }

    /// A request of `length` coefficients at client and server.
    fn request_us(&mut self, length: usize) -> Result<[f64; 2], RunError> {
        let Self { ring, key, seed, rng, .. } = self;
        let window = Window::new(ring, (0, length));
        let elements = || (0..length).map(|index| (index, index as u64 * 31 % (1 << SHARE_BITS)));
        let (bits, drop_bits) = (SHARE_BITS, REQUEST_DROP_BITS);
        let mut encrypt = || key.encrypt(ring, seed, elements(), bits, window, drop_bits, rng);
        let encrypt_us = time_us(&mut encrypt);
        let message = encrypt();
        let mut decode =
            || Request::decode(ring, seed, &message, elements(), bits, window, drop_bits, rng);
        decode()?;
        Ok([encrypt_us, time_us(decode)])
    }

    fn request(&mut self) -> Result<Request, RunError> {
        let window = Window::whole(&self.ring);
        let n = self.ring.params().ring_degree();
        let elements = || (0..n).map(|index| (index, index as u64 & 0xff));
        let Self { ring, key, seed, rng, .. } = self;
        let (bits, drop_bits) = (SHARE_BITS, REQUEST_DROP_BITS);
        let message = key.encrypt(ring, seed, elements(), bits, window, drop_bits, rng);
        Ok(Request::decode(ring, seed, &message, elements(), bits, window, drop_bits, rng)?)
    }

    /// A response of `leaves` sums at the server.
    fn respond(
        &mut self,
        request: &Request,
        leaves: usize,
    ) -> Result<(Vec<u8>, Vec<u64>), RunError> {
        let Self { ring, keys, rng, .. } = self;
        let spacings = &SPACINGS[SPACINGS.len() - leaves.ilog2() as usize..];
        let leaf = |_| request.parts().map(<[u64]>::to_vec);
        let n = ring.params().ring_degree();
        let (bits, drop_bits) = (SHARE_BITS + 1, RESPONSE_DROP_BITS);
        Ok(keys.respond(ring, spacings, leaves, leaf, 0..n, bits, drop_bits, rng)?)
    }

    /// A response of one sum, at server and client.
    fn response_us(&mut self) -> Result<(f64, f64), RunError> {
        let request = self.request()?;
        let (message, _) = self.respond(&request, 1)?;
        let respond_us = time_us(|| self.respond(&request, 1));
        let Self { ring, key, rng, .. } = self;
        let n = ring.params().ring_degree();
        let (bits, drop_bits) = (SHARE_BITS + 1, RESPONSE_DROP_BITS);
        let share_us = time_us(|| key.share_response(ring, &message, drop_bits, 0..n, bits, rng));
        Ok((respond_us, share_us))
    }

    /// A product, a sum beside its products, and a weight polynomial.
    fn products_us(&mut self) -> Result<(f64, f64, f64), RunError> {
        let request = self.request()?;
        let basis = self.ring.basis();
        let [c0, c1] = request.parts();
        let block = |tiles: usize| {
            let mut block = RequestBlock::with_capacity(basis, tiles);
            (0..tiles).for_each(|_| block.push(basis, c0, c1));
            block
        };
        let fill = |row: &mut WeightRow, tiles: usize| {
            let weights = || (0..WEIGHTS).map(|index| (index * 7, index as i64 - 32));
            row.clear();
            row.extend(basis, (0..tiles).map(|_| weights()));
        };
        let row = |tiles: usize| {
            let mut row = WeightRow::with_capacity(basis, tiles);
            fill(&mut row, tiles);
            row
        };
        let rows: Vec<WeightRow> = (0..ROWS).map(|_| row(TILES)).collect();
        let (one, many) = (block(1), block(TILES));
        let singles: Vec<WeightRow> = (0..ROWS).map(|_| row(1)).collect();
        let sums = |block: &RequestBlock, rows: &[WeightRow]| {
            let each = |row| drop(std::hint::black_box(sum_products(basis, block, 0, row)));
            time_us(|| rows.iter().for_each(each)) / ROWS as f64
        };
        let (of_one, of_many) = (sums(&one, &singles), sums(&many, &rows));
        let product_us = ((of_many - of_one) / (TILES - 1) as f64).max(0.0);
        let mut scratch = row(TILES);
        let weight_us = time_us(|| fill(&mut scratch, TILES)) / TILES as f64;
        Ok((product_us, (of_one - product_us).max(0.0), weight_us))
    }

    fn zero_key_us(&mut self) -> Result<[f64; 2], RunError> {
        let Self { ring, seed, rng, .. } = self;
        let generate_us = time_us(|| SecretKey::generate(ring, seed, rng));
        let (_, message) = SecretKey::generate(ring, seed, rng);
        ZeroKey::decode(ring, seed, &message, rng)?;
        Ok([generate_us, time_us(|| ZeroKey::decode(ring, seed, &message, rng))])
    }

    /// A key switch with the sum that it merges, and a response of several sums beside these.
    fn key_switch(&mut self) -> Result<(KeySwitchCosts, f64), RunError> {
        let request = self.request()?;
        let (few, many) = (2, 1 << SPACINGS.len());
        self.respond(&request, many)?;
        let [few_us, many_us] =
            [few, many].map(|leaves| time_us(|| self.respond(&request, leaves)));
        let switch_us = ((many_us - few_us) / (many - few) as f64).max(0.0);
        let Self { ring, key, seed, rng, .. } = self;
        let spacing = SPACINGS[0];
        let message = key.galois_key(ring, seed, spacing, rng)?;
        GaloisKey::decode(ring, seed, spacing, &message)?;
        let key_us = [
            time_us(|| key.galois_key(ring, seed, spacing, rng)),
            time_us(|| GaloisKey::decode(ring, seed, spacing, &message)),
        ];
        let digits = ring.params().key_switch().map_or(0, |key_switch| key_switch.digits);
        Ok((KeySwitchCosts { digits, switch_us, key_us }, (few_us - switch_us).max(0.0)))
    }
}
