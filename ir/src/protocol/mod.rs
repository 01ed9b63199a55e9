//! The interactive steps between linear layers, described once as circuits on bit planes.
//!
//! A *plane* is one bit of every element of a tensor, shared between the parties by exclusive or.
//! A [`circuit::Circuit`] runs on a [`PlaneMachine`]; each machine reads it another way: the runtime executes it with a peer, [`count::CountMachine`] counts its messages and random
//! OTs, [`clear::ClearMachine`] evaluates it in the clear. What is counted is therefore what is run.

pub mod adder;
pub mod circuit;
pub mod clear;
pub mod count;
pub mod max_pool;
pub mod open;
pub mod requantize;
pub mod table;
pub mod to_arithmetic;
pub mod top;

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

    /// Bits that it uses of a pad, see [`one_of_many_pad_bits`].
    #[must_use]
    pub fn pad_bits(&self) -> u64 {
        one_of_many_pad_bits(self.width, self.result_planes())
    }
}

/// Whether every digit is one bit whose equality is not wanted: its "greater" is the product of the
/// two private bits, which takes one exchange.
#[must_use]
pub fn are_products(digits: &[Digit]) -> bool {
    digits.iter().all(|digit| digit.width == 1 && digit.equality == Equality::Unused)
}

/// Bits of a pad that a 1-of-2^k OT of messages of `message_bits` bits uses, one of its `choice_bits`
/// random OTs: a slice for every message that the pad's choice bit is a part of.
#[must_use]
pub fn one_of_many_pad_bits(choice_bits: u32, message_bits: u32) -> u64 {
    u64::from(message_bits) << choice_bits.saturating_sub(1)
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
    /// A party's share of one bit of every element; the default is empty.
    type Plane: Clone + Default;
    /// Why an interactive step fails.
    type Error;

    /// The server's private bit `bit` as a shared plane. Local.
    fn server_bit(&mut self, bit: u32) -> Self::Plane;

    /// The client's private bit `bit` as a shared plane. Local.
    fn client_bit(&mut self, bit: u32) -> Self::Plane;

    /// Whether any of the server's private bits `low..high` is set, as a shared plane. Local.
    fn server_any(&mut self, low: u32, high: u32) -> Self::Plane;

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
    /// whether they are equal where that is wanted. One flight up and one down; one exchange if all
    /// are products, see [`are_products`].
    ///
    /// # Errors
    /// The machine's error if the interaction fails.
    fn compare_digits(
        &mut self,
        digits: &[Digit],
    ) -> Result<Vec<Comparison<Self::Plane>>, Self::Error>;
}

/// The result of comparing two digits.
#[derive(Clone, Debug)]
pub struct Comparison<P> {
    /// Left is greater than right.
    pub greater: P,
    /// Left equals right, where that is wanted.
    pub equal: Option<P>,
}

/// Bytes of a plane of `elements` bits on the wire.
#[must_use]
pub fn plane_bytes(elements: usize) -> u64 {
    (elements as u64).div_ceil(8)
}
