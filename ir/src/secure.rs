//! The secure program: the integer network as protocol steps, each value tagged by where it lives.
//!
//! It says *what* is computed with which widths; a plan adds *how* (parameters, layout, forms). Nodes
//! are steps, edges are values; the graph is acyclic and has one input and one output.

use crate::geometry::{Chw, ConvGeometry, Window};
use crate::integer::IntRange;
use crate::protocol::requantize::RequantizeWidths;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};

/// Where a value lives. Shapes are `[C, H, W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Domain {
    /// Known to the client alone.
    Client,
    /// Arithmetic shares mod `2^bits`; the result of an exact protocol, or a local function of such.
    Arithmetic {
        /// Width of the shares in bits.
        bits: u32,
    },
    /// Arithmetic shares mod `2^(acc_bits + guard_bits)` of `2^g*acc + delta`. They carry traces of
    /// the noise in `delta`, so only a requantization or an opening that removes it may use them;
    /// reordering them is local.
    Accumulator {
        /// Accumulator width l in bits.
        acc_bits: u32,
        /// Guard bits g.
        guard_bits: u32,
    },
    /// Exclusive-or shares of unsigned bits.
    Boolean {
        /// Bits an element.
        bits: u32,
    },
    /// Opened to the client.
    Revealed,
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client => write!(f, "client"),
            Self::Arithmetic { bits } => write!(f, "arithmetic 2^{bits}"),
            Self::Accumulator { acc_bits, guard_bits } => {
                write!(f, "accumulator 2^{acc_bits}+{guard_bits}")
            }
            Self::Boolean { bits } => write!(f, "boolean {bits}"),
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
}

impl LinearOp {
    /// Largest magnitude of a folded weight `m*w`.
    #[must_use]
    pub fn max_folded_weight(&self) -> u64 {
        max_multiplier(self.multiplier_bits) * max_weight(self.weight_bits)
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

/// What a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureOp {
    /// The client's quantized input.
    Input {
        /// Shape of the tensor.
        shape: Chw,
    },
    /// Linear layer under homomorphic encryption: client or arithmetic to accumulator.
    Linear(LinearOp),
    /// Rounding shift and clamp: accumulator to boolean, minus `range.lo`.
    Requantize {
        /// Widths of the circuit.
        widths: RequantizeWidths,
        /// Range of the result.
        range: IntRange,
    },
    /// Maximum over windows: boolean to boolean.
    MaxPool {
        /// The window.
        window: Window,
    },
    /// Bits to arithmetic shares, plus `lo`.
    ToArithmetic {
        /// Width L of the shares in bits.
        bits: u32,
        /// The value that all-zero bits stand for.
        lo: i64,
    },
    /// The same elements as `[C*H*W, 1, 1]`.
    Flatten,
    /// Opens an accumulator to the client, guard bits removed.
    Open,
}

/// A node of the secure program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecureNode {
    /// Name of the ONNX node it stems from.
    pub name: String,
    /// ONNX operator type of that node.
    pub operator: String,
    /// What it computes.
    pub op: SecureOp,
    /// Index of the integer layer whose weights it uses, if any.
    pub integer_layer: Option<usize>,
    /// Type of its result.
    pub result: ValueType,
}

/// The secure program. An edge carries the value of its source node.
#[derive(Clone, Debug, Default)]
pub struct SecureProgram {
    /// The graph of steps.
    pub graph: DiGraph<SecureNode, ()>,
}

/// Why a step cannot follow another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// A step reads a value of a domain that it must not read.
    #[error("{step} cannot read a value that lives as {domain}")]
    Domain {
        /// The step.
        step: &'static str,
        /// Domain of the value.
        domain: Domain,
    },
    /// Shapes do not fit.
    #[error("{step} of another shape reads {shape}")]
    Shape {
        /// The step.
        step: &'static str,
        /// Shape of the value.
        shape: Chw,
    },
    /// A parameter is outside what the protocols allow, or missing.
    #[error("{step}: {what}")]
    Parameter {
        /// The step.
        step: &'static str,
        /// Which parameter.
        what: &'static str,
    },
}

/// Widest share that words of 64 bits leave room for, guard bits included.
pub const MAX_SHARE_BITS: u32 = 48;

/// Widest multiplier in bits.
pub const MAX_MULTIPLIER_BITS: u32 = 12;

/// Most elements of one tensor.
pub const MAX_ELEMENTS: usize = 1 << 28;

