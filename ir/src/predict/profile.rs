//! Times of one machine's primitives: the file `heq-costs/2`.
//!
//! Every number is what `heq-run calibrate` measured of the runtime's own code, or a difference of two
//! such measurements. Times of polynomials are looked up by ring degree, limbs and width of the modulus; where
//! a profile has no such entry the nearest one is scaled by `limbs * N log2 N`. See docs/cost-model.md.

use crate::params::RlweParams;
use crate::plan::OtExtension;
use serde::{Deserialize, Serialize};

/// Version of the form.
pub const SCHEMA: &str = "heq-costs/2";

/// Largest number of a profile, far above what any machine takes.
const MAX_NUMBER: f64 = 1e12;

/// Times of one machine's primitives, of one thread unless it says otherwise. Pairs are of client and
/// server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostProfile {
    /// `heq-costs/2`.
    pub schema: String,
    /// Processor that was measured.
    pub machine: String,
    /// Day of the measurement, YYYY-MM-DD.
    pub date: String,
    /// Command that measured.
    pub command: String,
    /// Operations on polynomials, an entry for each ring that was measured; at least one.
    pub rings: Vec<RingCosts>,
    /// OT extensions, an entry for each that was measured; at least one.
    pub extensions: Vec<ExtensionCosts>,
    /// Base OTs of both directions, in microseconds.
    pub base_ots_us: [f64; 2],
    /// Steps on shared bits beside look-ups.
    pub gates: [BitCosts; 2],
    /// Steps of which all messages belong to 1-of-2^k OTs: tables and the opening.
    pub look_ups: [BitCosts; 2],
    /// Sending or receiving a message, beside its bytes, in microseconds.
    pub message_us: f64,
    /// A byte of a message at its sender or its receiver, in nanoseconds.
    pub message_byte_ns: f64,
    /// From the moment for which a thread waits until it runs, in microseconds.
    pub wake_us: f64,
    /// Beginning and end of a computation on several threads, in microseconds.
    pub section_us: f64,
    /// Product of two numbers of at most 32 bits, added to a sum in the clear, in nanoseconds.
    pub mac_ns: f64,
    /// Start of a session beside its messages, OTs and keys, in microseconds.
    pub session_us: f64,
    /// First use of a byte of memory, which the operating system then has to find, in nanoseconds.
    pub fresh_byte_ns: f64,
    /// By what computations take longer in a run than by themselves; the times have it in them.
    pub whole: f64,
}

/// Times of operations on polynomials of one ring, all limbs together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RingCosts {
    /// Ring degree N.
    pub ring_degree: usize,
    /// Width of the modulus q in bits.
    pub modulus_bits: u32,
    /// The client makes a request, beside its coefficients, in microseconds.
    pub encrypt_us: f64,
    /// A coefficient of a request that travels, at the client, in nanoseconds.
    pub encrypt_coefficient_ns: f64,
    /// The server reads a request, beside its coefficients, in microseconds.
    pub decode_us: f64,
    /// A coefficient of a request that travels, at the server, in nanoseconds.
    pub decode_coefficient_ns: f64,
    /// Product of a request and a weight polynomial, in microseconds.
    pub product_us: f64,
    /// A sum of products, beside the products, in microseconds.
    pub sum_us: f64,
    /// The server makes a response of one sum, in microseconds.
    pub respond_us: f64,
    /// The server makes a response of several sums, beside its key switches, in microseconds.
    pub merge_us: f64,
    /// The client reads a response, in microseconds.
    pub share_us: f64,
    /// A weight polynomial is placed and transformed, in microseconds.
    pub weight_us: f64,
    /// The key that encrypts zeros, at client and server, in microseconds.
    pub zero_key_us: [f64; 2],
    /// Key switches by their number of digits; none if the security table leaves no room for any.
    pub key_switches: Vec<KeySwitchCosts>,
}

/// Times of key switching with one number of digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeySwitchCosts {
    /// Digits of a coefficient.
    pub digits: u32,
    /// Merging one more sum into a response, in microseconds.
    pub switch_us: f64,
    /// A Galois key at client and server, in microseconds.
    pub key_us: [f64; 2],
}

