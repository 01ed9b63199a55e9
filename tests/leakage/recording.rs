//! Both parties in this process, with everybody's frames written down.

use heq_compiler::lower::plan::Compiled;
use heq_net::Channel;
use heq_net::frame::HEADER_BYTES;
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use std::sync::{Arc, Mutex};

/// A frame on its way: number of the lane, stamp and payload.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) lane: u8,
    pub(crate) stamp: u32,
    pub(crate) payload: Vec<u8>,
}

/// The frames of one direction, in the order in which they were sent.
pub(crate) type Record = Arc<Mutex<Vec<Frame>>>;

fn interceptor(record: &Record) -> Interceptor {
    let record = Arc::clone(record);
    Box::new(move |bytes| {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (lane, stamp) = ((word(0) >> 28) as u8, word(4));
        let payload = bytes[HEADER_BYTES..].to_vec();
        record.lock().unwrap().push(Frame { lane, stamp, payload });
        Passage::Deliver(bytes)
    })
}

/// Runs `client` and `server` at the ends of a recorded connection; returns what they return, and the frames
/// that the client and that the server sent.
pub(crate) fn recorded<C, S: Send>(
    client: impl FnOnce(Channel) -> C,
    server: impl FnOnce(Channel) -> S + Send,
) -> (C, S, [Vec<Frame>; 2]) {
    let records: [Record; 2] = Default::default();
    let [up, down] = [interceptor(&records[0]), interceptor(&records[1])];
    let (client_end, server_end) = intercepted_pair([up, down]);
    let (client, server) = std::thread::scope(|scope| {
        let server = scope.spawn(move || server(server_end));
        let client = client(client_end);
        (client, server.join().unwrap())
    });
    (client, server, records.map(|record| record.lock().unwrap().clone()))
}

/// Outputs and frames of a session of `samples`.
pub(crate) fn session(
    compiled: &Compiled,
    samples: &[Vec<i64>],
) -> (Vec<Vec<i64>>, [Vec<Frame>; 2]) {
    let [client_plan, server_plan] = [(); 2].map(|()| PreparedPlan::new(compiled.plan.clone()));
    let weights = PreparedServer::new(&server_plan, &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
    let (client, server, frames) = recorded(
        |channel| run_client(&client_plan, channel, samples),
        |channel| run_server(&server_plan, &weights, None, channel),
    );
    let ended: Result<_, RunError> = server;
    ended.unwrap();
    (client.unwrap().0, frames)
}
