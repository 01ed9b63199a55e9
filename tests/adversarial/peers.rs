//! Peers that hold another plan, talk nonsense, or have their messages changed on the way.

use heq_ir::diagnostic::Code;
use heq_ir::plan::AccStrategy;
use heq_ir::plan::HELLO_BYTES;
use heq_net::tcp::{Listener, TcpOptions, connect};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PROTOCOL_VERSION, PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use heq_tests::{compiled_lenet, lenet, samples};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Long enough for any honest step; a hang fails the test instead of stopping it.
const OPTIONS: TcpOptions =
    TcpOptions { idle_timeout: Some(Duration::from_secs(20)), heartbeat: Duration::from_secs(5) };

struct Server {
    plan: PreparedPlan,
    weights: PreparedServer,
    listener: Listener,
}

impl Server {
    fn new(acc_strategy: AccStrategy) -> Self {
        let compiled = compiled_lenet(acc_strategy);
        let plan = PreparedPlan::new(compiled.plan);
        let weights = PreparedServer::new(&plan, &compiled.weights, WEIGHT_CACHE_BYTES).unwrap();
        Self { plan, weights, listener: Listener::bind("127.0.0.1:0").unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_address().unwrap()
    }

    fn serve_one(&self) -> Result<(), RunError> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let channel = self.listener.accept()?.open(OPTIONS, None, deadline)?;
        run_server(&self.plan, &self.weights, None, channel).map(|_| ())
    }
}

fn client(acc_strategy: AccStrategy, address: SocketAddr) -> Result<Vec<Vec<i64>>, RunError> {
    let plan = PreparedPlan::new(compiled_lenet(acc_strategy).plan);
    let samples = samples(plan.plan(), &lenet("digit.png"), 1);
    let deadline = Instant::now() + Duration::from_secs(5);
    let channel = connect(&address.to_string(), deadline, OPTIONS, None)?;
    Ok(run_client(&plan, channel, &samples)?.0)
}

fn code<T>(result: Result<T, RunError>) -> Option<Code> {
    result.err().map(|error| error.into_diagnostic().code)
}

#[test]
fn a_client_with_another_plan() {
    let server = Server::new(AccStrategy::WeightAware);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_one());
        let found = client(AccStrategy::WorstCase, server.address());
        let text = format!("{:?}", found.as_ref().err());
        assert!(text.contains("UnknownPlan"), "{text}");
        assert_eq!(code(found), Some(Code::PeerIncompatible));
        assert_eq!(code(served.join().unwrap()), Some(Code::PeerIncompatible));
    });
}

#[test]
fn nonsense_and_silence_end_the_session_and_not_the_server() {
    let server = Server::new(AccStrategy::WeightAware);
    let frame = |length: u32, stamp: u32, payload: &[u8]| {
        [&length.to_le_bytes()[..], &stamp.to_le_bytes(), payload].concat()
    };
    let hello = |magic: &[u8; 8], version: u32, role: u32| {
        let mut payload = [&magic[..], &version.to_le_bytes(), &role.to_le_bytes()].concat();
        payload.resize(HELLO_BYTES, 0);
        frame(HELLO_BYTES as u32, 1, &payload)
    };
    let cases = [
        (Vec::new(), Code::Connection),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Code::PeerMisbehaved),
        (frame(u32::MAX, 1, &[]), Code::PeerMisbehaved),
        (frame(HELLO_BYTES as u32, 0, &[0; HELLO_BYTES]), Code::PeerMisbehaved),
        (frame(HELLO_BYTES as u32, 9, &[0; HELLO_BYTES]), Code::PeerMisbehaved),
        (frame(HELLO_BYTES as u32, 1, &[0; 40]), Code::Connection),
        (frame(HELLO_BYTES as u32, 1, &[0; HELLO_BYTES]), Code::PeerIncompatible),
        (hello(b"HEQPEER\n", PROTOCOL_VERSION + 1, 0), Code::PeerIncompatible),
        (hello(b"HEQPEER\n", PROTOCOL_VERSION, 1), Code::PeerIncompatible),
        (hello(b"HEQPEER\n", PROTOCOL_VERSION, 7), Code::PeerMisbehaved),
        (hello(b"HEQPEER\n", PROTOCOL_VERSION, 0), Code::Authentication),
    ];
    for (index, (bytes, expected)) in cases.into_iter().enumerate() {
        std::thread::scope(|scope| {
            let served = scope.spawn(|| server.serve_one());
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut sink = Vec::new();
            // The server may reset the connection, which is an answer too.
            let _ = stream.read_to_end(&mut sink);
            assert_eq!(code(served.join().unwrap()), Some(expected), "case {index}");
        });
    }
    std::thread::scope(|scope| {
        let served = scope.spawn(|| server.serve_one());
        assert_eq!(client(AccStrategy::WeightAware, server.address()).unwrap().len(), 1);
        assert!(served.join().unwrap().is_ok());
    });
}

/// Copies bytes one way and flips one bit of the byte at `position`.
fn copy_flipping(mut from: TcpStream, mut to: TcpStream, position: Option<usize>) {
    let mut buffer = [0; 1 << 16];
    let mut seen = 0;
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
    {
        if let Some(position) = position
            && (seen..seen + count).contains(&position)
        {
            buffer[position - seen] ^= 1 << (position % 8);
        }
        seen += count;
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// The protocol does not authenticate its messages: a changed one ends in an error or a wrong
/// result, but never in a panic, a hang or an answer to the other party's secrets.
#[test]
fn flipped_bits_never_panic_or_hang() {
    let server = Server::new(AccStrategy::WeightAware);
    let cost = server.plan.plan().cost(1);
    let total = |up: bool| {
        let part =
            |part: &heq_ir::plan::cost::PartCost| if up { part.bytes_up } else { part.bytes_down };
        part(&cost.setup) + part(&cost.correlations) + part(&cost.online())
    };
    for case in 0..24 {
        let up = case % 2 == 0;
        let position = if case < 4 { case * 37 } else { case * total(up) / 24 };
        let position = usize::try_from(position).unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, target) = (proxy.local_addr().unwrap(), server.address());
        std::thread::scope(|scope| {
            let served = scope.spawn(|| server.serve_one());
            let forward = scope.spawn(move || {
                let (client_side, _) = proxy.accept().unwrap();
                let server_side = TcpStream::connect(target).unwrap();
                let ends = (client_side.try_clone().unwrap(), server_side.try_clone().unwrap());
                let down = std::thread::spawn(move || {
                    copy_flipping(ends.1, ends.0, (!up).then_some(position));
                });
                copy_flipping(client_side, server_side, up.then_some(position));
                down.join().unwrap();
            });
            let found = client(AccStrategy::WeightAware, address);
            let served = served.join().unwrap();
            forward.join().unwrap();
            for code in [code(found), code(served)].into_iter().flatten() {
                let allowed = [
                    Code::Authentication,
                    Code::Connection,
                    Code::PeerIncompatible,
                    Code::PeerMisbehaved,
                    Code::Refused,
                ];
                assert!(allowed.contains(&code), "case {case}: {code}");
            }
        });
    }
}
