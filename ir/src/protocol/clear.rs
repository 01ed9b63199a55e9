//! Evaluates circuits in the clear: the slow obvious version that tests compare with.

use super::{Comparison, Digit, Equality, PlaneMachine, Products};
use std::convert::Infallible;

/// Holds both parties' words; a plane is the plain bit of every element, 64 elements a word.
///
/// Bits beyond the elements are arbitrary.
#[derive(Clone, Debug)]
pub struct ClearMachine {
    server: Vec<Vec<u64>>,
    client: Vec<Vec<u64>>,
    words: usize,
}

impl ClearMachine {
    /// A machine over one word of each party an element.
    #[must_use]
    pub fn new(server: &[u64], client: &[u64]) -> Self {
        Self::from_planes(planes(server), planes(client))
    }

    /// A machine over the bits of each party's words, lowest first.
    #[must_use]
    pub fn from_planes(server: Vec<Vec<u64>>, client: Vec<Vec<u64>>) -> Self {
        let words = server.iter().chain(&client).map(Vec::len).max().unwrap_or(0);
        Self { server, client, words }
    }

    fn bit(&self, planes: &[Vec<u64>], bit: u32) -> Vec<u64> {
        planes.get(bit as usize).cloned().unwrap_or_else(|| vec![0; self.words])
    }
}

/// All 64 planes of the bits of `words`, lowest first.
fn planes(words: &[u64]) -> Vec<Vec<u64>> {
    let gather = |chunk: &[u64], bit: usize| {
        chunk.iter().enumerate().fold(0, |plane, (index, word)| plane | (word >> bit & 1) << index)
    };
    let plane = |bit| words.chunks(64).map(|chunk| gather(chunk, bit)).collect();
    (0..64).map(plane).collect()
}

fn zip(a: &[u64], b: &[u64], op: impl Fn(u64, u64) -> u64) -> Vec<u64> {
    a.iter().zip(b).map(|(&a, &b)| op(a, b)).collect()
}

impl PlaneMachine for ClearMachine {
    type Plane = Vec<u64>;
    type Error = Infallible;

    fn server_bit(&mut self, bit: u32) -> Vec<u64> {
        self.bit(&self.server, bit)
    }

    fn client_bit(&mut self, bit: u32) -> Vec<u64> {
        self.bit(&self.client, bit)
    }

    fn server_any(&mut self, low: u32, high: u32) -> Vec<u64> {
        let none = vec![0; self.words];
        (low..high).fold(none, |any, bit| zip(&any, &self.server_bit(bit), |a, b| a | b))
    }

    fn xor(&mut self, a: &Vec<u64>, b: &Vec<u64>) -> Vec<u64> {
        zip(a, b, |a, b| a ^ b)
    }

    fn not(&mut self, a: &Vec<u64>) -> Vec<u64> {
        a.iter().map(|a| !a).collect()
    }

    fn and(&mut self, groups: &[Products<Vec<u64>>]) -> Result<Vec<Vec<Vec<u64>>>, Infallible> {
        let products = |group: &Products<Vec<u64>>| {
            group.others.iter().map(|other| zip(&group.common, other, |a, b| a & b)).collect()
        };
        Ok(groups.iter().map(products).collect())
    }

    fn compare_digits(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<Vec<u64>>>, Infallible> {
        let compare = |digit: &Digit| {
            let (mut greater, mut equal) = (vec![0; self.words], vec![u64::MAX; self.words]);
            for bit in digit.low..digit.low + digit.width {
                let (x, y) = (self.bit(&self.server, bit), self.bit(&self.client, bit));
                // The client's bit is complemented.
                let same = zip(&x, &y, |x, y| x ^ y);
                greater =
                    zip(&zip(&x, &y, |x, y| x & y), &zip(&same, &greater, |a, b| a & b), |a, b| {
                        a | b
                    });
                equal = zip(&equal, &same, |a, b| a & b);
            }
            let equal = (digit.equality == Equality::Shared).then_some(equal);
            Comparison { greater, equal }
        };
        Ok(digits.iter().map(compare).collect())
    }
}
