//! The cheapest ring, modulus and dropped bits of a linear layer.
//!
//! Bytes grow with the bits that a coefficient of a request and of a response keeps, whatever the
//! tile. So for every ring degree and weight norm the choices that keep the noise within its window
//! are found once, without those that another one beats in both; a tile weighs the few that are left.

use heq_ir::params::noise::NoiseModel;
use heq_ir::params::security::max_modulus_bits;
use heq_ir::params::{MAX_MODULUS_BITS, MIN_MODULUS_BITS, RING_DEGREES, RlweParams, RlweSpec};
use heq_ir::traffic::wire_bytes;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Most low bits that are worth dropping from a request: its error must stay near the encryption's.
const MAX_REQUEST_DROP_BITS: u32 = 12;

/// Every parameter set, the narrowest modulus of a degree first.
static PARAMETER_SETS: LazyLock<Vec<RlweParams>> = LazyLock::new(|| {
    let sets = RING_DEGREES.iter().flat_map(|&ring_degree| {
        let widest = max_modulus_bits(ring_degree).unwrap_or(0).min(MAX_MODULUS_BITS);
        (MIN_MODULUS_BITS..=widest).filter_map(move |modulus_bits| {
            RlweParams::check(RlweSpec { ring_degree, modulus_bits }).ok()
        })
    });
    sets.collect()
});

/// Parameters whose noise stays within its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Ring degree and modulus.
    pub(super) params: RlweParams,
    /// Low bits dropped from every request coefficient.
    pub(super) request_drop_bits: u32,
    /// Low bits dropped from every response coefficient.
    pub(super) response_drop_bits: u32,
}

impl Choice {
    /// Bytes on the wire in both directions of so many requests and responses.
    pub(super) fn bytes(&self, requests: usize, responses: usize) -> u64 {
        let bytes = |count: usize, drop_bits| {
            count as u64 * wire_bytes(self.params.polynomial_bytes(drop_bits))
        };
        bytes(requests, self.request_drop_bits) + bytes(responses, self.response_drop_bits)
    }

    /// Bits that a coefficient of a request and of a response keeps.
    fn kept_bits(&self) -> [u32; 2] {
        [self.request_drop_bits, self.response_drop_bits].map(|d| self.params.modulus_bits() - d)
    }
}

/// The choices of one layer.
pub(super) struct Choices {
    output_bits: u32,
    margin: f64,
    /// By ring degree and `log2 ||W||^2`.
    known: HashMap<(usize, u32), Vec<Choice>>,
}

impl Choices {
    /// Choices for shares of `output_bits` bits whose noise keeps `margin`.
    pub(super) fn new(output_bits: u32, margin: f64) -> Self {
        Self { output_bits, margin, known: HashMap::new() }
    }

    /// The choice of fewest bytes for so many requests and responses, the narrowest modulus first.
    pub(super) fn cheapest(
        &mut self,
        ring_degree: usize,
        weight_norm_squared_log2: u32,
        requests: usize,
        responses: usize,
    ) -> Option<Choice> {
        let Self { output_bits, margin, .. } = *self;
        let choices = self
            .known
            .entry((ring_degree, weight_norm_squared_log2))
            .or_insert_with_key(|&(degree, norm)| best_choices(degree, norm, output_bits, margin));
        choices.iter().min_by_key(|choice| choice.bytes(requests, responses)).copied()
    }
}

/// All choices but those that another one, of no wider modulus, beats in both directions.
fn best_choices(
    ring_degree: usize,
    weight_norm_squared_log2: u32,
    output_bits: u32,
    margin: f64,
) -> Vec<Choice> {
    let mut best: Vec<Choice> = Vec::new();
    let sets = PARAMETER_SETS.iter().filter(|params| {
        params.ring_degree() == ring_degree && params.modulus_bits() > output_bits
    });
    for &params in sets {
        for request_drop_bits in 0..=MAX_REQUEST_DROP_BITS {
            let holds = |response_drop_bits: u32| {
                let model = NoiseModel {
                    weight_norm_squared: f64::from(weight_norm_squared_log2).exp2(),
                    request_drop_bits,
                    response_drop_bits,
                };
                model.margin(&params, output_bits) >= margin
            };
            let Some(response_drop_bits) = largest_below(params.modulus_bits(), holds) else {
                break;
            };
            let choice = Choice { params, request_drop_bits, response_drop_bits };
            let [request, response] = choice.kept_bits();
            let beaten = best.iter().any(|other| {
                let [other_request, other_response] = other.kept_bits();
                other_request <= request && other_response <= response
            });
            if !beaten {
                best.push(choice);
            }
        }
    }
    best
}

/// The largest value below `limit` that `holds`, which is so up to a point and not beyond.
fn largest_below(limit: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut first, mut end) = (0, limit);
    while first < end {
        let middle = first.midpoint(end);
        if holds(middle) { first = middle + 1 } else { end = middle }
    }
    first.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every choice that keeps its margin, narrowest modulus first.
    fn all_choices(
        ring_degree: usize,
        norm_log2: u32,
        output_bits: u32,
        margin: f64,
    ) -> Vec<Choice> {
        let mut all = Vec::new();
        for &params in PARAMETER_SETS.iter().filter(|set| set.ring_degree() == ring_degree) {
            for request_drop_bits in 0..=MAX_REQUEST_DROP_BITS {
                for response_drop_bits in 0..params.modulus_bits() {
                    let model = NoiseModel {
                        weight_norm_squared: f64::from(norm_log2).exp2(),
                        request_drop_bits,
                        response_drop_bits,
                    };
                    if params.modulus_bits() > output_bits
                        && model.margin(&params, output_bits) >= margin
                    {
                        all.push(Choice { params, request_drop_bits, response_drop_bits });
                    }
                }
            }
        }
        all
    }

    #[test]
    fn the_choice_is_the_cheapest_of_all() {
        for (ring_degree, norm_log2, output_bits, two_primes) in [
            (1024, 8, 9, false),
            (2048, 24, 21, false),
            (4096, 30, 24, false),
            (4096, 40, 37, true),
            (8192, 48, 45, true),
        ] {
            let mut choices = Choices::new(output_bits, 9.2);
            let all = all_choices(ring_degree, norm_log2, output_bits, 9.2);
            for (requests, responses) in [(1, 1), (9, 144), (48, 2), (3, 1), (0, 5)] {
                let choice = choices.cheapest(ring_degree, norm_log2, requests, responses).unwrap();
                let least = all.iter().map(|other| other.bytes(requests, responses)).min().unwrap();
                assert_eq!(choice.bytes(requests, responses), least, "{choice:?}");
                assert!(all.contains(&choice), "{choice:?}");
                assert_eq!(choice.params.primes().count() == 2, two_primes, "{choice:?}");
            }
            assert!(best_choices(ring_degree, norm_log2, output_bits, 9.2).len() < 20);
        }
    }

    #[test]
    fn no_choice_where_no_modulus_is_wide_enough() {
        for (ring_degree, norm_log2, output_bits) in [(2048, 40, 45), (8192, 100, 70)] {
            assert_eq!(Choices::new(output_bits, 9.2).cheapest(ring_degree, norm_log2, 1, 1), None);
        }
    }
}
