//! A party is killed at the start of each step: the other ends at once with status 5, writes nothing, and a server
//! goes on with its other clients.
//!
//! A relay reads the frames that pass, and kills when those of the main lane have reached the bytes that the plan
//! predicts for the start of a step. What a survivor says names the connection, not the step.

use super::{Place, SURVIVAL, all, ended};
use heq_data::plan_files::read_plan;
use heq_ir::diagnostic::ExitStatus;
use heq_ir::plan::Plan;
use heq_ir::traffic::{FRAME_HEADER_BYTES, Traffic};
use heq_tests::server::Server;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Mutex;

/// A frame's length takes so many bits of its first word; the lane is above them.
const LENGTH_BITS: u32 = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Server,
    Nobody,
}

/// The next frame of a stream: whether it is of the main lane, and its bytes; none at the end.
fn frame(stream: &mut &TcpStream) -> Option<(bool, Vec<u8>)> {
    let mut bytes = vec![0; FRAME_HEADER_BYTES as usize];
    stream.read_exact(&mut bytes).ok()?;
    let word = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let length = (word & ((1 << LENGTH_BITS) - 1)) as usize;
    bytes.resize(FRAME_HEADER_BYTES as usize + length, 0);
    stream.read_exact(&mut bytes[FRAME_HEADER_BYTES as usize..]).ok()?;
    Some((word >> LENGTH_BITS == 0, bytes))
}

/// Connects client and server until one of them is gone. Calls `kill` once when `after` bytes have passed on
/// the main lane; what comes then goes nowhere. Returns the bytes on the main lane.
fn relayed(relay: &TcpListener, server: &str, after: u64, kill: impl FnOnce() + Send) -> u64 {
    let client = relay.accept().unwrap().0;
    let server = TcpStream::connect(server).unwrap();
    [&client, &server].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
    let state = Mutex::new((0, Some(kill)));
    is_over(&mut state.lock().unwrap(), after);
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        while let Some((is_main, bytes)) = frame(&mut from) {
            // Held while it is sent: of both directions, the bytes before the kill are exact.
            let mut state = state.lock().unwrap();
            if state.1.is_none() {
                break;
            }
            let sent = to.write_all(&bytes);
            state.0 += if is_main { bytes.len() as u64 } else { 0 };
            if is_over(&mut state, after) || sent.is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&client, &server));
        copy(&server, &client);
    });
    state.into_inner().unwrap().0
}

/// Whether so many bytes have passed; kills the first time.
fn is_over(state: &mut (u64, Option<impl FnOnce()>), after: u64) -> bool {
    if state.0 >= after
        && let Some(kill) = state.1.take()
    {
        kill();
    }
    state.1.is_none()
}

/// Bytes of the main lane at the start of each step, in a session of one inference with `total` of them; or at
/// the end of every message of the steps, and at points of the set-up.
fn boundaries(plan: &Plan, total: u64) -> Vec<u64> {
    let bytes = |traffic: &Traffic| {
        let (up, down) = traffic.wire_bytes();
        up + down
    };
    let steps: u64 = plan.layer_traffic().iter().map(bytes).sum();
    let setup = total - steps;
    let mut points = vec![0, setup / 2, setup];
    if all() {
        points.extend((1..20).map(|part| setup * part / 20));
    }
    let mut sum = setup;
    for traffic in plan.layer_traffic() {
        for step in &traffic.steps {
            sum += bytes(&Traffic::new(vec![step.clone()], Vec::new()));
            if all() {
                points.push(sum);
            }
        }
        points.push(sum);
    }
    assert_eq!(sum, total);
    // The last byte is the end of a session that succeeds.
    points.retain(|&point| point < total);
    points.sort_unstable();
    points.dedup();
    points
}

/// What came of a session with a victim.
struct Outcome {
    client: Option<i32>,
    said: String,
    main_lane: u64,
    server: Option<Server>,
}

