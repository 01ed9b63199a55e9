//! A peer that writes what it likes into the socket: every deviation is a typed error.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use heq_net::error::Blame;
use heq_net::frame::MAX_PAYLOAD_BYTES;
use heq_net::tcp::{Listener, TcpOptions};
use heq_net::{Channel, NetError};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Payload length of a full frame as a header holds it.
const FULL_FRAME: u32 = 16 << 20;

/// The largest payload length that a header can hold beside the number of the lane.
const LONGEST: u32 = (1 << 28) - 1;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn patient(idle: Duration) -> TcpOptions {
    TcpOptions { idle_timeout: Some(idle), ..TcpOptions::default() }
}

/// A channel and the raw socket at its other end.
fn raw_peer(options: TcpOptions) -> (Channel, TcpStream) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    (listener.accept().unwrap().open(options, None, soon()).unwrap(), peer)
}

fn header(length: u32, stamp: u32) -> Vec<u8> {
    [length.to_le_bytes(), stamp.to_le_bytes()].concat()
}

/// What a channel that expects `expected` bytes makes of `bytes`, after which the peer half-closes.
fn receive(bytes: &[u8], expected: usize) -> NetError {
    let (mut channel, mut peer) = raw_peer(TcpOptions::default());
    peer.write_all(bytes).unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let error = channel.recv(expected).unwrap_err();
    assert!(matches!(channel.recv(0), Err(NetError::Failed)), "usable after {error}");
    error
}

#[test]
fn lengths_other_than_the_expected_one() {
    for found in [0, 3, 5, FULL_FRAME + 1, LONGEST] {
        let error = receive(&header(found, 1), 4);
        assert_eq!(error.blame(), Blame::Peer);
        assert!(
            matches!(error, NetError::UnexpectedLength { expected: 4, found: f }
                if f == found as usize),
            "{error}"
        );
    }
}

#[test]
fn lanes_that_are_not_open() {
    for (lane, length) in [(1, 4), (2, 0), (14, 4), (15, 1)] {
        let error = receive(&header(lane << 28 | length, 1), 4);
        assert_eq!(error.blame(), Blame::Peer);
        assert!(matches!(error, NetError::NoLane { found } if u32::from(found) == lane), "{error}");
    }
}

#[test]
fn lanes_that_are_flooded() {
    // Bytes that may wait, the payload lengths of the frames that come, whether they are too many.
    for (limit_bytes, lengths, is_flooded) in [
        (12, vec![4], false),
        (11, vec![4], true),
        (24, vec![4, 4], false),
        (23, vec![4, 4], true),
        (80, vec![0; 10], false),
        (80, vec![0; 11], true),
        (1 << 20, vec![LONGEST], true),
        (0, vec![0], true),
    ] {
        let (mut channel, mut peer) = raw_peer(TcpOptions::default());
        let mut waiting = channel.add_lane(0, limit_bytes).unwrap();
        for &length in &lengths {
            peer.write_all(&header(1 << 28 | length, 1)).unwrap();
            peer.write_all(&vec![7; length.min(4) as usize]).unwrap();
        }
        peer.write_all(&[header(1, 1), vec![9]].concat()).unwrap();
        match channel.recv(1) {
            Ok(message) if !is_flooded => {
                assert_eq!(message, [9]);
                for &length in &lengths {
                    assert_eq!(waiting.recv(length as usize).unwrap(), vec![7; length as usize]);
                }
            }
            Err(error) if is_flooded => {
                assert_eq!(error.blame(), Blame::Peer);
                let is_long = lengths == [LONGEST];
                assert_eq!(is_long, matches!(error, NetError::UnexpectedLength { .. }), "{error}");
                assert_eq!(!is_long, matches!(error, NetError::Flooded { lane: 1, .. }), "{error}");
                assert!(matches!(waiting.recv(4), Err(NetError::OtherLane)));
            }
            other => panic!("{limit_bytes}, {lengths:?}: {other:?}"),
        }
    }
}

#[test]
fn impossible_stamps() {
    for stamp in [0, 2, 3, u32::MAX] {
        let error = receive(&[header(1, stamp), vec![0]].concat(), 1);
        assert_eq!(error.blame(), Blame::Peer);
        assert!(
            matches!(error, NetError::BadStamp { found, least: 1, most: 1 } if found == stamp),
            "{error}"
        );
    }
}

#[test]
fn frames_of_one_message_with_different_stamps() {
    let first = [header(FULL_FRAME, 1), vec![0; MAX_PAYLOAD_BYTES]].concat();
    let bytes = [first, header(1, 0), vec![0]].concat();
    let (mut channel, mut peer) = raw_peer(TcpOptions::default());
    let writing = std::thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer
    });
    let error = channel.recv(MAX_PAYLOAD_BYTES + 1).unwrap_err();
    assert!(matches!(error, NetError::BadStamp { found: 0, least: 1, most: 1 }), "{error}");
    writing.join().unwrap();
}

#[test]
fn a_peer_that_stops_anywhere_in_a_frame() {
    let frame = [header(3, 1), vec![1, 2, 3]].concat();
    for length in 0..frame.len() {
        let error = receive(&frame[..length], 3);
        assert!(matches!(error, NetError::Closed { .. }), "after {length} bytes: {error}");
        assert_eq!(error.blame(), Blame::Network);
    }
}

#[test]
fn a_silent_peer_runs_into_the_timeout() {
    let options = patient(Duration::from_millis(20));
    let (mut channel, _silent) = raw_peer(options);
    assert!(matches!(channel.recv(1), Err(NetError::Timeout { doing: "receiving" })));
}