/// Times of one OT extension, by who sends the random OTs: the party that holds both pads, and its peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtensionCosts {
    /// The extension.
    pub extension: OtExtension,
    /// A row with one bit of pad, at sender and receiver, in nanoseconds; of silent OT beside the iteration.
    pub row_ns: [f64; 2],
    /// Every further bit of pad of a row, at sender and receiver, in nanoseconds.
    pub bit_ns: [f64; 2],
    /// An iteration of silent OT, at sender and receiver, in microseconds; otherwise 0.
    pub iteration_us: [f64; 2],
    /// Set-up of both directions after the base OTs, at client and server, in microseconds.
    pub setup_us: [f64; 2],
}

/// A linear model of the steps on shared bits at one party.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BitCosts {
    /// A message or an exchange of two, in microseconds.
    pub step_us: f64,
    /// An element of the step, in nanoseconds.
    pub element_ns: f64,
    /// A byte of a message, either way, in nanoseconds.
    pub byte_ns: f64,
    /// A byte of the pads of random OTs, both pads counted, in nanoseconds.
    pub pad_byte_ns: f64,
}

/// The profile that ships, as `heq-run calibrate` wrote it.
const DEFAULT: &str = include_str!("default_costs.json");

/// That of the machine that its `machine` and `date` name; any other should be measured.
impl Default for CostProfile {
    fn default() -> Self {
        // A test reads it, too.
        serde_json::from_str(DEFAULT).unwrap_or_else(|_| Self::unknown())
    }
}

/// Why a profile cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostsError {
    /// It is of another version.
    #[error("its schema is `{found}`, not `{SCHEMA}`")]
    Schema {
        /// What it says.
        found: String,
    },
    /// It has no ring or no extension.
    #[error("it has no entry under `{list}`")]
    Empty {
        /// The list.
        list: &'static str,
    },
    /// A time is negative or too large.
    #[error("`{name}` holds a number that is not between 0 and 1e12")]
    Number {
        /// Where.
        name: &'static str,
    },
    /// No ring has such a degree and width.
    #[error("there is no ring of degree {ring_degree} and {modulus_bits} bits")]
    Ring {
        /// The degree.
        ring_degree: usize,
        /// The width.
        modulus_bits: u32,
    },
}

