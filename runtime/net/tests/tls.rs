//! Channels over TLS: who is accepted, what the others are told, and that nobody can read along.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper fails by panicking")]

use heq_net::error::Blame;
use heq_net::frame::wire_bytes;
use heq_net::tcp::{Listener, TcpOptions, connect};
use heq_net::tls::{Authority, ClientTls, HANDSHAKE_BYTES, Identity, KeyPin, ServerTls, Trust};
use heq_net::{Channel, NetError};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a client sends first in these tests: neither TLS nor chance makes it.
const MARKER: &[u8] = b"HEQPEER\nplaintext marker";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn identity(pem: &str) -> Identity {
    Identity::from_pem(pem.as_bytes()).unwrap()
}

fn pins(identity: &Identity) -> Trust {
    Trust { keys: Some([identity.certificate().pin].into()), ..Trust::default() }
}

/// An authority, a server and a client that it vouches for.
struct Office {
    authority: Authority,
    server: Identity,
    client: Identity,
}

impl Office {
    fn new() -> Self {
        let authority = Authority::create("test authority", 10).unwrap();
        let hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let server = identity(&authority.server("server", hosts, 10).unwrap());
        let client = identity(&authority.client("alice", 10).unwrap());
        Self { authority, server, client }
    }

    fn server_tls(&self) -> ServerTls {
        ServerTls::new(&self.server, &Trust::default()).unwrap()
    }

    fn client_tls(&self) -> ClientTls {
        ClientTls::new(&self.client, &Trust::default(), None).unwrap()
    }
}

/// What both sides have of a connection on which the client sends [`MARKER`] and the server echoes it.
fn meet(server: Option<&ServerTls>, client: Option<&ClientTls>) -> [Result<Channel, NetError>; 2] {
    let listener = Listener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_address().unwrap().to_string();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            let accepted = listener.accept().unwrap();
            let mut channel = accepted.open(TcpOptions::default(), server, soon())?;
            let message = channel.recv(MARKER.len())?;
            channel.send(&message)?;
            Ok(channel)
        });
        let talk = || {
            let mut channel = connect(&address, soon(), TcpOptions::default(), client)?;
            assert_eq!(channel.exchange(MARKER, MARKER.len())?, MARKER);
            Ok(channel)
        };
        [talk(), server.join().unwrap()]
    })
}

