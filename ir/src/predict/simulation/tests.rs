//! Small cases that can be computed by hand, and what holds for all.

use super::*;
use crate::link::LinkProfile;
use crate::predict::CostProfile;
use std::time::Duration;

/// 8 Mbit/s, a byte a microsecond, and 100 microseconds each way.
fn link() -> LinkProfile {
    LinkProfile::new(8_000_000, Duration::from_micros(200)).unwrap()
}

/// A profile in which nothing takes time by itself.
fn silent_profile() -> CostProfile {
    CostProfile { wake_us: 0.0, ..CostProfile::default() }
}

fn compute(work_us: f64) -> Action {
    Action::Compute { work_us, width: 1.0, is_pooled: false }
}

fn pooled(work_us: f64, width: f64) -> Action {
    Action::Compute { work_us, width, is_pooled: true }
}

/// Runs client and server, with or without producers of the first lane, over [`link`].
fn run(
    walkers: [Vec<Action>; 2],
    producers: [Vec<Action>; 2],
    threads: usize,
    is_shared: bool,
) -> Outcome {
    let profile = silent_profile();
    let situation = Situation { profile: &profile, link: Some(link()), threads, is_shared };
    simulate(&Scripts { walkers, producers: [producers, Default::default()] }, &situation)
}

fn walls(outcome: &Outcome) -> Vec<f64> {
    outcome.parts.iter().map(|part| part.wall).collect()
}

use Action::{EndPart, Publish, Receive, Reserve, Send};

#[test]
fn a_message_takes_its_transmission_and_half_a_round_trip() {
    let outcome = run(
        [vec![Receive, EndPart], vec![compute(30.0), Send(50.0)]],
        Default::default(),
        1,
        false,
    );
    let part = outcome.parts[0];
    assert_eq!((part.wall, part.computing), (180.0, [0.0, 30.0]));
    // Transmission is over after 50, then the message is under way.
    assert_eq!((part.bandwidth, part.latency), (50.0, 100.0));
    assert!(outcome.is_complete);
}

#[test]
fn computation_and_transmission_overlap() {
    // Two messages of 50 us are made in 80 us each: the second is made while the first travels.
    let sender = vec![compute(80.0), Send(50.0), compute(80.0), Send(50.0)];
    let receiver = vec![Receive, compute(40.0), Receive, compute(40.0), EndPart];
    let outcome = run([receiver, sender], Default::default(), 1, false);
    assert_eq!(walls(&outcome), [160.0 + 50.0 + 100.0 + 40.0]);
}

#[test]
fn two_actors_on_one_core_take_twice_as_long() {
    for (threads, is_shared, expected) in [(1, true, 150.0), (2, true, 100.0), (1, false, 100.0)] {
        // The server is done with 50 first, on a shared core after 100.
        let walkers = [vec![compute(100.0), EndPart], vec![compute(50.0)]];
        let outcome = run(walkers, Default::default(), threads, is_shared);
        assert_eq!(walls(&outcome), [expected], "{threads} {is_shared}");
    }
}

#[test]
fn a_pool_works_in_the_order_in_which_it_is_handed_work() {
    // The producer's work takes the whole pool until 50; then the walker has it for its 20.
    let walkers = [vec![pooled(40.0, 2.0), EndPart], vec![]];
    let producers = [vec![pooled(100.0, 2.0)], vec![]];
    let outcome = run(walkers.clone(), producers.clone(), 2, true);
    assert_eq!(walls(&outcome), [20.0], "the walker comes first");
    let late = [[vec![compute(1.0)], walkers[0].clone()].concat(), vec![]];
    let outcome = run(late, producers, 2, true);
    // The walker's own work of 1 takes a third of the cores from the pool's.
    let expected = 1.5 + (100.0 - 1.5 * 4.0 / 3.0) / 2.0 + 20.0;
    assert!((walls(&outcome)[0] - expected).abs() < 1e-9, "{outcome:?}");
}

#[test]
fn lanes_share_a_wire() {
    // The producer's message is on the wire when the walker's is sent.
    let walkers = [vec![Receive, EndPart], vec![compute(10.0), Send(50.0)]];
    let producers = [vec![Receive], vec![Send(500.0)]];
    let outcome = run(walkers, producers, 2, false);
    assert_eq!(walls(&outcome), [500.0 + 50.0 + 100.0]);
    assert_eq!(outcome.sent_bytes.to_vec(), [0.0, 550.0]);
    let both_ways = [vec![Send(300.0), Receive, EndPart], vec![Send(300.0), Receive]];
    let outcome = run(both_ways, Default::default(), 1, false);
    assert_eq!(walls(&outcome), [400.0], "directions do not share one");
}

#[test]
fn random_ots_are_waited_for_and_room_too() {
    let take = |chunk| Action::Take { lane: 1, chunk, bytes: 8.0 };
    let walker = vec![take(0), compute(100.0), take(1), EndPart];
    let reserve = Reserve { bytes: 8.0, limit: 10.0 };
    let producer = vec![reserve, compute(30.0), Publish, reserve, compute(60.0), Publish];
    let outcome = run([walker, vec![]], [producer, vec![]], 2, false);
    // There is room for the second chunk as soon as the first is taken.
    assert_eq!(walls(&outcome), [130.0]);
    assert_eq!(outcome.producing_us.to_vec(), [90.0, 0.0]);
    let part = outcome.parts[0];
    assert_eq!((part.random_ots, part.computing), (30.0, [100.0, 0.0]));
}

#[test]
fn processor_time_given_is_processor_time_used() {
    let work = |seed: u64| {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / 1000.0
        };
        let mut script = vec![];
        for index in 0..200 {
            script.push(if index % 3 == 0 { pooled(next(), 2.0) } else { compute(next()) });
            script.extend([Send(next()), Receive]);
        }
        script
    };
    let walkers = [work(1), work(2)];
    let producers = [work(3), work(4)];
    for (threads, is_shared) in [(1, true), (2, true), (3, false), (1, false)] {
        let outcome = run(walkers.clone(), producers.clone(), threads, is_shared);
        assert!(outcome.is_complete);
        for party in [0, 1] {
            let scripts = [&walkers[party], &producers[party]].into_iter().flatten();
            let used: f64 = scripts.map(Action::work_us).sum();
            let given = outcome.given_us[party];
            assert!((given / used - 1.0).abs() < 1e-9, "{given} of {used}");
        }
    }
}

#[test]
fn who_waits_for_ever_ends_the_simulation() {
    let outcome = run([vec![Receive, EndPart], vec![]], Default::default(), 1, false);
    assert!(!outcome.is_complete && outcome.parts.is_empty());
}
