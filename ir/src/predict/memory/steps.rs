//! Memory of one step, beside values that were made before and random OTs.

use super::live::LiveMachine;
use super::{Both, linear_memory, plane, traffic_memory, value_bytes, words};
use crate::plan::{LayerKind, LinearStep, Plan};
use crate::protocol::max_pool::max_over_positions;
use crate::protocol::requantize::requantize;
use crate::protocol::table::{TableWidths, chunks};
use crate::protocol::to_arithmetic::{ToArithmeticForm, wrap};
use crate::protocol::top::{index_bits, sum_bits};
use crate::secure::{Domain, ValueType};

/// Bytes of an index that may be none.
const SOURCE_BYTES: u64 = 16;

impl Plan {
    /// What step `index` allocates on `threads` threads, its result included.
    pub(super) fn step_memory(&self, index: usize, threads: usize) -> Both {
        let (Some(layer), Some(traffic), Some(result), Some(operand)) = (
            self.layers().get(index),
            self.layer_traffic().get(index),
            self.values().get(index + 1),
            self.operands(index).first().copied(),
        ) else {
            return Both::default();
        };
        let own = match &layer.kind {
            LayerKind::Linear { .. } => {
                let Some(step) = self.linear_step(index) else { return Both::default() };
                return linear(&step, &operand, result, threads);
            }
            LayerKind::Combine(_) => value_bytes(result),
            LayerKind::Requantize { widths, form, .. } => {
                let elements = operand.shape.len();
                let mut machine = LiveMachine::default();
                let Ok(_) = requantize(&mut machine, widths, form);
                let planes = machine.most().saturating_add(u64::from(widths.word_bits()));
                words(elements).saturating_add(plane(elements).saturating_mul(planes))
            }
            LayerKind::MaxPool { window, form } => {
                let Domain::Boolean { bits, .. } = operand.domain else {
                    return Both::same(value_bytes(result));
                };
                let elements = result.shape.len();
                let mut machine = LiveMachine::default();
                let value = || (0..bits).map(|_| machine.plane()).collect();
                let positions = window.kernel[0].saturating_mul(window.kernel[1]);
                let positions = (0..positions).map(|_| value()).collect();
                let Ok(_) = max_over_positions(&mut machine, positions, *form);
                let sources = (elements as u64).saturating_mul(SOURCE_BYTES);
                plane(elements).saturating_mul(machine.most()).saturating_add(sources)
            }
            LayerKind::Table { widths, .. } => table(widths, result),
            LayerKind::View(_) => {
                let sources = (result.shape.len() as u64).saturating_mul(SOURCE_BYTES);
                value_bytes(result).saturating_add(sources)
            }
            LayerKind::Reshape(_) | LayerKind::Concat { .. } | LayerKind::ToBoolean { .. } => {
                value_bytes(result)
            }
            LayerKind::ToArithmetic { bits, form } => {
                let Domain::Boolean { bits: planes, .. } = operand.domain else {
                    return Both::default();
                };
                to_arithmetic(operand.shape.len(), planes, *bits, *form)
            }
            LayerKind::Open => open(&operand),
            LayerKind::Top { .. } => top(&operand),
        };
        let [client, server] = traffic_memory(traffic);
        Both { client, server }.add(Both::same(own))
    }
}

/// A linear step: the operand lifted, ciphertexts, the result.
fn linear(step: &LinearStep<'_>, operand: &ValueType, result: &ValueType, threads: usize) -> Both {
    let counts = step.layout.counts();
    let (_, window) = step.layout.request_window();
    let request = step.params.coefficient_bytes(window, step.choice.request_drop_bits);
    let response = step.params.polynomial_bytes(step.choice.response_drop_bits);
    let memory = linear_memory(step.params, &counts, [request, response], threads);
    let values = value_bytes(operand).max(value_bytes(result));
    let ciphertexts = Both { client: memory.client, server: memory.server };
    let lifted = step.lifted_elements(operand.domain).len();
    let mut lift = Both::default();
    if lifted > 0 {
        let bits = step.op.plain_bits().saturating_sub(step.op.packing.field_bits());
        let sent = plane(lifted).saturating_mul(u64::from(bits));
        let messages = sent.saturating_add(plane(lifted)).saturating_mul(2);
        // Indices, products as planes and as words.
        let own =
            words(lifted).saturating_mul(2).saturating_add(products(lifted, std::iter::once(bits)));
        lift = Both::same(messages.saturating_add(own));
    }
    Both::same(values).add(ciphertexts.max(lift))
}