/// Runs a client against `server` through a relay, and kills `victim` at `after` bytes of the main lane.
fn session(place: &Place, server: Server, victim: Victim, after: u64) -> Outcome {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = place.client(&relay.local_addr().unwrap().to_string());
    client.arg("--output").arg(place.file("output.json"));
    let mut client: Child = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let address = server.address.clone();
    let mut server = Some(server);
    let case = format!("{victim:?} at {after}");
    let main_lane = relayed(&relay, &address, after, || match victim {
        Victim::Client => client.kill().unwrap(),
        // A server that is dropped is killed.
        Victim::Server => drop(server.take()),
        Victim::Nobody => {}
    });
    let status = ended(&mut client, SURVIVAL, &case);
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    Outcome { client: status, said, main_lane, server }
}

#[test]
fn a_party_that_is_killed_at_any_step_leaves_the_other_an_error_and_nothing_else() {
    let place = Place::new();
    let plan = read_plan(&place.file("plan.heq")).unwrap();
    let start = || Server::start(place.party().args(["--sessions", "100000"])).unwrap();
    // The relay stops at the last byte that it waits for, so this one lets all pass.
    let mut whole = session(&place, start(), Victim::Nobody, u64::MAX);
    assert_eq!(whole.client, Some(0), "{}", whole.said);
    let points = boundaries(&plan, whole.main_lane);
    let served = whole.server.take().unwrap();
    // What an earlier run wrote stays.
    fs::write(place.file("output.json"), "earlier").unwrap();
    let before = place.names();
    let unchanged = |case: &str| {
        assert_eq!(place.names(), before, "{case}");
        assert_eq!(fs::read(place.file("output.json")).unwrap(), b"earlier", "{case}");
    };
    let mut server = served;
    let address = server.address.clone();
    for &point in &points {
        let case = format!("client killed at {point} of {}", whole.main_lane);
        let outcome = session(&place, server, Victim::Client, point);
        assert_eq!(outcome.client, None, "{case}: killed");
        unchanged(&case);
        server = outcome.server.unwrap();
        place.check_served(&address, &case);
    }
    for &point in &points {
        let case = format!("server killed at {point} of {}", whole.main_lane);
        let outcome = session(&place, start(), Victim::Server, point);
        assert_eq!(outcome.client, Some(ExitStatus::Network as i32), "{case}: {}", outcome.said);
        assert!(outcome.said.contains("HEQ-5001") && outcome.said.contains("help: "), "{case}");
        assert!(!outcome.said.contains("panicked"), "{case}: {}", outcome.said);
        unchanged(&case);
    }
    // No thread, file or place of those that were killed is left in the way.
    place.check_served(&address, "after all");
    println!("{} points, both parties killed at each", points.len());
}

/// A server of one session tells by its status that the client went away.
#[test]
fn a_server_of_one_session_ends_with_the_status_of_the_network() {
    let place = Place::new();
    let server = Server::start(&mut place.party()).unwrap();
    let outcome = session(&place, server, Victim::Client, 60_000);
    let said = outcome.server.unwrap().finish().unwrap_err();
    assert!(said.contains("exit status: 5") && said.contains("HEQ-5001"), "{said}");
}

/// A client that may try again finds the next server, with nothing of the first session.
#[test]
fn a_client_that_retries_outlives_its_server() {
    let place = Place::new();
    let first = Server::start(&mut place.party()).unwrap();
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = place.client(&relay.local_addr().unwrap().to_string());
    let mut client = client
        .args(["--retry", "3"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = first.address.clone();
    relayed(&relay, &address, 60_000, || drop(first));
    let second = Server::start(&mut place.party()).unwrap();
    let address = second.address.clone();
    relayed(&relay, &address, u64::MAX, || ());
    assert_eq!(ended(&mut client, SURVIVAL, "retry"), Some(0));
    let output = client.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(super::ANSWER), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("trying again"), "{output:?}");
    second.finish().unwrap();
}
