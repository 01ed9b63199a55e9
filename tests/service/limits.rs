//! What a server takes on: places, memory, quotas, plans; what it tells the others; how it stops.

use super::{Client, Running, Site};
use heq_ir::diagnostic::Code;
use heq_ir::plan::PlanDigest;
use heq_net::tls::{Identity, KeyPin, ServerTls, Trust};
use heq_runtime::error::RunError;
use heq_runtime::service::fetch::{self, PlanKey};
use heq_runtime::service::{Clients, Limits, Options, Plans, Service};
use heq_runtime::session::{Mode, Refusal, Session};
use std::fs;
use std::time::Duration;

fn refusal(outcome: Result<(), RunError>) -> Refusal {
    match outcome {
        Err(RunError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_finds_no_place_is_told_when_to_ask_again() {
    let site = Site::new();
    let limits = Limits { sessions: 1, queue: 0, ..site.options().limits };
    let service = Running::start(Options { limits, ..site.options() });
    let client = Client::new(&site, "alice", "lenet.heq", &service);
    // A session that waits for its client keeps its place.
    let held = Session::connect(&client.plan, client.connect().unwrap(), Mode::Whole, 1).unwrap();
    let refused = refusal(client.infer(1));
    assert!(matches!(refused, Refusal::Busy { retry_after_s: 1.. }), "{refused}");
    service.wait_for("heq_refusals_total{reason=\"busy\"}", 1);
    drop(held);
    service.wait_for("heq_sessions_total{outcome=\"failed\"}", 1);
    client.infer(1).unwrap();
    // What the program makes of it.
    let status = RunError::Refused { refusal: refused, plan: client.plan().digest() };
    assert_eq!(status.into_diagnostic().code, Code::Refused);
}

#[test]
fn whoever_may_wait_is_served_then() {
    let site = Site::new();
    let limits = Limits { sessions: 1, queue: 4, ..site.options().limits };
    let service = Running::start(Options { limits, ..site.options() });
    let client = Client::new(&site, "alice", "lenet.heq", &service);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| client.infer(2).unwrap());
        }
    });
    service.wait_for("heq_inferences_total{plan=\"lenet\"}", 10);
}

#[test]
fn a_plan_that_cannot_fit_is_refused_at_the_start() {
    let site = Site::new();
    let limits = Limits { memory_bytes: 1_000_000, ..site.options().limits };
    let error = Service::start("127.0.0.1:0", Options { limits, ..site.options() }).err().unwrap();
    assert_eq!(error.code, Code::TooLarge);
    assert!(error.to_string().contains("--max-memory"), "{error}");
}

#[test]
fn sessions_are_admitted_as_memory_allows() {
    let site = Site::new();
    // The plan takes some 15 MB, a session some 4: there is room for one.
    let limits = Limits { memory_bytes: 20_000_000, queue: 0, ..site.options().limits };
    let service = Running::start(Options { limits, ..site.options() });
    let client = Client::new(&site, "alice", "lenet.heq", &service);
    let held = Session::connect(&client.plan, client.connect().unwrap(), Mode::Whole, 1).unwrap();
    assert!(service.metric("heq_memory_admitted_bytes") <= 20_000_000);
    assert!(matches!(refusal(client.infer(1)), Refusal::Busy { .. }));
    drop(held);
}

#[test]
fn a_client_leaves_places_for_others() {
    let site = Site::new();
    let limits = Limits { of_client: 1, ..site.options().limits };
    let service = Running::start(Options { limits, ..site.options() });
    let client = |name| Client::new(&site, name, "lenet.heq", &service);
    let (alice, bob) = (client("alice"), client("bob"));
    let held = Session::connect(&alice.plan, alice.connect().unwrap(), Mode::Whole, 1).unwrap();
    assert!(matches!(refusal(alice.infer(1)), Refusal::Busy { .. }));
    bob.infer(1).unwrap();
    drop(held);
}

#[test]
fn a_client_that_is_taken_off_the_list_is_not_served_any_more() {
    let site = Site::new();
    let list = site.file("clients");
    let pin = |name: &str| site.identity(name).certificate().pin;
    let write = |pins: &[KeyPin]| {
        let lines: Vec<String> = pins.iter().map(KeyPin::to_string).collect();
        fs::write(&list, lines.join("\n")).unwrap();
    };
    let (server, clients) = (site.file("server.pem"), list.clone());
    let identity = Box::new(move || {
        let identity = Identity::from_pem(&fs::read(&server).unwrap()).unwrap();
        let clients = Clients::read(&clients)?;
        let trust = Trust { keys: Some(clients.keys().collect()), ..Trust::default() };
        Ok(Some((ServerTls::new(&identity, &trust).unwrap(), Some(clients))))
    });
    let limits = Limits { sessions: 1, ..site.options().limits };
    let options = Options { identity, limits, ..site.options() };
    write(&[pin("alice.pem"), pin("bob.pem")]);
    let service = Running::start(options);
    let client = |name| Client::new(&site, name, "lenet.heq", &service);
    let (alice, bob) = (client("alice"), client("bob"));
    let held = Session::connect(&alice.plan, alice.connect().unwrap(), Mode::Whole, 1).unwrap();
    std::thread::scope(|scope| {
        // Bob is admitted to wait, and taken off while he does.
        let waiting = scope.spawn(|| bob.infer(1));
        service.wait_for("heq_sessions_waiting", 1);
        write(&[pin("alice.pem")]);
        service.service.reload().unwrap();
        drop(held);
        assert_eq!(refusal(waiting.join().unwrap()), Refusal::NotAdmitted);
    });
    assert_eq!(bob.infer(1).unwrap_err().into_diagnostic().code, Code::Authentication);
    alice.infer(1).unwrap();
    // A list that cannot be read changes nothing.
    fs::write(&list, "sha256:nonsense").unwrap();
    assert_eq!(service.service.reload().unwrap_err().code, Code::WrongIdentity);
    alice.infer(1).unwrap();
}

