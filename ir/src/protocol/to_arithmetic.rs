//! Traffic of turning shared bits into arithmetic shares; docs/protocols/requantize.md.
//!
//! The b bits of a value become shares mod `2^L` bit by bit, each mod what is left above it. Or they
//! become shares mod `2^b`, which are b bits narrow, and then those are lifted: their sum wraps at most
//! once, whether it does is the carry out of a sum of private words, and only that bit becomes
//! a share mod `2^(L-b)`.

use super::adder::{CarryForm, carry};
use super::circuit::Circuit;
use super::count::CountMachine;
use super::{PlaneMachine, plane_bytes};
use crate::traffic::{RotRun, RotSender, Step, Traffic};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// How bits become arithmetic shares; chosen by the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ToArithmeticForm {
    /// Every bit by itself, all in one exchange.
    Direct,
    /// Shares of the bits' own width, which are lifted by the carry out of their sum: fewer bits on the
    /// wire, more flights.
    Lifted(CarryForm),
}

impl ToArithmeticForm {
    /// Whether it turns `planes` planes into shares mod `2^bits`.
    #[must_use]
    pub fn is_valid(&self, planes: u32, bits: u32) -> bool {
        match self {
            Self::Direct => true,
            Self::Lifted(form) => planes < bits && form.is_valid(planes),
        }
    }

    /// All forms for `planes` planes and shares mod `2^bits`.
    pub fn all(planes: u32, bits: u32) -> impl Iterator<Item = Self> {
        let lifted = (planes < bits).then(|| CarryForm::all(planes).map(Self::Lifted));
        std::iter::once(Self::Direct).chain(lifted.into_iter().flatten())
    }

    /// Messages and random OTs over `elements` elements.
    #[must_use]
    pub fn traffic(&self, elements: usize, planes: u32, bits: u32) -> Traffic {
        match *self {
            Self::Direct => direct_traffic(elements, planes, bits),
            Self::Lifted(form) => {
                let mut traffic = direct_traffic(elements, planes, planes);
                let mut machine = CountMachine::new(elements);
                let Ok(_) = wrap(&mut machine, planes, form);
                let lift = direct_traffic(elements, 1, bits.saturating_sub(planes));
                for part in [machine.finish(), lift] {
                    traffic.steps.extend(part.steps);
                    traffic.rots.extend(part.rots);
                }
                traffic
            }
        }
    }
}

impl Display for ToArithmeticForm {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Lifted(form) => write!(f, "lifted {form}"),
        }
    }
}

/// Shares the carry out of the sum of private words of `bits` bits; none without bits.
///
/// **Security**: neither party learns anything.
///
/// # Errors
/// The machine's error if an interactive step fails.
pub fn wrap<M: PlaneMachine>(
    machine: &mut M,
    bits: u32,
    form: CarryForm,
) -> Result<Option<M::Plane>, M::Error> {
    let mut circuit = Circuit::default();
    let Some(output) = carry(&mut circuit, 0..bits, form) else { return Ok(None) };
    Ok(circuit.run(machine, Vec::new(), &[output])?.pop())
}

/// One exchange: a choice bit and a correction of `bits - j - 1` bits an element for plane j, if that
/// is not zero.
fn direct_traffic(elements: usize, planes: u32, bits: u32) -> Traffic {
    let products = (0..planes).map(|j| bits.saturating_sub(j + 1)).filter(|&bits| bits > 0);
    let rots: Vec<_> = products.clone().map(|bits| bit_product_rots(elements, bits)).collect();
    let plane = plane_bytes(elements);
    let down = products.map(u64::from).sum::<u64>() * plane;
    Traffic::new(vec![Step::Exchange { up: rots.len() as u64 * plane, down }], rots)
}

/// Random OTs of products of bits mod `2^bits`.
#[must_use]
pub fn bit_product_rots(elements: usize, bits: u32) -> RotRun {
    let (elements, bits) = (elements as u64, u64::from(bits));
    RotRun { sender: RotSender::Server, planes: 1, elements, bits }
}
