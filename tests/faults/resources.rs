//! Descriptors, memory and randomness that the operating system does not give.
//!
//! Memory that a process may not have ends it: Rust's allocations abort, with a message and SIGABRT. What holds is
//! that no output is there then, that the peer hears of it at once, and that the limits by which a server admits
//! sessions keep it from that.

use super::{ANSWER, Place, SURVIVAL, all, check_failed, ended, names_in, within};
use heq_ir::diagnostic::ExitStatus;
use heq_tests::program;
use heq_tests::server::Server;
use std::fs;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a shell or a dynamic loader ends with that cannot start a program.
const NOT_STARTED: [i32; 2] = [126, 127];

/// How the operating system ends a program of which the image does not fit, and Rust one without memory.
const SIGSEGV: i32 = 11;
const SIGABRT: i32 = 6;

/// Processor time of a process so far, in ticks of a hundredth of a second, where the system tells.
fn ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[test]
fn a_server_without_descriptors_neither_spins_nor_dies() {
    let place = Place::new();
    let server = within("ulimit -n 32", place.party().args(["--sessions", "100000"]));
    let server = Server::start(&mut { server }).unwrap();
    place.check_served(&server.address, "before");
    let connect = |_| TcpStream::connect(&server.address).unwrap();
    let silent: Vec<TcpStream> = (0..100).map(connect).collect();
    let before = ticks(server.process());
    let start = Instant::now();
    // Silent ones are closed for it.
    place.check_served(&server.address, "beside silent ones");
    assert!(start.elapsed() < SURVIVAL, "{:?}", start.elapsed());
    if let (Some(before), Some(after)) = (before, ticks(server.process())) {
        let spent = after - before;
        let limit = 100 + start.elapsed().as_millis() as u64 / 10 / 4;
        assert!(spent < limit, "{spent} ticks in {:?}", start.elapsed());
    }
    drop(silent);
    for _ in 0..3 {
        place.check_served(&server.address, "after");
    }
}

/// Checks an end that is not for this program to choose, and that it is no panic.
fn check_ended(output: &Output, typed: &[ExitStatus], case: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{case}: {said}");
    let status = output.status;
    let is_typed = |code: i32| typed.iter().any(|&status| status as i32 == code);
    match status.code() {
        Some(code) => assert!(is_typed(code) || NOT_STARTED.contains(&code), "{case}: {output:?}"),
        None => {
            let signal = status.signal();
            let is_known = signal == Some(SIGSEGV) && said.is_empty()
                || signal == Some(SIGABRT) && said.contains("memory allocation");
            assert!(is_known, "{case}: {output:?}");
        }
    }
}

#[test]
fn few_descriptors_are_an_error_or_enough() {
    let place = Place::new();
    let server = Server::start(place.party().args(["--sessions", "100000"])).unwrap();
    for count in 3..14 {
        let limit = format!("ulimit -n {count}");
        let cases = [
            ("compile", place.compile("other.heq")),
            ("local", place.local()),
            ("client", place.client(&server.address)),
        ];
        for (name, command) in cases {
            let output = within(&limit, &command).output().unwrap();
            let typed = [
                ExitStatus::Done,
                ExitStatus::Usage,
                ExitStatus::Network,
                ExitStatus::ResourceLimit,
            ];
            check_ended(&output, &typed, &format!("{name} with {count}"));
        }
        let mut command = within(&limit, place.party().args(["--sessions", "1"]));
        match Server::start(&mut command) {
            Ok(few) => {
                // It may have none left for a connection; then it waits for one, and is ended here.
                let mut client = place.client(&few.address);
                client.args(["--timeout", "10", "--deadline", "1"]).stdout(Stdio::null());
                let mut client = client.stderr(Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(300));
                let _ = client.kill();
                client.wait().unwrap();
            }
            Err(said) => assert!(!said.contains("panicked"), "server with {count}: {said}"),
        }
    }
    place.check_served(&server.address, "after all");
}

