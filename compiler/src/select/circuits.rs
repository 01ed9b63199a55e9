//! The candidates of the circuits on shared bits: their forms.

use crate::kernel::forms;
use crate::kernel::price::Resources;
use crate::select::options::FormRule;
use heq_ir::predict::Situation;
use heq_ir::protocol::max_pool::ComparisonForm;
use heq_ir::protocol::requantize::RequantizeForm;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::secure::{Domain, SecureOp, ValueType};
use heq_ir::traffic::Traffic;

/// A form of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Of a requantization.
    Requantize(RequantizeForm),
    /// Of a max pooling.
    MaxPool(ComparisonForm),
    /// Of a conversion to arithmetic shares.
    ToArithmetic(ToArithmeticForm),
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Requantize(form) => form.fmt(f),
            Self::MaxPool(ComparisonForm::Ripple) => f.write_str("ripple"),
            Self::MaxPool(ComparisonForm::Tree) => f.write_str("tree"),
            Self::ToArithmetic(form) => form.fmt(f),
        }
    }
}

/// The forms of one circuit that no other beats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CircuitFront {
    /// The forms, each with what it takes.
    pub candidates: Vec<(Form, Resources)>,
    /// How many there are in all.
    pub considered: usize,
}

impl CircuitFront {
    /// Keeps the forms that `rule` allows.
    pub fn keep(&mut self, rule: FormRule) {
        let fewest = self.candidates.iter().map(|(_, of)| of.flights).min();
        let size = |of: &Resources| [of.bytes(), of.rows.iter().sum()];
        let all: Vec<[f64; 2]> = self.candidates.iter().map(|(_, of)| size(of)).collect();
        let is_beaten = |own: [f64; 2]| {
            let is_below = |other: &&[f64; 2]| other[0] <= own[0] && other[1] <= own[1];
            all.iter().filter(is_below).any(|other| other[0] < own[0] || other[1] < own[1])
        };
        self.candidates.retain(|(_, of)| match rule {
            FormRule::Any => true,
            FormRule::FewestBytes => !is_beaten(size(of)),
            FormRule::FewestFlights => Some(of.flights) == fewest,
        });
    }
}

/// The forms of a step that reads `operand` that `rule` allows; none if it has no choice.
#[must_use]
pub fn circuit_front(
    op: &SecureOp,
    operand: ValueType,
    result: ValueType,
    rule: FormRule,
    situation: &Situation<'_>,
) -> Option<CircuitFront> {
    let elements = result.shape.len();
    match (op, operand.domain) {
        (SecureOp::Requantize { widths, .. }, _) => {
            let forms = rule.among(forms::of_requantize(widths, elements)).into_iter();
            Some(front(forms.map(|(form, traffic)| (Form::Requantize(form), traffic)), situation))
        }
        (SecureOp::MaxPool { window }, Domain::Boolean { bits, .. }) => {
            let positions = window.kernel[0] * window.kernel[1];
            let forms = rule.among(forms::of_max_pool(elements, positions, bits)).into_iter();
            Some(front(forms.map(|(form, traffic)| (Form::MaxPool(form), traffic)), situation))
        }
        (&SecureOp::ToArithmetic { bits }, Domain::Boolean { bits: planes, .. }) => {
            let forms = rule.among(forms::of_to_arithmetic(elements, planes, bits)).into_iter();
            let forms = forms.map(|(form, traffic)| (Form::ToArithmetic(form), traffic));
            Some(front(forms, situation))
        }
        _ => None,
    }
}

fn front(forms: impl Iterator<Item = (Form, Traffic)>, situation: &Situation<'_>) -> CircuitFront {
    let resources = |(form, traffic)| (form, Resources::of_traffic(&traffic, situation));
    let found: Vec<(Form, Resources)> = forms.map(resources).collect();
    let beats = |a: usize, b: usize| {
        let (x, y) = (&found[a].1, &found[b].1);
        x.within(y) && (a < b || !y.within(x))
    };
    let is_kept = |b: &usize| !(0..found.len()).any(|a| a != *b && beats(a, *b));
    let candidates = (0..found.len()).filter(is_kept).map(|index| found[index]).collect();
    CircuitFront { candidates, considered: found.len() }
}
