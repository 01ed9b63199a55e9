//! The indices of the largest values, the best first; of equal values the one with the lower index.
//!
//! Values are unsigned numbers as shared bits; [`sum_bits`] makes such of accumulators. Runs of at
//! most k candidates, sorted, are merged in a tree by Batcher's odd-even network, of which only what
//! the first k outputs depend on is there: for k = 1 a tournament. A candidate is its value above the
//! complement of its index, so that no two are equal; of the index only the bits that the tree has
//! not fixed yet are carried, and where neighbours of different runs meet first, none is compared.
//!
//! All comparisons of one layer of the network form one plane an exchange, whatever their bits: a
//! [`FlatMachine`] works on planes of any size. Derivation and security: docs/protocols/top.md.

use super::adder::{AdderForm, CarryForm, add, carry};
use super::circuit::Circuit;
use super::count::CountMachine;
use super::{PlaneMachine, Products};
use crate::traffic::Traffic;
use std::convert::Infallible;

/// Most indices that are revealed.
pub const MAX_TOP: u32 = 16;

/// Most values that are compared.
pub const MAX_VALUES: usize = 1 << 16;

/// What a circuit can do with shared planes of different sizes.
pub trait FlatMachine {
    /// A party's share of a plane.
    type Plane: Clone;
    /// Why an interactive step fails.
    type Error;

    /// Exclusive or of planes of one size. Local.
    fn xor(&mut self, a: &Self::Plane, b: &Self::Plane) -> Self::Plane;

    /// Negation of a plane of `elements` bits. Local.
    fn not(&mut self, a: &Self::Plane, elements: usize) -> Self::Plane;

    /// The products of a group of planes of `elements` bits, in one exchange.
    ///
    /// # Errors
    /// The machine's error if the interaction fails.
    fn and(
        &mut self,
        group: &Products<Self::Plane>,
        elements: usize,
    ) -> Result<Vec<Self::Plane>, Self::Error>;

    /// The plane of `elements` bits whose bit `i` is bit `b` of plane `p`, `[p, b] = source(i)`, or
    /// zero where there is no source. Local.
    fn gather(
        &mut self,
        planes: &[Self::Plane],
        elements: usize,
        source: impl Fn(usize) -> Option<[usize; 2]>,
    ) -> Self::Plane;
}

/// Width of an index among `values` values in bits.
#[must_use]
pub fn index_bits(values: usize) -> u32 {
    usize::BITS - values.saturating_sub(1).leading_zeros()
}

/// The bits of accumulators, in the order of signed numbers: the top bit is complemented.
///
/// The parties' private words add up to `2^g*acc + delta mod 2^(l+g)` with `0 <= delta < 2^g`, g at
/// most 4; exact shares have g = 0. Lowest bit first.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// The machine's error if an interactive step fails.
pub fn sum_bits<M: PlaneMachine>(
    machine: &mut M,
    acc_bits: u32,
    guard_bits: u32,
) -> Result<Vec<M::Plane>, M::Error> {
    let mut circuit = Circuit::default();
    let compared = CarryForm { compared_bits: guard_bits, digit_bits: guard_bits.max(1) };
    let low = carry(&mut circuit, 0..guard_bits, compared);
    let (sums, _) = add(&mut circuit, guard_bits..guard_bits + acc_bits, low, AdderForm::Select);
    let mut planes = circuit.run(machine, Vec::new(), &sums)?;
    if let Some(sign) = planes.last_mut() {
        *sign = machine.not(sign);
    }
    Ok(planes)
}

/// The indices of the `k` largest of `count` unsigned values, the best first: [`index_bits`] planes
/// of `min(k, count)` elements, lowest bit first.
///
/// `values` are the planes of the values over `count` elements, lowest bit first, at least one.
///
/// **Security**: neither party learns anything; messages depend on widths, `count` and `k` alone.
///
/// # Errors
/// The machine's error if an exchange fails.
pub fn top<M: FlatMachine>(
    machine: &mut M,
    values: Vec<M::Plane>,
    count: usize,
    k: usize,
) -> Result<Vec<M::Plane>, M::Error> {
    let mut runs = Runs { wires: vec![values], index_bits: 0, count };
    while runs.count > 1 {
        runs = merge_runs(machine, &runs, k.max(1))?;
    }
    let planes = (0..runs.index_bits).map(|bit| {
        let bits: Vec<_> = runs.wires.iter().map(|wire| wire[bit].clone()).collect();
        let complements = machine.gather(&bits, bits.len(), |i| Some([i, 0]));
        machine.not(&complements, bits.len())
    });
    Ok(planes.collect())
}

