//! A disk that is full: an error with status 2, what was there stays, nothing is half there, results are printed
//! all the same, and no prepared inference serves twice.
//!
//! The limit of file sizes stands for the disk, since it needs no rights: a write beyond it fails as one to a full
//! disk does, and would end a process that is not prepared for that. A small file system is taken too, where it
//! can be mounted.

use super::{ANSWER, Place, SURVIVAL, check_failed, ended, names_in, within};
use heq_ir::diagnostic::ExitStatus;
use heq_tests::program;
use heq_tests::server::Server;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// No byte of a file can be written.
const NOTHING: &str = "ulimit -f 0";

/// Enough for a plan of the example, and not for its weights.
const LITTLE: &str = "ulimit -f 20";

fn full(command: &Command, limits: &str) -> Output {
    within(limits, command).output().unwrap()
}

/// All files in a folder, by name.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    };
    names_in(folder).into_iter().map(read).collect()
}

#[test]
fn outputs_are_whole_or_as_they_were() {
    let place = Place::new();
    let heqc = |arguments: &[&str], output: &str| {
        let mut command = program("heqc");
        command.arg(arguments[0]).arg(place.file("plan.heq")).args(&arguments[1..]);
        command.arg("-o").arg(place.file(output));
        command
    };
    let html = heqc(&["report", "--format", "html"], "report.html");
    let json = heqc(&["report", "--json"], "report.json");
    let mut compile = place.compile("plan.heq");
    // Other widths make another plan with other weights.
    compile.args(["--acc-bits", "worst-case"]);
    let local = |option: &str, name: &str| {
        let mut command = place.local();
        command.arg(option).arg(place.file(name));
        command
    };
    let cases = [
        ("plan", compile),
        ("html", html),
        ("json", json),
        ("npy", local("--output", "output.npy")),
        ("output", local("--output", "output.json")),
        ("text", local("--output", "output.txt")),
        ("stats", local("--stats", "stats.json")),
    ];
    for name in
        ["report.html", "report.json", "output.npy", "output.json", "output.txt", "stats.json"]
    {
        fs::write(place.file(name), "earlier").unwrap();
    }
    let before = contents(place.folder.path());
    for (case, command) in &cases {
        // The text of an output is short: it fits.
        let limits: &[&str] = if *case == "plan" { &[NOTHING, LITTLE] } else { &[NOTHING] };
        for limits in limits {
            let output = full(command, limits);
            check_failed(&output, ExitStatus::Usage, "HEQ-2001", case);
            assert!(String::from_utf8_lossy(&output.stderr).contains("File too large"), "{case}");
            assert!(contents(place.folder.path()) == before, "{case}: {:?}", place.names());
            let is_run = command.get_program() == program("heq-run").get_program();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!is_run || said.starts_with(ANSWER), "{case}: the result is lost: {said}");
        }
    }
    // With room all of them are replaced.
    for (case, mut command) in cases {
        assert!(command.output().unwrap().status.success(), "{case}");
    }
    let after = contents(place.folder.path());
    assert!(before.iter().zip(&after).all(|(old, new)| old.0 == new.0 && old.1 != new.1));
}

