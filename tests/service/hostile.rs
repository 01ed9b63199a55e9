//! Clients that are slow, silent, or go away: the others do not notice, and each ends by its deadline.

use super::{Client, Running, Site, open_files, resident_bytes};
use heq_runtime::executor::Contribution;
use heq_runtime::service::Options;
use heq_runtime::session::{Mode, Session};
use heq_runtime::stats::Measured;
use heq_tests::program;
use heq_tests::server::Server;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Long enough for an honest inference on a machine that does other things, too.
const DEADLINE: Duration = Duration::from_secs(4);

/// Most memory of a connection before its peer is authenticated.
const UNAUTHENTICATED_BYTES: u64 = 64 << 10;

/// Connects a client to the service through a relay that lets one byte a second pass towards the server,
/// after the first `free` bytes.
fn throttled(target: String, free: usize) -> String {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut near, mut far) = (relay.accept().unwrap().0, TcpStream::connect(target).unwrap());
        let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
        std::thread::spawn(move || drop(std::io::copy(&mut from, &mut to)));
        let (mut count, mut byte) = (0, [0]);
        while near.read(&mut byte).is_ok_and(|read| read > 0) && far.write_all(&byte).is_ok() {
            count += 1;
            if count > free {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        let _closed = far.shutdown(Shutdown::Both);
        let _closed = near.shutdown(Shutdown::Both);
    });
    address
}

#[test]
fn a_bad_session_ends_by_its_deadline_and_the_others_do_not_notice() {
    let site = Site::new();
    let service = Running::start(Options { deadline: Some(DEADLINE), ..site.options() });
    let honest = Client::new(&site, "alice", "lenet.heq", &service);
    let start = Instant::now();
    std::thread::scope(|scope| {
        // Silent before and after it is known, slow in the middle of a session.
        let silent = TcpStream::connect(service.service.address()).unwrap();
        let stuck =
            Session::connect(&honest.plan, honest.connect().unwrap(), Mode::Whole, 1).unwrap();
        let slow = [3_000, 60_000].map(|free| {
            let address = throttled(service.address(), free);
            let client = Client::at(&site, "bob", "lenet.heq", address);
            scope.spawn(move || client.infer(1).unwrap_err())
        });
        // Those that go away.
        for _ in 0..10 {
            drop(honest.connect().unwrap());
            let half = TcpStream::connect(service.service.address()).unwrap();
            half.shutdown(Shutdown::Write).unwrap();
            let client = honest.connect().unwrap();
            drop(Session::connect(&honest.plan, client, Mode::Whole, 5));
        }
        while start.elapsed() < 2 * DEADLINE {
            let began = Instant::now();
            honest.infer(1).unwrap();
            assert!(began.elapsed() < DEADLINE, "{:?}", began.elapsed());
        }
        for client in slow {
            let error = client.join().unwrap();
            assert!(start.elapsed() < 5 * DEADLINE, "{error}");
        }
        drop(stuck);
        drop(silent);
    });
    // Stuck and slow ones ended by their deadlines, and nothing is left of anybody.
    service.wait_for("heq_errors_total{code=\"HEQ-5001\"}", 3);
    service.wait_until("heq_sessions_running", |running| running == 0);
    service.wait_until("heq_connections_unauthenticated", |waiting| waiting == 0);
}

/// More connections than may be without a word: the oldest go, and an honest client comes through.
#[test]
fn nobody_is_kept_out_by_silent_connections() {
    let site = Site::new();
    let service = Running::start(site.options());
    let honest = Client::new(&site, "alice", "lenet.heq", &service);
    let connect = |_| TcpStream::connect(service.service.address()).unwrap();
    let mut silent: Vec<TcpStream> = (0..520).map(connect).collect();
    service.wait_for("heq_refusals_total{reason=\"unauthenticated\"}", 8);
    for _ in 0..3 {
        honest.infer(1).unwrap();
    }
    assert!(service.metric("heq_connections_unauthenticated") <= 512);
    silent[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(silent[0].read(&mut [0]).unwrap_or(0), 0, "the oldest is closed");
}

/// One that answers and does not read in the end holds up neither the clock nor the others.
#[test]
fn a_client_that_does_not_read_the_end_is_ended_by_its_deadline() {
    let site = Site::new();
    let deadline = Some(Duration::from_secs(2));
    let service = Running::start(Options { deadline, ..site.options() });
    let honest = Client::new(&site, "alice", "lenet.heq", &service);
    let start = Instant::now();
    // It runs a session to its end but for closing it: the server waits for that.
    let client = honest.connect().unwrap();
    let mut session = Session::connect(&honest.plan, client, Mode::Whole, 1).unwrap();
    let mut stats = vec![Measured::default(); honest.plan().layers().len()];
    session.infer(&Contribution::Input(&honest.sample), &mut stats).unwrap();
    service.wait_until("heq_sessions_running", |running| running == 0);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    drop(session);
    honest.infer(1).unwrap();
}

#[test]
fn connections_that_say_nothing_take_little_and_do_not_stay() {
    const CONNECTIONS: usize = 300;
    let site = Site::new();
    let mut command = program("heq-run");
    command.arg("--plan").arg(site.file("lenet.heq")).args(["--sessions", "1000"]);
    let server =
        Server::start_as_given(command.arg("--identity").arg(site.file("server.pem"))).unwrap();
    let honest = Client::at(&site, "alice", "lenet.heq", server.address.clone());
    honest.infer(1).unwrap();
    let (Some(before), Some(files)) =
        (resident_bytes(server.process()), open_files(server.process()))
    else {
        eprintln!("skipped: this operating system does not tell the memory of processes");
        return;
    };
    // Each sends all but the last byte of a hello that claims nearly all that is taken before authentication.
    let hello = [&[0x16, 3, 1, 0x3e, 0x00, 1, 0, 0x3d, 0xfc][..], &vec![3; 0x3e00 - 5]].concat();
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.write_all(&hello).unwrap();
        streams.push(stream);
    }
    honest.infer(1).unwrap();
    let held = open_files(server.process()).unwrap();
    assert!(held >= CONNECTIONS, "{held} files are open, {files} before");
    let after = resident_bytes(server.process()).unwrap();
    let each = after.saturating_sub(before) / CONNECTIONS as u64;
    println!("{each} bytes a connection that is not authenticated");
    assert!(each <= UNAUTHENTICATED_BYTES, "{each} bytes a connection");
    // The server closes all of them.
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let outcome = stream.read_to_end(&mut rest);
        let closed = outcome.is_ok_and(|count| count < 100);
        assert!(closed || stream.peer_addr().is_ok(), "a connection stays open");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while open_files(server.process()).unwrap() > files {
        assert!(Instant::now() < deadline, "{:?} files", open_files(server.process()));
        std::thread::sleep(Duration::from_millis(20));
    }
    honest.infer(1).unwrap();
}
