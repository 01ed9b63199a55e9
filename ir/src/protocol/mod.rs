//! The interactive steps between linear layers, described once as circuits on bit planes.
//!
//! A *plane* is one bit of every element of a tensor, shared between the parties by exclusive or.
//! A circuit is a function that is generic over a [`PlaneMachine`]; each machine reads it another
//! way: the runtime executes it with a peer, [`count::CountMachine`] counts its messages and random
//! OTs, [`clear::ClearMachine`] evaluates it in the clear. What is counted is therefore what is run.

pub mod clear;
pub mod count;
pub mod max_pool;
pub mod open;
pub mod requantize;
pub mod table;

/// A comparison of one digit of the two parties' private words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// Lowest bit of the digit in the word.
    pub low: u32,
    /// Width of the digit in bits.
    pub width: u32,
    /// Whether equality is wanted beside "greater".
    pub equality: Equality,
}

/// Whether a digit comparison also tells equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equality {
    /// Both "greater" and "equal" are shared.
    Shared,
    /// Only "greater" is shared; the equality is not needed.
    Unused,
}

impl Digit {
    /// Planes that the comparison shares: greater, and equal if it is wanted.
    #[must_use]
    pub fn result_planes(&self) -> u32 {
        match self.equality {
            Equality::Shared => 2,
            Equality::Unused => 1,
        }
    }

    /// Planes of ciphertext that the server sends: one message for each digit value but the first,
    /// whose message is zero by the choice of the server's share.
    #[must_use]
    pub fn message_planes(&self) -> u64 {
        ((1 << self.width) - 1) * u64::from(self.result_planes())
    }
}

/// Products of one common plane with several others.
#[derive(Clone, Debug)]
pub struct Products<P> {
    /// The common factor.
    pub common: P,
    /// The other factors.
    pub others: Vec<P>,
}

/// What a circuit can do with shared planes.
pub trait PlaneMachine {
    /// A party's share of one bit of every element.
    type Plane: Clone;
    /// Why an interactive step fails.
    type Error;

    /// The server's private bit `bit` as a shared plane. Local.
    fn server_bit(&mut self, bit: u32) -> Self::Plane;

    /// The client's private bit `bit` as a shared plane. Local.
    fn client_bit(&mut self, bit: u32) -> Self::Plane;

    /// Exclusive or. Local.
    fn xor(&mut self, a: &Self::Plane, b: &Self::Plane) -> Self::Plane;

    /// Negation. Local.
    fn not(&mut self, a: &Self::Plane) -> Self::Plane;

    /// All products of every group, in order: as many groups, and as many products in each, as are
    /// given. One exchange; one random OT each way a group.
    ///
    /// # Errors
    /// The machine's error if the interaction fails.
    fn and(
        &mut self,
        groups: &[Products<Self::Plane>],
    ) -> Result<Vec<Vec<Self::Plane>>, Self::Error>;

    /// For every digit whether the server's is greater than the complement of the client's, and
    /// whether they are equal where that is wanted; one flight up and one down.
    ///
    /// # Errors
    /// The machine's error if the interaction fails.
    fn compare_digits(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<Self::Plane>>, Self::Error>;
}

/// The result of comparing two digits, or two runs of digits.
#[derive(Clone, Debug)]
pub struct Comparison<P> {
    /// Left is greater than right.
    pub greater: P,
    /// Left equals right, where that is still needed.
    pub equal: Option<P>,
}

/// Merges comparisons of adjacent digits, lowest first, into one "greater" a tree: depth
/// `ceil(log2(digits))`, one exchange a level for all trees together. Empty trees give nothing.
///
/// # Errors
/// The machine's error if an exchange fails.
///
/// Source: [CrypTFlow2, Section 3.1].
pub fn merge_comparisons<M: PlaneMachine>(
    machine: &mut M,
    mut trees: Vec<Vec<Comparison<M::Plane>>>,
) -> Result<Vec<M::Plane>, M::Error> {
    while trees.iter().any(|tree| tree.len() > 1) {
        let groups: Vec<_> = trees
            .iter()
            .flat_map(|tree| tree.chunks_exact(2))
            .filter_map(|pair| {
                let others = std::iter::once(&pair[0].greater).chain(&pair[0].equal).cloned();
                Some(Products { common: pair[1].equal.clone()?, others: others.collect() })
            })
            .collect();
        let products = machine.and(&groups)?;
        let mut next = 0;
        for tree in &mut trees {
            let mut merged = Vec::with_capacity(tree.len().div_ceil(2));
            for pair in tree.chunks_exact(2) {
                if pair[1].equal.is_none() {
                    // Nothing below can matter to a run that is never equal.
                    merged.push(pair[1].clone());
                    continue;
                }
                let greater = machine.xor(&pair[1].greater, &products[next][0]);
                merged.push(Comparison { greater, equal: products[next].get(1).cloned() });
                next += 1;
            }
            merged.extend(tree.chunks_exact(2).remainder().iter().cloned());
            *tree = merged;
        }
    }
    Ok(trees.into_iter().filter_map(|mut tree| tree.pop()).map(|run| run.greater).collect())
}

/// The conjunction of all planes: a tree of depth `ceil(log2(planes))`, one exchange a level.
/// `None` if there is no plane.
///
/// # Errors
/// The machine's error if an exchange fails.
pub fn conjunction<M: PlaneMachine>(
    machine: &mut M,
    mut planes: Vec<M::Plane>,
) -> Result<Option<M::Plane>, M::Error> {
    while planes.len() > 1 {
        let groups: Vec<_> = planes
            .chunks_exact(2)
            .map(|pair| Products { common: pair[0].clone(), others: vec![pair[1].clone()] })
            .collect();
        let mut next: Vec<_> = machine.and(&groups)?.into_iter().flatten().collect();
        next.extend(planes.chunks_exact(2).remainder().iter().cloned());
        planes = next;
    }
    Ok(planes.pop())
}

/// Bytes of a plane of `elements` bits on the wire.
#[must_use]
pub fn plane_bytes(elements: usize) -> u64 {
    (elements as u64).div_ceil(8)
}

/// Bytes of `elements` words of `bits` bits each on the wire, packed without gaps.
#[must_use]
pub fn packed_bytes(elements: usize, bits: u32) -> u64 {
    (elements as u64 * u64::from(bits)).div_ceil(8)
}
