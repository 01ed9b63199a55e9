//! Sums over the streams of a group, the arithmetic core of the extension.
//!
//! Both parties weight each stream by its index: the receiver by `x`, the sender by `y = x ^ D`.
//! The same function serves both. Pure, time depends on lengths alone.
//!
//! Source: [Roy22, section 3.1], the sums computed with fewer than `2*2^k` additions.

use crate::block::Block;

/// Computes the sums of `leaves[y]` over all `y`, left in `leaves[0]`, and over those `y` with bit
/// `j` set, in `columns[j]`. The rest of `leaves` is overwritten.
///
/// **Shapes**: `leaves: [2^k][width]`, `columns: [k][width]`, `width >= 1`.
pub(super) fn fold(leaves: &mut [Block], width: usize, columns: &mut [Block]) {
    for (j, column) in columns.chunks_exact_mut(width).enumerate().rev() {
        let (low, high) = leaves[..2 * (width << j)].split_at_mut(width << j);
        column.fill(Block::ZERO);
        for (low, high) in low.chunks_exact_mut(width).zip(high.chunks_exact(width)) {
            for ((sum, low), high) in column.iter_mut().zip(low).zip(high) {
                *sum ^= *high;
                *low ^= *high;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_sums_by_definition(
            k in 1_usize..=5,
            width in 1_usize..=3,
            values in prop::collection::vec(any::<u128>(), 3 * 32),
        ) {
            let leaves: Vec<_> = values[..width << k].iter().map(|v| Block::new(*v)).collect();
            let sum = |b: usize, in_sum: &dyn Fn(usize) -> bool| {
                (0..1 << k).filter(|y| in_sum(*y)).fold(Block::ZERO, |s, y| s ^ leaves[y * width + b])
            };
            let mut folded = leaves.clone();
            let mut columns = vec![Block::new(1); k * width];
            fold(&mut folded, width, &mut columns);
            for b in 0..width {
                prop_assert_eq!(folded[b], sum(b, &|_| true));
                for j in 0..k {
                    prop_assert_eq!(columns[j * width + b], sum(b, &|y| (y >> j) & 1 == 1));
                }
            }
        }
    }
}
