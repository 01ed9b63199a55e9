//! What parties must agree on before anything is computed.

use heq_compiler::lower::plan::Compiled;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::weights::ServerWeights;
use heq_net::frame::HEADER_BYTES;
use heq_net::memory::{Passage, intercepted_pair};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use heq_tests::compiled_lenet;

/// The client's outcome if the byte at `at` of the server's hello is changed.
fn outcome(compiled: &Compiled, at: Option<usize>) -> Result<(), RunError> {
    let plan = PreparedPlan::new(compiled.plan.clone());
    let weights = PreparedServer::new(&plan, &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
    let mut is_first = true;
    let change = move |mut frame: Vec<u8>| {
        if std::mem::replace(&mut is_first, false)
            && let Some(at) = at
        {
            frame[HEADER_BYTES + at] ^= 2;
        }
        Passage::Deliver(frame)
    };
    let (client_end, server_end) = intercepted_pair([Box::new(Passage::Deliver), Box::new(change)]);
    let samples = [vec![0; plan.plan().spec().input.shape.len()]];
    std::thread::scope(|scope| {
        // Of what the server makes of a client that is gone nothing is asked.
        let _server = scope.spawn(|| run_server(&plan, &weights, None, server_end).map(drop));
        run_client(&plan, client_end, &samples).map(drop)
    })
}

#[test]
fn answers_for_something_else_are_refused() {
    /// Places of the digest and of the number of inferences in a hello.
    const PLACES: [usize; 2] = [16, 80];
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    assert!(outcome(&compiled, None).is_ok());
    for place in PLACES {
        let found = outcome(&compiled, Some(place));
        assert!(matches!(found, Err(RunError::PeerMisbehaved { .. })), "byte {place}: {found:?}");
    }
}

#[test]
fn weights_above_the_bound_of_the_plan_are_refused() {
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let mut spec = compiled.weights.spec().clone();
    let largest = spec.layers[0].weights.iter().map(|w| w.abs()).max().unwrap();
    spec.layers[0].weights.fill(largest);
    let refused = ServerWeights::check(spec, &compiled.plan, "weights").err().unwrap();
    assert!(refused.to_string().contains("norm"), "{refused}");
}
