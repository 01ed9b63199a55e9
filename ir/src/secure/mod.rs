//! The secure program: the integer network as protocol steps, each value tagged by where it lives.
//!
//! It says *what* is computed with which widths; a plan adds *how* (parameters, layout, forms). Nodes
//! are steps, edges are values; the graph is acyclic and has one input and one output. Which step may
//! read which value is the typing rule, [`SecureOp::result_type`].

mod packing;
mod typing;

pub use packing::{MAX_FIELDS, Packing};
pub use typing::{
    MAX_ELEMENTS, MAX_FACTOR_BITS, MAX_MULTIPLIER_BITS, MAX_SHARE_BITS, MAX_TERMS, MAX_WEIGHT_BITS,
    TypeError, guard_bits,
};

use crate::geometry::{Chw, ConvGeometry, Window};
use crate::integer::{IntRange, ScaledTerm, View};
use crate::protocol::requantize::RequantizeWidths;
use crate::protocol::table::TableWidths;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

/// Where a value lives. Shapes are `[C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Known to the client alone.
    Client {
        /// The values that it takes.
        range: IntRange,
    },
    /// Arithmetic shares mod `2^bits`; the result of an exact protocol, or a local function of such.
    Arithmetic {
        /// Width of the shares in bits.
        bits: u32,
        /// The values that it takes.
        range: IntRange,
    },
    /// Arithmetic shares mod `2^(acc_bits + guard_bits)` of `2^g*acc + delta`,
    /// `0 <= delta <= max_delta < 2^g`.
    /// They carry traces of the noise in `delta`, so only a requantization or an opening that removes
    /// it may use them, or a sum that hands it on; reordering them is local.
    ///
    /// With `rounded_bits = d > 0` a requantization alone reads them: `delta` exceeds that range by less
    /// than `2^(d-1)` a unit of `max_delta`, either way, and [`crate::rounding`] takes its place.
    Accumulator {
        /// Accumulator width l in bits.
        acc_bits: u32,
        /// Guard bits g.
        guard_bits: u32,
        /// Largest delta: 1 from a linear layer, in a sum as much as its accumulators have together.
        max_delta: u32,
        /// Low bits d of the words that are dropped before the requantization; 0 for an exact result.
        rounded_bits: u32,
    },
    /// Exclusive-or shares of unsigned bits.
    Boolean {
        /// Bits an element.
        bits: u32,
        /// The value that all-zero bits stand for.
        lo: i64,
    },
    /// Opened to the client.
    Revealed,
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client { .. } => write!(f, "client"),
            Self::Arithmetic { bits, .. } => write!(f, "arithmetic 2^{bits}"),
            Self::Accumulator { acc_bits, guard_bits, rounded_bits, .. } => {
                write!(f, "accumulator 2^{acc_bits}+{guard_bits}")?;
                if *rounded_bits > 0 { write!(f, " rounded by {rounded_bits}") } else { Ok(()) }
            }
            Self::Boolean { bits, .. } => write!(f, "boolean {bits}"),
            Self::Revealed => write!(f, "revealed"),
        }
    }
}

/// Shape and domain of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// Shape of the tensor.
    pub shape: Chw,
    /// Where it lives.
    pub domain: Domain,
}

/// A linear layer: `acc[k] = sum(m[k]*w[k]*x) + bias[k]` mod `2^acc_bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LinearOp {
    /// Shapes and window.
    pub geometry: ConvGeometry,
    /// Width of the weights in bits, signed.
    pub weight_bits: u32,
    /// Width mu of the folded multipliers in bits.
    pub multiplier_bits: u32,
    /// Accumulator width l in bits.
    pub acc_bits: u32,
    /// Guard bits g of the result's shares.
    pub guard_bits: u32,
    /// Low bits d of the result's words that its requantization drops, guard bits included: early
    /// rounding. 0 for an exact result, else above g.
    pub rounded_bits: u32,
    /// How many elements a coefficient holds.
    pub packing: Packing,
}

impl LinearOp {
    /// `log2 t` of the plaintext modulus.
    #[must_use]
    pub fn plain_bits(&self) -> u32 {
        self.packing.plain_bits(self.acc_bits)
    }

