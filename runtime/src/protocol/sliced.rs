//! Numbers of all elements at once, bit by bit: plane i holds bit i of every element.

use crate::share::Plane;

/// Adds `term * 2^low + carry` to `sum`, mod `2^(number of planes of sum)`; a missing plane is zero.
pub(super) fn add<'a>(
    sum: &mut [Plane],
    low: usize,
    term: impl IntoIterator<Item = &'a [u64]>,
    mut carry: Plane,
) {
    let mut term = term.into_iter();
    for sum in sum.iter_mut().skip(low) {
        let words = sum.words_mut().iter_mut().zip(carry.words_mut());
        if let Some(term) = term.next() {
            for ((sum, carry), term) in words.zip(term) {
                let half = *sum ^ term;
                let next = (*sum & term) | (half & *carry);
                *sum = half ^ *carry;
                *carry = next;
            }
        } else {
            for (sum, carry) in words {
                (*sum, *carry) = (*sum ^ *carry, *sum & *carry);
            }
        }
    }
}

/// Subtracts `term * 2^low` from `difference`, mod `2^(number of planes of difference)`; a missing
/// plane is zero.
pub(super) fn subtract<'a>(
    difference: &mut [Plane],
    low: usize,
    term: impl IntoIterator<Item = &'a [u64]>,
) {
    let mut term = term.into_iter();
    let Some(first) = difference.first() else { return };
    let mut borrow = first.zeros_alike();
    for difference in difference.iter_mut().skip(low) {
        let words = difference.words_mut().iter_mut().zip(borrow.words_mut());
        if let Some(term) = term.next() {
            for ((difference, borrow), term) in words.zip(term) {
                let half = *difference ^ term;
                let next = (!half & *borrow) | (half & term);
                *difference = half ^ *borrow;
                *borrow = next;
            }
        } else {
            for (difference, borrow) in words {
                (*difference, *borrow) = (*difference ^ *borrow, !*difference & *borrow);
            }
        }
    }
}

/// Adds the public `constant` to `sum` of `elements` elements, mod `2^(number of planes)`.
pub(super) fn add_constant(sum: &mut [Plane], constant: u64, elements: usize) {
    let (zeros, ones) = (Plane::zeros(elements), Plane::ones(elements));
    let bits = (0..sum.len()).map(|bit| {
        let is_one =
            u32::try_from(bit).is_ok_and(|bit| constant.checked_shr(bit).unwrap_or(0) & 1 == 1);
        if is_one { ones.words() } else { zeros.words() }
    });
    add(sum, 0, bits, zeros.clone());
}