/// Results that cannot be printed are an error, whatever prints them; a log that cannot be written is none.
#[test]
fn a_full_standard_output_is_an_error_and_a_full_log_is_none() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: this operating system has no /dev/full");
        return;
    }
    let device = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let place = Place::new();
    let identity = [OsStr::new("cert"), OsStr::new("init"), OsStr::new("--dir")];
    let mut cert = program("heq-run");
    cert.args(identity).arg(place.file("pki"));
    // What was written is there, whoever hears of it.
    assert!(cert.stdout(device()).output().unwrap().status.success());
    let show = |json: &[&str]| {
        let mut command = program("heq-run");
        command.args(["cert", "show"]).arg(place.file("pki/ca.pem")).args(json);
        command
    };
    let with = |name: &str, arguments: &[&str]| {
        let mut command = program(name);
        command.args(arguments);
        command
    };
    let mut report = program("heqc");
    report.arg("report").arg(place.file("plan.heq"));
    let mut local = place.local();
    local.arg("--output").arg(place.file("output.json"));
    let cases = [
        report,
        with("heqc", &["ops"]),
        with("heqc", &["--help"]),
        with("heq-run", &["--version"]),
        with("heq-run", &["doctor"]),
        with("heq-run", &["doctor", "--json"]),
        show(&[]),
        show(&["--json"]),
        local,
    ];
    for mut command in cases {
        let case = format!("{command:?}");
        let output = command.stdout(device()).stderr(Stdio::piped()).output().unwrap();
        check_failed(&output, ExitStatus::Usage, "HEQ-2001", &case);
    }
    assert!(place.file("output.json").exists(), "the file is written all the same");
    // With logs that nobody can write a session goes well.
    let mut server = place.party();
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap().to_string();
    drop(relay);
    server.args([
        "--role",
        "server",
        "--insecure-loopback",
        "--sessions",
        "1",
        "--listen",
        &address,
    ]);
    let mut server = server.stderr(device()).stdout(device()).spawn().unwrap();
    let mut client = place.client(&address);
    client.stderr(device());
    let output = client.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(ANSWER), "{output:?}");
    assert_eq!(ended(&mut server, SURVIVAL, "server"), Some(0));
}

#[test]
fn certificates_are_whole_or_not_there() {
    let place = Place::new();
    let cert = |arguments: &[&str]| {
        let mut command = program("heq-run");
        command.arg("cert").args(arguments).arg("--dir").arg(place.file("pki"));
        command
    };
    let init = cert(&["init"]);
    // Room for nothing, and for a key but no certificate: 512 bytes.
    for limits in [NOTHING, "ulimit -f 1"] {
        check_failed(&full(&init, limits), ExitStatus::Usage, "HEQ-2001", limits);
        assert_eq!(names_in(&place.file("pki")), [""; 0], "{limits}");
    }
    assert!(cert(&["init"]).output().unwrap().status.success(), "nothing is in the way");
    let before = contents(&place.file("pki"));
    for arguments in [&["client", "alice"][..], &["server"]] {
        for limits in [NOTHING, "ulimit -f 1"] {
            let output = full(&cert(arguments), limits);
            check_failed(
                &output,
                ExitStatus::Usage,
                "HEQ-2001",
                &format!("{arguments:?} {limits}"),
            );
            assert!(contents(&place.file("pki")) == before, "{arguments:?} {limits}");
        }
        assert!(cert(arguments).output().unwrap().status.success(), "{arguments:?}");
        assert!(contents(&place.file("pki")) != before, "{arguments:?}");
        let _ = fs::remove_file(place.file("pki/alice.pem"));
    }
}

/// Parties that prepare inferences, or use them, with stores in the folders `client` and `server`.
fn with_store(place: &Place, mut command: Command, party: &str, prepare: Option<u32>) -> Command {
    command.arg("--store").arg(place.file(party));
    let mut all = program("heq-run");
    if let Some(count) = prepare {
        all.args(["prepare", "--count", &count.to_string()]);
    }
    all.args(command.get_args());
    all
}

/// The entries of a party.
fn entries(place: &Place, party: &str) -> Vec<String> {
    let ending = format!(".{party}");
    let mut names = names_in(&place.file(party));
    let partial = names.iter().any(|name| name.ends_with(".partial"));
    assert!(!partial, "{party}: {names:?}");
    names.retain(|name| name.ends_with(&ending));
    names
}

/// Runs a client, within limits, with a server within limits; both use stores.
fn stored_session(
    place: &Place,
    prepare: Option<u32>,
    limits: [&str; 2],
) -> (Output, Result<(), String>) {
    let server = with_store(place, place.party(), "server", prepare);
    let server = Server::start(&mut within(limits[1], &server)).unwrap();
    let mut client = place.party();
    client.args(["--role", "client", "--insecure-loopback", "--connect", &server.address]);
    if prepare.is_none() {
        client.arg("--input").arg(heq_tests::lenet("digit.png"));
        client.arg("--output").arg(place.file("output.json"));
    }
    let client = with_store(place, client, "client", prepare);
    let output = within(limits[0], &client).output().unwrap();
    (output, server.finish())
}

