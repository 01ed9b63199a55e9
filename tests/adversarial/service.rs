//! Clients that break the protocol at a server that many use: it tells whose fault that is, and those who keep to the
//! protocol do not notice.

use super::cases::{Expected, headers, hellos};
use super::messages::{every_message, messages};
use super::peers::{SOFTSPOKEN, parties};
use heq_ir::plan::codec::{encode_plan, encode_weights};
use heq_net::memory::{Interceptor, Passage};
use heq_net::tcp::{TcpOptions, connect};
use heq_runtime::service::{Limits, Options, Plans, Purpose, Service};
use heq_runtime::session::WEIGHT_CACHE_BYTES;
use heq_tests::between::{
    Attack, Ended, Frame, HEADER_BYTES, Parties, Party, interceptors, nothing,
};
use heq_tests::toy::every_message as toy;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A session takes no longer.
const DEADLINE: Duration = Duration::from_secs(4);

/// Every so many cases one is tried: they all are in memory.
const EVERY: usize = 8;

fn options(folder: &Path) -> Options {
    let (plan, weights) = toy(SOFTSPOKEN);
    std::fs::write(folder.join("toy.heq"), encode_plan(plan.spec().clone()).unwrap().1).unwrap();
    std::fs::write(folder.join("toy.server.heq"), encode_weights(weights.spec()).unwrap()).unwrap();
    Options {
        plans: Plans {
            sources: vec![folder.join("toy.heq").into()],
            weights: None,
            weight_cache_bytes: WEIGHT_CACHE_BYTES,
        },
        purpose: Purpose::Infer(None),
        identity: Box::new(|| Ok(None)),
        limits: Limits {
            sessions: 8,
            memory_bytes: u64::MAX,
            of_client: 100,
            queue: 64,
            patience: Duration::from_secs(60),
        },
        quota: None,
        quota_file: None,
        deadline: Some(DEADLINE),
        drain: Duration::from_secs(30),
        connection: TcpOptions::default(),
        on_session: None,
    }
}

fn ask(parties: &Parties, address: &str) -> Ended {
    let deadline = Instant::now() + Duration::from_secs(10);
    parties.ask(connect(address, deadline, TcpOptions::default(), None)?)
}

/// Passes frames on as `intercept` wants them, until a side ends.
fn relay(mut from: TcpStream, mut to: TcpStream, mut intercept: Interceptor) {
    let mut header = [0; HEADER_BYTES];
    while from.read_exact(&mut header).is_ok() {
        let length = Frame::of(&header).length_and_lane & ((1 << 28) - 1);
        let mut frame = [&header[..], &vec![0; length as usize]].concat();
        if from.read_exact(&mut frame[HEADER_BYTES..]).is_err() {
            break;
        }
        let is_heartbeat = Frame::of(&frame).lane() == 15;
        let passage = if is_heartbeat { Passage::Deliver(frame) } else { intercept(frame) };
        let (Passage::Deliver(bytes) | Passage::End(bytes)) = &passage;
        if to.write_all(bytes).is_err() || matches!(passage, Passage::End(_)) {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
    // What still comes goes nowhere.
    let _rest = std::io::copy(&mut from, &mut std::io::sink());
}

/// Runs a client whose messages `attack` changes on their way.
fn attack(parties: &Parties, address: &str, attack: Attack) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (client, server) =
                (listener.accept().unwrap().0, TcpStream::connect(address).unwrap());
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let [up, down] = interceptors([attack, nothing()], &Arc::default());
            let down = std::thread::spawn(move || relay(back.0, back.1, down));
            relay(client, server, up);
            down.join().unwrap();
        });
        // How the attacker ends is its own affair.
        let _ended = ask(parties, &near);
    });
}

#[test]
fn honest_clients_do_not_notice_those_that_attack() {
    let (parties, recording) = parties(SOFTSPOKEN);
    let messages = messages(parties.plan(), Party::Client, &recording);
    let mut cases = hellos(Party::Server);
    cases.extend(messages.iter().step_by(EVERY).flat_map(|m| headers(Party::Server, m)));
    cases.extend(every_message(Party::Server, &messages, |_| true));
    let chosen = cases.into_iter().step_by(EVERY);
    // Of those in which a message is missing the server waits for its deadline.
    let (waiting, chosen): (Vec<_>, Vec<_>) =
        chosen.partition(|case| case.expected == Expected::Misses);

    let folder = tempfile::tempdir().unwrap();
    let service = Service::start("127.0.0.1:0", options(folder.path())).unwrap();
    let address = service.address().to_string();
    let metric = |series: &str| -> u64 {
        let text = String::from_utf8(service.metrics_text()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    };
    let is_over = AtomicBool::new(false);
    let honest = std::thread::scope(|scope| {
        let serving = scope.spawn(|| service.run(None));
        let honest = scope.spawn(|| {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                assert_eq!(ask(&parties, &address).unwrap(), parties.expected());
                assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
                count += 1;
            }
            count
        });
        for case in waiting.into_iter().take(3) {
            scope.spawn(|| attack(&parties, &address, case.attack));
        }
        for case in chosen {
            attack(&parties, &address, case.attack);
        }
        is_over.store(true, Ordering::Relaxed);
        let honest = honest.join();
        let deadline = Instant::now() + 4 * DEADLINE;
        while metric("heq_sessions_running") > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let running = metric("heq_sessions_running");
        service.stop();
        serving.join().unwrap().unwrap();
        assert_eq!(running, 0);
        honest.unwrap()
    });
    assert!(honest > 0);
    assert!(metric("heq_errors_total{code=\"HEQ-7002\"}") > 10);
    assert_eq!(metric("heq_errors_total{code=\"HEQ-9001\"}"), 0);
}
