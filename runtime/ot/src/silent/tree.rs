//! Correlated GGM trees with one leaf missing: one place of noise each, without a reply.
//!
//! The sender's tree has the nodes `q_1` and `q_1 + Delta` in its first level, and node `x` has the
//! children `H(x)` (left) and `x + H(x)` (right). So the nodes of a level sum to Delta, and so do its left
//! and its right nodes together: `K_0 + K_1 = Delta`. For each level `l >= 2` the sender sends `K_0 + q_l`,
//! where `q_l` is its row of a correlated OT; the receiver adds its `t_l = q_l + b_l*Delta` and has the
//! sum `K_{b_l}`, from which it finds the one node of that kind that it cannot compute. The other kind
//! leads on to the missing leaf, whose path is thus the complements of the choices `b_1, b_2, ..`.
//!
//! Level `l` of the tree decides bit `l - 1` of a leaf's index: node `x` has the children `x` and
//! `x + 2^(l-1)`. Where the sender has a node `v` on the path the receiver has `v + Delta`, which is the sum
//! of its other nodes, so that its nodes of a level sum to zero. In its tree the left and the right
//! children, computed from such nodes, have the same sum `S`; both children of the node on the path are
//! put right by adding `F = K_{b_l} + S`: the sibling becomes what the sender has, the path's node again
//! the sum of the others. That takes a mask over the nodes of a level and no secret address.
//!
//! `H(x) = pi(sigma(x)) + sigma(x)` with `pi` AES under a public key that only a few trees share. Leaves
//! lose their lowest bit, which then tells the receiver's missing leaf.
//!
//! Source: [GYWZZ23, correlated GGM trees]; `H` from [GKWY20, section 7.3].

use zeroize::Zeroizing;

use super::{CHOICE, choice, with_choice};
use crate::aes128::Aes128;
use crate::block::Block;
use crate::simd::Path;

/// What grows the trees of one chunk after another, with space of its own.
pub(super) struct Grower {
    path: Path,
    depth: usize,
    /// `[trees][2^(depth - 1)]`: `sigma` of the nodes of a level.
    images: Zeroizing<Vec<Block>>,
    /// Their hashes.
    hashes: Zeroizing<Vec<Block>>,
    /// `[trees][2^(depth - 1)]`: all ones at the node on the path, zero at the others.
    holes: Zeroizing<Vec<Block>>,
}

impl Grower {
    /// For chunks of `trees` trees of `depth >= 2` levels.
    pub(super) fn new(path: Path, trees: usize, depth: usize) -> Self {
        let nodes = trees << (depth - 1);
        Self {
            path,
            depth,
            images: Zeroizing::new(vec![Block::ZERO; nodes]),
            hashes: Zeroizing::new(vec![Block::ZERO; nodes]),
            holes: Zeroizing::new(vec![Block::ZERO; nodes]),
        }
    }

    /// All leaves of the sender's trees, and what it sends.
    ///
    /// **Shapes**: `rows: [trees][depth]`, the rows `q_l`; `sums: [trees][depth - 1]`;
    /// `leaves: [trees][2^depth]`, overwritten.
    pub(super) fn grow_all(
        &mut self,
        pi: &Aes128,
        delta: Block,
        rows: &[Block],
        sums: &mut [Block],
        leaves: &mut [Block],
    ) {
        let (depth, size) = (self.depth, 1 << self.depth);
        for (tree, rows) in leaves.chunks_exact_mut(size).zip(rows.chunks_exact(depth)) {
            [tree[0], tree[1]] = [rows[0], rows[0] ^ delta];
        }
        for level in 1..depth {
            let width = 1 << level;
            self.hash(pi, leaves, width);
            let hashes = self.hashes.chunks_exact(width);
            let masks = rows.chunks_exact(depth).zip(sums.chunks_exact_mut(depth - 1));
            let trees = leaves.chunks_exact_mut(size).zip(hashes).zip(masks);
            for ((tree, hashes), (rows, sums)) in trees {
                sums[level - 1] = rows[level] ^ self.path.vectorised(|| sum(hashes));
                let (left, right) = tree[..2 * width].split_at_mut(width);
                self.path.vectorised(|| {
                    for ((left, right), hash) in left.iter_mut().zip(right).zip(hashes) {
                        *right = *left ^ *hash;
                        *left = *hash;
                    }
                });
            }
        }
        self.path.vectorised(|| {
            leaves.iter_mut().for_each(|leaf| *leaf = with_choice(*leaf, Block::ZERO))
        });
    }

