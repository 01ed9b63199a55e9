//! TCP channels between honest parties on loopback.

#![expect(clippy::unwrap_used, reason = "a test helper fails by panicking")]

use heq_net::frame::wire_bytes;
use heq_net::tcp::{Listener, TcpOptions, connect};
use heq_net::{Channel, NetError};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn accept(listener: &Listener) -> Channel {
    listener.accept().unwrap().open(TcpOptions::default(), None, soon()).unwrap()
}

fn loopback_pair() -> (Channel, Channel) {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_address().unwrap().to_string();
    let connecting =
        std::thread::spawn(move || connect(&address, soon(), TcpOptions::default(), None));
    let server = accept(&listener);
    (server, connecting.join().unwrap().unwrap())
}

/// Reproducible bytes that differ between messages.
fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..=250_u8).cycle().skip(usize::from(seed)).take(length).collect()
}

#[test]
fn large_messages_in_both_directions_do_not_block() {
    const BYTES: usize = 32 << 20;
    let (mut server, mut client) = loopback_pair();
    let (server, client) = std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let received = client.exchange(&pattern(1, BYTES), BYTES).unwrap();
            assert!(received == pattern(2, BYTES));
            client.snapshot()
        });
        let received = server.exchange(&pattern(2, BYTES), BYTES).unwrap();
        assert!(received == pattern(1, BYTES));
        (server.snapshot(), other.join().unwrap())
    });
    assert_eq!(server, client);
    assert_eq!(server.bytes_sent, wire_bytes(BYTES as u64));
    assert_eq!(server.horizon, 1);
}

#[test]
fn many_small_messages_arrive_in_order() {
    let (mut server, mut client) = loopback_pair();
    for seed in 0..=255 {
        server.send(&pattern(seed, usize::from(seed))).unwrap();
    }
    for seed in 0..=255 {
        assert_eq!(client.recv(usize::from(seed)).unwrap(), pattern(seed, usize::from(seed)));
    }
    client.send(b"done").unwrap();
    assert_eq!(server.recv(4).unwrap(), b"done");
    assert_eq!(server.snapshot().bytes_sent, client.snapshot().bytes_received);
    assert_eq!((server.snapshot().horizon, client.snapshot().horizon), (2, 2));
}

#[test]
fn what_was_sent_before_a_drop_arrives() {
    let (server, mut client) = loopback_pair();
    let message = pattern(3, 5 << 20);
    let sender = std::thread::spawn(move || {
        let mut server = server;
        server.send(&pattern(3, 5 << 20)).unwrap();
    });
    assert!(client.recv(message.len()).unwrap() == message);
    assert!(matches!(client.recv(1), Err(NetError::Closed { .. })));
    sender.join().unwrap();
}

#[test]
fn closing_reports_that_all_was_sent() {
    let (mut server, mut client) = loopback_pair();
    let closing = std::thread::spawn(move || {
        server.send(b"bye").unwrap();
        server.close().unwrap();
    });
    assert_eq!(client.recv(3).unwrap(), b"bye");
    client.close().unwrap();
    closing.join().unwrap();
}

#[test]
fn sending_to_a_peer_that_left_fails_in_the_end() {
    let (mut server, client) = loopback_pair();
    drop(client);
    let deadline = soon();
    let error = loop {
        if let Err(error) = server.send(&[0; 1 << 16]) {
            break error;
        }
        assert!(Instant::now() < deadline, "no error surfaced");
        std::thread::yield_now();
    };
    assert!(matches!(error, NetError::Closed { .. }), "{error}");
    assert!(matches!(server.recv(1), Err(NetError::Failed)));
}

#[test]
fn a_peer_that_listens_later_is_found() {
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap().to_string();
    drop(reserved);
    let connecting = {
        let address = address.clone();
        std::thread::spawn(move || connect(&address, soon(), TcpOptions::default(), None))
    };
    std::thread::yield_now();
    let listener = Listener::bind(&address).unwrap();
    let mut server = accept(&listener);
    let mut client = connecting.join().unwrap().unwrap();
    client.send(b"x").unwrap();
    assert_eq!(server.recv(1).unwrap(), b"x");
}

#[test]
fn unusable_addresses_are_named() {
    for address in ["nonsense", "127.0.0.1:1"] {
        let deadline = Instant::now() + Duration::from_millis(20);
        let error = connect(address, deadline, TcpOptions::default(), None).unwrap_err();
        assert!(matches!(&error, NetError::Connect { address: named, .. } if named == address));
        assert!(error.to_string().contains(address), "{error}");
    }
    let taken = Listener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_address().unwrap().to_string();
    assert!(matches!(Listener::bind(&address), Err(NetError::Listen { .. })));
}
