//! What the tests of all random OTs share.

use heq_ot::{RotBatch, RotReceiverBatch, RotSenderBatch, RotShape};

pub(crate) const fn shape(planes: usize, elements: usize, bits: usize) -> RotShape {
    RotShape { planes, elements, bits }
}

pub(crate) fn rows(shapes: &[RotShape]) -> usize {
    shapes.iter().map(|shape| shape.rows()).sum()
}

/// Asserts that two batches are the two sides of random OTs of `shape`.
pub(crate) fn check_rot(
    name: &str,
    shape: RotShape,
    sender: &RotSenderBatch,
    receiver: &RotReceiverBatch,
) {
    assert_eq!((sender.shape(), receiver.shape()), (shape, shape), "{name}");
    let unused = |words: &[u64]| {
        let last = words.last().copied().unwrap_or(0);
        !shape.elements.is_multiple_of(64) && last >> (shape.elements % 64) != 0
    };
    for plane in 0..shape.planes {
        let choices = receiver.choices(plane);
        assert!(choices.len() == shape.words() && !unused(choices), "{name}");
        for bit in 0..shape.bits {
            let (pads0, pads1) = (sender.pads0(plane, bit), sender.pads1(plane, bit));
            let pads = receiver.pads(plane, bit);
            assert!(!unused(pads0) && !unused(pads1) && !unused(pads), "{name}");
            for (word, pad) in pads.iter().enumerate() {
                let chosen = pads0[word] ^ (choices[word] & (pads0[word] ^ pads1[word]));
                assert_eq!(*pad, chosen, "{name} plane {plane} bit {bit} word {word}");
            }
            assert!(shape.elements < 64 || pads0 != pads1, "{name} plane {plane} bit {bit}");
        }
    }
}

/// Number of positions where two planes agree.
pub(crate) fn agreements(a: &[u64], b: &[u64]) -> usize {
    64 * a.len() - a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones() as usize).sum::<usize>()
}