#[test]
fn a_quota_is_of_a_client_and_a_day() {
    let site = Site::new();
    let file = site.file("quota.json");
    let start = || {
        let quota_file = Some(file.clone());
        Running::start(Options { quota: Some(3), quota_file, ..site.options() })
    };
    let service = start();
    let client = |name| Client::new(&site, name, "lenet.heq", &service);
    let (alice, bob) = (client("alice"), client("bob"));
    alice.infer(2).unwrap();
    assert!(matches!(refusal(alice.infer(2)), Refusal::QuotaUsedUp { retry_after_s: 0..=86_400 }));
    alice.infer(1).unwrap();
    bob.infer(3).unwrap();
    assert!(matches!(refusal(bob.infer(1)), Refusal::QuotaUsedUp { .. }));
    drop(service);
    // A server that starts again goes on counting.
    let service = start();
    let alice = Client::new(&site, "alice", "lenet.heq", &service);
    assert!(matches!(refusal(alice.infer(1)), Refusal::QuotaUsedUp { .. }));
}

#[test]
fn several_plans_by_digest_and_name() {
    let site = Site::new();
    site.compile("other.heq", &["--acc-bits", "worst-case"]);
    let folder = site.folder.path().to_path_buf();
    let served = Plans { sources: vec![folder.into()], ..site.options().plans };
    let service = Running::start(Options { plans: served, ..site.options() });
    let [first, other] =
        ["lenet.heq", "other.heq"].map(|plan| Client::new(&site, "alice", plan, &service));
    first.infer(1).unwrap();
    other.infer(1).unwrap();
    let listed = fetch::list(first.connect().unwrap()).unwrap();
    let names: Vec<&str> = listed.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["lenet", "other"]);
    assert_eq!(listed[1].digest, other.plan().digest().to_string());
    for key in [PlanKey::Name("other".to_owned()), PlanKey::Digest(other.plan().digest())] {
        let (plan, bytes) = fetch::plan(first.connect().unwrap(), &key).unwrap();
        assert_eq!(plan.digest(), other.plan().digest());
        assert_eq!(bytes, fs::read(site.file("other.heq")).unwrap());
    }
    for key in [PlanKey::Name("nobody".to_owned()), PlanKey::Digest(PlanDigest([7; 32]))] {
        let error = fetch::plan(first.connect().unwrap(), &key).unwrap_err();
        let unknown = matches!(error, RunError::Refused { refusal: Refusal::UnknownPlan, .. });
        assert!(unknown, "{error}");
    }
}

#[test]
fn files_are_read_again_when_they_can_be() {
    let site = Site::new();
    let plans = site.file("plans");
    fs::create_dir(&plans).unwrap();
    let put = |name: &str| {
        for name in [format!("{name}.heq"), format!("{name}.server.heq")] {
            fs::copy(site.file(&name), plans.join(&name)).unwrap();
        }
    };
    put("lenet");
    let served = Plans { sources: vec![plans.clone().into()], ..site.options().plans };
    let service = Running::start(Options { plans: served, ..site.options() });
    site.compile("other.heq", &["--acc-bits", "worst-case"]);
    let [lenet, other] =
        ["lenet.heq", "other.heq"].map(|plan| Client::new(&site, "alice", plan, &service));
    assert_eq!(refusal(other.infer(1)), Refusal::UnknownPlan);
    // A session that runs keeps what it began with.
    let held = Session::connect(&lenet.plan, lenet.connect().unwrap(), Mode::Whole, 1).unwrap();
    put("other");
    service.service.reload().unwrap();
    other.infer(1).unwrap();
    fs::write(plans.join("other.heq"), b"damaged").unwrap();
    assert!(service.service.reload().is_err());
    other.infer(1).unwrap();
    drop(held);
}

#[test]
fn a_server_that_stops_lets_sessions_end() {
    let site = Site::new();
    let service = Running::start(site.options());
    let client = Client::new(&site, "alice", "lenet.heq", &service);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| client.infer(20));
        service.wait_for("heq_sessions_running", 1);
        service.service.stop();
        running.join().unwrap().unwrap();
    });
    let error = client.infer(1).unwrap_err();
    assert_eq!(error.into_diagnostic().code, Code::Connection);
}

#[test]
fn a_server_that_stops_does_not_wait_for_ever() {
    let site = Site::new();
    let drain = Duration::from_millis(200);
    let service = Running::start(Options { drain, ..site.options() });
    let client = Client::new(&site, "alice", "lenet.heq", &service);
    let held = Session::connect(&client.plan, client.connect().unwrap(), Mode::Whole, 1).unwrap();
    let start = std::time::Instant::now();
    drop(service);
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    drop(held);
}
