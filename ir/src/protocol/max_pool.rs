//! Max pooling on shared bits, before they become arithmetic shares.
//!
//! All windows are reduced at once: a *value* here is the planes of one window position over all
//! windows. Unsigned values of b bits; padding is zero, which is the smallest value.

use super::{Comparison, PlaneMachine, Products, merge_comparisons};

/// The larger of each pair: three steps of depth `1 + ceil(log2 b) + 1`, one exchange each.
///
/// # Errors
/// The machine's error if an exchange fails.
fn max_pairs<M: PlaneMachine>(
    machine: &mut M,
    pairs: &[[Vec<M::Plane>; 2]],
) -> Result<Vec<Vec<M::Plane>>, M::Error> {
    let mut leaves = Vec::new();
    for [a, b] in pairs {
        for (a, b) in a.iter().zip(b) {
            leaves.push(Products { common: a.clone(), others: vec![machine.not(b)] });
        }
    }
    let greater_bits = machine.and(&leaves)?;
    let mut leaf = 0;
    let mut runs = Vec::with_capacity(pairs.len());
    for [a, b] in pairs {
        let mut digits = Vec::with_capacity(a.len());
        for (index, (a, b)) in a.iter().zip(b).enumerate() {
            let greater = greater_bits[leaf][0].clone();
            leaf += 1;
            let equal = (index > 0).then(|| {
                let differs = machine.xor(a, b);
                machine.not(&differs)
            });
            digits.push(Comparison { greater, equal });
        }
        runs.push(digits);
    }
    let greater = merge_comparisons(machine, runs)?;
    let mut selections = Vec::with_capacity(pairs.len());
    for ([a, b], greater) in pairs.iter().zip(greater) {
        let others = a.iter().zip(b).map(|(a, b)| machine.xor(a, b)).collect();
        selections.push(Products { common: greater, others });
    }
    let selected = machine.and(&selections)?;
    Ok(pairs
        .iter()
        .zip(&selected)
        .map(|([_, b], picked)| b.iter().zip(picked).map(|(b, p)| machine.xor(b, p)).collect())
        .collect())
}

/// The maximum over all window positions: a tree of pairwise maxima.
///
/// `positions[p][j]`: plane `j` of window position `p`, over all windows. Returns the planes of the
/// maximum, lowest bit first; empty if there is no position.
///
/// **Security**: neither party learns anything; messages depend on widths and counts alone.
///
/// # Errors
/// The machine's error if an exchange fails.
pub fn max_over_positions<M: PlaneMachine>(
    machine: &mut M,
    mut positions: Vec<Vec<M::Plane>>,
) -> Result<Vec<M::Plane>, M::Error> {
    while positions.len() > 1 {
        let odd = if positions.len() % 2 == 1 { positions.pop() } else { None };
        let mut pairs = Vec::with_capacity(positions.len() / 2);
        let mut values = positions.into_iter();
        while let (Some(a), Some(b)) = (values.next(), values.next()) {
            pairs.push([a, b]);
        }
        positions = max_pairs(machine, &pairs)?;
        positions.extend(odd);
    }
    Ok(positions.pop().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::clear::ClearMachine;

    #[test]
    fn maximum_of_every_triple() {
        for bits in 1..=3_u32 {
            let values = 1_u64 << bits;
            let triples: Vec<[u64; 3]> = (0..values.pow(3))
                .map(|i| [i % values, i / values % values, i / values / values])
                .collect();
            let position = |p: usize| -> Vec<Vec<bool>> {
                (0..bits).map(|j| triples.iter().map(|t| t[p] >> j & 1 == 1).collect()).collect()
            };
            let mut machine = ClearMachine::new(&[], &[]);
            let planes = max_over_positions(&mut machine, (0..3).map(position).collect()).unwrap();
            for (i, triple) in triples.iter().enumerate() {
                let found: u64 = planes.iter().enumerate().map(|(j, p)| u64::from(p[i]) << j).sum();
                assert_eq!(Some(&found), triple.iter().max(), "{triple:?}");
            }
        }
    }
}