    /// `log2 T` of the modulus of the shares of a coefficient, guard bits included.
    #[must_use]
    pub fn word_bits(&self) -> u32 {
        self.plain_bits().saturating_add(self.guard_bits)
    }

    /// `log2` of `T/2^d`, which noise must stay within `q/2` of: the bits of a word that are right. In a
    /// coefficient that holds several elements the upper ones need the whole word.
    #[must_use]
    pub fn precise_bits(&self) -> u32 {
        match self.packing {
            Packing::None => self.word_bits().saturating_sub(self.rounded_bits),
            Packing::WithinChannel { .. } | Packing::CrossChannel { .. } => self.word_bits(),
        }
    }

    /// Width of the shares that it reads.
    #[must_use]
    pub fn operand_bits(&self) -> u32 {
        self.packing.operand_bits(self.acc_bits)
    }

    /// Largest magnitude of a folded weight `m*w`.
    #[must_use]
    pub fn max_folded_weight(&self) -> u64 {
        max_multiplier(self.multiplier_bits) * max_weight(self.weight_bits)
    }

    /// Largest magnitude of a coefficient of a weight polynomial.
    #[must_use]
    pub fn max_weight_coefficient(&self) -> u64 {
        let factor = match self.packing {
            Packing::None | Packing::WithinChannel { .. } => 1,
            Packing::CrossChannel { field_bits } => (1_u64 << field_bits.min(62)) + 1,
        };
        self.max_folded_weight().saturating_mul(factor)
    }
}

/// Largest magnitude of a multiplier of `bits` bits; 0 bits stand for 1 and -1.
#[must_use]
pub fn max_multiplier(bits: u32) -> u64 {
    ((1 << bits.min(31)) - 1).max(1)
}

/// Largest magnitude of a signed weight of `bits` bits.
#[must_use]
pub fn max_weight(bits: u32) -> u64 {
    1 << bits.clamp(1, 32).saturating_sub(1)
}

/// A sum of accumulators and scaled values, plus a public constant. Each party adds its own shares.
///
/// With accumulators the result is one: their `delta` add up, so `2^g` exceeds their number. They have
/// l and g bits or more of each, of which the parties drop the highest and the lowest
/// ([`CombineOp::dropped_guard_bits`]). Without, the terms are exact and so is the result, mod `2^acc_bits`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CombineOp {
    /// Width l of the sum in bits.
    pub acc_bits: u32,
    /// Guard bits g; 0 without accumulators.
    pub guard_bits: u32,
    /// What the server adds to every element.
    pub constant: i64,
    /// The terms: term `i` reads operand `i`.
    pub terms: Vec<CombineTerm>,
}

/// A term of a [`CombineOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CombineTerm {
    /// The result of a linear step.
    Accumulator,
    /// A public factor times the sums of windows.
    Scaled(ScaledTerm),
}

impl CombineOp {
    /// Width of the parties' words in bits, `l + g`.
    #[must_use]
    pub fn word_bits(&self) -> u32 {
        self.acc_bits.saturating_add(self.guard_bits)
    }

