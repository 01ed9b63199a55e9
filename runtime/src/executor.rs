//! Walks a plan: runs its steps in order with the peer and measures each.

use crate::error::RunError;
use crate::protocol::gates::Gates;
use crate::protocol::{Role, linear, open, to_arithmetic};
use crate::session::{Keys, PreparedServer, Session};
use crate::share::{Plane, Words, mask};
use crate::stats::Measured;
use heq_ir::geometry::{Chw, Window};
use heq_ir::plan::LayerKind;
use heq_ir::protocol::max_pool::max_over_positions;
use heq_ir::protocol::requantize::requantize;
use heq_ir::secure::{Domain, ValueType};
use std::time::Instant;
use zeroize::Zeroizing;

/// What one party holds of a value.
enum Value {
    /// Shares mod a power of two, or the client's input.
    Words(Words),
    /// Shares of bits.
    Planes(Vec<Plane>),
    /// No later step reads it.
    Released,
}

const WRONG_VALUE: RunError =
    RunError::Internal { what: "a step read a value of a domain that the plan rules out" };

/// What this party brings to an inference.
pub enum Contribution<'a> {
    /// The client's quantized input `[C, H, W]`, zero point removed.
    Input(&'a [i64]),
    /// The server's weights.
    Weights(&'a PreparedServer),
}

impl Session<'_> {
    /// Runs one inference. The client gets the integer output, the server an empty one.
    ///
    /// `measured` has one entry a step, to which traffic and time are added.
    ///
    /// # Errors
    /// [`RunError`] if the peer goes away or breaks the protocol; the session cannot be used then.
    pub fn infer(
        &mut self,
        contribution: &Contribution<'_>,
        measured: &mut [Measured],
    ) -> Result<Vec<i64>, RunError> {
        let plan = self.plan.plan();
        let last_reads = last_reads(self.plan.plan().layers());
        let input = match contribution {
            Contribution::Input(x) => x.iter().map(|x| x.cast_unsigned()).collect(),
            Contribution::Weights(_) => vec![0; plan.spec().input.shape.len()],
        };
        if input.len() != plan.spec().input.shape.len() {
            return Err(RunError::Internal { what: "a sample has another length than the input" });
        }
        let mut values = vec![Value::Words(Zeroizing::new(input))];
        let mut output = Vec::new();
        let mut linear_index = 0;
        for (index, layer) in plan.layers().iter().enumerate() {
            let start = (Instant::now(), self.meter());
            let operand_id = layer.operand.0;
            let types = (plan.values()[operand_id], plan.values()[index + 1]);
            // Its last reader takes a value over; it is wiped when that step is done.
            let operand = if last_reads[operand_id] == index {
                &mut std::mem::replace(&mut values[operand_id], Value::Released)
            } else {
                &mut values[operand_id]
            };
            let result = match (&layer.kind, operand) {
                (LayerKind::Linear { .. }, Value::Words(shares)) => {
                    let words = self.linear(index, linear_index, contribution, shares)?;
                    linear_index += 1;
                    Value::Words(words)
                }
                (LayerKind::Requantize { widths, range, form }, Value::Words(shares)) => {
                    let offset =
                        if self.role == Role::Server { widths.offset(range.lo) } else { 0 };
                    let word_mask = mask(widths.word_bits());
                    let moved: Words = Zeroizing::new(
                        shares.iter().map(|word| word.wrapping_add(offset) & word_mask).collect(),
                    );
                    let mut link = self.link();
                    let mut gates = Gates::new(&mut link, &moved, moved.len());
                    Value::Planes(requantize(&mut gates, widths, form)?)
                }
                (LayerKind::MaxPool { window }, Value::Planes(planes)) => {
                    Value::Planes(self.max_pool(window, types, planes)?)
                }
                (LayerKind::ToArithmetic { bits, lo }, Value::Planes(planes)) => {
                    let elements = types.0.shape.len();
                    let mut link = self.link();
                    let words =
                        to_arithmetic::to_arithmetic(&mut link, planes, elements, *bits, *lo)?;
                    Value::Words(words)
                }
                (LayerKind::Flatten, operand) if last_reads[operand_id] == index => {
                    std::mem::replace(operand, Value::Released)
                }
                (LayerKind::Flatten, Value::Words(words)) => Value::Words(words.clone()),
                (LayerKind::Flatten, Value::Planes(planes)) => Value::Planes(planes.clone()),
                (LayerKind::Open, Value::Words(shares)) => {
                    let Domain::Accumulator { acc_bits, .. } = types.0.domain else {
                        return Err(WRONG_VALUE);
                    };
                    output = open::open(&mut self.link(), shares, acc_bits)?;
                    Value::Released
                }
                _ => return Err(WRONG_VALUE),
            };
            values.push(result);
            if let Some(measured) = measured.get_mut(index) {
                measured.add(self.role, self.meter().since(start.1), start.0.elapsed());
            }
        }
        Ok(output)
    }

    fn linear(
        &mut self,
        index: usize,
        linear_index: usize,
        contribution: &Contribution<'_>,
        shares: &[u64],
    ) -> Result<Words, RunError> {
        let step = self
            .plan
            .plan()
            .linear_step(index)
            .ok_or(RunError::Internal { what: "a linear step has no parameters" })?;
        let ring = self.plan.ring(step.choice.rlwe)?;
        let missing = RunError::Internal { what: "a key is missing" };
        let (channel, seeds, rng) = (&mut self.channel, &mut self.seeds, &mut self.rng);
        match (&self.keys, contribution) {
            (Keys::Client(keys), Contribution::Input(_)) => {
                let key = keys.get(step.choice.rlwe).ok_or(missing)?;
                linear::client(channel, ring, key, &step, seeds, shares, rng)
            }
            (Keys::Server(keys), Contribution::Weights(weights)) => {
                let key = keys.get(step.choice.rlwe).ok_or(missing)?;
                let weights = weights.layer(linear_index)?;
                linear::server(channel, ring, key, &step, weights, seeds, shares, rng)
            }
            _ => Err(RunError::Internal { what: "a party brings what the other should" }),
        }
    }

    fn max_pool(
        &mut self,
        window: &Window,
        (input, output): (ValueType, ValueType),
        planes: &[Plane],
    ) -> Result<Vec<Plane>, RunError> {
        let positions = (0..window.kernel[0] * window.kernel[1])
            .map(|tap| {
                let sources = window_sources(window, tap, input.shape, output.shape);
                planes.iter().map(|plane| plane.gather(&sources)).collect()
            })
            .collect();
        let mut link = self.link();
        let mut gates = Gates::new(&mut link, &[], output.shape.len());
        max_over_positions(&mut gates, positions)
    }
}

/// For every output, the input that window position `tap` reads, or none where it reads padding.
fn window_sources(window: &Window, tap: usize, input: Chw, output: Chw) -> Vec<Option<usize>> {
    let position = [tap / window.kernel[1], tap % window.kernel[1]];
    let mut sources = Vec::with_capacity(output.len());
    for c in 0..output.channels {
        for y in 0..output.height {
            for x in 0..output.width {
                let source = window.source([y, x], position, [input.height, input.width]);
                sources.push(source.map(|[y, x]| input.index(c, y, x)));
            }
        }
    }
    sources
}

/// For every value the last step that reads it.
fn last_reads(layers: &[heq_ir::plan::Layer]) -> Vec<usize> {
    let mut last = vec![usize::MAX; layers.len() + 1];
    for (index, layer) in layers.iter().enumerate() {
        last[layer.operand.0] = index;
    }
    last
}