/// Planes of products of bits of `elements` elements, mod `2^w` for each w in `widths`: factors, choices
/// and corrections, what is computed for the one at hand, and the shares. These take the place of pads that
/// are wiped as they are used, but another thread made those: its part of the heap keeps the room.
fn products(elements: usize, widths: impl Iterator<Item = u32>) -> u64 {
    let planes = widths.fold((4_u64, 0_u64), |(sum, most), width| {
        let width = u64::from(width);
        (sum.saturating_add(3 + width), most.max(2 * width))
    });
    plane(elements).saturating_mul(planes.0.saturating_add(planes.1))
}

fn to_arithmetic(elements: usize, planes: u32, bits: u32, form: ToArithmeticForm) -> u64 {
    // Products, the sum as planes, and as words.
    let direct = |planes: u32, bits: u32| {
        let sum = plane(elements).saturating_mul(u64::from(bits.max(planes)));
        let widths = (1..bits).rev().take(planes as usize);
        products(elements, widths).saturating_add(sum).saturating_add(words(elements))
    };
    match form {
        ToArithmeticForm::Direct => direct(planes, bits),
        ToArithmeticForm::Lifted(form) => {
            let mut machine = LiveMachine::default();
            let Ok(_) = wrap(&mut machine, planes, form);
            let own = machine.most().saturating_add(u64::from(planes));
            let narrow = words(elements).saturating_mul(2);
            let parts = direct(planes, planes).max(direct(1, bits.saturating_sub(planes)));
            narrow.saturating_add(plane(elements).saturating_mul(own)).saturating_add(parts)
        }
    }
}

/// A table: the result, and of a chunk the messages of all entries; the client keeps choices and keys of
/// all chunks.
fn table(widths: &TableWidths, result: &ValueType) -> u64 {
    let chunk = chunks(result.shape.len()).map(|chunk| chunk.len()).max().unwrap_or(0);
    let entries = (widths.entries() as u64).saturating_mul(u64::from(widths.result_bits));
    let index = plane(result.shape.len()).saturating_mul(u64::from(widths.input_bits));
    let operands = index.saturating_add(value_bytes(result));
    let messages = plane(chunk).saturating_mul(entries);
    value_bytes(result).saturating_add(operands.saturating_mul(2)).saturating_add(messages)
}

/// An opening: words as planes, sums for every value of the guard bits, opened words.
fn open(operand: &ValueType) -> u64 {
    let elements = operand.shape.len();
    let (bits, guard_bits) = match operand.domain {
        Domain::Accumulator { acc_bits, guard_bits, .. } => (acc_bits, guard_bits),
        Domain::Arithmetic { bits, .. } | Domain::Boolean { bits, .. } => (bits, 0),
        Domain::Client { .. } | Domain::Revealed => return 0,
    };
    let planes = u64::from(bits + guard_bits).saturating_mul(2 + (1 << guard_bits.min(8)));
    plane(elements).saturating_mul(planes).saturating_add(words(elements).saturating_mul(2))
}

/// Finding the largest: bits of accumulators, then candidates with the bits of their indices, of which
/// an exchange holds all, flattened, with copies for its gates.
fn top(operand: &ValueType) -> u64 {
    const COPIES: u64 = 8;
    let elements = operand.shape.len();
    let mut machine = LiveMachine::default();
    let bits = match operand.domain {
        Domain::Accumulator { acc_bits, guard_bits, .. } => {
            let Ok(_) = sum_bits(&mut machine, acc_bits, guard_bits);
            acc_bits + guard_bits
        }
        Domain::Arithmetic { bits, .. } => {
            let Ok(_) = sum_bits(&mut machine, bits, 0);
            bits
        }
        Domain::Boolean { bits, .. } => bits,
        Domain::Client { .. } | Domain::Revealed => return 0,
    };
    let candidates = COPIES * u64::from(bits + index_bits(elements));
    plane(elements).saturating_mul(machine.most().max(candidates) + u64::from(bits))
}
