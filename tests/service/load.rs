//! Many clients, and many inferences: results, fairness, memory. Short by default; docs/results.md has
//! the figures of long runs.

use super::{Client, Site, open_files, resident_bytes};
use heq_runtime::error::RunError;
use heq_runtime::session::{Mode, Refusal, Session};
use heq_tests::program;
use heq_tests::server::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Seconds of the whole load test.
const SECONDS: &str = "HEQ_LOAD_SECONDS";
const DEFAULT_SECONDS: u64 = 16;

/// Inferences of each of its sessions.
const PER_SESSION: &str = "HEQ_LOAD_INFERENCES";

/// Microseconds of a round trip between clients and server.
const RTT: &str = "HEQ_LOAD_RTT_US";

/// Inferences of the soak test.
const INFERENCES: &str = "HEQ_SOAK_INFERENCES";
const DEFAULT_INFERENCES: usize = 300;

/// A session takes at most so many times as long as half of them do.
const FAIRNESS: f64 = 5.0;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn start(site: &Site, options: &[&str]) -> Server {
    let mut command = program("heq-run");
    command.arg("--plan").arg(site.file("lenet.heq")).args(["--sessions", "1000000"]);
    command.arg("--identity").arg(site.file("server.pem")).args(options);
    Server::start_as_given(&mut command).unwrap()
}

/// An address that nobody listens on now.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// An address by which `target` is half of `rtt` away each way; connections last as long as their ends.
fn distant(target: &str, rtt: Duration) -> String {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap().to_string();
    let target = target.to_owned();
    let carry = move |mut from: TcpStream, mut to: TcpStream| {
        let (send, arrive) = mpsc::channel::<(Instant, Vec<u8>)>();
        std::thread::spawn(move || {
            for (at, bytes) in arrive {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _closed = to.shutdown(Shutdown::Write);
        });
        std::thread::spawn(move || {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut bytes)
                && send.send((Instant::now() + rtt / 2, bytes[..count].to_vec())).is_ok()
            {
            }
        });
    };
    std::thread::spawn(move || {
        for near in relay.incoming() {
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(&target)) else { continue };
            [&near, &far].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
            let (Ok(near2), Ok(far2)) = (near.try_clone(), far.try_clone()) else { continue };
            carry(near, far);
            carry(far2, near2);
        }
    });
    address
}

/// What so many clients saw in a time.
#[derive(Debug)]
#[expect(dead_code, reason = "shown as a whole")]
struct Level {
    clients: usize,
    sessions: usize,
    per_second: f64,
    median_s: f64,
    slowest_s: f64,
    refused: u64,
}