#[test]
fn a_store_without_room_keeps_what_it_has_and_nothing_serves_twice() {
    const FREE: &str = ":";
    let place = Place::new();
    let (output, server) = stored_session(&place, Some(2), [FREE, FREE]);
    assert!(output.status.success() && server.is_ok(), "{output:?} {server:?}");
    let both = |place: &Place| [entries(place, "client"), entries(place, "server")];
    let before = both(&place);
    assert_eq!(before.each_ref().map(Vec::len), [2, 2]);
    // Neither party adds an entry that is not whole. By then the server may have done its part; a client waits for
    // the server, and hears that the connection ended.
    let (output, _) = stored_session(&place, Some(2), [NOTHING, FREE]);
    check_failed(&output, ExitStatus::Usage, "HEQ-2001", "client's store");
    assert_eq!(entries(&place, "client"), before[0]);
    let (output, server) = stored_session(&place, Some(2), [FREE, NOTHING]);
    check_failed(&output, ExitStatus::Network, "HEQ-5001", "server's store");
    let said = server.unwrap_err();
    assert!(said.contains("exit status: 2") && said.contains("HEQ-2001"), "{said}");
    let all = both(&place);
    assert!(before.iter().zip(&all).all(|(old, new)| old.iter().all(|name| new.contains(name))));
    // To use an entry takes no room; what was computed is printed, and the entry is gone all the same.
    for left in [1, 0] {
        let (output, server) = stored_session(&place, None, [NOTHING, NOTHING]);
        check_failed(&output, ExitStatus::Usage, "HEQ-2001", "output");
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(ANSWER), "{output:?}");
        assert!(server.is_ok(), "{server:?}");
        let now = both(&place);
        for party in [0, 1] {
            let kept = before[party].iter().filter(|name| now[party].contains(name)).count();
            assert_eq!(kept, left, "party {party}");
        }
    }
}

/// What cannot be counted is not served, and the server goes on.
#[test]
fn a_quota_that_cannot_be_written_refuses() {
    let place = Place::new();
    let start = |limits: &str| {
        let mut server = place.party();
        server.args(["--quota", "5", "--sessions", "2"]);
        server.arg("--quota-file").arg(place.file("quota.json"));
        Server::start(&mut within(limits, &server)).unwrap()
    };
    let server = start(":");
    for _ in 0..2 {
        place.check_served(&server.address, "with room");
    }
    server.finish().unwrap();
    let counted = fs::read(place.file("quota.json")).unwrap();
    let server = start(NOTHING);
    for _ in 0..2 {
        let output = place.client(&server.address).output().unwrap();
        check_failed(&output, ExitStatus::ResourceLimit, "HEQ-8002", "quota");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(ANSWER));
    }
    assert!(server.finish().unwrap_err().contains("HEQ-2001"));
    assert_eq!(fs::read(place.file("quota.json")).unwrap(), counted);
}

/// A small file system, unmounted when it is dropped.
struct SmallDisk<'a>(&'a Path);

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_keeps_what_is_on_it() {
    let place = Place::new();
    let disk = place.file("disk");
    fs::create_dir(&disk).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=132k", "tmpfs"]).arg(&disk).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: file systems cannot be mounted here");
        return;
    }
    let _mounted = SmallDisk(&disk);
    // The weights and why they are so fit once, not twice.
    assert!(place.compile("disk/plan.heq").output().unwrap().status.success());
    let before = contents(&disk);
    let mut compile = place.compile("disk/plan.heq");
    let output = compile.args(["--acc-bits", "worst-case"]).output().unwrap();
    check_failed(&output, ExitStatus::Usage, "HEQ-2001", "disk");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    assert!(contents(&disk) == before, "{:?}", names_in(&disk));
}