    /// How many guard bits both parties drop of the words of a term that lives as `domain`; `None` if it
    /// is no accumulator as wide as the sum, or is rounded and not of the sum's widths.
    ///
    /// With s bits dropped of both shares of `2^(g+s)*acc + delta` and 1 added by the server, they are
    /// shares of `2^g*acc + delta'` with `delta' = floor(delta/2^s)` or one more: the sum of the parts that
    /// were dropped is `delta mod 2^s`, or that and `2^s`.
    #[must_use]
    pub fn dropped_guard_bits(&self, domain: Domain) -> Option<u32> {
        let Domain::Accumulator { acc_bits, guard_bits, rounded_bits, .. } = domain else {
            return None;
        };
        let is_same = acc_bits == self.acc_bits && guard_bits == self.guard_bits;
        let fits = is_same || (rounded_bits == 0 && acc_bits >= self.acc_bits);
        guard_bits.checked_sub(self.guard_bits).filter(|_| fits && self.guard_bits > 0)
    }
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecureOp {
    /// The client's quantized input.
    Input {
        /// Shape of the tensor.
        shape: Chw,
        /// The values that it takes.
        range: IntRange,
    },
    /// Linear layer under homomorphic encryption: client or arithmetic to accumulator.
    Linear(LinearOp),
    /// Sum: accumulators, arithmetic shares and the client's values, to accumulator or arithmetic.
    Combine(CombineOp),
    /// Rounding shift and clamp: accumulator or arithmetic to boolean.
    Requantize {
        /// Widths of the circuit.
        widths: RequantizeWidths,
        /// Range of the result.
        range: IntRange,
    },
    /// Maximum over windows, of bits or of the client's values.
    MaxPool {
        /// The window.
        window: Window,
    },
    /// The server's table, looked up for every element of one operand or two: boolean to boolean.
    Table {
        /// Widths of the protocol.
        widths: TableWidths,
        /// The value that an entry of 0 stands for.
        lo: i64,
    },
    /// Elements picked, moved, or padded with zeros.
    View(View),
    /// The same elements as another shape.
    Reshape(Chw),
    /// Operands one after the other along the channels, sample by sample.
    Concat {
        /// Samples that each operand holds.
        batch: usize,
    },
    /// Bits to arithmetic shares.
    ToArithmetic {
        /// Width L of the shares in bits.
        bits: u32,
    },
    /// The client's values as shared bits.
    ToBoolean {
        /// Bits an element.
        bits: u32,
        /// The value that all-zero bits stand for.
        lo: i64,
    },
    /// Opens a value to the client, guard bits removed.
    Open,
    /// Indices of the largest values over the channels, the best first, as shared bits: accumulator,
    /// arithmetic or boolean to boolean.
    Top {
        /// Number of indices.
        k: u32,
    },
}

impl SecureOp {
    /// Name of the step in errors and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Linear(_) => "linear",
            Self::Combine(_) => "combine",
            Self::Requantize { .. } => "requantize",
            Self::MaxPool { .. } => "max-pool",
            Self::Table { .. } => "table",
            Self::View(_) => "view",
            Self::Reshape(_) => "reshape",
            Self::Concat { .. } => "concat",
            Self::ToArithmetic { .. } => "to-arithmetic",
            Self::ToBoolean { .. } => "to-boolean",
            Self::Open => "open",
            Self::Top { .. } => "top",
        }
    }
}

/// Where a node of the secure program comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Name of the ONNX node.
    pub name: String,
    /// ONNX operator type of that node.
    pub operator: String,
    /// ONNX tensor whose integers the result holds; empty if it holds those of none.
    pub tensor: String,
    /// The integer layers whose weights or table the step uses, and which of their terms; several if
    /// these share requests.
    pub secret: Vec<(usize, usize)>,
}

/// A node of the secure program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureNode {
    /// Where it comes from.
    pub origin: Origin,
    /// What it computes.
    pub op: SecureOp,
    /// Type of its result.
    pub result: ValueType,
}

/// The secure program. An edge carries the value of its source node; its weight is the position among
/// the operands. A node's index is above those of its operands.
#[derive(Clone, Debug, Default)]
pub struct SecureProgram {
    /// The graph of steps.
    pub graph: DiGraph<SecureNode, usize>,
}

impl SecureProgram {
    /// Appends a step that reads the values of `operands` and infers its type.
    ///
    /// # Errors
    /// [`TypeError`] if the step cannot read those values.
    pub fn push(
        &mut self,
        operands: &[NodeIndex],
        origin: Origin,
        op: SecureOp,
    ) -> Result<NodeIndex, TypeError> {
        let types: Vec<ValueType> = operands
            .iter()
            .filter_map(|&index| self.graph.node_weight(index))
            .map(|node| node.result)
            .collect();
        let result = op.result_type(&types)?;
        let index = self.graph.add_node(SecureNode { origin, op, result });
        for (position, &operand) in operands.iter().enumerate() {
            self.graph.add_edge(operand, index, position);
        }
        Ok(index)
    }

    /// The nodes whose values `node` reads, in order.
    #[must_use]
    pub fn operands(&self, node: NodeIndex) -> Vec<NodeIndex> {
        use petgraph::visit::EdgeRef;
        let edges = self.graph.edges_directed(node, petgraph::Incoming);
        let mut operands: Vec<_> = edges.map(|edge| (*edge.weight(), edge.source())).collect();
        operands.sort_unstable();
        operands.into_iter().map(|(_, node)| node).collect()
    }
}
