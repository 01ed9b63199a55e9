//! A party's whole run: set-up, then its inferences, measured.

use crate::error::RunError;
use crate::executor::Contribution;
use crate::protocol::Role;
use crate::session::{PreparedPlan, PreparedServer, Session};
use crate::stats::{Measured, SessionStats};
use heq_net::Channel;
use std::time::Instant;
use zeroize::Zeroizing;

/// Runs the client on quantized `samples`, as many at once as the plan says; returns the integer outputs
/// and what was measured. Where samples are left over the last is repeated beside them.
///
/// **Security**: the client learns the outputs, the server learns how many inferences there are.
///
/// # Errors
/// [`RunError`] if the peer is incompatible, goes away or breaks the protocol.
pub fn run_client(
    plan: &PreparedPlan,
    channel: Channel,
    samples: &[Vec<i64>],
) -> Result<(Vec<Vec<i64>>, SessionStats), RunError> {
    let checked = plan.plan();
    let passes: Vec<Zeroizing<Vec<i64>>> = samples
        .chunks(checked.batch())
        .map(|samples| Zeroizing::new(checked.pass_input(samples)))
        .collect();
    let count = u32::try_from(passes.len()).unwrap_or(u32::MAX);
    let (outputs, stats) = run(plan, Role::Client, channel, count, |index| {
        passes.get(index).map(|input| Contribution::Input(input))
    })?;
    let outputs = outputs.iter().flat_map(|outputs| checked.sample_outputs(outputs));
    Ok((outputs.take(samples.len()).collect(), stats))
}

/// Serves one session; returns what was measured.
///
/// **Security**: the server learns nothing but the number of inferences.
///
/// # Errors
/// [`RunError`] if the peer is incompatible, goes away or breaks the protocol.
pub fn run_server(
    plan: &PreparedPlan,
    weights: &PreparedServer,
    channel: Channel,
) -> Result<SessionStats, RunError> {
    let serve = |_| Some(Contribution::Weights(weights));
    Ok(run(plan, Role::Server, channel, 0, serve)?.1)
}

fn run<'c>(
    plan: &PreparedPlan,
    role: Role,
    channel: Channel,
    inferences: u32,
    contribution: impl Fn(usize) -> Option<Contribution<'c>>,
) -> Result<(Vec<Vec<i64>>, SessionStats), RunError> {
    let mut stats = SessionStats {
        layers: vec![Measured::default(); plan.plan().layers().len()],
        ..Default::default()
    };
    let start = Instant::now();
    let mut session = Session::establish(plan, role, channel, inferences)?;
    stats.setup.add(role, session.meter(), start.elapsed());
    let mut outputs = Vec::new();
    let mut infer_all = || {
        for index in 0..session.inferences as usize {
            let contribution = contribution(index)
                .ok_or(RunError::Internal { what: "an inference has no input" })?;
            outputs.push(session.infer(&contribution, &mut stats.layers)?);
            stats.inferences += 1;
        }
        Ok(())
    };
    let outcome = infer_all();
    (stats.correlations, stats.rots) = session.end(outcome)?;
    Ok((outputs, stats))
}
