//! Who gets in, as the programs tell it: statuses and what to do.

use super::{Client, Running, Site};
use heq_net::Channel;
use heq_net::tcp::{Listener, TcpOptions, connect};
use heq_net::tls::{Authority, ServerTls, Trust};
use heq_runtime::party::run_client;
use heq_tests::server::Server;
use heq_tests::{lenet, program};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Options of server and client, the client's status, what the client is told, what the server logs.
type Case<'a> = (Vec<OsString>, Vec<OsString>, i32, &'a str, &'a str);

/// Runs a server for one session, and a client, each with its options; returns what the client said, and what
/// the server said if it failed.
fn run(site: &Site, server: &[OsString], client: &[OsString]) -> (Output, Result<(), String>) {
    let mut command = program("heq-run");
    command.arg("--plan").arg(site.file("lenet.heq")).args(server);
    let server = Server::start_as_given(&mut command).unwrap();
    let said = program("heq-run")
        .args(["--role", "client", "--connect", &server.address])
        .arg("--plan")
        .arg(site.file("lenet.heq"))
        .arg("--input")
        .arg(lenet("digit.png"))
        .args(client)
        .output()
        .unwrap();
    (said, server.finish())
}

#[test]
fn whoever_is_not_trusted_ends_with_status_6_and_is_told_what_to_do() {
    let site = Site::new();
    let other = Authority::create("another", 10).unwrap();
    let hosts = |host: &str| vec![host.to_owned()];
    site.write("stranger.pem", &other.client("mallory", 1).unwrap());
    // Trusted by the client's side, so that the server's decides.
    let trusting = other.client("mallory", 1).unwrap().to_string() + site.authority.certificate();
    site.write("trusting.pem", &trusting);
    site.write("expired.pem", &site.authority.client("late", 0).unwrap());
    site.write("late-server.pem", &site.authority.server("s", hosts("127.0.0.1"), 0).unwrap());
    site.write("elsewhere.pem", &site.authority.server("s", hosts("elsewhere"), 1).unwrap());
    let pin = |name: &str| site.identity(name).certificate().pin.to_string();
    site.write("clients", &format!("{} alice\n", pin("alice.pem")));
    let pins = [pin("server.pem"), pin("alice.pem")];
    std::thread::sleep(Duration::from_millis(1100));
    let file = |name: &str| site.file(name).into_os_string();
    let id = |name: &str| vec!["--identity".into(), file(name)];
    let listed = |name: &str| [id(name), vec!["--clients".into(), file("clients")]].concat();
    let pinned = |pin: &str| [id("alice.pem"), vec!["--pin".into(), pin.into()]].concat();
    let insecure = || vec!["--insecure-loopback".into()];
    let cases: [Case<'_>; 13] = [
        (id("server.pem"), id("alice.pem"), 0, "", ""),
        (listed("server.pem"), id("alice.pem"), 0, "", ""),
        (id("server.pem"), pinned(&pins[0]), 0, "", ""),
        (insecure(), insecure(), 0, "", ""),
        (listed("server.pem"), id("bob.pem"), 6, "refuses this side's", "not on the list"),
        (id("server.pem"), pinned(&pins[1]), 6, "none of the pinned", "refuses"),
        (id("server.pem"), id("stranger.pem"), 6, "not trusted here", ""),
        (id("server.pem"), id("trusting.pem"), 6, "refuses this side's", "not trusted here"),
        (id("server.pem"), id("expired.pem"), 6, "refuses this side's", "has expired"),
        (id("late-server.pem"), id("alice.pem"), 6, "has expired", "refuses"),
        (id("elsewhere.pem"), id("alice.pem"), 6, "another host", "refuses"),
        (id("server.pem"), insecure(), 6, "speaks TLS", "does not speak TLS"),
        (insecure(), id("alice.pem"), 5, "closed the connection", "speaks TLS"),
    ];
    for (server, client, status, told, logged) in cases {
        let name = format!("{server:?} {client:?}");
        let (said, served) = run(&site, &server, &client);
        let text = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(status), "{name}: {text}");
        assert!(text.contains(told), "{name}: {text}");
        match served {
            Ok(()) => assert_eq!(status, 0, "{name}"),
            Err(log) => {
                assert!(status != 0 && log.contains("exit status: 6"), "{name}: {log}");
                assert!(log.contains(logged), "{name}: {log}");
            }
        }
        if status == 6 {
            assert!(text.contains("HEQ-6001"), "{name}: {text}");
        }
    }
}

