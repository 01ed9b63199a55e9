//! Evaluates circuits in the clear: the slow obvious version that tests compare with.

use super::{Comparison, Digit, Equality, PlaneMachine, Products};
use std::convert::Infallible;

/// Holds both parties' words; a plane is the plain bit of every element.
#[derive(Clone, Debug)]
pub struct ClearMachine {
    server: Vec<u64>,
    client: Vec<u64>,
}

impl ClearMachine {
    /// A machine over one word of each party an element.
    #[must_use]
    pub fn new(server: &[u64], client: &[u64]) -> Self {
        Self { server: server.to_vec(), client: client.to_vec() }
    }
}

fn bits(words: &[u64], bit: u32) -> Vec<bool> {
    words.iter().map(|word| word >> bit & 1 == 1).collect()
}

impl PlaneMachine for ClearMachine {
    type Plane = Vec<bool>;
    type Error = Infallible;

    fn server_bit(&mut self, bit: u32) -> Vec<bool> {
        bits(&self.server, bit)
    }

    fn client_bit(&mut self, bit: u32) -> Vec<bool> {
        bits(&self.client, bit)
    }

    fn xor(&mut self, a: &Vec<bool>, b: &Vec<bool>) -> Vec<bool> {
        a.iter().zip(b).map(|(a, b)| a ^ b).collect()
    }

    fn not(&mut self, a: &Vec<bool>) -> Vec<bool> {
        a.iter().map(|a| !a).collect()
    }

    fn and(&mut self, groups: &[Products<Vec<bool>>]) -> Result<Vec<Vec<Vec<bool>>>, Infallible> {
        let product = |a: &[bool], b: &[bool]| a.iter().zip(b).map(|(a, b)| a & b).collect();
        Ok(groups
            .iter()
            .map(|group| group.others.iter().map(|b| product(&group.common, b)).collect())
            .collect())
    }

    fn compare_digits(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<Vec<bool>>>, Infallible> {
        let compare = |digit: &Digit, test: fn(&u64, &u64) -> bool| {
            let mask = (1_u64 << digit.width) - 1;
            let words = self.server.iter().zip(&self.client);
            words.map(|(x, y)| test(&(x >> digit.low & mask), &(!y >> digit.low & mask))).collect()
        };
        Ok(digits
            .iter()
            .map(|digit| Comparison {
                greater: compare(digit, u64::gt),
                equal: (digit.equality == Equality::Shared).then(|| compare(digit, u64::eq)),
            })
            .collect())
    }
}
