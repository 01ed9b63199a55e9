//! Masked operands of prepared inferences: the server's view once the input is known.

use super::recording::{Frame, recorded};
use super::statistics::check_uniform;
use heq_compiler::kernel::packing::PackingRule;
use heq_compiler::lower::plan::PlanOptions;
use heq_compiler::select::options::{Objective, SearchOptions};
use heq_ir::packing::unpack_bits;
use heq_runtime::offline::Store;
use heq_runtime::party::{prepare_client, prepare_server, run_prepared_client, run_server};
use heq_runtime::session::{Caller, PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use heq_tests::compile_lenet;
use std::collections::BTreeSet;

/// The operating system draws the masks. Of 8 bins, and by the words' distinctness, the test is wrong once in
/// 2^20 runs.
#[test]
fn masked_operands_are_uniform_and_no_mask_serves_twice() {
    const INFERENCES: u32 = 3;
    let mut search = SearchOptions { objective: Objective::OnlineLatency, ..Default::default() };
    search.restriction.packing = PackingRule::None;
    let compiled = compile_lenet(&PlanOptions { search, ..PlanOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let [client, server] =
        ["client", "server"].map(|party| Store::create(&folder.path().join(party), None).unwrap());
    let [client_plan, server_plan] = [(); 2].map(|()| PreparedPlan::new(compiled.plan.clone()));
    let weights = PreparedServer::new(&server_plan, &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
    let (made, served, _) = recorded(
        |channel| prepare_client(&client_plan, channel, &client, INFERENCES),
        |channel| {
            let caller = Caller::receive(channel)?;
            prepare_server(&server_plan, &weights, &server, INFERENCES, caller, &|| ())
        },
    );
    made.unwrap();
    served.unwrap();
    // Zeros, the same each time: what is sent are the masks.
    let elements = compiled.plan.spec().input.shape.len();
    let samples = vec![vec![0; elements]; INFERENCES as usize];
    let (outputs, served, [up, _]) = recorded(
        |channel| run_prepared_client(&client_plan, channel, &client, &samples),
        |channel| run_server(&server_plan, &weights, Some(&server), channel),
    );
    served.unwrap();
    assert_eq!(outputs.unwrap().0.len(), INFERENCES as usize);
    let (first, step) = compiled.plan.linear_steps().next().unwrap();
    let length = compiled.plan.masked_bytes(first).unwrap() as usize;
    let is_operand = |frame: &&Frame| frame.lane == 0 && frame.payload.len() == length;
    let operands: Vec<&Frame> = up.iter().filter(is_operand).collect();
    assert_eq!(operands.len(), INFERENCES as usize);
    let distinct: BTreeSet<&Vec<u8>> = operands.iter().map(|frame| &frame.payload).collect();
    assert_eq!(distinct.len(), operands.len(), "a mask served twice");
    let bits = step.op.acc_bits;
    let words: Vec<u64> = operands
        .iter()
        .flat_map(|frame| unpack_bits(&frame.payload, bits, elements).unwrap())
        .collect();
    check_uniform("masked operands", &words, 1 << bits);
}
