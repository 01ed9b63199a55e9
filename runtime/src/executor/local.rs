//! Steps that each party runs on its own shares, without a message.
//!
//! A value of the client's is shared as itself at the client and 0 at the server, in words and in
//! planes alike.

use super::{Step, Value, WRONG_VALUE};
use crate::error::RunError;
use crate::protocol::Role;
use crate::share::{Plane, Words, mask};
use heq_ir::eval::fold_windows;
use heq_ir::geometry::{Chw, Window};
use heq_ir::integer::IntRange;
use heq_ir::plan::LayerKind;
use heq_ir::secure::{CombineOp, CombineTerm, Domain};
use zeroize::Zeroizing;

/// Runs a local step.
///
/// # Errors
/// [`RunError::Internal`] if the plan's types rule the step out.
pub(super) fn run(
    role: Role,
    kind: &LayerKind,
    step: &Step<'_>,
    operands: &[&Value],
) -> Result<Value, RunError> {
    let from = step.operand()?;
    let to = step.result;
    Ok(match (kind, operands) {
        (LayerKind::Combine(op), _) => Value::Words(combine(role, op, to.shape, operands)?),
        (LayerKind::MaxPool { window, .. }, [Value::Words(words)]) => {
            let Domain::Client { range } = from.domain else { return Err(WRONG_VALUE) };
            Value::Words(max_pool(role, window, (from.shape, to.shape), range, words))
        }
        (LayerKind::View(view), [value]) => {
            // Zero in the place of padding; of shared bits the server holds it.
            let zero = match (role, from.domain) {
                (Role::Server, Domain::Boolean { lo, .. }) => lo.wrapping_neg().cast_unsigned(),
                _ => 0,
            };
            rearrange(value, &view.sources(from.shape).ok_or(WRONG_VALUE)?, zero)?
        }
        (LayerKind::Reshape(_), [Value::Words(words)]) => Value::Words(words.clone()),
        (LayerKind::Reshape(_), [Value::Planes(planes)]) => Value::Planes(planes.clone()),
        (LayerKind::Concat, _) => concat(step, operands)?,
        (LayerKind::ToBoolean { bits, lo }, [Value::Words(words)]) => {
            Value::Planes((0..*bits).map(|bit| client_plane(role, words, bit, *lo)).collect())
        }
        _ => return Err(WRONG_VALUE),
    })
}

/// Adds up this party's shares mod `2^(l+g)`: `2^g*factor` times exact ones, accumulators as they are.
fn combine(
    role: Role,
    op: &CombineOp,
    output: Chw,
    operands: &[&Value],
) -> Result<Words, RunError> {
    let constant = match role {
        Role::Server => op.constant.cast_unsigned() << op.guard_bits,
        Role::Client => 0,
    };
    let mut sum: Words = Zeroizing::new(vec![constant; output.len()]);
    for (term, value) in op.terms.iter().zip(operands) {
        let Value::Words(words) = value else { return Err(WRONG_VALUE) };
        match term {
            CombineTerm::Accumulator => add(&mut sum, words, 1),
            CombineTerm::Scaled(term) => {
                let factor = term.factor.cast_unsigned() << op.guard_bits;
                if term.window == Window::POINT {
                    add(&mut sum, words, factor);
                } else {
                    let wrapping_add = u64::wrapping_add;
                    let sums =
                        fold_windows(&term.window, term.input, output, words, 0, wrapping_add);
                    add(&mut sum, &Zeroizing::new(sums), factor);
                }
            }
        }
    }
    let word_mask = mask(op.word_bits());
    sum.iter_mut().for_each(|word| *word &= word_mask);
    Ok(sum)
}

fn add(sum: &mut [u64], words: &[u64], factor: u64) {
    for (sum, word) in sum.iter_mut().zip(words) {
        *sum = sum.wrapping_add(factor.wrapping_mul(*word));
    }
}

/// The largest of the client's own values; the server has nothing to do. The client's time may depend
/// on its values: no message does.
fn max_pool(
    role: Role,
    window: &Window,
    (input, output): (Chw, Chw),
    range: IntRange,
    words: &[u64],
) -> Words {
    Zeroizing::new(match role {
        Role::Server => vec![0; output.len()],
        Role::Client => {
            let smallest = range.lo.cast_unsigned();
            let larger = |a: u64, b: u64| a.cast_signed().max(b.cast_signed()).cast_unsigned();
            fold_windows(window, input, output, words, smallest, larger)
        }
    })
}

/// The elements at `sources`, and `padding` where there is none.
fn rearrange(value: &Value, sources: &[Option<usize>], padding: u64) -> Result<Value, RunError> {
    Ok(match value {
        Value::Words(words) => {
            let pick = |source: &Option<usize>| source.map_or(padding, |at| words[at]);
            Value::Words(Zeroizing::new(sources.iter().map(pick).collect()))
        }
        Value::Planes(planes) => {
            let pick = |(bit, plane): (usize, &Plane)| {
                let padding = padding >> bit & 1;
                let bits = sources.iter().map(|source| source.map_or(padding, |at| plane.bit(at)));
                Plane::from_bits(sources.len(), bits)
            };
            Value::Planes(planes.iter().enumerate().map(pick).collect())
        }
        Value::Released => return Err(WRONG_VALUE),
    })
}

fn concat(step: &Step<'_>, operands: &[&Value]) -> Result<Value, RunError> {
    let elements = step.result.shape.len();
    if let Domain::Boolean { bits, .. } = step.result.domain {
        let mut planes = Vec::with_capacity(bits as usize);
        for bit in 0..bits as usize {
            let mut parts = Vec::with_capacity(operands.len());
            for (value, from) in operands.iter().zip(step.types) {
                let Value::Planes(planes) = value else { return Err(WRONG_VALUE) };
                let plane = planes.get(bit).ok_or(WRONG_VALUE)?;
                parts.push((0..from.shape.len()).map(|index| plane.bit(index)));
            }
            planes.push(Plane::from_bits(elements, parts.into_iter().flatten()));
        }
        return Ok(Value::Planes(planes));
    }
    // The client's own values are whole words, its shares are not.
    let word_mask = if let Domain::Arithmetic { bits, .. } = step.result.domain {
        mask(bits)
    } else {
        u64::MAX
    };
    let mut joined: Words = Zeroizing::new(Vec::with_capacity(elements));
    for value in operands {
        let Value::Words(words) = value else { return Err(WRONG_VALUE) };
        joined.extend(words.iter().map(|word| word & word_mask));
    }
    Ok(Value::Words(joined))
}

/// This party's share of one bit of `x - lo`.
fn client_plane(role: Role, words: &[u64], bit: u32, lo: i64) -> Plane {
    match role {
        Role::Client => {
            let bits = words.iter().map(|word| word.wrapping_sub(lo.cast_unsigned()) >> bit & 1);
            Plane::from_bits(words.len(), bits)
        }
        Role::Server => Plane::zeros(words.len()),
    }
}
