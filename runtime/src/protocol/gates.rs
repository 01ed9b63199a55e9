//! Executes circuits on shared planes with a peer: products and digit comparisons from random OTs.
//!
//! Products: with a random OT in which the peer holds pads `r0, r1` and this party `c, r_c`, this
//! party sends `d = x ^ c` while the peer sends `e = r0 ^ r1 ^ y`; then `r_c ^ c*e` here and
//! `r0 ^ d*y` there share `x*y`. Both directions run in one exchange. Digit comparison: a 1-of-2^m
//! OT whose pads are disjoint bits of m random OTs. Derivation: docs/protocols/requantize.md.

use super::bit_products::multiply;
use super::one_of_many::{Extent, ReceiverKeys, SenderKeys, equals};
use super::{Link, Role, next_plane, shape};
use crate::error::RunError;
use crate::share::{Plane, read_planes};
use heq_ir::protocol::{Comparison, Digit, Equality, PlaneMachine, Products, are_products};
use heq_mutation::broken;

/// A party's side of a circuit over `elements` elements.
pub struct Gates<'a, 'link> {
    link: &'a mut Link<'link>,
    /// The bits of this party's private words, lowest first.
    words: &'a [Plane],
    elements: usize,
}

impl<'a, 'link> Gates<'a, 'link> {
    /// A machine over private words whose bits are `words`, lowest first; empty if the circuit reads
    /// none.
    pub fn new(link: &'a mut Link<'link>, words: &'a [Plane], elements: usize) -> Self {
        Self { link, words, elements }
    }

    fn private_bit(&self, holder: Role, bit: u32) -> Plane {
        let own = self.words.get(bit as usize).filter(|_| self.link.role == holder);
        own.cloned().unwrap_or_else(|| Plane::zeros(self.elements))
    }

    fn plane_bytes(&self) -> usize {
        self.elements.div_ceil(8)
    }

