//! 1-of-2^k OT from k random OTs an element, the server its sender.
//!
//! The client corrects its k random choices to the bits of `c`; the server exchanges its pads
//! accordingly. Each pad is stretched to `2^k` slices; key j of an element is the exclusive or over
//! positions i of slice j of the pad that bit i of j selects. The client knows key c alone: every
//! other takes a slice, used for no other key, of a pad that it does not know. Keys of one slice for
//! all j would not do. For k = 0 nothing is sent and the only key is zero. Source: [NP99];
//! docs/protocols/table.md.

use super::Link;
use crate::error::RunError;
use crate::share::{Plane, read_planes};
use heq_ot::{Block, RotReceiverBatch, RotSenderBatch, stretch};
use zeroize::Zeroizing;

/// Most bytes that the slices of an element take: 256 of one byte each.
pub(super) const MAX_STREAM_BYTES: usize = 256;

type Stream = Zeroizing<[u8; MAX_STREAM_BYTES]>;

/// Extent of the slices.
#[derive(Clone, Copy)]
pub(super) struct Slices {
    /// Width k of the choices in bits.
    pub(super) choice_bits: u32,
    /// Bytes of a slice.
    pub(super) bytes: usize,
}

impl Slices {
    fn total(self) -> usize {
        (self.bytes << self.choice_bits).min(MAX_STREAM_BYTES)
    }
}

/// Buffers for one element, wiped when all elements are done.
struct Buffers {
    total: usize,
    blocks: Zeroizing<[Block; MAX_STREAM_BYTES / Block::BYTES]>,
    streams: [Stream; 2],
    keys: Stream,
}

impl Buffers {
    fn new(slices: Slices) -> Self {
        let stream = || Zeroizing::new([0; MAX_STREAM_BYTES]);
        Self {
            total: slices.total(),
            blocks: Zeroizing::new([Block::ZERO; MAX_STREAM_BYTES / Block::BYTES]),
            streams: [stream(), stream()],
            keys: stream(),
        }
    }

    /// Stretches a pad to a stream of all slices; a pad that is long enough is the stream.
    fn stretch(&mut self, pad: &Block, stream: usize) {
        let blocks = &mut self.blocks[..self.total.div_ceil(Block::BYTES)];
        match blocks {
            [block] => *block = *pad,
            _ => stretch(pad, blocks),
        }
        let stream = self.streams[stream].chunks_exact_mut(Block::BYTES);
        stream.zip(blocks).for_each(|(bytes, block)| bytes.copy_from_slice(&block.to_bytes()));
    }
}

/// The server's side: all keys of every element.
pub(super) struct SenderKeys {
    slices: Slices,
    batches: Vec<RotSenderBatch>,
    corrections: Vec<Plane>,
    buffers: Buffers,
}

impl SenderKeys {
    /// Receives the client's corrections for `elements` choices.
    pub(super) fn receive(
        link: &mut Link<'_>,
        slices: Slices,
        elements: usize,
    ) -> Result<Self, RunError> {
        let mut batches = Vec::with_capacity(slices.choice_bits as usize);
        for _ in 0..slices.choice_bits {
            batches.push(link.sender.take(elements)?);
        }
        let mut corrections = Vec::new();
        if slices.choice_bits > 0 {
            let bytes = elements.div_ceil(8).saturating_mul(slices.choice_bits as usize);
            corrections.extend(read_planes(&link.channel.recv(bytes)?, elements));
        }
        Ok(Self { slices, batches, corrections, buffers: Buffers::new(slices) })
    }

    /// All keys of element `index`, one after the other.
    pub(super) fn keys(&mut self, index: usize) -> &[u8] {
        let buffers = &mut self.buffers;
        let total = buffers.total;
        buffers.keys[..total].fill(0);
        let mut run = self.slices.bytes;
        for (batch, correction) in self.batches.iter().zip(&self.corrections) {
            buffers.stretch(&batch.pads0()[index], 0);
            buffers.stretch(&batch.pads1()[index], 1);
            let [zeros, ones] = &mut buffers.streams;
            let exchange = u8::from(correction.bit(index) == 1).wrapping_neg();
            for (zero, one) in zeros[..total].iter_mut().zip(&mut ones[..total]) {
                let difference = (*zero ^ *one) & exchange;
                *zero ^= difference;
                *one ^= difference;
            }
            let streams = zeros.chunks_exact(2 * run).zip(ones.chunks_exact(2 * run));
            for (keys, (zero, one)) in buffers.keys[..total].chunks_exact_mut(2 * run).zip(streams)
            {
                let (lower, upper) = keys.split_at_mut(run);
                lower.iter_mut().zip(&zero[..run]).for_each(|(key, byte)| *key ^= byte);
                upper.iter_mut().zip(&one[run..]).for_each(|(key, byte)| *key ^= byte);
            }
            run *= 2;
        }
        &buffers.keys[..total]
    }
}

