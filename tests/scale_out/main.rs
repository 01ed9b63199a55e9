//! Several servers behind HAProxy, with the configuration that is the example: clients are spread over them, a
//! server that dies takes down its own sessions alone, and one that is stopped none.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy exempts test functions, not their helpers"
)]

mod cluster;

use cluster::{Balancer, Client, Replica, Site, wait};
use heq_tests::{program, root};
use std::fs;

/// More samples than a session gets through before the test has done what it wants to do meanwhile.
const MANY: usize = 1000;

/// Samples of sessions that last for seconds, and are to end.
const SOME: usize = 100;

#[test]
fn clients_are_spread_and_one_dead_server_fails_its_own_alone() {
    let site = Site::new();
    let [mut first, mut second] = [Replica::start(&site), Replica::start(&site)];
    let Some(balancer) = Balancer::start(&site, [&first, &second]) else { return };

    let digit = site.digit();
    let start = |number| Client::start(&site, &balancer, &format!("digit{number}"), &digit, 0);
    let clients: Vec<Client> = (0..6).map(start).collect();
    for ended in clients.into_iter().map(Client::finish) {
        ended.check_right();
        assert!(ended.printed.starts_with("sample 0: class 7 "), "{}", ended.printed);
    }
    let served = wait("six inferences", || {
        let served = [&first, &second].map(Replica::inferences);
        (served.iter().sum::<u64>() == 6).then_some(served)
    });
    assert!(!served.contains(&0), "one server has served all: {served:?}");
    wait("no connections", || (balancer.open() == [0, 0]).then_some(()));

    // A client without a second try on each server, and then clients with some until the server that is to
    // die has one of these, too.
    let find = |name: &str, count, retries| {
        Client::start_and_find(&site, &balancer, name, &site.samples(count), retries)
    };
    let (doomed, victim) = find("doomed", MANY, 0);
    let (spared, other) = find("spared", SOME, 0);
    assert_ne!(victim, other, "the server with fewer connections gets the next");
    let mut retrying = Vec::new();
    while retrying.iter().all(|&(_, place)| place != victim) {
        assert!(retrying.len() < 8, "no client gets to server {victim}");
        retrying.push(find(&format!("retrying{}", retrying.len()), SOME, 5));
    }
    let replicas = [&first, &second];
    wait("two sessions", || (replicas[victim].running() == 2).then_some(()));
    [&mut first, &mut second][victim].kill();

    let doomed = doomed.finish();
    assert_eq!((doomed.status, &*doomed.printed), (Some(5), ""), "{}", doomed.said);
    let reason = "error[HEQ-5001]: connection: the peer closed the connection";
    assert!(doomed.said.contains(reason) && doomed.said.contains("  help: "), "{}", doomed.said);
    for (client, place) in retrying {
        let ended = client.finish();
        ended.check_right();
        assert_eq!(ended.tried_again(), place == victim, "{}", ended.said);
    }
    let spared = spared.finish();
    spared.check_right();
    assert!(!spared.tried_again(), "{}", spared.said);
    // The server that is left serves all who come.
    Client::start(&site, &balancer, "late", &digit, 0).finish().check_right();
}

#[test]
fn a_stopped_server_ends_its_sessions_well_and_gets_no_others() {
    let site = Site::new();
    let [mut first, mut second] = [Replica::start(&site), Replica::start(&site)];
    let Some(balancer) = Balancer::start(&site, [&first, &second]) else { return };
    let replicas = [&first, &second];
    let some = site.samples(2 * SOME);
    let (running, stopped) = Client::start_and_find(&site, &balancer, "running", &some, 0);
    wait("a session", || (replicas[stopped].running() == 1).then_some(()));
    replicas[stopped].terminate();
    let digit = site.digit();
    // Whoever comes at this moment may have to come again.
    let at_once = Client::start(&site, &balancer, "at-once", &digit, 5);
    wait("HAProxy to leave out the server", || (!balancer.uses(stopped)).then_some(()));
    let start = |number| Client::start(&site, &balancer, &format!("digit{number}"), &digit, 0);
    let clients: Vec<Client> = (0..4).map(start).collect();
    clients.into_iter().map(Client::finish).for_each(|ended| ended.check_right());
    at_once.finish().check_right();
    running.finish().check_right();
    assert!(replicas[1 - stopped].is_healthy());
    assert!(replicas[1 - stopped].inferences() >= 4);
    let (status, said) = [&mut first, &mut second][stopped].finish();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("stopping") && said.contains("session ended"), "{said}");
}

/// The options of `heq-run` in the other examples are those that there are.
#[test]
fn examples_name_options_that_there_are() {
    let help = program("heq-run").arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    // Where the arguments of the server begin and end in each file.
    for (file, begin, end) in [
        ("heq-run.service", "ExecStart=", "\n#"),
        ("Dockerfile", "\nCMD [", "]"),
        ("kubernetes.yaml", "args:", "ports:"),
    ] {
        let text = fs::read_to_string(root().join("examples/deploy").join(file)).unwrap();
        let arguments = text.split_once(begin).unwrap().1.split_once(end).unwrap().0;
        let is_apart = |character: char| !character.is_alphanumeric() && character != '-';
        let options: Vec<&str> =
            arguments.split(is_apart).filter(|word| word.starts_with("--")).collect();
        assert!(options.len() > 4, "{file}: {options:?}");
        for option in options {
            assert!(help.contains(&format!(" {option} ")), "{file}: {option}");
        }
    }
}