fn check_refused(name: &str, outcome: Result<Channel, NetError>, expected: &str) {
    match outcome {
        Err(error @ NetError::Authentication { .. }) => {
            assert_eq!(error.blame(), Blame::Authentication);
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn both_sides_know_each_other_and_share_a_secret() {
    let office = Office::new();
    let [client, server] = meet(Some(&office.server_tls()), Some(&office.client_tls()));
    let (client, server) = (client.unwrap(), server.unwrap());
    let peer = server.peer().unwrap();
    assert_eq!((peer.name.as_str(), peer.pin), ("alice", office.client.certificate().pin));
    assert_eq!(client.peer().unwrap().pin, office.server.certificate().pin);
    assert_eq!(client.binding(), server.binding());
    let [again, _] = meet(Some(&office.server_tls()), Some(&office.client_tls()));
    assert_ne!(client.binding(), again.unwrap().binding(), "each connection has its own");
    assert_ne!(client.binding(), &[0; 32]);
    let bytes = wire_bytes(MARKER.len() as u64);
    let meter = client.snapshot();
    assert_eq!((meter.bytes_sent, meter.bytes_received), (bytes, bytes), "TLS is not counted");
}

#[test]
fn large_messages_in_both_directions_do_not_block() {
    const BYTES: usize = 24 << 20;
    let office = Office::new();
    let [client, server] = meet(Some(&office.server_tls()), Some(&office.client_tls()));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let message =
        |seed: u8| -> Vec<u8> { (0..=250).cycle().skip(seed.into()).take(BYTES).collect() };
    std::thread::scope(|scope| {
        scope.spawn(move || {
            assert!(client.exchange(&message(1), BYTES).unwrap() == message(2));
            client.close().unwrap();
        });
        assert!(server.exchange(&message(2), BYTES).unwrap() == message(1));
        assert!(matches!(server.recv(1), Err(NetError::Closed { .. })));
    });
}

#[test]
fn keys_alone_may_decide() {
    let (office, other) = (Office::new(), Office::new());
    // Of two operators that name each other's keys, neither trusts the other's authority.
    let mut server = ServerTls::new(&office.server, &pins(&other.client)).unwrap();
    let client = ClientTls::new(&other.client, &pins(&office.server), None).unwrap();
    let [refused, _] = meet(Some(&server), Some(&client));
    check_refused("authorities still count", refused, "authority that is not trusted");
    // Files without authorities leave it to the keys.
    let bare = |pem: &str| {
        let blocks: Vec<&str> = pem.split_inclusive("-----END CERTIFICATE-----\n").collect();
        identity(blocks[0])
    };
    let server_id = bare(&office.authority.server("s", vec!["elsewhere".to_owned()], 1).unwrap());
    let client_id = bare(&other.authority.client("c", 1).unwrap());
    server = ServerTls::new(&server_id, &pins(&client_id)).unwrap();
    let client = ClientTls::new(&client_id, &pins(&server_id), None).unwrap();
    let [accepted, served] = meet(Some(&server), Some(&client));
    assert!(accepted.is_ok() && served.is_ok());
    let none = ServerTls::new(&server_id, &Trust::default());
    assert!(none.is_err(), "without authorities and keys nobody is trusted");
}

/// An identity that the authority vouches for from a day far ahead: as it looks to a clock that was set back.
fn of_the_future(authority: &Authority, usage: ExtendedKeyUsagePurpose) -> Identity {
    let issuer_key = KeyPair::from_pem(authority.key()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(authority.certificate(), issuer_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2200, 1, 1);
    params.not_after = rcgen::date_time_ymd(2300, 1, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    identity(&[&key.serialize_pem(), &certificate, authority.certificate()].concat())
}

#[test]
fn whoever_is_not_trusted_is_told_why() {
    let (office, other) = (Office::new(), Office::new());
    let hosts = |host: &str| vec![host.to_owned()];
    let server_tls = |identity: &Identity| ServerTls::new(identity, &Trust::default()).unwrap();
    let client_tls =
        |identity: &Identity| ClientTls::new(identity, &Trust::default(), None).unwrap();
    let mine = office.server_tls();
    let me = office.client_tls();
    let old_server = identity(&office.authority.server("s", hosts("127.0.0.1"), 0).unwrap());
    let old_client = identity(&office.authority.client("c", 0).unwrap());
    let early_server = of_the_future(&office.authority, ExtendedKeyUsagePurpose::ServerAuth);
    let early_client = of_the_future(&office.authority, ExtendedKeyUsagePurpose::ClientAuth);
    std::thread::sleep(Duration::from_millis(1100));
    let elsewhere = identity(&office.authority.server("s", hosts("elsewhere"), 1).unwrap());
    let unlisted = ServerTls::new(&office.server, &pins(&other.client)).unwrap();
    let unpinned = ClientTls::new(&office.client, &pins(&other.server), None).unwrap();
    let refused = "refuses this side's certificate";
    // Name, server, client, what the client is told, what the server is.
    for (name, server, client, told, logged) in [
        ("wrong client", &mine, &client_tls(&other.client), "authority that is not trusted", ""),
        ("expired client", &mine, &client_tls(&old_client), refused, "has expired"),
        ("expired server", &server_tls(&old_server), &me, "has expired", refused),
        ("early client", &mine, &client_tls(&early_client), refused, "not valid yet"),
        ("early server", &server_tls(&early_server), &me, "not valid yet", refused),
        ("another host", &server_tls(&elsewhere), &me, "for another host", refused),
        ("server as client", &mine, &client_tls(&office.server), refused, "not accepted"),
        ("client as server", &server_tls(&office.client), &me, "not accepted", refused),
        ("unlisted client", &unlisted, &me, refused, "not on the list"),
        ("unpinned server", &mine, &unpinned, "none of the pinned", refused),
    ] {
        let [client, server] = meet(Some(server), Some(client));
        check_refused(name, client, told);
        check_refused(name, server, logged);
    }
    // A stranger whom the client would trust, but not the server.
    let trusting =
        Trust { authorities: vec![office.authority.certificate().as_bytes().to_vec()], keys: None };
    let stranger = ClientTls::new(&other.client, &trusting, None).unwrap();
    let [client, server] = meet(Some(&mine), Some(&stranger));
    check_refused("stranger", client, refused);
    check_refused("stranger", server, "authority that is not trusted");
}

#[test]
fn one_side_without_tls_is_told_so() {
    let office = Office::new();
    let [client, server] = meet(Some(&office.server_tls()), None);
    check_refused("plaintext client", client, "peer speaks TLS");
    check_refused("plaintext client", server, "does not speak TLS");
    let [_, server] = meet(None, Some(&office.client_tls()));
    check_refused("TLS client", server, "peer speaks TLS");
}

/// A client of another make, which has no certificate.
#[test]
fn a_client_without_a_certificate_is_told_so() {
    let office = Office::new();
    let (tls, address, listener) = {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        (office.server_tls(), listener.local_address().unwrap(), listener)
    };
    let mut roots = rustls::RootCertStore::empty();
    let pem = office.authority.certificate().as_bytes();
    let authority = rustls::pki_types::CertificateDer::from_pem_slice(pem).unwrap();
    roots.add(authority).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    std::thread::scope(|scope| {
        let server = scope
            .spawn(|| listener.accept().unwrap().open(TcpOptions::default(), Some(&tls), soon()));
        let mut stream = TcpStream::connect(address).unwrap();
        let mut stream = rustls::Stream::new(&mut client, &mut stream);
        let _sent = stream.write_all(MARKER);
        let error = stream.read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
        check_refused("no certificate", server.join().unwrap(), "presented no certificate");
    });
}

#[test]
fn nothing_of_a_message_is_readable_on_the_way() {
    let office = Office::new();
    let (server, client) = (office.server_tls(), office.client_tls());
    for (tls, is_readable) in [(true, false), (false, true)] {
        let (to_relay, relayed) = mpsc::channel();
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_address().unwrap();
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap().to_string();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let near = relay.accept().unwrap().0;
                let far = TcpStream::connect(target).unwrap();
                let copy = |mut from: TcpStream, mut to: TcpStream| {
                    let mut all = Vec::new();
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        all.extend_from_slice(&bytes[..count]);
                        if to.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    let _closed = to.shutdown(std::net::Shutdown::Write);
                    all
                };
                let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let back = std::thread::spawn(move || copy(far2, near2));
                let mut all = copy(near, far);
                all.extend(back.join().unwrap());
                to_relay.send(all).unwrap();
            });
            scope.spawn(|| {
                let accepted = listener.accept().unwrap();
                let tls = tls.then_some(&server);
                let mut channel = accepted.open(TcpOptions::default(), tls, soon()).unwrap();
                let message = channel.recv(MARKER.len()).unwrap();
                channel.send(&message).unwrap();
            });
            let tls = tls.then_some(&client);
            let mut channel = connect(&address, soon(), TcpOptions::default(), tls).unwrap();
            assert_eq!(channel.exchange(MARKER, MARKER.len()).unwrap(), MARKER);
        });
        let all = relayed.recv().unwrap();
        let found = all.windows(8).any(|window| window == &MARKER[..8]);
        assert_eq!(found, is_readable, "the test itself sees markers without TLS");
    }
}

#[test]
fn a_handshake_is_bounded_in_time_and_bytes() {
    let office = Office::new();
    let tls = office.server_tls();
    let open = |peer: &dyn Fn(TcpStream), deadline: Duration| {
        let listener = Listener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_address().unwrap()).unwrap();
        std::thread::scope(|scope| {
            let tls = &tls;
            let opening = scope.spawn(move || {
                let deadline = Instant::now() + deadline;
                listener.accept().unwrap().open(TcpOptions::default(), Some(tls), deadline)
            });
            peer(stream);
            opening.join().unwrap().unwrap_err()
        })
    };
    let start = Instant::now();
    let silent = |stream: TcpStream| {
        std::thread::sleep(Duration::from_secs(1));
        drop(stream);
    };
    let error = open(&silent, Duration::from_millis(200));
    assert!(matches!(error, NetError::Timeout { .. }), "{error}");
    let slow = |mut stream: TcpStream| {
        // The header of a hello of 16000 bytes, a byte at a time.
        for byte in [0x16, 3, 1, 0x3e, 0x80].into_iter().chain([1; 100]) {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let error = open(&slow, Duration::from_millis(300));
    assert!(matches!(error, NetError::Timeout { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    let endless = |mut stream: TcpStream| {
        // Records of a hello that claims 65535 bytes.
        let first = [&[0x16, 3, 1, 0x20, 0, 1, 0, 0xff, 0xff][..], &[0; 0x2000 - 4]].concat();
        let next = [&[0x16, 3, 1, 0x20, 0][..], &[0; 0x2000]].concat();
        let _sent = stream.write_all(&[first, next.clone(), next].concat());
        std::thread::sleep(Duration::from_millis(500));
    };
    let error = open(&endless, Duration::from_secs(5));
    assert!(error.to_string().contains(&HANDSHAKE_BYTES.to_string()), "{error}");
}

#[test]
fn without_tls_no_connection_leaves_this_machine() {
    // Whichever address of this machine is not loopback, if there is one.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = probe.connect("192.0.2.1:9").and_then(|()| probe.local_addr());
    let Ok(own) = own else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let Ok(listener) = Listener::bind(&format!("{}:0", own.ip())) else {
        eprintln!("skipped: {} cannot be listened on", own.ip());
        return;
    };
    let address = listener.local_address().unwrap().to_string();
    let error = connect(&address, soon(), TcpOptions::default(), None).unwrap_err();
    assert!(matches!(error, NetError::Plaintext { .. }), "{error}");
    assert_eq!(error.blame(), Blame::Authentication);
    let accepted = listener.accept().unwrap().open(TcpOptions::default(), None, soon());
    assert!(matches!(accepted, Err(NetError::Plaintext { .. })));
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let office = Office::new();
    let pem = office.authority.client("c", 1).unwrap();
    let key_only = pem.split_once("-----BEGIN CERTIFICATE").unwrap().0;
    for bad in
        ["", "nonsense", key_only, office.authority.certificate(), &pem.replace("MII", "???")]
    {
        assert!(Identity::from_pem(bad.as_bytes()).is_err(), "{bad}");
    }
    // The key of one with the certificate of another.
    let other = office.authority.client("d", 1).unwrap();
    let mixed = [key_only, &other[other.find("-----BEGIN CERTIFICATE").unwrap()..]].concat();
    assert!(ClientTls::new(&identity(&mixed), &Trust::default(), None).is_err());
    let debug = format!("{:?}", identity(&pem));
    assert!(
        !debug.contains("key:")
            && debug.contains(&KeyPin::to_string(&identity(&pem).certificate().pin))
    );
}