    /// The products of both parties' private bits.
    fn multiply_private(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<Plane>>, RunError> {
        let own = |digit: &Digit| (self.private_bit(self.link.role, digit.low), 1);
        let factors: Vec<_> = digits.iter().map(own).collect();
        let products = multiply(self.link, &factors, self.elements)?;
        Ok(products.into_iter().map(to_comparison).collect())
    }

    fn extent(&self, digit: &Digit) -> Extent {
        let message_bits = digit.result_planes();
        Extent { choice_bits: digit.width, message_bits, elements: self.elements }
    }

    /// The server's side of all digit comparisons.
    fn send_comparisons(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<Plane>>, RunError> {
        let choices: u32 = digits.iter().map(|digit| digit.width).sum();
        let received = self.link.channel.recv(choices as usize * self.plane_bytes())?;
        let mut corrections = read_planes(&received, self.elements);
        let sent: u64 = digits.iter().map(Digit::message_planes).sum();
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        let mut message = Vec::with_capacity(sent.saturating_mul(self.plane_bytes()));
        let mut results = Vec::with_capacity(digits.len());
        for digit in digits {
            let extent = self.extent(digit);
            let keys = SenderKeys::new(self.link, extent, &mut corrections)?;
            let bits: Vec<Plane> =
                (0..digit.width).map(|i| self.private_bit(Role::Server, digit.low + i)).collect();
            let truths = truths(digit, &bits, self.elements);
            results.push(to_comparison(keys.share(truths, &mut message)));
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
        let ones = Plane::ones(self.elements);
        for digit in digits {
            let choices = (0..digit.width)
                .map(|i| self.private_bit(Role::Client, digit.low + i).xor(&ones))
                .collect();
            keys.push(ReceiverKeys::new(self.link, self.extent(digit), choices, &mut message)?);
        }
        self.link.channel.send(&message)?;
        let due: u64 = digits.iter().map(Digit::message_planes).sum();
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        let received = self.link.channel.recv(due.saturating_mul(self.plane_bytes()))?;
        let mut messages = read_planes(&received, self.elements);
        keys.into_iter().map(|keys| Ok(to_comparison(keys.choose(1, &mut messages)?))).collect()
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

    fn server_any(&mut self, low: u32, high: u32) -> Plane {
        let bits = (low..high).map(|bit| self.private_bit(Role::Server, bit));
        bits.fold(Plane::zeros(self.elements), |any, bit| any.xor(&bit).xor(&any.and(&bit)))
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
        let planes: usize = groups.iter().map(|group| 1 + group.others.len()).sum();
        let mut message = Vec::with_capacity(planes.saturating_mul(self.plane_bytes()));
        let mut correlations = Vec::with_capacity(groups.len());
        for group in groups {
            let count = u32::try_from(group.others.len())
                .map_err(|_| RunError::Internal { what: "a product has too many factors" })?;
            let sent = self.link.sender.take(shape(1, self.elements, count))?;
            let received = self.link.receiver.take(shape(1, self.elements, count))?;
            let choice = Plane::from_words(received.choices(0));
            let is_bare = broken!(
                "common factors of products are sent bare",
                "heq-runtime secrecy no_sum_of_messages_shows_anything"
            );
            let masked = if is_bare { group.common.clone() } else { group.common.xor(&choice) };
            masked.write_to(&mut message, self.elements);
            for (bit, other) in group.others.iter().enumerate() {
                let mut masked = other.clone();
                if !broken!(
                    "other factors of products are sent bare",
                    "heq-runtime secrecy no_sum_of_messages_shows_anything, heq-tests leakage shares_and_messages_of_every_step_are_uniform"
                ) {
                    masked.xor_words(sent.pads0(0, bit));
                    masked.xor_words(sent.pads1(0, bit));
                }
                masked.write_to(&mut message, self.elements);
            }
            correlations.push((sent, choice, received));
        }
        let received = self.link.channel.exchange(&message, message.len())?;
        let mut planes = read_planes(&received, self.elements);
        let mut products = Vec::with_capacity(groups.len());
        for (group, (sent, choice, received)) in groups.iter().zip(correlations) {
            let corrected = group.common.xor(&next_plane(&mut planes)?);
            let mut shares = Vec::with_capacity(group.others.len());
            for (bit, other) in group.others.iter().enumerate() {
                let mut share = corrected.and(other);
                share.xor_assign(&choice.and(&next_plane(&mut planes)?));
                share.xor_words(sent.pads0(0, bit));
                share.xor_words(received.pads(0, bit));
                shares.push(share);
            }
            products.push(shares);
        }
        Ok(products)
    }

    fn compare_digits(&mut self, digits: &[Digit]) -> Result<Vec<Comparison<Plane>>, RunError> {
        if are_products(digits) {
            return self.multiply_private(digits);
        }
        match self.link.role {
            Role::Client => self.receive_comparisons(digits),
            Role::Server => self.send_comparisons(digits),
        }
    }
}

/// For every value of the client's digit, whether the server's, whose bits are `bits`, is greater, and
/// whether it is equal if that is wanted.
fn truths(digit: &Digit, bits: &[Plane], elements: usize) -> Vec<Plane> {
    let mut greater = Plane::zeros(elements);
    let mut truths = Vec::with_capacity((digit.result_planes() as usize) << digit.width);
    // From the largest value down: greater than one is greater than the next or equal to it.
    for equal in equals(bits, elements).into_iter().rev() {
        let next = greater.xor(&equal);
        truths.extend((digit.equality == Equality::Shared).then_some(equal));
        truths.push(greater);
        greater = next;
    }
    truths.reverse();
    truths
}

fn to_comparison(share: Vec<Plane>) -> Comparison<Plane> {
    let mut planes = share.into_iter();
    Comparison { greater: planes.next().unwrap_or_default(), equal: planes.next() }
}
