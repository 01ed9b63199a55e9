//! Two lanes of one connection, each used by a thread of its own.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use heq_ir::link::LinkProfile;
use heq_net::error::Blame;
use heq_net::frame::{MAX_LANES, wire_bytes};
use heq_net::tcp::{Listener, TcpOptions, connect};
use heq_net::{Channel, NetError, memory};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// More than any lane of these tests puts aside.
const LIMIT_BYTES: u64 = 1 << 24;

fn accept(listener: &Listener) -> Channel {
    let deadline = Instant::now() + Duration::from_secs(10);
    listener.accept().unwrap().open(TcpOptions::default(), None, deadline).unwrap()
}

fn tcp_pair() -> (Channel, Channel) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_address().unwrap().to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    let connecting = std::thread::spawn(move || {
        connect(&address, deadline, TcpOptions::default(), None).unwrap()
    });
    let server = accept(&listener);
    (server, connecting.join().unwrap())
}

/// A connected pair with two lanes each, over every transport.
fn pairs() -> impl Iterator<Item = (&'static str, [[Channel; 2]; 2])> {
    let link = LinkProfile::new(1_000_000_000, Duration::from_millis(1)).unwrap();
    let pairs =
        [("memory", memory::pair()), ("shaped", memory::shaped_pair(link)), ("tcp", tcp_pair())];
    pairs.into_iter().map(|(name, (left, right))| {
        let lanes = [left, right].map(|first| {
            let second = first.add_lane(LIMIT_BYTES, LIMIT_BYTES).unwrap();
            [first, second]
        });
        (name, lanes)
    })
}

#[test]
fn a_lane_gets_its_own_messages_in_order() {
    for (name, [[mut left, mut other_left], [mut right, mut other_right]]) in pairs() {
        for value in 0..50 {
            left.send(&[value]).unwrap();
            other_left.send(&[value, 1]).unwrap();
        }
        // The second lane first: what it reads for the first is put aside.
        for value in 0..50 {
            assert_eq!(other_right.recv(2).unwrap(), [value, 1], "{name}");
        }
        for value in 0..50 {
            assert_eq!(right.recv(1).unwrap(), [value], "{name}");
        }
    }
}

#[test]
fn meters_and_flights_are_those_of_a_lane() {
    for (name, [mut left, mut right]) in pairs() {
        for flight in 1..=3 {
            left[1].send(&[0; 5]).unwrap();
            right[1].recv(5).unwrap();
            right[1].send(&[0; 7]).unwrap();
            left[1].recv(7).unwrap();
            assert_eq!(right[1].snapshot().horizon, 2 * flight, "{name}");
        }
        left[0].send(&[0; 9]).unwrap();
        right[0].recv(9).unwrap();
        let (first, second) = (right[0].snapshot(), right[1].snapshot());
        assert_eq!((first.horizon, first.bytes_received), (1, wire_bytes(9)), "{name}");
        assert_eq!(second.bytes_received, 3 * wire_bytes(5), "{name}");
        assert_eq!(second.bytes_sent, 3 * wire_bytes(7), "{name}");
    }
}

#[test]
fn lanes_work_at_the_same_time() {
    const ROUNDS: usize = 200;
    for (name, [left, right]) in pairs() {
        std::thread::scope(|scope| {
            for (party, lanes) in (0..).zip([left, right]) {
                for (lane, mut channel) in (0_u8..).zip(lanes) {
                    scope.spawn(move || {
                        let length = |round: usize| (round * 997 + usize::from(lane)) % 70_000;
                        for round in 0..ROUNDS {
                            let mark = |party: u8| [party, lane].repeat(length(round));
                            let received = channel.exchange(&mark(party), 2 * length(round));
                            assert!(received.unwrap() == mark(1 - party), "{name}");
                        }
                        assert_eq!(channel.snapshot().horizon as usize, ROUNDS, "{name}");
                    });
                }
            }
        });
    }
}

#[test]
fn the_first_error_of_a_lane_wakes_the_others() {
    for (name, [[mut left, mut other_left], [mut right, mut other_right]]) in pairs() {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || right.recv(1).unwrap_err());
            let peer = scope.spawn(move || left.recv(1).unwrap_err());
            other_left.send(&[0; 3]).unwrap();
            let error = other_right.recv(4).unwrap_err();
            assert!(matches!(error, NetError::UnexpectedLength { .. }), "{name}: {error}");
            assert!(matches!(waiting.join().unwrap(), NetError::OtherLane), "{name}");
            assert!(matches!(peer.join().unwrap(), NetError::Closed { .. }), "{name}");
        });
    }
}

#[test]
fn a_connection_that_is_given_up_stops_all_lanes() {
    for (name, [[mut left, mut other_left], right]) in pairs() {
        let (started, has_started) = mpsc::channel();
        let waiting = std::thread::spawn(move || {
            started.send(()).unwrap();
            other_left.recv(1).unwrap_err()
        });
        has_started.recv().unwrap();
        left.abort();
        assert_eq!(waiting.join().unwrap().blame(), Blame::OtherLane, "{name}");
        assert!(matches!(left.send(&[]), Err(NetError::Failed)), "{name}");
        // The peer held its end open all the time.
        drop(right);
    }
}

#[test]
fn the_connection_stays_open_until_its_last_lane_goes() {
    for (name, [[left, mut other_left], [mut right, mut other_right]]) in pairs() {
        drop(left);
        other_left.send(b"still here").unwrap();
        assert_eq!(other_right.recv(10).unwrap(), b"still here", "{name}");
        drop(other_left);
        assert!(matches!(right.recv(1), Err(NetError::Closed { .. })), "{name}");
    }
}

#[test]
fn lanes_are_numbered_within_the_header() {
    let (left, mut right) = memory::pair();
    let mut lanes: Vec<Channel> = (1..MAX_LANES).map(|_| left.add_lane(0, 0).unwrap()).collect();
    assert!(matches!(left.add_lane(0, 0), Err(NetError::LanesExhausted)));
    lanes.last_mut().unwrap().send(&[]).unwrap();
    let error = right.recv(0).unwrap_err();
    assert!(matches!(error, NetError::NoLane { found } if found == MAX_LANES - 1), "{error}");
}
