//! Executes circuits on shared planes with a peer: products and digit comparisons from random OTs.
//!
//! Products: with a random OT in which the peer holds pads `r0, r1` and this party `c, r_c`, this
//! party sends `d = x ^ c` while the peer sends `e = r0 ^ r1 ^ y`; then `r_c ^ c*e` here and
//! `r0 ^ d*y` there share `x*y`. Both directions run in one exchange. Digit comparison: a 1-of-2^m
//! OT whose pads are disjoint bits of m random OTs. Derivation: docs/protocols/requantize.md.

use super::{Link, Role, pad_planes};
use crate::error::RunError;
use crate::share::{Plane, read_planes};
use heq_ir::protocol::{Comparison, Digit, PlaneMachine, Products};
use heq_ot::Block;

/// A party's side of a circuit over `elements` elements.
pub struct Gates<'a, 'link> {
    link: &'a mut Link<'link>,
    /// This party's private words.
    words: &'a [u64],
    elements: usize,
}

impl<'a, 'link> Gates<'a, 'link> {
    /// A machine over private `words`, one an element; empty if the circuit reads none.
    pub fn new(link: &'a mut Link<'link>, words: &'a [u64], elements: usize) -> Self {
        Self { link, words, elements }
    }

    fn private_bit(&self, holder: Role, bit: u32) -> Plane {
        if self.link.role == holder {
            Plane::from_bits(self.elements, self.words.iter().map(|word| word >> bit & 1))
        } else {
            Plane::zeros(self.elements)
        }
    }

    fn plane_bytes(&self) -> usize {
        self.elements.div_ceil(8)
    }

