//! Keys that bring the image of a ciphertext under an automorphism back to the client's secret.
//!
//! The key of digit i is `(-a_i*s + e_i + P*2^(w*i)*s', a_i)` mod `q*P`, with `s'` the image of s: a
//! polynomial, taken apart into signed digits of w bits, times these sums to an encryption of `s'`
//! times it under s, scaled by P. Division by P, rounded, takes most of the noise away. The server keeps
//! keys divided by P mod q, so that a division is a difference. The part for c0 stays undivided, as
//! evaluations mod `q*P`, until all of a response is merged. Source: [CDKS21, Section 2.3].

use crate::galois::Automorphism;
use crate::modulus::{Modulus, ShoupFactor, low};
use crate::ring::Basis;
use crate::sampling::Seed;
use crate::simd::vectorised;
use crate::{HeError, Ring};
use heq_ir::packing::{LengthError, pack_bits, unpack_bits};
use heq_ir::params::KeySwitchParams;
use heq_mutation::broken;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Widest digit that is computed with in words.
const MAX_WORD_DIGIT_BITS: u32 = 62;

/// What the server needs to switch the images of one automorphism back.
#[derive(Clone, Debug)]
pub struct GaloisKey {
    pub(crate) automorphism: Automorphism,
    digits: Digits,
    division: Division,
    /// For each digit the parts for c0 and c1, evaluations mod `q*P`, divided by P mod q.
    keys: Vec<[Vec<u64>; 2]>,
}

impl GaloisKey {
    /// Reads the client's key for spacing h; `seed` is the one that the server chose for it.
    ///
    /// # Errors
    /// [`HeError`] if the message is malformed, or the parameters have no key switching.
    pub fn decode(
        ring: &Ring,
        seed: &Seed,
        spacing: usize,
        message: &[u8],
    ) -> Result<Self, HeError> {
        let params = ring.params().key_switch().ok_or(HeError::NoKeySwitch)?;
        let n = ring.params().ring_degree();
        if !spacing.is_power_of_two() || spacing >= n {
            return Err(HeError::Spacing { spacing });
        }
        let division = Division::new(ring, params);
        let basis = ring.extended_basis();
        let mut randomness = key_randomness(basis, seed, params.digits);
        let length = key_bytes(basis);
        let expected = length * params.digits as usize;
        let is_wrong = message.len() != expected;
        if is_wrong
            && !broken!(
                "Galois keys may have any length",
                "heq-he linear malformed_messages_are_refused"
            )
        {
            return Err(HeError::MessageLength(LengthError { expected, found: message.len() }));
        }
        let parts = message.chunks(length).zip(randomness.chunks_mut(basis.polynomial_words()));
        let keys = parts.map(|(bytes, a)| {
            let mut b = decode_evaluations(basis, bytes)?;
            division.scale(ring, a);
            division.scale(ring, &mut b);
            Ok([b, a.to_vec()])
        });
        Ok(Self {
            automorphism: Automorphism::new(ring, spacing),
            digits: Digits::new(params),
            keys: keys.collect::<Result<_, HeError>>()?,
            division,
        })
    }

    /// The spacing h.
    #[must_use]
    pub fn spacing(&self) -> usize {
        self.automorphism.spacing()
    }

    /// Adds to the evaluations `parts` mod `q*P`, divided by P mod q, an encryption under s of s' times
    /// the image of the polynomial with residues `source` mod q.
    pub(crate) fn switch(
        &self,
        ring: &Ring,
        source: &[u64],
        parts: [&mut [u64]; 2],
        buffers: &mut DigitBuffers,
    ) {
        let basis = ring.extended_basis();
        self.digits.bias(ring, source, &self.automorphism, buffers);
        let [c0, c1] = parts;
        for (index, [b, a]) in (0..).zip(&self.keys) {
            self.digits.reduce(basis, index, buffers);
            basis.forward(&mut buffers.residues);
            basis.multiply_add(c0, &buffers.residues, b);
            basis.multiply_add(c1, &buffers.residues, a);
        }
        basis.operations.count_key_switch();
    }

    /// Rounds residues of coefficients mod `q*P`, divided by P mod q, to those mod q.
    pub(crate) fn divide(&self, ring: &Ring, residues: &mut [u64]) {
        self.division.divide(ring, residues);
    }
}

/// The parts `a_i` of all digits, one after the other.
pub(crate) fn key_randomness(basis: Basis<'_>, seed: &Seed, digits: u32) -> Vec<u64> {
    let limbs = (0..digits).flat_map(|_| basis.places().map(|(modulus, _)| modulus));
    seed.expand_uniform(basis.ring_degree(), limbs)
}

