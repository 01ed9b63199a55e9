//! All-but-one GGM trees, set-up of the SoftSpoken extension.
//!
//! From `k` base OTs one party gets `2^k` seeds, the other all of them but the one whose index is
//! its secret `D`. A node is a seed; its children are `AES_node(0)` and `AES_node(1)`. Level `l` of
//! the tree decides bit `l` of the leaf index: node `x` of level `l` has the children `x` and
//! `x + 2^l`. The nodes of the first level are the two keys of the first base OT themselves, so a
//! tree of one level takes no message; every further level takes two blocks, the sums of its two
//! kinds of children, each masked by one key of its base OT.
//!
//! Invariant: the party with the hole holds its nodes at index `y = x ^ D`. The hole is then always
//! at `y = 0`, and no index depends on the secret.
//!
//! Source: the tree of [GGM86, section 3], punctured as [Roy22, introduction] needs it.

use heq_mutation::broken;
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

use crate::aes128::Aes128;
use crate::block::Block;

/// Blocks of message for a tree of `field_bits` levels.
pub(crate) const fn message_blocks(field_bits: usize) -> usize {
    2 * (field_bits - 1)
}

/// The two children of a node.
fn children(node: Block) -> [Block; 2] {
    let mut children = [Block::new(0), Block::new(1)];
    Aes128::new(node).encrypt(&mut children);
    children
}

fn sum(blocks: &[Block]) -> Block {
    blocks.iter().fold(Block::ZERO, |sum, block| sum ^ *block)
}

fn is_unmasked() -> bool {
    broken!("sums of trees are not masked", "heq-ot lib both_sums_of_a_level_are_masked")
}

/// The `2^k` leaves of the tree of `k = base.len()` base OTs; appends its message to `message`.
///
/// **Shapes**: `base: [k][2]`, out: `[2^k]`, message: `[k - 1][2]`.
pub(crate) fn all_leaves(base: &[[Block; 2]], message: &mut Vec<Block>) -> Zeroizing<Vec<Block>> {
    let mut nodes = Zeroizing::new(base.first().map_or_else(Vec::new, |pair| pair.to_vec()));
    for pair in base.iter().skip(1) {
        let width = nodes.len();
        let mut next = Zeroizing::new(vec![Block::ZERO; 2 * width]);
        let (zeros, ones) = next.split_at_mut(width);
        for ((node, zero), one) in nodes.iter().zip(&mut *zeros).zip(&mut *ones) {
            [*zero, *one] = children(*node);
        }
        let masks = if is_unmasked() { [Block::ZERO; 2] } else { *pair };
        message.extend([sum(zeros) ^ masks[0], sum(ones) ^ masks[1]]);
        nodes = next;
    }
    nodes
}

/// All leaves but leaf `D`, with leaf `x` at index `x ^ D`; index 0 holds no leaf and is zero.
///
/// **Shapes**: `keys: [k]`, where `keys[l]` is the key of base OT `l` for the choice `1 - D_l`;
/// `hole: [k]`, the bits of `D`; `message: [k - 1][2]`; out: `[2^k]`.
pub(crate) fn all_but_one(
    keys: &[Block],
    hole: &[Choice],
    message: &[Block],
) -> Zeroizing<Vec<Block>> {
    let first = keys.first().copied().unwrap_or_default();
    let mut nodes = Zeroizing::new(vec![Block::ZERO, first]);
    for ((key, bit), sums) in keys.iter().zip(hole).skip(1).zip(message.chunks_exact(2)) {
        let width = nodes.len();
        let mut next = Zeroizing::new(vec![Block::ZERO; 2 * width]);
        let (zeros, ones) = next.split_at_mut(width);
        for ((node, zero), one) in nodes.iter().zip(&mut *zeros).zip(&mut *ones).skip(1) {
            [*zero, *one] = children(*node);
            Block::conditional_swap(zero, one, *bit);
        }
        let masked = Block::conditional_select(&sums[0], &sums[1], !*bit);
        let mask = if is_unmasked() { Block::ZERO } else { *key };
        ones[0] = masked ^ mask ^ sum(&ones[1..]);
        nodes = next;
    }
    nodes
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Leaf `x` by walking down its own path.
    fn leaf_naive(base: &[[Block; 2]], x: usize) -> Block {
        let mut node = base[0][x & 1];
        for level in 1..base.len() {
            node = children(node)[(x >> level) & 1];
        }
        node
    }

    /// The sums differ from those of the tree by the keys: with either of them in the clear the other party
    /// has all leaves.
    #[test]
    fn both_sums_of_a_level_are_masked() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let base: Vec<_> =
            (0..4).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
        let mut message = Vec::new();
        all_leaves(&base, &mut message);
        for (level, sums) in (1..4).zip(message.chunks(2)) {
            for (kind, found) in sums.iter().enumerate() {
                let leaves =
                    (0..1 << level).map(|x| leaf_naive(&base[..=level], kind << level | x));
                let plain = leaves.fold(Block::ZERO, |sum, leaf| sum ^ leaf);
                assert_ne!(*found, plain, "level {level}");
                assert_eq!(*found ^ plain, base[level][kind], "level {level}");
            }
        }
    }

    #[test]
    fn leaves_are_those_of_the_naive_tree_and_the_hole_is_missing() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for field_bits in [1, 2, 4, 8] {
            let base: Vec<_> = (0..field_bits)
                .map(|_| [Block::random(&mut rng), Block::random(&mut rng)])
                .collect();
            let mut message = Vec::new();
            let leaves = all_leaves(&base, &mut message);
            assert_eq!(message.len(), message_blocks(field_bits));
            for (x, leaf) in leaves.iter().enumerate() {
                assert_eq!(*leaf, leaf_naive(&base, x), "k={field_bits} x={x}");
            }
            for hole in (0..1 << field_bits).step_by(if field_bits == 8 { 37 } else { 1 }) {
                let bit = |l: usize| (hole >> l) & 1;
                let keys: Vec<_> = (0..field_bits).map(|l| base[l][1 - bit(l)]).collect();
                let hole_bits: Vec<_> =
                    (0..field_bits).map(|l| Block::new(hole as u128).bit(l)).collect();
                let held = all_but_one(&keys, &hole_bits, &message);
                assert_eq!(held.len(), leaves.len());
                assert_eq!(held[0], Block::ZERO);
                for y in 1..held.len() {
                    assert_eq!(held[y], leaves[y ^ hole], "k={field_bits} hole={hole} y={y}");
                }
            }
        }
    }
}