    /// The server's side of all digit comparisons.
    fn send_comparisons(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<Plane>>, RunError> {
        let choices: u32 = digits.iter().map(|digit| digit.width).sum();
        let received = self.link.channel.recv(choices as usize * self.plane_bytes())?;
        let mut corrections = read_planes(&received, self.elements);
        let mut message = Vec::new();
        let mut results = Vec::with_capacity(digits.len());
        for digit in digits {
            let planes = digit.result_planes();
            let bits: Vec<Plane> =
                (0..digit.width).map(|i| self.private_bit(Role::Server, digit.low + i)).collect();
            let mut keys = Vec::with_capacity(bits.len());
            for correction in corrections.by_ref().take(bits.len()) {
                keys.push((self.link.sender.take(self.elements)?, correction));
            }
            let mut share: Vec<Plane> = Vec::new();
            for value in 0..1_u32 << digit.width {
                let truth = compare_with(&bits, value, self.elements);
                let mut pads = vec![Plane::zeros(self.elements); planes as usize];
                for (i, (key, correction)) in keys.iter().enumerate() {
                    let pads0 = pad_planes(key.pads0(), value * planes, planes);
                    let pads1 = pad_planes(key.pads1(), value * planes, planes);
                    for ((pad, p0), p1) in pads.iter_mut().zip(&pads0).zip(&pads1) {
                        pad.xor_assign(if value >> i & 1 == 0 { p0 } else { p1 });
                        pad.xor_assign(&correction.and(&p0.xor(p1)));
                    }
                }
                let masked = pads.iter().zip(&truth).map(|(pad, truth)| pad.xor(truth));
                if value == 0 {
                    share = masked.collect();
                } else {
                    for (plane, share) in masked.zip(&share) {
                        plane.xor(share).write_to(&mut message, self.elements);
                    }
                }
            }
            results.push(to_comparison(share));
        }
        self.link.channel.send(&message)?;
        Ok(results)
    }

    /// The client's side of all digit comparisons.
    fn receive_comparisons(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<Plane>>, RunError> {
        let mut message = Vec::new();
        let mut keys = Vec::with_capacity(digits.len());
        for digit in digits {
            let mut digit_keys = Vec::with_capacity(digit.width as usize);
            for i in 0..digit.width {
                let choice = self.private_bit(Role::Client, digit.low + i);
                let choice = choice.xor(&Plane::ones(self.elements));
                let key = self.link.receiver.take(self.elements)?;
                let random = Plane::from_words(key.choices().words());
                choice.xor(&random).write_to(&mut message, self.elements);
                digit_keys.push((choice, key));
            }
            keys.push(digit_keys);
        }
        self.link.channel.send(&message)?;
        let due: u64 = digits.iter().map(Digit::message_planes).sum();
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        let received = self.link.channel.recv(due.saturating_mul(self.plane_bytes()))?;
        let mut ciphertexts = read_planes(&received, self.elements);
        let mut results = Vec::with_capacity(digits.len());
        for (digit, keys) in digits.iter().zip(&keys) {
            let planes = digit.result_planes();
            let choices: Vec<Plane> = keys.iter().map(|(choice, _)| choice.clone()).collect();
            let mut share = vec![Plane::zeros(self.elements); planes as usize];
            for value in 0..1_u32 << digit.width {
                let chosen = equals(&choices, value, self.elements);
                let mut message = vec![Plane::zeros(self.elements); planes as usize];
                for (_, key) in keys {
                    let pads = pad_planes(key.pads(), value * planes, planes);
                    message.iter_mut().zip(&pads).for_each(|(m, pad)| m.xor_assign(pad));
                }
                if value > 0 {
                    for plane in &mut message {
                        plane.xor_assign(&next_plane(&mut ciphertexts)?);
                    }
                }
                for (share, plane) in share.iter_mut().zip(&message) {
                    share.xor_assign(&chosen.and(plane));
                }
            }
            results.push(to_comparison(share));
        }
        Ok(results)
    }
}

impl PlaneMachine for Gates<'_, '_> {
    type Plane = Plane;
    type Error = RunError;

    fn server_bit(&mut self, bit: u32) -> Plane {
        self.private_bit(Role::Server, bit)
    }

    fn client_bit(&mut self, bit: u32) -> Plane {
        self.private_bit(Role::Client, bit)
    }

    fn xor(&mut self, a: &Plane, b: &Plane) -> Plane {
        a.xor(b)
    }

    fn not(&mut self, a: &Plane) -> Plane {
        match self.link.role {
            Role::Client => a.clone(),
            Role::Server => a.xor(&Plane::ones(self.elements)),
        }
    }

    fn and(&mut self, groups: &[Products<Plane>]) -> Result<Vec<Vec<Plane>>, RunError> {
        let mut message = Vec::new();
        let mut correlations = Vec::with_capacity(groups.len());
        for group in groups {
            let sent = self.link.sender.take(self.elements)?;
            let received = self.link.receiver.take(self.elements)?;
            let choice = Plane::from_words(received.choices().words());
            let count = u32::try_from(group.others.len())
                .ok()
                .filter(|&count| count as usize <= Block::BITS)
                .ok_or(RunError::Internal { what: "a product has more factors than a pad bits" })?;
            let pads0 = pad_planes(sent.pads0(), 0, count);
            let pads1 = pad_planes(sent.pads1(), 0, count);
            group.common.xor(&choice).write_to(&mut message, self.elements);
            for ((p0, p1), other) in pads0.iter().zip(&pads1).zip(&group.others) {
                p0.xor(p1).xor(other).write_to(&mut message, self.elements);
            }
            correlations.push((pads0, choice, pad_planes(received.pads(), 0, count)));
        }
        let received = self.link.channel.exchange(&message, message.len())?;
        let mut planes = read_planes(&received, self.elements);
        let mut products = Vec::with_capacity(groups.len());
        for (group, (pads0, choice, pads)) in groups.iter().zip(&correlations) {
            let correction = next_plane(&mut planes)?;
            let mut shares = Vec::with_capacity(group.others.len());
            for ((other, p0), pad) in group.others.iter().zip(pads0).zip(pads) {
                let mut share = group.common.xor(&correction).and(other);
                share.xor_assign(p0);
                share.xor_assign(pad);
                share.xor_assign(&choice.and(&next_plane(&mut planes)?));
                shares.push(share);
            }
            products.push(shares);
        }
        Ok(products)
    }

    fn compare_digits(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<Plane>>, RunError> {
        match self.link.role {
            Role::Client => self.receive_comparisons(digits),
            Role::Server => self.send_comparisons(digits),
        }
    }
}

/// Whether the word with these `bits` is greater than, and equal to, a public `value`.
fn compare_with(bits: &[Plane], value: u32, elements: usize) -> [Plane; 2] {
    let mut greater = Plane::zeros(elements);
    for (i, bit) in bits.iter().enumerate() {
        greater = if value >> i & 1 == 1 {
            bit.and(&greater)
        } else {
            bit.xor(&greater).xor(&bit.and(&greater))
        };
    }
    [greater, equals(bits, value, elements)]
}

/// Whether the word with these `bits` equals a public `value`.
fn equals(bits: &[Plane], value: u32, elements: usize) -> Plane {
    let ones = Plane::ones(elements);
    bits.iter().enumerate().fold(ones.clone(), |equal, (i, bit)| {
        equal.and(&if value >> i & 1 == 1 { bit.clone() } else { bit.xor(&ones) })
    })
}

/// The next plane of a message, whose length was checked when it was received.
fn next_plane(planes: &mut impl Iterator<Item = Plane>) -> Result<Plane, RunError> {
    planes.next().ok_or(RunError::Internal { what: "a message has fewer planes than due" })
}

fn to_comparison(share: Vec<Plane>) -> Comparison<Plane> {
    let mut planes = share.into_iter();
    Comparison { greater: planes.next().unwrap_or_default(), equal: planes.next() }
}