/// A program that gets no memory ends and leaves nothing under the name of its output; its peer hears of it.
#[test]
fn without_memory_there_is_no_output_and_the_peer_ends() {
    let place = Place::new();
    let steps: Vec<u64> = if all() {
        (16_000..60_000).step_by(1000).collect()
    } else {
        (20_000..44_000).step_by(6000).collect()
    };
    let [mut aborted, mut served] = [0, 0];
    let before = place.names();
    let mut check = |output: &Output, case: &str| {
        let typed = [ExitStatus::Done, ExitStatus::Network, ExitStatus::ResourceLimit];
        check_ended(output, &typed, case);
        aborted += u32::from(output.status.signal() == Some(SIGABRT));
        let file = place.file("output.json");
        assert_eq!(file.exists(), output.status.success(), "{case}: {output:?}");
        if output.status.success() {
            served += 1;
            assert!(String::from_utf8_lossy(&output.stdout).starts_with(ANSWER), "{case}");
            fs::remove_file(file).unwrap();
        }
        assert_eq!(place.names(), before, "{case}");
    };
    let with_output = |mut command: Command| {
        command.arg("--output").arg(place.file("output.json"));
        command
    };
    for &kib in &steps {
        let limit = format!("ulimit -v {kib}");
        let output = within(&limit, &with_output(place.local())).output().unwrap();
        check(&output, &format!("local with {kib} KiB"));
        let server = Server::start(&mut place.party()).unwrap();
        let client = within(&limit, &with_output(place.client(&server.address)));
        let output = { client }.output().unwrap();
        check(&output, &format!("client with {kib} KiB"));
        // Whether it was asked at all or the client died on the way, it is there to be ended.
        drop(server);
        let Ok(server) = Server::start(&mut within(&limit, &place.party())) else { continue };
        let mut client = with_output(place.client(&server.address));
        let client = client.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut client = client.spawn().unwrap();
        let case = format!("server with {kib} KiB");
        ended(&mut client, SURVIVAL, &case);
        check(&client.wait_with_output().unwrap(), &case);
    }
    println!("{} limits: {aborted} aborted, {served} answered", steps.len());
    assert!(served > 0, "the largest limit is enough");
    // The compiler takes more, and not the same every time.
    let steps =
        if all() { (80_000..400_000).step_by(20_000) } else { (90_000..400_000).step_by(150_000) };
    for kib in steps {
        let output = within(&format!("ulimit -v {kib}"), &place.compile("other.heq")).output();
        let output = output.unwrap();
        check_ended(&output, &[ExitStatus::Done], &format!("compile with {kib} KiB"));
        let found = place.names().into_iter().filter(|name| name.starts_with("other.")).count();
        assert_eq!(found, if output.status.success() { 3 } else { 0 }, "{kib} KiB: {output:?}");
        for name in ["other.heq", "other.server.heq", "other.choices.json"] {
            let _ = fs::remove_file(place.file(name));
        }
    }
}

/// Sessions that fit are served and the others wait, as the server was told what it may take. What the system may
/// take from it is no use as a limit here: it counts addresses, of which every thread reserves many.
#[test]
fn a_server_that_knows_its_memory_keeps_within_it() {
    let place = Place::new();
    let mut server = place.party();
    server.args(["--sessions", "100000", "--max-memory", "24MB", "--max-sessions", "64"]);
    server.args(["--client-sessions", "64", "--queue", "64"]);
    let server = Server::start(&mut server).unwrap();
    let peak = || {
        let status = fs::read_to_string(format!("/proc/{}/status", server.process())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let before = peak();
    let start = || {
        let mut client = place.client(&server.address);
        client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let count = if all() { 64 } else { 12 };
    let clients: Vec<_> = (0..count).map(|_| start()).collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(ANSWER), "{output:?}");
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        println!("{} bytes more at most", after - before);
        // Those that wait have a thread each.
        let limit = 24_000_000 + count * 256 * 1024;
        assert!(after - before < limit, "{before} bytes before, {after} at most");
    }
    place.check_served(&server.address, "after all");
}

/// A filter of system calls by which getrandom fails, and then what the arguments say: there is no safe call for
/// it here, so an interpreter makes it.
const WITHOUT_RANDOMNESS: &str = r#"
import ctypes, os, platform, struct, sys
number = {"x86_64": 318, "aarch64": 278}[platform.machine()]
# Load the number; if it is getrandom: EIO, else: allowed.
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050005), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
program = Program(len(code), ctypes.addressof(text))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// `command` without randomness.
fn without_randomness(command: &Command) -> Command {
    let mut python = Command::new("python3");
    python.arg("-c").arg(WITHOUT_RANDOMNESS).arg(command.get_program()).args(command.get_args());
    python
}

#[test]
fn without_randomness_there_is_an_error_and_no_key() {
    let place = Place::new();
    let probe = without_randomness(&Command::new("/bin/sh")).args(["-c", "exit 42"]).output();
    if !probe.is_ok_and(|output| output.status.code() == Some(42)) {
        eprintln!("skipped: needs Linux, python3 and seccomp");
        return;
    }
    let before = place.names();
    let run = |command: &Command| without_randomness(command).output().unwrap();
    check_failed(&run(&place.local()), ExitStatus::ResourceLimit, "HEQ-8003", "local");
    let server = Server::start(place.party().args(["--sessions", "100000"])).unwrap();
    let output = run(&place.client(&server.address));
    check_failed(&output, ExitStatus::ResourceLimit, "HEQ-8003", "client");
    place.check_served(&server.address, "after a client without randomness");
    // A key that could not be drawn is not there.
    let mut cert = program("heq-run");
    cert.args(["cert", "init", "--dir"]).arg(place.file("pki"));
    check_failed(&run(&cert), ExitStatus::ResourceLimit, "HEQ-8003", "cert");
    assert_eq!(place.names(), before);
    let mut store = program("heq-run");
    store.args(["prepare", "--role", "client", "--insecure-loopback", "--count", "1"]);
    store.args(["--connect", &server.address]).arg("--plan").arg(place.file("plan.heq"));
    store.arg("--store").arg(place.file("store"));
    check_failed(&run(&store), ExitStatus::ResourceLimit, "HEQ-8003", "store");
    assert_eq!(names_in(&place.file("store")), ["store.lock"]);
    let said = Server::start(&mut without_randomness(&place.party())).unwrap_err();
    assert!(said.contains("HEQ-8003") && !said.contains("panicked"), "{said}");
}