/// Bytes of one polynomial mod `q*P`.
fn key_bytes(basis: Basis<'_>) -> usize {
    let bits: usize = basis.places().map(|(modulus, _)| prime_bits(modulus) as usize).sum();
    (basis.ring_degree() * bits).div_ceil(8)
}

fn prime_bits(modulus: &Modulus) -> u32 {
    u64::BITS - modulus.value().leading_zeros()
}

/// Packs evaluations limb by limb. N is a multiple of 8, so every limb fills whole bytes.
pub(crate) fn encode_evaluations(basis: Basis<'_>, values: &[u64]) -> Vec<u8> {
    let limbs = basis.places();
    limbs.flat_map(|(q, limb)| pack_bits(values[limb].iter().copied(), prime_bits(q))).collect()
}

fn decode_evaluations(basis: Basis<'_>, bytes: &[u8]) -> Result<Vec<u64>, HeError> {
    let mut values = Vec::with_capacity(basis.polynomial_words());
    let mut rest = bytes;
    for (modulus, _) in basis.places() {
        let bits = prime_bits(modulus);
        let length = (basis.ring_degree() * bits as usize / 8).min(rest.len());
        let (limb, others) = rest.split_at(length);
        let limb = unpack_bits(limb, bits, basis.ring_degree())?;
        let wrong = limb.iter().position(|&value| value >= modulus.value());
        if let Some(index) = wrong
            && !broken!(
                "evaluations of keys may be any words",
                "heq-he linear malformed_messages_are_refused"
            )
        {
            return Err(HeError::Residue { index });
        }
        values.extend(limb);
        rest = others;
    }
    Ok(values)
}

/// Division by P of what is divided by P mod q already.
#[derive(Clone, Debug)]
struct Division {
    special: u64,
    /// `1/P` mod every prime of q.
    inverses: Vec<ShoupFactor>,
    /// `-1/P` mod every prime of q, N times each.
    negated: Vec<u64>,
}

impl Division {
    fn new(ring: &Ring, params: &KeySwitchParams) -> Self {
        let special = params.special_prime;
        let inverse = |q: &Modulus| q.inverse(special % q.value());
        let negated = ring
            .limbs()
            .flat_map(|(q, limb)| std::iter::repeat_n(q.value() - inverse(q), limb.len()));
        let inverses = ring.limbs().map(|(q, _)| q.shoup(inverse(q)));
        Self { special, inverses: inverses.collect(), negated: negated.collect() }
    }

    /// Divides by P mod q.
    fn scale(&self, ring: &Ring, values: &mut [u64]) {
        for ((modulus, limb), &inverse) in ring.limbs().zip(&self.inverses) {
            for value in &mut values[limb] {
                *value = modulus.normalise(modulus.mul_lazy(*value, inverse));
            }
        }
    }

    /// `(x - r)/P` mod every prime of q, for r the centred residue of x mod P: with `x/P` and r in
    /// `[0, P)`, that is `x/P - r/P`, and 1 more if r stands for `r - P`.
    fn divide(&self, ring: &Ring, residues: &mut [u64]) {
        let (values, special) = residues.split_at_mut(ring.polynomial_words());
        let half = self.special / 2;
        for (index, (modulus, limb)) in ring.limbs().enumerate() {
            let values = &mut values[limb.clone()];
            let q = modulus.value();
            if self.special < 2 * q {
                let reduced =
                    vectorised(|| special.iter().map(|&r| r.min(r.wrapping_sub(q))).collect());
                let reduced: Zeroizing<Vec<u64>> = Zeroizing::new(reduced);
                let multiplier = &ring.basis().limbs[index].multiplier;
                multiplier.multiply_add(values, &reduced, &self.negated[limb]);
            } else {
                for (value, &r) in values.iter_mut().zip(&*special) {
                    let quotient = modulus.mul_lazy(r, self.inverses[index]);
                    *value = modulus.sub(*value, modulus.normalise(quotient));
                }
            }
            vectorised(|| {
                for (value, &r) in values.iter_mut().zip(&*special) {
                    *value = modulus.add(*value, half.wrapping_sub(r) >> 63);
                }
            });
        }
    }
}

/// How a coefficient mod q is taken apart.
#[derive(Clone, Debug)]
struct Digits {
    count: u32,
    bits: u32,
    /// `2^(w-1)` in every digit but the top one: what makes those non-negative.
    bias: i128,
}

/// What taking apart needs for a while.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct DigitBuffers {
    /// Centred coefficients plus the bias: of the two the one that q fits.
    narrow: Vec<i64>,
    wide: Vec<i128>,
    digits: Vec<i64>,
    /// A digit mod `q*P`.
    residues: Vec<u64>,
}