/// The client's side: the key of every element that its choice selects.
pub(super) struct ReceiverKeys {
    batches: Vec<RotReceiverBatch>,
    buffers: Buffers,
}

impl ReceiverKeys {
    /// Sends the corrections that turn random choices into `choices`, lowest bit first.
    pub(super) fn send(
        link: &mut Link<'_>,
        slices: Slices,
        choices: &[Plane],
        elements: usize,
    ) -> Result<Self, RunError> {
        let mut message = Vec::new();
        let mut batches = Vec::with_capacity(choices.len());
        for choice in choices {
            let batch = link.receiver.take(elements)?;
            let random = Plane::from_words(batch.choices().words());
            choice.xor(&random).write_to(&mut message, elements);
            batches.push(batch);
        }
        if !choices.is_empty() {
            link.channel.send(&message)?;
        }
        Ok(Self { batches, buffers: Buffers::new(slices) })
    }

    /// For element `index`, a stream whose slice at the choice is the key; others are noise.
    pub(super) fn keys(&mut self, index: usize) -> &[u8] {
        let buffers = &mut self.buffers;
        let total = buffers.total;
        buffers.keys[..total].fill(0);
        for batch in &self.batches {
            buffers.stretch(&batch.pads()[index], 0);
            let stream = &buffers.streams[0][..total];
            buffers.keys.iter_mut().zip(stream).for_each(|(key, byte)| *key ^= byte);
        }
        &buffers.keys[..total]
    }
}

/// All ones if `a` is `b`, else zero.
pub(super) fn equal_mask(a: u64, b: u64) -> u64 {
    let difference = a ^ b;
    ((difference | difference.wrapping_neg()) >> (u64::BITS - 1)).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;
    use heq_ot::ideal::ideal_rot;
    use heq_ot::{RotReceiverPool, RotSenderPool};
    use rand_chacha::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn receiver_has_the_chosen_key_alone() {
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let elements = 70;
        for (choice_bits, bytes) in [(0, 8), (1, 8), (2, 8), (3, 8), (4, 16), (6, 4), (5, 8)] {
            let slices = Slices { choice_bits, bytes };
            let words: Vec<u64> =
                (0..elements).map(|_| rng.next_u64() & ((1 << choice_bits) - 1)).collect();
            let choices: Vec<Plane> = (0..choice_bits)
                .map(|bit| Plane::from_bits(elements, words.iter().map(|word| word >> bit & 1)))
                .collect();
            let (sent, received) = ideal_rot(elements * choice_bits as usize, &mut rng);
            let (mut sender, mut receiver) = (RotSenderPool::new(), RotReceiverPool::new());
            sender.push(sent);
            receiver.push(received);
            let (no_sender, no_receiver) = (&mut RotSenderPool::new(), &mut RotReceiverPool::new());
            let (mut client_end, mut server_end) = heq_net::memory::pair();
            let client = &mut Link {
                role: Role::Client,
                channel: &mut client_end,
                sender: no_sender,
                receiver: &mut receiver,
            };
            let mut chosen = ReceiverKeys::send(client, slices, &choices, elements).unwrap();
            let server = &mut Link {
                role: Role::Server,
                channel: &mut server_end,
                sender: &mut sender,
                receiver: no_receiver,
            };
            let mut all = SenderKeys::receive(server, slices, elements).unwrap();
            for (index, choice) in words.iter().enumerate() {
                let (all, chosen) = (all.keys(index), chosen.keys(index));
                let keys = all.chunks(bytes).zip(chosen.chunks(bytes)).take(1 << choice_bits);
                for (value, (key, known)) in (0..).zip(keys) {
                    assert_eq!(key == known, value == *choice, "{choice_bits}: {value}, {choice}");
                }
                if choice_bits >= 2 {
                    let face =
                        (0..bytes).map(|i| (0..4).fold(0, |sum, j| sum ^ all[j * bytes + i]));
                    assert!(
                        face.fold(0, |any, byte| any | byte) != 0,
                        "keys of a face must not cancel"
                    );
                }
            }
            if let Some(first) = all.corrections.first() {
                assert_ne!(first, &choices[0], "choices must be masked");
            }
        }
    }

    #[test]
    fn masks_of_equality() {
        for (a, b, expected) in
            [(0, 0, u64::MAX), (5, 5, u64::MAX), (5, 4, 0), (0, 1 << 63, 0), (u64::MAX, 0, 0)]
        {
            assert_eq!(equal_mask(a, b), expected);
        }
    }
}