/// Sorted runs, the best candidate first.
struct Runs<P> {
    /// The candidates by rank: planes over all runs, lowest bit first, of which `index_bits` are the
    /// complement of the index within the run, and the rest is the value.
    wires: Vec<Vec<P>>,
    index_bits: usize,
    /// Number of runs.
    count: usize,
}

/// Merges every run with its neighbour. A run without one gets a neighbour of zeros, which are below
/// all other candidates, since their indices are above.
fn merge_runs<M: FlatMachine>(
    machine: &mut M,
    runs: &Runs<M::Plane>,
    k: usize,
) -> Result<Runs<M::Plane>, M::Error> {
    let count = runs.count.div_ceil(2);
    let mut wires: Vec<Vec<M::Plane>> = Vec::with_capacity(2 * runs.wires.len());
    for side in 0..2 {
        let source =
            |i: usize| Some([0, 2 * i + side]).filter(|&[_, neighbour]| neighbour < runs.count);
        for wire in &runs.wires {
            let of_side = |plane| machine.gather(std::slice::from_ref(plane), count, source);
            wires.push(wire.iter().map(of_side).collect());
        }
    }
    let Network { layers, outputs } = Network::new(runs.wires.len(), k);
    for (number, layer) in layers.iter().enumerate() {
        let is_first = number == 0;
        // The runs' order settles the first ties, and is the next bit of the indices.
        let compared = if is_first { runs.index_bits } else { 0 };
        let kept = if count == 1 && number + 1 == layers.len() {
            runs.index_bits + usize::from(!is_first)
        } else {
            usize::MAX
        };
        let pairs: Vec<Pair<M::Plane>> =
            layer.iter().map(|pair| pair.map(|wire| std::mem::take(&mut wires[wire]))).collect();
        let sides: Vec<_> = pairs.iter().map(|[a, b]| [&a[compared..], &b[compared..]]).collect();
        let swaps = exceeds(machine, &sides, count)?;
        let sorted = exchange(machine, &pairs, &swaps, kept, count)?;
        for (at, (&[best, other], [mut a, mut b])) in layer.iter().zip(sorted).enumerate() {
            if is_first {
                let swap = machine
                    .gather(std::slice::from_ref(&swaps), count, |i| Some([0, at * count + i]));
                a.insert(runs.index_bits, machine.not(&swap, count));
                b.insert(runs.index_bits, swap);
            }
            (wires[best], wires[other]) = (a, b);
        }
    }
    let wires = outputs.iter().map(|&wire| std::mem::take(&mut wires[wire])).collect();
    Ok(Runs { wires, index_bits: runs.index_bits + 1, count })
}