impl DigitBuffers {
    pub(crate) fn new(ring: &Ring) -> Self {
        let n = ring.params().ring_degree();
        let (narrow, wide) = if ring.narrow.is_some() { (n, 0) } else { (0, n) };
        let residues = vec![0; ring.extended_basis().polynomial_words()];
        Self { narrow: vec![0; narrow], wide: vec![0; wide], digits: vec![0; n], residues }
    }
}

/// The low word of a digit, which fits.
fn word(value: i128) -> i64 {
    low(value.cast_unsigned()).cast_signed()
}

impl Digits {
    fn new(params: &KeySwitchParams) -> Self {
        let KeySwitchParams { digits, digit_bits, .. } = *params;
        let bias = (0..digits - 1).map(|i| 1_i128 << (i * digit_bits + digit_bits - 1)).sum();
        Self { count: digits, bits: digit_bits, bias }
    }

    /// The image of a polynomial with residues `source` mod q, ready to be taken apart. Constant time.
    fn bias(
        &self,
        ring: &Ring,
        source: &[u64],
        automorphism: &Automorphism,
        buffers: &mut DigitBuffers,
    ) {
        let sources = automorphism.sources();
        match &ring.narrow {
            Some(modulus) => {
                let (q, bias) = (modulus.value().cast_signed(), word(self.bias));
                vectorised(|| {
                    for (biased, (index, sign)) in buffers.narrow.iter_mut().zip(sources) {
                        let value = source[index].cast_signed();
                        let centred = value - (q & ((q / 2 - value) >> 63));
                        *biased = (centred ^ sign) - sign + bias;
                    }
                });
            }
            None => {
                let q = ring.modulus.value().cast_signed();
                for (biased, (index, sign)) in buffers.wide.iter_mut().zip(sources) {
                    let value = ring.join(source, index).cast_signed();
                    let centred = value - (q & ((q / 2 - value) >> 127));
                    let sign = i128::from(sign);
                    *biased = (centred ^ sign) - sign + self.bias;
                }
            }
        }
    }

    /// Residues mod `q*P` of the polynomial of digit `index`. Constant time.
    fn reduce(&self, basis: Basis<'_>, index: u32, buffers: &mut DigitBuffers) {
        let DigitBuffers { narrow, wide, digits, residues } = buffers;
        let shift = index * self.bits;
        let half = 1_i128 << (self.bits - 1);
        // The top digit is all that is left.
        let (mask, offset) =
            if index + 1 == self.count { (-1, 0) } else { ((1 << self.bits) - 1, half) };
        let digit = |value: &i128| (value >> shift & mask) - offset;
        if self.bits > MAX_WORD_DIGIT_BITS {
            for (modulus, limb) in basis.places() {
                let offset = half.cast_unsigned().next_multiple_of(u128::from(modulus.value()));
                for (residue, value) in residues[limb].iter_mut().zip(&*wide) {
                    *residue = modulus.reduce(offset.wrapping_add_signed(digit(value)));
                }
            }
            return;
        }
        let (narrow_mask, narrow_offset) = (word(mask), word(offset));
        vectorised(|| {
            for (digit, value) in digits.iter_mut().zip(&*narrow) {
                *digit = (value >> shift & narrow_mask) - narrow_offset;
            }
        });
        for (place, value) in digits.iter_mut().zip(&*wide) {
            *place = word(digit(value));
        }
        let half = low(half.cast_unsigned());
        for (modulus, limb) in basis.places() {
            let residues = residues[limb].iter_mut().zip(&*digits);
            reduce_digits(modulus, half, residues);
        }
    }
}

/// Residues of digits of magnitude up to `half`, at most `2^61`.
fn reduce_digits<'a>(
    modulus: &Modulus,
    half: u64,
    pairs: impl Iterator<Item = (&'a mut u64, &'a i64)>,
) {
    let q = modulus.value();
    let offset = half.next_multiple_of(q);
    if half < q {
        vectorised(|| pairs.for_each(|(residue, &digit)| *residue = modulus.residue(digit)));
    } else if half + offset < 1 << 32 {
        // Barrett with 32 bits: the quotient is at most one too small.
        let reciprocal = (1 << 32) / q;
        vectorised(|| {
            for (residue, &digit) in pairs {
                let value = offset.wrapping_add_signed(digit);
                let rest = value - ((value * reciprocal) >> 32) * q;
                *residue = rest.min(rest.wrapping_sub(q));
            }
        });
    } else {
        let one = modulus.shoup(1);
        for (residue, &digit) in pairs {
            let value = offset.wrapping_add_signed(digit);
            *residue = modulus.normalise(modulus.mul_lazy(value, one));
        }
    }
}
