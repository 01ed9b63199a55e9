//! Walks a plan: runs its steps in order with the peer and measures each.

mod local;

use crate::error::RunError;
use crate::offline;
use crate::protocol::gates::Gates;
use crate::protocol::{Link, linear, open, requantize, table, to_arithmetic, top};
use crate::session::{Keys, Mode, PreparedServer, Progress, Session};
use crate::share::{Plane, Words};
use crate::stats::Measured;
use heq_ir::geometry::{Chw, Window};
use heq_ir::layout::PartyOperations;
use heq_ir::plan::{LayerKind, LinearStep};
use heq_ir::protocol::max_pool::{ComparisonForm, max_over_positions};
use heq_ir::rounding::EarlyRounding;
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

/// A step with the types of its values.
struct Step<'a> {
    index: usize,
    types: &'a [ValueType],
    result: ValueType,
}

impl Step<'_> {
    /// Type of the first operand.
    fn operand(&self) -> Result<ValueType, RunError> {
        self.types.first().copied().ok_or(WRONG_VALUE)
    }
}

/// How many of the server's secret tensors the steps before this one used.
struct Secrets {
    linear: usize,
    table: usize,
}

const WRONG_VALUE: RunError =
    RunError::Internal { what: "a step read a value of a domain that the plan rules out" };