impl CostProfile {
    /// Of a machine of which nothing is known.
    fn unknown() -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            machine: String::new(),
            date: String::new(),
            command: String::new(),
            rings: Vec::new(),
            extensions: Vec::new(),
            base_ots_us: [0.0; 2],
            gates: [BitCosts::default(); 2],
            look_ups: [BitCosts::default(); 2],
            message_us: 0.0,
            message_byte_ns: 0.0,
            wake_us: 0.0,
            section_us: 0.0,
            mac_ns: 0.0,
            session_us: 0.0,
            fresh_byte_ns: 0.0,
            whole: 1.0,
        }
    }

    /// Checks what was read from a file.
    ///
    /// # Errors
    /// [`CostsError`], the first that is found.
    pub fn check(&self) -> Result<(), CostsError> {
        if self.schema != SCHEMA {
            return Err(CostsError::Schema { found: self.schema.clone() });
        }
        for (list, is_empty) in
            [("rings", self.rings.is_empty()), ("extensions", self.extensions.is_empty())]
        {
            if is_empty {
                return Err(CostsError::Empty { list });
            }
        }
        for ring in &self.rings {
            let RingCosts { ring_degree, modulus_bits, .. } = *ring;
            let is_degree = ring_degree.is_power_of_two() && (2..=1 << 20).contains(&ring_degree);
            if !is_degree || !(1..=1024).contains(&modulus_bits) {
                return Err(CostsError::Ring { ring_degree, modulus_bits });
            }
        }
        let is_time = |number: f64| (0.0..=MAX_NUMBER).contains(&number);
        let wrong = self.numbers().into_iter().find(|&(_, number)| !is_time(number));
        wrong.map_or(Ok(()), |(name, _)| Err(CostsError::Number { name }))
    }

    /// Multiplies the times of computations by `factor`.
    pub fn slow_down(&mut self, factor: f64) {
        self.whole *= factor;
        for ring in &mut self.rings {
            *ring = ring.scaled(factor);
        }
        let bits = self.gates.iter_mut().chain(&mut self.look_ups);
        let bits = bits.flat_map(|costs| {
            [&mut costs.step_us, &mut costs.element_ns, &mut costs.byte_ns, &mut costs.pad_byte_ns]
        });
        let extensions = self.extensions.iter_mut().flat_map(|costs| {
            let ExtensionCosts { row_ns, bit_ns, iteration_us, setup_us, .. } = costs;
            [row_ns, bit_ns, iteration_us, setup_us].into_iter().flatten()
        });
        let others = [&mut self.message_byte_ns, &mut self.fresh_byte_ns, &mut self.mac_ns];
        for time in bits.chain(extensions).chain(others) {
            *time *= factor;
        }
    }

    /// All numbers, with the names of their places.
    fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = vec![
            ("message_us", self.message_us),
            ("message_byte_ns", self.message_byte_ns),
            ("wake_us", self.wake_us),
            ("section_us", self.section_us),
            ("mac_ns", self.mac_ns),
            ("session_us", self.session_us),
            ("fresh_byte_ns", self.fresh_byte_ns),
            ("whole", self.whole),
        ];
        numbers.extend(self.base_ots_us.map(|number| ("base_ots_us", number)));
        for (name, pair) in [("gates", self.gates), ("look_ups", self.look_ups)] {
            let of = |costs: BitCosts| {
                [costs.step_us, costs.element_ns, costs.byte_ns, costs.pad_byte_ns]
            };
            numbers.extend(pair.into_iter().flat_map(of).map(|number| (name, number)));
        }
        for ring in &self.rings {
            let own = ring.numbers().into_iter().chain(ring.zero_key_us);
            let switches = ring
                .key_switches
                .iter()
                .flat_map(|switch| switch.key_us.into_iter().chain([switch.switch_us]));
            numbers.extend(own.chain(switches).map(|number| ("rings", number)));
        }
        for ExtensionCosts { row_ns, bit_ns, iteration_us, setup_us, .. } in &self.extensions {
            let pairs = [row_ns, bit_ns, iteration_us, setup_us];
            numbers.extend(pairs.into_iter().flatten().map(|&number| ("extensions", number)));
        }
        numbers
    }

    /// Times of the ring of `params`.
    pub(super) fn ring(&self, params: &RlweParams) -> RingCosts {
        let (degree, bits, limbs) = (params.ring_degree(), params.modulus_bits(), params.limbs());
        let distance = |ring: &&RingCosts| {
            let levels = ring.ring_degree.ilog2().abs_diff(degree.ilog2());
            (levels, ring.limbs().abs_diff(limbs), ring.modulus_bits.abs_diff(bits))
        };
        let size = |degree: usize, limbs: usize| {
            (degree * limbs.max(1)) as f64 * f64::from(degree.max(2).ilog2())
        };
        let scaled = |nearest: &RingCosts| {
            nearest.scaled(size(degree, limbs) / size(nearest.ring_degree, nearest.limbs()))
        };
        let nearest = self.rings.iter().min_by_key(distance);
        let mut costs = nearest.map(scaled).unwrap_or_default();
        // The security table leaves some rings no room to switch keys, of whose neighbours others have.
        if costs.key_switches.is_empty() && params.key_switch().is_some() {
            let switching = self.rings.iter().filter(|ring| !ring.key_switches.is_empty());
            let nearest = switching.min_by_key(distance).map(scaled);
            costs.key_switches = nearest.map(|costs| costs.key_switches).unwrap_or_default();
        }
        costs
    }

    /// Times of an extension.
    pub(super) fn extension(&self, ot: OtExtension) -> Option<&ExtensionCosts> {
        let is_alike = |costs: &&ExtensionCosts| {
            std::mem::discriminant(&costs.extension) == std::mem::discriminant(&ot)
        };
        let mut all = self.extensions.iter();
        let exact = all.find(|costs| costs.extension == ot);
        exact.or_else(|| self.extensions.iter().find(is_alike)).or(self.extensions.first())
    }

    /// Microseconds of either party for a row of an OT extension, hashed to pads of four bits: the
    /// mean of sender and receiver, since steps take about as many of either kind.
    #[must_use]
    pub fn row_us(&self, ot: OtExtension) -> f64 {
        let Some(costs) = self.extension(ot) else { return 0.0 };
        let both = |pair: [f64; 2]| (pair[0] + pair[1]) / 2.0;
        let iteration =
            ot.iteration().map_or(0.0, |(rows, _)| both(costs.iteration_us) / rows as f64);
        (both(costs.row_ns) + 3.0 * both(costs.bit_ns)) / 1000.0 + iteration
    }

    /// Microseconds of either party for the set-up of an OT extension after the base OTs, the larger of
    /// the two.
    #[must_use]
    pub fn extension_setup_us(&self, ot: OtExtension) -> f64 {
        self.extension(ot).map_or(0.0, |costs| costs.setup_us[0].max(costs.setup_us[1]))
    }

    /// Microseconds of client and server for one key of a parameter set: that which encrypts zeros, or
    /// one of a Galois element, whichever takes longer.
    #[must_use]
    pub fn key_us(&self, params: &RlweParams) -> [f64; 2] {
        let ring = self.ring(params);
        let galois = ring.key_switch(params).map_or([0.0; 2], |switch| switch.key_us);
        [0, 1].map(|party| ring.zero_key_us[party].max(galois[party]))
    }
}