/// For every pair whether the second is greater than the first: one plane, pair after pair. The
/// numbers of a pair are planes of `elements` bits, as many for all pairs, lowest bit first.
fn exceeds<M: FlatMachine>(
    machine: &mut M,
    pairs: &[[&[M::Plane]; 2]],
    elements: usize,
) -> Result<M::Plane, M::Error> {
    let bits = pairs.first().map_or(0, |[first, _]| first.len());
    let width = pairs.len() * elements;
    let [first, second] = [0, 1].map(|side| {
        let planes: Vec<_> = (0..bits)
            .flat_map(|bit| pairs.iter().map(move |pair| pair[side][bit].clone()))
            .collect();
        machine.gather(&planes, bits * width, |i| Some([i / elements, i % elements]))
    });
    let others = vec![machine.not(&first, bits * width)];
    let differs = machine.xor(&first, &second);
    let mut equal = machine.not(&differs, bits * width);
    let mut greater =
        only(machine.and(&Products { common: second, others }, bits * width)?, &equal);
    let mut digits = bits;
    while digits > 1 {
        let nodes = digits / 2;
        let next = digits - nodes;
        let mut half = |plane: &M::Plane, side: usize| {
            let source = |i: usize| Some([0, (2 * (i / width) + side) * width + i % width]);
            machine.gather(std::slice::from_ref(plane), nodes * width, source)
        };
        let (common, high) = (half(&equal, 1), half(&greater, 1));
        let mut others = vec![half(&greater, 0)];
        // The lowest run needs no equality.
        others.extend((nodes > 1).then(|| half(&equal, 0)));
        let mut products = machine.and(&Products { common, others }, nodes * width)?.into_iter();
        let low = products.next().unwrap_or_else(|| high.clone());
        let merged = machine.xor(&high, &low);
        // A digit without a partner is the highest, and stays so.
        let join = |i: usize, is_there: bool| match i.checked_sub(nodes * width) {
            None => Some([0, i]).filter(|_| is_there),
            Some(rest) => Some([1, (digits - 1) * width + rest]),
        };
        let both_equal = products.next();
        let is_there = both_equal.is_some();
        greater = machine.gather(&[merged, greater], next * width, |i| join(i, true));
        let equals = [both_equal.unwrap_or_else(|| equal.clone()), equal];
        equal = machine.gather(&equals, next * width, |i| join(i, is_there));
        digits = next;
    }
    Ok(greater)
}

/// The planes of two candidates.
type Pair<P> = [Vec<P>; 2];

/// The pairs in order, the greater first; `swaps` says pair after pair whether that is the second.
/// Only the lowest `kept` planes are made.
fn exchange<M: FlatMachine>(
    machine: &mut M,
    pairs: &[Pair<M::Plane>],
    swaps: &M::Plane,
    kept: usize,
    elements: usize,
) -> Result<Vec<Pair<M::Plane>>, M::Error> {
    let bits = pairs.first().map_or(0, |[first, _]| first.len()).min(kept);
    let width = pairs.len() * elements;
    let mut sorted = vec![[Vec::with_capacity(bits), Vec::with_capacity(bits)]; pairs.len()];
    if bits == 0 {
        return Ok(sorted);
    }
    let mut others = Vec::with_capacity(bits);
    for bit in 0..bits {
        let differences: Vec<_> =
            pairs.iter().map(|[a, b]| machine.xor(&a[bit], &b[bit])).collect();
        others.push(machine.gather(&differences, width, |i| Some([i / elements, i % elements])));
    }
    let products = machine.and(&Products { common: swaps.clone(), others }, width)?;
    for (bit, product) in products.iter().enumerate() {
        for (at, ([a, b], sorted)) in pairs.iter().zip(&mut sorted).enumerate() {
            let moved = machine
                .gather(std::slice::from_ref(product), elements, |i| Some([0, at * elements + i]));
            sorted[0].push(machine.xor(&a[bit], &moved));
            sorted[1].push(machine.xor(&b[bit], &moved));
        }
    }
    Ok(sorted)
}

/// The single product of a group; `absent` if a machine gave none.
fn only<P: Clone>(products: Vec<P>, absent: &P) -> P {
    products.into_iter().next().unwrap_or_else(|| absent.clone())
}

/// A network that merges two sorted runs, wires `0..r` and `r..2*r`, as far as its first outputs go.
struct Network {
    /// What is compared at the same time: the first wire gets the greater one.
    layers: Vec<Vec<[usize; 2]>>,
    /// The wires of the outputs, the greatest first.
    outputs: Vec<usize>,
}

