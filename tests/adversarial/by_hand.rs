//! Peers that are written by hand, for what two honest parties of one plan do not send: plans over the network,
//! offers of prepared inferences, another plan.

use super::peers::{SOFTSPOKEN, parties};
use heq_ir::diagnostic::Code;
use heq_ir::plan::codec::{HEADER_BYTES, MAX_PLAN_BYTES};
use heq_ir::plan::{AccStrategy, HELLO_BYTES, PlanDigest};
use heq_net::{Channel, NetError, memory};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::service::fetch::{self, PlanKey};
use heq_runtime::session::{PreparedPlan, PreparedServer};
use heq_tests::between::Party;
use heq_tests::between::hello::{PLAN, hello};
use heq_tests::{compiled_lenet, lenet, samples};

/// Asks for a plan by `key`; the server says that it has one, then `answer` speaks for it.
fn fetched(key: &PlanKey, answer: impl FnOnce(&mut Channel) + Send) -> RunError {
    let (client, mut server) = memory::pair();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let asked = server.recv(HELLO_BYTES).unwrap();
            let plan = asked[PLAN].try_into().unwrap();
            server.send(&hello(Party::Server, 8, plan, 0)).unwrap();
            answer(&mut server);
            // A client that has gone is an answer, too.
            let _closed = server.close();
        });
        fetch::plan(client, key).unwrap_err()
    })
}

#[test]
fn a_server_that_announces_any_length_of_a_plan() {
    let (site, _) = parties(SOFTSPOKEN);
    let key = PlanKey::Digest(site.plan().digest());
    let most = (MAX_PLAN_BYTES + HEADER_BYTES) as u64;
    for (length, expected) in [
        (0, Code::PeerMisbehaved),
        (1, Code::Connection),
        (most, Code::Connection),
        (most + 1, Code::PeerMisbehaved),
        (1 << 28, Code::PeerMisbehaved),
        (1 << 32, Code::PeerMisbehaved),
        (1 << 63, Code::PeerMisbehaved),
        (u64::MAX, Code::PeerMisbehaved),
    ] {
        let error = fetched(&key, |server| {
            server.send(&length.to_le_bytes()).unwrap();
            if length == 0 {
                server.send(&[]).unwrap();
            }
        });
        assert_eq!(error.describe().code, expected, "{length}: {error}");
    }
    // No plan, and that of somebody else.
    let other = compiled_lenet(AccStrategy::WeightAware).plan_bytes;
    for bytes in [&b"certainly not a plan"[..], &other, &other[..other.len() - 1]] {
        let error = fetched(&key, |server| {
            server.send(&(bytes.len() as u64).to_le_bytes()).unwrap();
            server.send(bytes).unwrap();
        });
        assert_eq!(error.describe().code, Code::PeerMisbehaved, "{error}");
    }
}

/// A client's offer, or with `kind` 1 what it takes.
fn offer(kind: u32, batch: u8, range: [u64; 2]) -> Vec<u8> {
    let ends = range.map(u64::to_le_bytes).concat();
    [&kind.to_le_bytes()[..], &[batch; 32], &ends].concat()
}

#[test]
fn a_client_that_offers_what_is_not_there() {
    let (site, _) = parties(SOFTSPOKEN);
    let wrong = Some(Code::PeerMisbehaved);
    let cases = [
        ("nothing taken", vec![offer(1, 0, [0, 0])], None),
        ("an offer that is not there", vec![offer(0, 1, [0, 9]), offer(1, 0, [0, 0])], None),
        ("all there is", vec![offer(0, 1, [0, u64::MAX]), offer(1, 0, [0, 0])], None),
        ("backwards", vec![offer(0, 1, [u64::MAX, 0]), offer(1, 0, [0, 0])], None),
        ("one taken", vec![offer(1, 0, [0, 1])], wrong),
        ("2^63 taken", vec![offer(1, 0, [0, 1 << 63])], wrong),
        ("2^64-1 taken", vec![offer(1, 0, [0, u64::MAX])], wrong),
        ("a batch twice", vec![offer(0, 1, [0, 1]), offer(0, 1, [0, 1])], wrong),
        ("of no kind", vec![offer(2, 0, [0, 0])], wrong),
        ("a byte less", vec![offer(1, 0, [0, 0])[1..].to_vec()], wrong),
    ];
    for (name, messages, expected) in cases {
        let PlanDigest(plan) = site.plan().digest();
        let (mut client, server) = memory::pair();
        let ended = std::thread::scope(|scope| {
            let served = scope.spawn(|| site.serve(server));
            client.send(&hello(Party::Client, 4, plan, 1)).unwrap();
            client.recv(HELLO_BYTES).unwrap();
            for message in messages {
                let sent = client.send(&message).and_then(|()| match message[0] {
                    0 => client.recv(heq_ir::plan::OFFER_ANSWER_BYTES).map(|_| ()),
                    _ => Ok(()),
                });
                if matches!(sent, Err(NetError::Closed { .. })) {
                    break;
                }
            }
            served.join().unwrap()
        });
        let code = ended.as_ref().err().map(|error| error.describe().code);
        assert_eq!(code, expected, "{name}: {ended:?}");
    }
}

#[test]
fn parties_of_different_plans() {
    let client = PreparedPlan::new(compiled_lenet(AccStrategy::WorstCase).plan);
    let compiled = compiled_lenet(AccStrategy::WeightAware);
    let server = PreparedPlan::new(compiled.plan);
    let weights = PreparedServer::new(&server, &compiled.weights, 0).unwrap();
    let (client_end, server_end) = memory::pair();
    let samples = samples(client.plan(), &lenet("digit.png"), 1);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| run_server(&server, &weights, None, server_end));
        let errors =
            [run_client(&client, client_end, &samples).err(), served.join().unwrap().err()];
        for error in errors.map(Option::unwrap) {
            assert_eq!(error.describe().code, Code::PeerIncompatible, "{error}");
            assert!(format!("{error:?}").contains("UnknownPlan"), "{error:?}");
        }
    });
}