/// Lets so many clients ask, one session after another, for so long.
fn level(site: &Site, address: &str, clients: usize, time: Duration) -> Level {
    let (ends, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let client = Client::at(site, "alice", "lenet.heq", address.to_owned());
    let mut seconds: Vec<f64> = std::thread::scope(|scope| {
        let ask = || {
            let mut seconds = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let began = Instant::now();
                match client.infer(setting(PER_SESSION, 1)) {
                    Ok(()) => seconds.push(began.elapsed().as_secs_f64()),
                    Err(RunError::Refused { refusal: Refusal::Busy { retry_after_s }, .. }) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        let again = Instant::now() + Duration::from_secs(retry_after_s.into());
                        while Instant::now() < again && !ends.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            seconds
        };
        let asking: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        std::thread::sleep(time);
        ends.store(true, Ordering::Relaxed);
        asking.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    seconds.sort_by(f64::total_cmp);
    Level {
        clients,
        sessions: seconds.len(),
        per_second: seconds.len() as f64 / start.elapsed().as_secs_f64(),
        median_s: seconds[seconds.len() / 2],
        slowest_s: *seconds.last().unwrap(),
        refused: refused.into_inner(),
    }
}

/// A series of the server's metrics.
fn metric(address: &str, series: &str) -> u64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or("0").trim().parse().unwrap()
}

#[test]
fn many_clients_are_served_alike() {
    let site = Site::new();
    let metrics = free_address();
    let mut options = vec!["--max-sessions", "8", "--queue", "64", "--metrics", &metrics];
    // All clients of this test have one identity.
    options.extend(["--client-sessions", "1000"]);
    let server = start(&site, &options);
    let time = Duration::from_secs(setting(SECONDS, DEFAULT_SECONDS)) / 4;
    // The first session warms what stays.
    Client::at(&site, "alice", "lenet.heq", server.address.clone()).infer(1).unwrap();
    let rtt = Duration::from_micros(setting(RTT, 0));
    let address =
        if rtt.is_zero() { server.address.clone() } else { distant(&server.address, rtt) };
    let mut levels = Vec::new();
    for clients in [1, 8, 64, 256] {
        let level = level(&site, &address, clients, time);
        println!("{level:?}, resident {:?}", resident_bytes(server.process()));
        assert!(level.slowest_s <= FAIRNESS * level.median_s, "{level:?}");
        levels.push(level);
    }
    assert!(levels[3].refused > 0, "256 clients find no place all at once: {levels:?}");
    // Every refused client got its answer, or a session would have failed.
    assert_eq!(metric(&metrics, "heq_sessions_total{outcome=\"failed\"}"), 0);
    let refused: u64 = levels.iter().map(|level| level.refused).sum();
    assert_eq!(metric(&metrics, "heq_refusals_total{reason=\"busy\"}"), refused);
    if let Some(resident) = resident_bytes(server.process()) {
        let shared = metric(&metrics, "heq_memory_admitted_bytes");
        let session = Client::at(&site, "alice", "lenet.heq", server.address.clone());
        let session = session.session_bytes();
        let admitted = shared + 8 * session;
        println!("resident {resident} bytes, admitted {admitted}");
        assert!(resident <= admitted, "{resident} bytes, admitted were {admitted}");
    }
    let gain = levels[1].per_second / levels[0].per_second;
    println!("throughput of 8 clients: {gain:.2} times that of one");
}

#[test]
fn a_long_run_takes_no_more_than_a_short_one() {
    let site = Site::new();
    let server = start(&site, &[]);
    let client = Client::at(&site, "alice", "lenet.heq", server.address.clone());
    let total: usize = setting(INFERENCES, DEFAULT_INFERENCES);
    let usage = || Some((resident_bytes(server.process())?, open_files(server.process())?));
    // Half of them in sessions of their own, half ten at a time.
    let run = |count: usize| {
        for _ in 0..count / 20 {
            (0..10).for_each(|_| client.infer(1).unwrap());
            client.infer(10).unwrap();
        }
    };
    run(total / 10);
    let Some((bytes, files)) = usage() else {
        eprintln!("skipped: this operating system does not tell the memory of processes");
        return;
    };
    run(total - total / 10);
    let (after, mut files_after) = usage().unwrap();
    // The last connection may be about to be closed.
    let deadline = Instant::now() + Duration::from_secs(10);
    while files_after > files && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        files_after = usage().unwrap().1;
    }
    println!("{total} inferences: {bytes} bytes after a tenth, {after} at the end");
    assert!(files_after <= files, "{files} open files became {files_after}");
    assert!(after < bytes + 20_000_000, "{bytes} bytes grew to {after}");
}

/// Most memory of a session that waits for its turn.
const WAITING_BYTES: u64 = 160 << 10;

#[test]
fn sessions_that_wait_take_little() {
    const WAITING: usize = 60;
    let site = Site::new();
    let metrics = free_address();
    let options = ["--max-sessions", "1", "--queue", "200", "--client-sessions", "1000"];
    let server = start(&site, &[&options[..], &["--metrics", &metrics]].concat());
    let client = Client::at(&site, "alice", "lenet.heq", server.address.clone());
    client.infer(1).unwrap();
    let held = Session::connect(&client.plan, client.connect().unwrap(), Mode::Whole, 1).unwrap();
    let Some(before) = resident_bytes(server.process()) else {
        eprintln!("skipped: this operating system does not tell the memory of processes");
        return;
    };
    std::thread::scope(|scope| {
        for _ in 0..WAITING {
            scope.spawn(|| client.infer(1).unwrap());
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while metric(&metrics, "heq_sessions_waiting") < WAITING as u64 {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(10));
        }
        let after = resident_bytes(server.process()).unwrap();
        let each = after.saturating_sub(before) / WAITING as u64;
        println!("{each} bytes a session that waits");
        assert!(each <= WAITING_BYTES, "{each} bytes");
        drop(held);
    });
}