impl Network {
    /// Merges two runs of `length` to the `k` greatest. Source: [Knu98, section 5.3.4].
    fn new(length: usize, k: usize) -> Self {
        let mut comparators = Vec::new();
        let (a, b): (Vec<_>, Vec<_>) = ((0..length).collect(), (length..2 * length).collect());
        let mut outputs = odd_even_merge(&a, &b, &mut comparators);
        outputs.truncate(k);
        let mut live = vec![false; 2 * length];
        outputs.iter().for_each(|&wire| live[wire] = true);
        let mut needed = Vec::with_capacity(comparators.len());
        for pair in comparators.into_iter().rev() {
            if pair.iter().any(|&wire| live[wire]) {
                pair.iter().for_each(|&wire| live[wire] = true);
                needed.push(pair);
            }
        }
        let mut ready = vec![0; 2 * length];
        let mut layers: Vec<Vec<[usize; 2]>> = Vec::new();
        for pair in needed.into_iter().rev() {
            let layer = pair.map(|wire| ready[wire]).into_iter().max().unwrap_or(0);
            layers.resize(layers.len().max(layer + 1), Vec::new());
            layers[layer].push(pair);
            pair.iter().for_each(|&wire| ready[wire] = layer + 1);
        }
        Self { layers, outputs }
    }
}

/// Merges two descending runs of one length; returns the wires in descending order.
fn odd_even_merge(a: &[usize], b: &[usize], comparators: &mut Vec<[usize; 2]>) -> Vec<usize> {
    if let (&[a], &[b]) = (a, b) {
        comparators.push([a, b]);
        return vec![a, b];
    }
    if a.is_empty() {
        return Vec::new();
    }
    let [mut evens, mut odds] = [0, 1].map(|start| {
        let every_second = |run: &[usize]| run.iter().skip(start).step_by(2).copied().collect();
        let (a, b): (Vec<_>, Vec<_>) = (every_second(a), every_second(b));
        odd_even_merge(&a, &b, comparators).into_iter()
    });
    let mut merged = Vec::with_capacity(a.len() + b.len());
    merged.extend(evens.next());
    loop {
        match (odds.next(), evens.next()) {
            (Some(odd), Some(even)) => {
                comparators.push([odd, even]);
                merged.extend([odd, even]);
            }
            (None, None) => return merged,
            (odd, even) => merged.extend(odd.or(even)),
        }
    }
}

/// Counts the messages and random OTs of circuits on planes of any size.
#[derive(Clone, Debug, Default)]
pub struct FlatCount {
    traffic: Traffic,
}

impl FlatCount {
    /// What has been counted.
    #[must_use]
    pub fn finish(self) -> Traffic {
        self.traffic
    }
}

impl FlatMachine for FlatCount {
    type Plane = ();
    type Error = Infallible;

    fn xor(&mut self, (): &(), (): &()) {}

    fn not(&mut self, (): &(), _: usize) {}

    fn and(&mut self, group: &Products<()>, elements: usize) -> Result<Vec<()>, Infallible> {
        let mut machine = CountMachine::new(elements);
        let products = machine.and(std::slice::from_ref(group))?;
        let Traffic { steps, rots } = machine.finish();
        self.traffic.steps.extend(steps);
        self.traffic.rots.extend(rots);
        Ok(products.into_iter().flatten().collect())
    }

    fn gather(&mut self, _: &[()], _: usize, _: impl Fn(usize) -> Option<[usize; 2]>) {}
}

/// Where the values of a [`top`] step live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopSource {
    /// As shares of words mod `2^(l+g)`, see [`sum_bits`].
    Words {
        /// Width l in bits.
        acc_bits: u32,
        /// Guard bits g.
        guard_bits: u32,
    },
    /// As shared bits of unsigned numbers.
    Bits {
        /// Bits an element.
        bits: u32,
    },
}

/// Messages and random OTs of finding the `k` largest of `count` values.
#[must_use]
pub fn traffic(source: TopSource, count: usize, k: usize) -> Traffic {
    let mut words = CountMachine::new(count);
    let values = match source {
        TopSource::Words { acc_bits, guard_bits } => {
            let Ok(values) = sum_bits(&mut words, acc_bits, guard_bits);
            values
        }
        TopSource::Bits { bits } => vec![(); bits as usize],
    };
    let mut machine = FlatCount { traffic: words.finish() };
    let Ok(_) = top(&mut machine, values, count, k);
    machine.finish()
}

#[cfg(test)]
mod tests;