impl RingCosts {
    /// Primes of the modulus, as [`RlweParams`] divides it.
    fn limbs(&self) -> usize {
        self.modulus_bits.div_ceil(crate::params::MAX_PRIME_BITS) as usize
    }

    /// Times of key switching with the digits of `params`: between two measured numbers of digits, or
    /// beyond them, on the line through the nearest.
    pub(super) fn key_switch(&self, params: &RlweParams) -> Option<KeySwitchCosts> {
        let digits = params.key_switch()?.digits;
        let mut near: Vec<&KeySwitchCosts> = self.key_switches.iter().collect();
        near.sort_by_key(|switch| (switch.digits.abs_diff(digits), switch.digits));
        let (first, second) = (near.first().copied()?, near.get(1).copied());
        let line = |of: &dyn Fn(&KeySwitchCosts) -> f64| {
            let slope = match second {
                Some(second) if second.digits != first.digits => {
                    (of(second) - of(first)) / (f64::from(second.digits) - f64::from(first.digits))
                }
                _ => of(first) / f64::from(first.digits.max(1)),
            };
            (of(first) + slope * (f64::from(digits) - f64::from(first.digits))).max(0.0)
        };
        Some(KeySwitchCosts {
            digits,
            switch_us: line(&|switch| switch.switch_us),
            key_us: [0, 1].map(|party| line(&|switch| switch.key_us[party])),
        })
    }

    fn numbers(&self) -> [f64; 10] {
        [
            self.encrypt_us,
            self.encrypt_coefficient_ns,
            self.decode_us,
            self.decode_coefficient_ns,
            self.product_us,
            self.sum_us,
            self.respond_us,
            self.merge_us,
            self.share_us,
            self.weight_us,
        ]
    }

    fn scaled(&self, scale: f64) -> Self {
        Self {
            encrypt_us: self.encrypt_us * scale,
            encrypt_coefficient_ns: self.encrypt_coefficient_ns * scale,
            decode_us: self.decode_us * scale,
            decode_coefficient_ns: self.decode_coefficient_ns * scale,
            product_us: self.product_us * scale,
            sum_us: self.sum_us * scale,
            respond_us: self.respond_us * scale,
            merge_us: self.merge_us * scale,
            share_us: self.share_us * scale,
            weight_us: self.weight_us * scale,
            zero_key_us: self.zero_key_us.map(|time| time * scale),
            key_switches: self
                .key_switches
                .iter()
                .map(|switch| KeySwitchCosts {
                    digits: switch.digits,
                    switch_us: switch.switch_us * scale,
                    key_us: switch.key_us.map(|time| time * scale),
                })
                .collect(),
            ..self.clone()
        }
    }
}
