//! Finds the indices of the largest values, on planes of any size. See docs/protocols/top.md.

use super::gates::Gates;
use super::{Link, Role};
use crate::error::RunError;
use crate::share::{Plane, planes_of_words};
use heq_ir::protocol::top::{self, FlatMachine};
use heq_ir::protocol::{PlaneMachine, Products};

/// Shared bits, in the order of signed numbers, of accumulators of `acc_bits` bits that are shared as
/// `words` with `guard_bits` guard bits; exact shares have none. Lowest bit first.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn values(
    link: &mut Link<'_>,
    words: &[u64],
    acc_bits: u32,
    guard_bits: u32,
) -> Result<Vec<Plane>, RunError> {
    let planes = planes_of_words(words, acc_bits + guard_bits);
    top::sum_bits(&mut Gates::new(link, &planes, words.len()), acc_bits, guard_bits)
}

/// The indices of the `k` largest of `count` unsigned values, the best first, as shared planes of k
/// elements; of equal values the lower index comes first. `values` are shared planes over `count`
/// elements. Lowest bits first.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// [`RunError`] if the peer goes away or sends a malformed message.
pub fn top(
    link: &mut Link<'_>,
    values: Vec<Plane>,
    count: usize,
    k: usize,
) -> Result<Vec<Plane>, RunError> {
    top::top(&mut FlatGates { link }, values, count, k)
}

/// Circuits with a peer on planes of any size.
struct FlatGates<'a, 'link> {
    link: &'a mut Link<'link>,
}

impl FlatMachine for FlatGates<'_, '_> {
    type Plane = Plane;
    type Error = RunError;

    fn xor(&mut self, a: &Plane, b: &Plane) -> Plane {
        a.xor(b)
    }

    fn not(&mut self, a: &Plane, elements: usize) -> Plane {
        match self.link.role {
            Role::Client => a.clone(),
            Role::Server => a.xor(&Plane::ones(elements)),
        }
    }

    fn and(&mut self, group: &Products<Plane>, elements: usize) -> Result<Vec<Plane>, RunError> {
        let mut gates = Gates::new(self.link, &[], elements);
        Ok(gates.and(std::slice::from_ref(group))?.into_iter().flatten().collect())
    }

    fn gather(
        &mut self,
        planes: &[Plane],
        elements: usize,
        source: impl Fn(usize) -> Option<[usize; 2]>,
    ) -> Plane {
        let bit = |i| source(i).map_or(0, |[plane, bit]| planes[plane].bit(bit));
        Plane::from_bits(elements, (0..elements).map(bit))
    }
}