#[test]
fn without_an_identity_nothing_starts() {
    let site = Site::new();
    let heq_run = |arguments: &[&str]| {
        let run =
            program("heq-run").arg("--plan").arg(site.file("lenet.heq")).args(arguments).output();
        let run = run.unwrap();
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let digit = lenet("digit.png");
    let client =
        ["--role", "client", "--connect", "127.0.0.1:1", "--input", digit.to_str().unwrap()];
    for arguments in [&["--role", "server"][..], &client] {
        let (status, text) = heq_run(arguments);
        assert_eq!(status, Some(2), "{text}");
        assert!(
            text.contains("heq-run cert init") && text.contains("--insecure-loopback"),
            "{text}"
        );
    }
    let (status, text) =
        heq_run(&["--role", "server", "--insecure-loopback", "--listen", "0.0.0.0:0"]);
    assert_eq!(status, Some(6), "{text}");
}

#[cfg(unix)]
#[test]
fn a_private_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let path = site.file("alice.pem");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = program("heq-run");
    command.args(["doctor", "--identity"]).arg(path);
    let run = command.output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert_eq!(run.status.code(), Some(1), "{text}");
    assert!(text.contains("HEQ-6002") && text.contains("chmod 600"), "{text}");
}

/// Everything that a session puts on the wire, both ways, through a relay.
fn captured(target: String, talk: impl FnOnce(String)) -> Vec<u8> {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap().to_string();
    let all = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&all);
    let relaying = std::thread::spawn(move || {
        let near = relay.accept().unwrap().0;
        let far = TcpStream::connect(target).unwrap();
        let copy = |mut from: TcpStream, mut to: TcpStream, all: Arc<Mutex<Vec<u8>>>| {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                all.lock().unwrap().extend_from_slice(&bytes[..count]);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _closed = to.shutdown(std::net::Shutdown::Write);
        };
        let (near2, far2, seen2) =
            (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&seen));
        let back = std::thread::spawn(move || copy(far2, near2, seen2));
        copy(near, far, seen);
        back.join().unwrap();
    });
    talk(address);
    relaying.join().unwrap();
    std::mem::take(&mut all.lock().unwrap())
}

#[test]
fn a_capture_of_a_session_shows_nothing_of_the_protocol() {
    let site = Site::new();
    let service = Running::start(site.options());
    let client = |address| Client::at(&site, "alice", "lenet.heq", address);
    let bytes = captured(service.address(), |address| client(address).infer(1).unwrap());
    let plan = client(service.address()).plan().digest();
    assert!(bytes.len() > 1_000_000, "{} bytes were seen", bytes.len());
    for marker in [&b"HEQPEER\n"[..], &plan.0] {
        assert!(!bytes.windows(marker.len()).any(|window| window == marker));
    }
}

/// Somebody who has the identities of both sides ends TLS on the way and passes on what was in it: the two
/// connections have different secrets, so neither side believes the other's hello.
#[test]
fn nobody_can_be_between_even_with_the_keys_of_both() {
    let site = Site::new();
    let service = Running::start(site.options());
    let target = service.address();
    let between = Listener::bind("127.0.0.1:0").unwrap();
    let address = between.local_address().unwrap().to_string();
    let server_tls = ServerTls::new(&site.identity("server.pem"), &Trust::default()).unwrap();
    let client_tls = site.client_tls("alice");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let soon = || Instant::now() + Duration::from_secs(10);
            let options = TcpOptions::default();
            let accepted = between.accept().unwrap();
            let mut near = accepted.open(options, Some(&server_tls), soon()).unwrap();
            let mut far: Channel = connect(&target, soon(), options, Some(&client_tls)).unwrap();
            let hello = near.recv(heq_ir::plan::HELLO_BYTES).unwrap();
            far.send(&hello).unwrap();
            // The server ends the session; its own hello would not be believed either.
            assert!(far.recv(heq_ir::plan::HELLO_BYTES).is_err());
            near.send(&hello).unwrap();
        });
        let client = Client::at(&site, "alice", "lenet.heq", address);
        let error = run_client(
            &client.plan,
            client.connect().unwrap(),
            std::slice::from_ref(&client.sample),
        );
        assert!(error.is_err());
    });
    service.wait_for("heq_errors_total{code=\"HEQ-6001\"}", 1);
    Client::new(&site, "alice", "lenet.heq", &service).infer(1).unwrap();
}
