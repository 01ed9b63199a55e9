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
        (LayerKind::Combine(op), _) => Value::Words(combine(role, op, step, operands)?),
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
        (&LayerKind::Concat { batch }, _) => concat(batch, step, operands)?,
        (LayerKind::ToBoolean { bits, lo }, [Value::Words(words)]) => {
            Value::Planes((0..*bits).map(|bit| client_plane(role, words, bit, *lo)).collect())
        }
        _ => return Err(WRONG_VALUE),
    })
}

/// Adds up this party's shares mod `2^(l+g)`: `2^g*factor` times exact ones, accumulators as they are but
/// for the guard bits that they have too many.
fn combine(
    role: Role,
    op: &CombineOp,
    step: &Step<'_>,
    operands: &[&Value],
) -> Result<Words, RunError> {
    let output = step.result.shape;
    let constant = match role {
        Role::Server => op.constant.cast_unsigned() << op.guard_bits,
        Role::Client => 0,
    };
    let mut sum: Words = Zeroizing::new(vec![constant; output.len()]);
    for ((term, value), from) in op.terms.iter().zip(operands).zip(step.types) {
        let Value::Words(words) = value else { return Err(WRONG_VALUE) };
        match term {
            CombineTerm::Accumulator => {
                let dropped = op.dropped_guard_bits(from.domain).ok_or(WRONG_VALUE)?;
                // What the carry of the dropped bits is at least and at most differs by this.
                let carry = u64::from(role == Role::Server && dropped > 0);
                for (sum, word) in sum.iter_mut().zip(words.iter()) {
                    *sum = sum.wrapping_add((word >> dropped).wrapping_add(carry));
                }
            }
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

fn concat(batch: usize, step: &Step<'_>, operands: &[&Value]) -> Result<Value, RunError> {
    let elements = step.result.shape.len();
    // Where each sample of each operand lies.
    let parts = (0..batch).flat_map(|sample| {
        operands.iter().zip(step.types).map(move |(value, from)| {
            let size = from.shape.len() / batch.max(1);
            (value, sample * size..(sample + 1) * size)
        })
    });
    if let Domain::Boolean { bits, .. } = step.result.domain {
        let mut planes = Vec::with_capacity(bits as usize);
        for bit in 0..bits as usize {
            let mut joined = Vec::with_capacity(batch * operands.len());
            for (value, range) in parts.clone() {
                let Value::Planes(planes) = value else { return Err(WRONG_VALUE) };
                let plane = planes.get(bit).ok_or(WRONG_VALUE)?;
                joined.push(range.map(|index| plane.bit(index)));
            }
            planes.push(Plane::from_bits(elements, joined.into_iter().flatten()));
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
    for (value, range) in parts {
        let Value::Words(words) = value else { return Err(WRONG_VALUE) };
        let part = words.get(range).ok_or(WRONG_VALUE)?;
        joined.extend(part.iter().map(|word| word & word_mask));
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

#[cfg(test)]
mod tests {
    use super::*;
    use heq_ir::secure::{SecureOp, ValueType};

    /// Shares of `2^G*acc + delta` that are wider than a sum become shares of `2^g*acc + delta'` for any
    /// mask, `delta'` within what the typing rule says.
    #[test]
    fn wider_accumulators_are_narrowed_exactly() {
        let shape = Chw::new(1, 1, 1);
        for (wide, max_delta, acc_bits, guard_bits) in
            [([5, 1], 1, 3, 1), ([4, 2], 1, 4, 1), ([5, 3], 1, 4, 1), ([4, 3], 4, 3, 2)]
        {
            let [wide_bits, wide_guard] = wide;
            let domain = Domain::Accumulator {
                acc_bits: wide_bits,
                guard_bits: wide_guard,
                max_delta,
                rounded_bits: 0,
            };
            let types = [ValueType { shape, domain }];
            let terms = vec![CombineTerm::Accumulator];
            let op = CombineOp { acc_bits, guard_bits, constant: 0, terms };
            let result = SecureOp::Combine(op.clone()).result_type(&types).unwrap();
            let Domain::Accumulator { max_delta: allowed, .. } = result.domain else {
                panic!("{result:?}");
            };
            let step = Step { index: 0, types: &types, result };
            let all = mask(wide_bits + wide_guard);
            for (acc, delta) in (0..4_u64).flat_map(|acc| (0..=max_delta).map(move |d| (acc, d))) {
                let word = (acc << wide_guard) + u64::from(delta);
                for share in 0..=all {
                    let narrowed = |role, share| {
                        let value = Value::Words(Zeroizing::new(vec![share & all]));
                        combine(role, &op, &step, &[&value]).unwrap()[0]
                    };
                    let client = narrowed(Role::Client, share);
                    let server = narrowed(Role::Server, word.wrapping_sub(share));
                    let sum = client.wrapping_add(server) & mask(op.word_bits());
                    let rest = sum.wrapping_sub(acc << guard_bits) & mask(op.word_bits());
                    assert!(rest <= u64::from(allowed), "{wide:?} {acc} {delta} {share}");
                }
            }
        }
    }
}