    /// All leaves of the receiver's trees; the missing one of each is odd and the sender's plus Delta,
    /// the others are even and as the sender's.
    ///
    /// **Shapes**: `rows: [trees][depth]`, the rows `t_l`; `sums: [trees][depth - 1]`;
    /// `leaves: [trees][2^depth]`, overwritten.
    pub(super) fn grow_punctured(
        &mut self,
        pi: &Aes128,
        rows: &[Block],
        sums: &[Block],
        leaves: &mut [Block],
    ) {
        let (depth, size) = (self.depth, 1 << self.depth);
        let trees = leaves.chunks_exact_mut(size).zip(rows.chunks_exact(depth));
        for ((tree, rows), holes) in trees.zip(self.holes.chunks_exact_mut(size / 2)) {
            [tree[0], tree[1]] = [rows[0]; 2];
            [holes[0], holes[1]] = sides(rows[0]);
        }
        for level in 1..depth {
            let width = 1 << level;
            self.hash(pi, leaves, width);
            let hashes = self.hashes.chunks_exact(width);
            let holes = self.holes.chunks_exact_mut(size / 2);
            let masks = rows.chunks_exact(depth).zip(sums.chunks_exact(depth - 1));
            let trees = leaves.chunks_exact_mut(size).zip(hashes).zip(holes).zip(masks);
            for (((tree, hashes), holes), (rows, sums)) in trees {
                let (left, right) = tree[..2 * width].split_at_mut(width);
                let fix = sums[level - 1] ^ rows[level] ^ self.path.vectorised(|| sum(hashes));
                self.path.vectorised(|| {
                    let nodes = left.iter_mut().zip(&mut *right);
                    for (((left, right), hash), hole) in nodes.zip(hashes).zip(&*holes) {
                        let child = *hash ^ (fix & *hole);
                        *right = *left ^ child;
                        *left = child;
                    }
                });
                let [leftward, rightward] = sides(rows[level]);
                if level + 1 < depth {
                    let (left, right) = holes[..2 * width].split_at_mut(width);
                    self.path.vectorised(|| {
                        for (left, right) in left.iter_mut().zip(right) {
                            *right = *left & rightward;
                            *left = *left & leftward;
                        }
                    });
                } else {
                    let (leftward, rightward) = (leftward & CHOICE, rightward & CHOICE);
                    self.path.vectorised(|| {
                        for ((left, right), hole) in left.iter_mut().zip(right).zip(&*holes) {
                            *left = with_choice(*left, *hole & leftward);
                            *right = with_choice(*right, *hole & rightward);
                        }
                    });
                }
            }
        }
    }

    /// Hashes the first `width` nodes of each tree of `leaves` into `hashes`.
    fn hash(&mut self, pi: &Aes128, leaves: &[Block], width: usize) {
        let total = (leaves.len() >> self.depth) * width;
        let images = &mut self.images[..total];
        self.path.vectorised(|| {
            let trees = leaves.chunks_exact(1 << self.depth);
            for (tree, images) in trees.zip(images.chunks_exact_mut(width)) {
                images.iter_mut().zip(tree).for_each(|(image, node)| *image = sigma(*node));
            }
        });
        pi.encrypt_xor(&self.images[..total], &mut self.hashes[..total]);
    }
}

/// A linear permutation for which `sigma(x) + x` is one too.
fn sigma(x: Block) -> Block {
    let [low, high] = x.to_words();
    Block::from_words(high, high ^ low)
}

fn sum(blocks: &[Block]) -> Block {
    blocks.iter().fold(Block::ZERO, |sum, block| sum ^ *block)
}

/// All ones for the side, left or right, to which the path goes at the level of row `row`, as the
/// complement of its choice says; zero for the other.
fn sides(row: Block) -> [Block; 2] {
    let left = choice(row).wrapping_neg();
    [left, !left].map(|word| Block::from_words(word, word))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Leaf `x` of the sender by walking down its own path.
    fn leaf_naive(pi: &Aes128, delta: Block, first: Block, depth: usize, x: usize) -> Block {
        let mut node = if x & 1 == 0 { first } else { first ^ delta };
        for level in 1..depth {
            let mut image = [sigma(node)];
            pi.encrypt(&mut image);
            let left = image[0] ^ sigma(node);
            node = if (x >> level) & 1 == 0 { left } else { node ^ left };
        }
        with_choice(node, Block::ZERO)
    }

    #[test]
    fn leaves_are_those_of_the_naive_tree_and_one_differs_by_delta() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let delta = with_choice(Block::random(&mut rng), CHOICE);
        let pi = Aes128::new(Block::random(&mut rng));
        let sizes = [(2, 1), (3, 5), (8, 8), (9, 4)];
        for (path, (depth, trees)) in Path::all().into_iter().flat_map(|p| sizes.map(|s| (p, s))) {
            let q: Vec<_> = (0..trees * depth)
                .map(|_| with_choice(Block::random(&mut rng), Block::ZERO))
                .collect();
            let choices: Vec<_> = q.iter().map(|_| choice(Block::random(&mut rng))).collect();
            let t: Vec<_> = q
                .iter()
                .zip(&choices)
                .map(|(q, c)| [*q, *q ^ delta][usize::from(*c == 1)])
                .collect();
            let mut sums = vec![Block::ZERO; trees * (depth - 1)];
            let mut all = vec![Block::ONES; trees << depth];
            let mut punctured = vec![Block::ONES; trees << depth];
            let mut grower = Grower::new(path, trees, depth);
            grower.grow_all(&pi, delta, &q, &mut sums, &mut all);
            grower.grow_punctured(&pi, &t, &sums, &mut punctured);
            for tree in 0..trees {
                let path = choices[tree * depth..][..depth].iter().rev();
                let missing = path.fold(0, |path, c| (path << 1) | usize::from(*c == 0));
                for x in 0..1 << depth {
                    let (own, other) = (all[(tree << depth) + x], punctured[(tree << depth) + x]);
                    let name = format!("depth {depth} tree {tree} leaf {x}");
                    assert_eq!(own, leaf_naive(&pi, delta, q[tree * depth], depth, x), "{name}");
                    assert_eq!(other, if x == missing { own ^ delta } else { own }, "{name}");
                }
            }
        }
    }
}
