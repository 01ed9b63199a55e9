//! The outputs of a plan in the clear.

use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::eval::evaluate;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::ServerWeights;
use heq_ir::stop::Stop;

/// The integer outputs of quantized `samples`, as a secure run gives them.
///
/// # Errors
/// [`Code::Interrupted`] if it is stopped, [`Code::Internal`] if the inputs are not the plan's.
pub fn simulate(
    plan: &Plan,
    weights: &ServerWeights,
    samples: &[Vec<i64>],
    stop: &Stop,
) -> Result<Vec<Vec<i64>>, Diagnostic> {
    let one = |input: &Vec<i64>| {
        stop.check()?;
        let evaluation = evaluate(plan, weights, input).map_err(|error| {
            let remedy = "this is a fault of heqc; please report it";
            Diagnostic::new(Code::Internal, &plan.spec().model, error.to_string(), remedy)
        })?;
        Ok(evaluation.output().to_vec())
    };
    samples.iter().map(one).collect()
}