impl SecureOp {
    /// The type of the result on an operand of type `operand`; this function is the typing rule.
    ///
    /// # Errors
    /// [`TypeError`] if the step cannot read the operand. In particular an accumulator is read by
    /// [`SecureOp::Requantize`] and [`SecureOp::Open`] alone; [`SecureOp::Flatten`] hands it on.
    pub fn result_type(&self, operand: Option<ValueType>) -> Result<ValueType, TypeError> {
        let step = self.name();
        let Some(ValueType { shape, domain }) = operand else {
            return match self {
                Self::Input { shape } => {
                    check_elements(step, *shape)?;
                    Ok(ValueType { shape: *shape, domain: Domain::Client })
                }
                Self::Linear(_)
                | Self::Requantize { .. }
                | Self::MaxPool { .. }
                | Self::ToArithmetic { .. }
                | Self::Flatten
                | Self::Open => Err(TypeError::Parameter { step, what: "the operand is missing" }),
            };
        };
        let wrong_domain = || TypeError::Domain { step, domain };
        let require = |holds: bool, what| {
            if holds { Ok(()) } else { Err(TypeError::Parameter { step, what }) }
        };
        let result = match (self, domain) {
            (Self::Linear(op), Domain::Client | Domain::Arithmetic { .. }) => {
                require(
                    (1..=8).contains(&op.weight_bits) && op.multiplier_bits <= MAX_MULTIPLIER_BITS,
                    "weights have 1 to 8 bits and multipliers at most 12",
                )?;
                require(op.acc_bits >= 2 && op.guard_bits == 1, "l >= 2 and g = 1")?;
                require(op.acc_bits < MAX_SHARE_BITS, "the accumulator is too wide")?;
                if let Domain::Arithmetic { bits } = domain {
                    require(bits >= op.acc_bits, "shares are narrower than the accumulator")?;
                }
                let output = (op.geometry.input == shape)
                    .then(|| op.geometry.output())
                    .flatten()
                    .ok_or(TypeError::Shape { step, shape })?;
                let domain =
                    Domain::Accumulator { acc_bits: op.acc_bits, guard_bits: op.guard_bits };
                ValueType { shape: output, domain }
            }
            (Self::Requantize { widths, range }, Domain::Accumulator { acc_bits, guard_bits }) => {
                require(
                    widths.acc_bits == acc_bits && widths.guard_bits == guard_bits,
                    "widths differ from the accumulator's",
                )?;
                require(widths.is_valid(), "s + b + 1 exceeds l")?;
                require(
                    range.lo <= range.hi
                        && range.bits() == widths.result_bits
                        && range.hi.abs_diff(range.lo) == (1 << widths.result_bits) - 1
                        && widths.result_bits <= 8
                        && range.lo.unsigned_abs() <= 1 << 16,
                    "the range is not one of 1 to 8 bits",
                )?;
                ValueType { shape, domain: Domain::Boolean { bits: widths.result_bits } }
            }
            (Self::MaxPool { window }, Domain::Boolean { bits }) => {
                let kernel = window.kernel[0].checked_mul(window.kernel[1]);
                require(kernel.is_some_and(|size| size <= 1 << 12), "the window is too large")?;
                let [height, width] = window
                    .output(shape.height, shape.width)
                    .ok_or(TypeError::Shape { step, shape })?;
                let shape = Chw::new(shape.channels, height, width);
                ValueType { shape, domain: Domain::Boolean { bits } }
            }
            (Self::ToArithmetic { bits, lo }, Domain::Boolean { bits: value_bits }) => {
                require(
                    *bits > value_bits && *bits <= MAX_SHARE_BITS && lo.unsigned_abs() <= 1 << 16,
                    "shares are too narrow or too wide",
                )?;
                ValueType { shape, domain: Domain::Arithmetic { bits: *bits } }
            }
            (
                Self::Flatten,
                Domain::Client
                | Domain::Arithmetic { .. }
                | Domain::Accumulator { .. }
                | Domain::Boolean { .. },
            ) => ValueType { shape: Chw::new(shape.len(), 1, 1), domain },
            (Self::Open, Domain::Accumulator { .. }) => {
                ValueType { shape, domain: Domain::Revealed }
            }
            _ => return Err(wrong_domain()),
        };
        check_elements(step, result.shape)?;
        Ok(result)
    }

    /// Name of the step in errors and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Linear(_) => "linear",
            Self::Requantize { .. } => "requantize",
            Self::MaxPool { .. } => "max-pool",
            Self::ToArithmetic { .. } => "to-arithmetic",
            Self::Flatten => "flatten",
            Self::Open => "open",
        }
    }
}

fn check_elements(step: &'static str, shape: Chw) -> Result<(), TypeError> {
    match shape.checked_len() {
        Some(1..=MAX_ELEMENTS) => Ok(()),
        _ => Err(TypeError::Shape { step, shape }),
    }
}

impl SecureProgram {
    /// Appends a step that reads the value of `operand` and infers its type.
    ///
    /// # Errors
    /// [`TypeError`] if the step cannot read that value.
    pub fn push(
        &mut self,
        operand: Option<NodeIndex>,
        name: &str,
        operator: &str,
        op: SecureOp,
        integer_layer: Option<usize>,
    ) -> Result<NodeIndex, TypeError> {
        let operand_type =
            operand.and_then(|index| self.graph.node_weight(index)).map(|node| node.result);
        let result = op.result_type(operand_type)?;
        let node = SecureNode {
            name: name.to_owned(),
            operator: operator.to_owned(),
            op,
            integer_layer,
            result,
        };
        let index = self.graph.add_node(node);
        if let Some(operand) = operand {
            self.graph.add_edge(operand, index, ());
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accumulators_are_read_by_exact_steps_alone() {
        let accumulator = ValueType {
            shape: Chw::new(4, 3, 3),
            domain: Domain::Accumulator { acc_bits: 16, guard_bits: 1 },
        };
        let linear = SecureOp::Linear(LinearOp {
            geometry: ConvGeometry {
                input: accumulator.shape,
                out_channels: 2,
                window: Window::POINT,
            },
            weight_bits: 4,
            multiplier_bits: 0,
            acc_bits: 16,
            guard_bits: 1,
        });
        for op in [
            linear,
            SecureOp::MaxPool { window: Window::POINT },
            SecureOp::ToArithmetic { bits: 16, lo: 0 },
        ] {
            let found = op.result_type(Some(accumulator));
            assert!(matches!(found, Err(TypeError::Domain { .. })), "{op:?}: {found:?}");
        }
        assert!(SecureOp::Open.result_type(Some(accumulator)).is_ok());
    }
}
