//! 1-of-2^k OT from k random OTs an element, the server its sender, on planes.
//!
//! The client corrects its k random choices to the bits of `c`; the server exchanges its pads
//! accordingly. Key j of an element is the exclusive or over positions i of a slice of the pad that bit
//! i of j selects: of the `2^(k-1)` slices of the pad the one numbered by the other bits of j. The client
//! knows key c alone: every other takes a slice, used for no other key, of a pad that it does not know.
//! Keys of one slice for all j would not do. For k = 0 nothing is sent and the only key is zero.
//! Source: [NP99]; docs/protocols/table.md.

use super::{Link, next_plane, shape};
use crate::error::RunError;
use crate::share::Plane;
use heq_ir::protocol::one_of_many_pad_bits;
use heq_mutation::broken;
use heq_ot::{RotSenderBatch, RotShape};

/// Extent of the OTs of a batch.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    /// Width k of the choices in bits.
    pub(super) choice_bits: u32,
    /// Width of a message in bits.
    pub(super) message_bits: u32,
    /// Number of elements.
    pub(super) elements: usize,
}

impl Extent {
    fn shape(self) -> RotShape {
        let bits = one_of_many_pad_bits(self.choice_bits, self.message_bits);
        let bits = u32::try_from(bits).unwrap_or(u32::MAX);
        shape(self.choice_bits as usize, self.elements, bits)
    }
}

/// Whether all keys take the same bits of a pad.
fn has_one_slice() -> bool {
    broken!(
        "keys of a 1-of-many OT share a slice",
        "heq-runtime lib receiver_has_the_chosen_key_alone"
    )
}

/// The server's side.
pub(super) struct SenderKeys {
    extent: Extent,
    batch: Option<RotSenderBatch>,
    corrections: Vec<Plane>,
}

impl SenderKeys {
    /// Takes the random OTs of `extent`; the client's corrections are the next of `corrections`.
    pub(super) fn new(
        link: &mut Link<'_>,
        extent: Extent,
        corrections: &mut impl Iterator<Item = Plane>,
    ) -> Result<Self, RunError> {
        let batch = match extent.choice_bits {
            0 => None,
            _ => Some(link.sender.take(extent.shape())?),
        };
        let corrections =
            (0..extent.choice_bits).map(|_| next_plane(corrections)).collect::<Result<_, _>>()?;
        Ok(Self { extent, batch, corrections })
    }

    /// Adds its key to each of `messages`: the planes of one message after the other.
    pub(super) fn encrypt(&self, messages: &mut [Plane]) {
        let Some(batch) = &self.batch else { return };
        if broken!(
            "messages of a 1-of-many OT are sent bare",
            "heq-runtime secrecy no_sum_of_messages_shows_anything, heq-tests leakage shares_and_messages_of_every_step_are_uniform"
        ) {
            return;
        }
        let message_bits = self.extent.message_bits as usize;
        for (position, correction) in self.corrections.iter().enumerate() {
            let half = message_bits << position;
            // The slices of a pad follow the numbers of the messages, less this bit.
            let mut bits = 0..;
            for pair in messages.chunks_exact_mut(2 * half) {
                let (lower, upper) = pair.split_at_mut(half);
                for ((a, b), bit) in lower.iter_mut().zip(upper).zip(&mut bits) {
                    let bit = if has_one_slice() { bit % message_bits } else { bit };
                    let pads = batch.pads0(position, bit).iter().zip(batch.pads1(position, bit));
                    let words = a.words_mut().iter_mut().zip(b.words_mut());
                    for (((a, b), (p0, p1)), correction) in words.zip(pads).zip(correction.words())
                    {
                        let difference = (p0 ^ p1) & correction;
                        *a ^= p0 ^ difference;
                        *b ^= p1 ^ difference;
                    }
                }
            }
        }
    }

    /// Encrypts `messages`, one for each choice, the planes of one after the other, such that the
    /// parties share the chosen one; appends what the client needs to `out` and returns this party's
    /// share.
    pub(super) fn share(&self, mut messages: Vec<Plane>, out: &mut Vec<u8>) -> Vec<Plane> {
        self.encrypt(&mut messages);
        // The first message would be zero, and is not sent.
        let sent = messages.split_off(self.extent.message_bits as usize);
        for (mut plane, share) in sent.into_iter().zip(messages.iter().cycle()) {
            plane.xor_assign(share);
            plane.write_to(out, self.extent.elements);
        }
        messages
    }
}

/// The client's side.
pub(super) struct ReceiverKeys {
    extent: Extent,
    choices: Vec<Plane>,
    key: Vec<Plane>,
}

impl ReceiverKeys {
    /// Takes the random OTs of `extent` and appends to `out` the corrections that turn their choices
    /// into `choices`, lowest bit first.
    pub(super) fn new(
        link: &mut Link<'_>,
        extent: Extent,
        choices: Vec<Plane>,
        out: &mut Vec<u8>,
    ) -> Result<Self, RunError> {
        let message_bits = extent.message_bits as usize;
        let mut key = vec![Plane::zeros(extent.elements); message_bits];
        if extent.choice_bits > 0 {
            let batch = link.receiver.take(extent.shape())?;
            for (position, choice) in choices.iter().enumerate() {
                let mut correction = choice.clone();
                if !broken!(
                    "choices of a 1-of-many OT are sent bare",
                    "heq-runtime secrecy no_sum_of_messages_shows_anything"
                ) {
                    correction.xor_words(batch.choices(position));
                }
                correction.write_to(out, extent.elements);
                let others: Vec<_> =
                    choices[..position].iter().chain(&choices[position + 1..]).collect();
                let slice = |slice: usize| {
                    let slice = if has_one_slice() { 0 } else { slice };
                    let bits = slice * message_bits..(slice + 1) * message_bits;
                    Ok(bits.map(|bit| Plane::from_words(batch.pads(position, bit))).collect())
                };
                let chosen = select(&others, 0, &mut { slice })?;
                key.iter_mut().zip(&chosen).for_each(|(key, chosen)| key.xor_assign(chosen));
            }
        }
        Ok(Self { extent, choices, key })
    }