#[test]
fn a_peer_that_does_not_read_runs_into_the_timeout() {
    let options = patient(Duration::from_millis(20));
    let (mut channel, _deaf) = raw_peer(options);
    // Whether the timeout passes while frames are still being queued depends on the machine.
    let error = match channel.send(&vec![0; 64 << 20]) {
        Ok(()) => channel.close().unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, NetError::Timeout { doing: "sending" }), "{error}");
}

#[test]
fn a_peer_that_asks_on_and_reads_nothing_is_given_up() {
    const LIMIT_BYTES: u64 = 1 << 20;
    let (mut channel, mut deaf) = raw_peer(TcpOptions::default());
    channel.limit_queue(LIMIT_BYTES);
    let answer = vec![0; 1 << 16];
    // What the operating system takes comes first; a connection buffers some megabytes.
    for number in 0..10_000 {
        deaf.write_all(&header(0, 1)).unwrap();
        let outcome = channel.recv(0).and_then(|_| channel.send(&answer));
        if let Err(error) = outcome {
            assert!(matches!(error, NetError::NotReading { limit_bytes: LIMIT_BYTES }), "{error}");
            assert_eq!(error.blame(), Blame::Peer);
            assert!(number >= 15, "{number} answers are within the limit");
            return;
        }
    }
    panic!("the queue grew without end");
}

#[test]
fn heartbeats_keep_a_peer_that_computes() {
    let options = TcpOptions {
        idle_timeout: Some(Duration::from_millis(300)),
        heartbeat: Duration::from_millis(50),
    };
    let (mut channel, mut peer) = raw_peer(options);
    for _ in 0..20 {
        peer.write_all(&header(15 << 28, 0)).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    peer.write_all(&[header(1, 1), vec![9]].concat()).unwrap();
    assert_eq!(channel.recv(1).unwrap(), [9], "heartbeats of 0.6 s were waited for");
    assert_eq!(channel.snapshot().bytes_received, 9, "heartbeats are not counted");
    // The channel sends its own, too.
    let mut beat = [0; 8];
    peer.read_exact(&mut beat).unwrap();
    assert_eq!(beat, header(15 << 28, 0)[..]);
}

#[test]
fn a_lifeline_ends_a_lane_that_waits() {
    let (mut channel, mut peer) = raw_peer(TcpOptions::default());
    let lifeline = channel.lifeline();
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        lifeline.end(NetError::Deadline { seconds: 7 });
        lifeline.end(NetError::Deadline { seconds: 8 });
    });
    let error = channel.recv(1).unwrap_err();
    assert!(matches!(error, NetError::Deadline { seconds: 7 }), "{error}");
    ending.join().unwrap();
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "the peer finds the connection closed");
}

#[test]
fn a_peer_that_speaks_tls_is_told_from_one_that_breaks_the_protocol() {
    // An alert, and the beginning of a client's hello.
    for bytes in [&[0x15, 3, 3, 0, 2, 2, 10][..], &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]] {
        let error = receive(bytes, 124);
        assert_eq!(error.blame(), Blame::Authentication, "{error}");
    }
}

#[test]
fn a_timeout_of_zero_is_refused() {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let _peer = TcpStream::connect(listener.local_address().unwrap()).unwrap();
    let options = patient(Duration::ZERO);
    let opened = listener.accept().unwrap().open(options, None, soon());
    assert!(matches!(opened, Err(NetError::Io { .. })));
}

#[test]
fn random_bytes_never_panic() {
    let mut state: u64 = 7;
    for _ in 0..200 {
        let mut bytes = header(4, 1);
        bytes.extend_from_slice(b"data");
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [.., position, value] = state.to_be_bytes();
            let length = bytes.len();
            bytes[usize::from(position) % length] ^= value;
        }
        let (mut channel, mut peer) = raw_peer(TcpOptions::default());
        peer.write_all(&bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let header_intact = bytes.starts_with(&header(4, 1));
        assert_eq!(channel.recv(4).is_ok(), header_intact, "{bytes:?}");
    }
}

/// Frames that say nothing arrive while the last message is on its way, and are not read: the message must
/// arrive all the same.
#[test]
fn what_is_unread_at_the_end_costs_nothing() {
    const BYTES: usize = 8 << 20;
    let (mut channel, mut peer) = raw_peer(patient(Duration::from_secs(10)));
    channel.send(&vec![5; BYTES]).unwrap();
    for _ in 0..10 {
        peer.write_all(&header(15 << 28, 0)).unwrap();
    }
    let closing = std::thread::spawn(move || {
        channel.close().unwrap();
        drop(channel);
    });
    std::thread::sleep(Duration::from_millis(100));
    let mut received = vec![0; BYTES + 8];
    peer.read_exact(&mut received).unwrap();
    peer.write_all(&header(15 << 28, 0)).unwrap();
    drop(peer);
    closing.join().unwrap();
}

/// A thread that waits for the rest to be sent holds up nobody who ends the connection.
#[test]
fn a_lifeline_ends_a_connection_that_is_being_closed() {
    let (mut channel, deaf) = raw_peer(TcpOptions::default());
    let lifeline = channel.lifeline();
    channel.send(&vec![0; 64 << 20]).unwrap();
    let closing = std::thread::spawn(move || channel.close().unwrap_err());
    std::thread::sleep(Duration::from_millis(100));
    lifeline.end(NetError::Deadline { seconds: 1 });
    let error = closing.join().unwrap();
    assert!(matches!(error, NetError::Deadline { seconds: 1 }), "{error}");
    // Of one that is gone nothing is kept.
    lifeline.end(NetError::Deadline { seconds: 2 });
    drop(deaf);
}