/// What this party brings to an inference.
pub enum Contribution<'a> {
    /// The client's quantized input `[B*C, H, W]`, zero point removed: all samples of the plan.
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
        if self.done == self.inferences {
            return Err(RunError::Internal { what: "more inferences than were announced" });
        }
        let plan = self.plan.plan();
        let last_reads = last_reads(self.plan.plan().layers());
        let input = match contribution {
            Contribution::Input(x) => x.iter().map(|x| x.cast_unsigned()).collect(),
            Contribution::Weights(_) => vec![0; plan.input_len()],
        };
        if input.len() != plan.input_len() {
            return Err(RunError::Internal { what: "a sample has another length than the input" });
        }
        let mut values = vec![Value::Words(Zeroizing::new(input))];
        let mut output = Vec::new();
        let mut secrets = Secrets { linear: 0, table: 0 };
        for (index, layer) in plan.layers().iter().enumerate() {
            let start = (Instant::now(), self.meter(), self.operations(&layer.kind));
            let (inference, inferences) = (self.done, self.inferences);
            let bytes = start.1.bytes_sent + start.1.bytes_received;
            self.plan.observe(Progress { inference, inferences, step: index, bytes });
            let types = plan.operands(index);
            let result = {
                let mut operands = Vec::with_capacity(layer.operands.len());
                for id in &layer.operands {
                    operands.push(values.get(id.0).ok_or(WRONG_VALUE)?);
                }
                let step = Step { index, types: &types, result: plan.values()[index + 1] };
                if layer.kind == LayerKind::Open {
                    output = self.open(&step, &operands)?;
                    Value::Released
                } else {
                    self.step(&layer.kind, &step, &operands, contribution, &mut secrets)?
                }
            };
            // A value is wiped as soon as its last reader is done.
            for id in layer.operands.iter().filter(|id| last_reads[id.0] == index) {
                values[id.0] = Value::Released;
            }
            values.push(result);
            if let Some(measured) = measured.get_mut(index) {
                measured.add(self.role, self.meter().since(start.1), start.0.elapsed());
                let operations = self.operations(&layer.kind).since(start.2);
                measured.add_operations(self.role, operations);
            }
        }
        self.done += 1;
        Ok(output)
    }

    /// What was computed so far in the ring of a linear step.
    fn operations(&self, kind: &LayerKind) -> PartyOperations {
        let LayerKind::Linear { choice, .. } = kind else { return PartyOperations::default() };
        let ring = self.plan.ring(choice.rlwe);
        ring.map(|ring| ring.operations().counts()).unwrap_or_default()
    }

    /// Runs one step that opens nothing.
    fn step(
        &mut self,
        kind: &LayerKind,
        step: &Step<'_>,
        operands: &[&Value],
        contribution: &Contribution<'_>,
        secrets: &mut Secrets,
    ) -> Result<Value, RunError> {
        let elements = step.result.shape.len();
        Ok(match (kind, operands) {
            (LayerKind::Linear { .. }, [Value::Words(shares)]) => {
                let linear = secrets.linear;
                secrets.linear += 1;
                Value::Words(self.linear(step, linear, contribution, shares)?)
            }
            (LayerKind::Requantize { widths, range, form }, [Value::Words(words)]) => {
                let rounding = EarlyRounding::of(step.operand()?.domain);
                let (link, lo) = (&mut self.link(), range.lo);
                Value::Planes(requantize::requantize(link, rounding, widths, lo, form, words)?)
            }
            (LayerKind::MaxPool { window, form }, [Value::Planes(planes)]) => {
                Value::Planes(self.max_pool(window, *form, step, planes)?)
            }
            (LayerKind::Table { widths, .. }, _) => {
                let planes = &concatenated(operands)?;
                let table = secrets.table;
                secrets.table += 1;
                let mut link = self.link();
                Value::Planes(match contribution {
                    Contribution::Input(_) => table::client(&mut link, widths, planes, elements)?,
                    Contribution::Weights(weights) => {
                        let entries = weights.table(table)?;
                        table::server(&mut link, widths, planes, elements, entries)?
                    }
                })
            }
            (&LayerKind::ToArithmetic { bits, form }, [Value::Planes(planes)]) => {
                let Domain::Boolean { lo, .. } = step.operand()?.domain else {
                    return Err(WRONG_VALUE);
                };
                let mut link = self.link();
                Value::Words(to_arithmetic::to_arithmetic(
                    &mut link, planes, elements, bits, lo, form,
                )?)
            }
            (LayerKind::Top { k }, [value]) => Value::Planes(self.top(*k, step, value)?),
            _ => local::run(self.role, kind, step, operands)?,
        })
    }

    fn open(&mut self, step: &Step<'_>, operands: &[&Value]) -> Result<Vec<i64>, RunError> {
        match (step.operand()?.domain, operands) {
            (Domain::Accumulator { acc_bits, guard_bits, .. }, [Value::Words(shares)]) => {
                open::open(&mut self.link(), shares, acc_bits, guard_bits)
            }
            (Domain::Arithmetic { bits, .. }, [Value::Words(shares)]) => {
                open::open(&mut self.link(), shares, bits, 0)
            }
            (Domain::Boolean { lo, .. }, [Value::Planes(planes)]) => {
                let elements = step.result.shape.len();
                let bits = open::open_bits(&mut self.link(), planes, elements)?;
                Ok(bits.iter().map(|bits| bits.cast_signed().wrapping_add(lo)).collect())
            }
            _ => Err(WRONG_VALUE),
        }
    }

    fn linear(
        &mut self,
        step: &Step<'_>,
        linear_index: usize,
        contribution: &Contribution<'_>,
        shares: &[u64],
    ) -> Result<Words, RunError> {
        let operand = step.operand()?.domain;
        let step = self
            .plan
            .plan()
            .linear_step(step.index)
            .ok_or(RunError::Internal { what: "a linear step has no parameters" })?;
        if self.mode == Mode::Prepared {
            let layer = self.next_layer()?;
            let channel = &mut self.channel;
            return match contribution {
                Contribution::Input(_) => offline::linear_client(channel, &step, layer, shares),
                Contribution::Weights(weights) => {
                    let weights = weights.layer(linear_index)?;
                    offline::linear_server(channel, &step, weights, layer, shares)
                }
            };
        }
        self.encrypted(&step, operand, linear_index, contribution, shares)
    }

    /// A linear layer under encryption, on an operand that lives as `operand`.
    pub(crate) fn encrypted(
        &mut self,
        step: &LinearStep<'_>,
        operand: Domain,
        linear_index: usize,
        contribution: &Contribution<'_>,
        shares: &[u64],
    ) -> Result<Words, RunError> {
        let ring = self.plan.ring(step.choice.rlwe)?;
        let missing = RunError::Internal { what: "a key is missing" };
        let layer = linear::Layer { ring, step, operand };
        let mut link = Link {
            role: self.role,
            channel: &mut self.channel,
            sender: &mut self.sender_stock,
            receiver: &mut self.receiver_stock,
        };
        let (seeds, rng) = (&mut self.seeds, &mut self.rng);
        match (&self.keys, contribution) {
            (Some(Keys::Client(keys)), Contribution::Input(_)) => {
                let key = keys.get(step.choice.rlwe).ok_or(missing)?;
                linear::client(&mut link, &layer, key, seeds, shares, rng)
            }
            (Some(Keys::Server(keys)), Contribution::Weights(weights)) => {
                let keys = keys.get(step.choice.rlwe).ok_or(missing)?;
                let weights = weights.layer(linear_index)?;
                linear::server(&mut link, &layer, keys, weights, seeds, shares, rng)
            }
            _ => Err(RunError::Internal { what: "a party brings what the other should" }),
        }
    }

    fn top(&mut self, k: u32, step: &Step<'_>, value: &Value) -> Result<Vec<Plane>, RunError> {
        let operand = step.operand()?;
        let count = operand.shape.len();
        let mut link = self.link();
        let values = match (operand.domain, value) {
            (Domain::Accumulator { acc_bits, guard_bits, .. }, Value::Words(shares)) => {
                top::values(&mut link, shares, acc_bits, guard_bits)?
            }
            (Domain::Arithmetic { bits, .. }, Value::Words(shares)) => {
                top::values(&mut link, shares, bits, 0)?
            }
            (Domain::Boolean { .. }, Value::Planes(planes)) => planes.clone(),
            _ => return Err(WRONG_VALUE),
        };
        top::top(&mut link, values, count, k as usize)
    }

    fn max_pool(
        &mut self,
        window: &Window,
        form: ComparisonForm,
        step: &Step<'_>,
        planes: &[Plane],
    ) -> Result<Vec<Plane>, RunError> {
        let (input, output) = (step.operand()?.shape, step.result.shape);
        let positions = (0..window.kernel[0] * window.kernel[1])
            .map(|tap| {
                let sources = window_sources(window, tap, input, output);
                planes.iter().map(|plane| plane.gather(&sources)).collect()
            })
            .collect();
        let mut link = self.link();
        let mut gates = Gates::new(&mut link, &[], output.len());
        max_over_positions(&mut gates, positions, form)
    }
}

/// The planes of all operands, those of the first the lowest.
fn concatenated(operands: &[&Value]) -> Result<Vec<Plane>, RunError> {
    let mut planes = Vec::new();
    for operand in operands {
        let Value::Planes(own) = operand else { return Err(WRONG_VALUE) };
        planes.extend_from_slice(own);
    }
    Ok(planes)
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
        layer.operands.iter().for_each(|id| last[id.0] = index);
    }
    last
}