    /// The chosen message; `messages` brings those of choices `first..`, the ones before are zero.
    pub(super) fn choose(
        self,
        first: usize,
        messages: &mut impl Iterator<Item = Plane>,
    ) -> Result<Vec<Plane>, RunError> {
        let mut message = |value: usize| {
            let planes = 0..self.extent.message_bits;
            match value < first {
                true => Ok(planes.map(|_| Plane::zeros(self.extent.elements)).collect()),
                false => planes.map(|_| next_plane(messages)).collect(),
            }
        };
        let mut chosen = select(&self.choices.iter().collect::<Vec<_>>(), 0, &mut message)?;
        chosen.iter_mut().zip(&self.key).for_each(|(chosen, key)| chosen.xor_assign(key));
        Ok(chosen)
    }
}

/// The value whose number less `first` has the bits `number`, lowest first, of the values that
/// `value` makes, each asked for once and in order.
fn select(
    number: &[&Plane],
    first: usize,
    value: &mut impl FnMut(usize) -> Result<Vec<Plane>, RunError>,
) -> Result<Vec<Plane>, RunError> {
    let Some((top, rest)) = number.split_last() else { return value(first) };
    let mut selected = select(rest, first, value)?;
    let upper = select(rest, first + (1 << rest.len()), value)?;
    selected.iter_mut().zip(&upper).for_each(|(plane, upper)| plane.select(upper, top));
    Ok(selected)
}

/// For every value of the number whose bits are `bits`, lowest first, whether it is that.
pub(super) fn equals(bits: &[Plane], elements: usize) -> Vec<Plane> {
    let mut equal = vec![Plane::ones(elements)];
    for bit in bits {
        let ones: Vec<Plane> = equal.iter().map(|plane| plane.and(bit)).collect();
        equal.iter_mut().zip(&ones).for_each(|(plane, ones)| plane.xor_assign(ones));
        equal.extend(ones);
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;
    use crate::share::{planes_of_words, read_planes, words_of_planes};
    use heq_ot::ideal::ideal_rot;
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn receiver_has_the_chosen_key_alone() {
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let elements = 70;
        for (choice_bits, message_bits) in [0, 1, 2, 3, 4, 5, 6].map(|k| (k, 40)) {
            let extent = Extent { choice_bits, message_bits, elements };
            let words: Vec<u64> =
                (0..elements).map(|_| rng.next_u64() & ((1 << choice_bits) - 1)).collect();
            let choices = planes_of_words(&words, choice_bits);
            let (sent, received) = ideal_rot(extent.shape(), &mut rng);
            let (mut sender, mut receiver) =
                ([sent].into_iter().collect(), [received].into_iter().collect());
            let (no_sender, no_receiver) =
                (&mut [].into_iter().collect(), &mut [].into_iter().collect());
            let (mut client_end, mut server_end) = heq_net::memory::pair();
            let client = &mut Link {
                role: Role::Client,
                channel: &mut client_end,
                sender: no_sender,
                receiver: &mut receiver,
            };
            let mut corrections = Vec::new();
            let chosen =
                ReceiverKeys::new(client, extent, choices.clone(), &mut corrections).unwrap();
            let server = &mut Link {
                role: Role::Server,
                channel: &mut server_end,
                sender: &mut sender,
                receiver: no_receiver,
            };
            let mut corrections = read_planes(&corrections, elements);
            let all = SenderKeys::new(server, extent, &mut corrections).unwrap();
            let bits = message_bits as usize;
            let mut keys = vec![Plane::zeros(elements); bits << choice_bits];
            all.encrypt(&mut keys);
            let keys: Vec<&[Plane]> = keys.chunks(bits).collect();
            // All messages zero: what is chosen is the key itself.
            let zeros = &mut std::iter::repeat_with(|| Plane::zeros(elements));
            let known = words_of_planes(&chosen.choose(0, zeros).unwrap(), elements);
            for (value, key) in keys.iter().enumerate() {
                for (index, key) in words_of_planes(key, elements).iter().enumerate() {
                    let is_chosen = words[index] == value as u64;
                    assert_eq!(*key == known[index], is_chosen, "{choice_bits}: {value}");
                }
            }
            if choice_bits >= 2 {
                let mut face = vec![Plane::zeros(elements); bits];
                for key in &keys[..4] {
                    face.iter_mut().zip(*key).for_each(|(face, key)| face.xor_assign(key));
                }
                let cancelled =
                    words_of_planes(&face, elements).iter().filter(|w| **w == 0).count();
                assert!(cancelled < elements / 2, "keys of a face must not cancel");
            }
            if let Some(first) = all.corrections.first() {
                assert_ne!(first, &choices[0], "choices must be masked");
            }
        }
    }
}
