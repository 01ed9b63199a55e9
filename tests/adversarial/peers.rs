//! Peers that break the protocol, one attack a session: how the other party ends is written down for each, and
//! whoever comes next is served.

use super::cases::{Case, Expected, contents, headers, hellos, streams};
use super::messages::{Kind, Message, every_message, messages};
use heq_ir::plan::OtExtension;
use heq_tests::between::{Parties, Party, Recording, code, nothing};
use heq_tests::toy::every_message as toy;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A session in which a message is missing ends after that.
const SHORT: Duration = Duration::from_millis(300);

/// Any other session that goes so long without a message hangs.
const LONG: Duration = Duration::from_secs(20);

/// Sessions at a time: those in which a message is missing do nothing but wait.
const AT_A_TIME: usize = 4;

/// Runs a case; returns what is wrong with how it ended.
fn fault(parties: &Arc<Parties>, case: Case) -> Option<String> {
    let Case { name, attacked, expected, attack } = case;
    let attacks = match attacked {
        Party::Client => [nothing(), attack],
        Party::Server => [attack, nothing()],
    };
    let patience = if expected == Expected::Misses { SHORT } else { LONG };
    let case = format!("{attacked:?} attacked, {name}");
    let [client, server] = match parties.run(attacks, patience) {
        Ok(ended) => ended,
        Err(fault) => return Some(format!("{case}: {fault}")),
    };
    let ended = if attacked == Party::Client { &client } else { &server };
    let due = if attacked == Party::Client { parties.expected() } else { &[] };
    let is_as_expected = match (expected, ended) {
        (Expected::Fails(due), Err(_)) => code(ended) == Some(due),
        (Expected::Misses, Err(_)) => {
            use heq_ir::diagnostic::Code;
            matches!(code(ended), Some(Code::Connection | Code::PeerMisbehaved))
        }
        (Expected::Right, Ok(outputs)) => outputs == due,
        (Expected::Unnoticed, Ok(outputs)) => outputs.len() == due.len(),
        _ => false,
    };
    (!is_as_expected).then(|| format!("{case}: {expected:?} was due, found {ended:?}"))
}

/// Runs all cases, and honest sessions between and after them.
fn check(parties: &Arc<Parties>, cases: Vec<Case>) {
    let names: BTreeSet<_> =
        cases.iter().map(|case| (case.attacked == Party::Client, &case.name)).collect();
    assert_eq!(names.len(), cases.len(), "each has a name of its own");
    let queue = Mutex::new(cases);
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let case = queue.lock().unwrap().pop();
                    let Some(case) = case else { break };
                    faults.lock().unwrap().extend(fault(parties, case));
                }
            });
        }
        // Others do not notice.
        while !queue.lock().unwrap().is_empty() {
            parties.check_honest();
            std::thread::sleep(SHORT);
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    parties.check_honest();
}

pub(crate) fn parties(ot: OtExtension) -> (Arc<Parties>, Recording) {
    let (plan, weights) = toy(ot);
    let parties = Parties::new(&plan, &weights);
    let recording = parties.record();
    (parties, recording)
}

pub(crate) const SOFTSPOKEN: OtExtension = OtExtension::SoftSpoken { field_bits: 4 };

#[test]
fn every_attack_ends_as_it_must() {
    let (parties, recording) = parties(SOFTSPOKEN);
    let mut cases = Vec::new();
    for attacked in Party::BOTH {
        let messages = messages(parties.plan(), attacked.peer(), &recording);
        let before = cases.len();
        cases.extend(hellos(attacked));
        cases.extend(streams(attacked));
        cases.extend(some(&messages).flat_map(|message| headers(attacked, message)));
        cases.extend(contents(attacked, &messages));
        assert!(cases.len() - before >= 60);
        cases.extend(every_message(attacked, &messages, |_| true));
    }
    println!("{} attacks", cases.len());
    check(&parties, cases);
}

/// The hello, the last message, and of every other kind and lane the first.
fn some(messages: &[Message]) -> impl Iterator<Item = &Message> {
    let mut seen = Vec::new();
    let last = messages.iter().rposition(|message| message.place.0 == 0);
    messages.iter().enumerate().filter_map(move |(index, message)| {
        let kind = (message.kind, message.place.0);
        let is_new = !seen.contains(&kind);
        seen.push(kind);
        (is_new || Some(index) == last).then_some(message)
    })
}

/// The messages of silent OT: what begins it, and those on the lanes of random OTs.
#[test]
fn attacks_on_silent_ot_end_as_they_must() {
    let (parties, recording) = parties(OtExtension::Silent { log_rows: 18 });
    let mut cases = Vec::new();
    for attacked in Party::BOTH {
        let messages = messages(parties.plan(), attacked.peer(), &recording);
        cases.extend(every_message(attacked, &messages, |message| {
            let is_step = message.place.0 == 0 && message.name.starts_with("step");
            message.kind == Kind::Other && !is_step
        }));
    }
    check(&parties, cases);
}
