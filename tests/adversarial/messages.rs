//! The messages of a session by name, from a recording of one, and what a peer can do wrong with any of them.

use super::cases::{CLOSED, Case, Expected, INCOMPATIBLE, MISBEHAVED, at, payload};
use heq_ir::plan::{LayerKind, Plan};
use heq_ir::traffic::Step;
use heq_net::memory::Passage;
use heq_tests::between::{Attack, Frame, Party, Place, Recording};

/// What a message holds, as far as its receiver can check that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Who a party is.
    Hello,
    /// Elements of a group.
    Points,
    /// Residues below a modulus that is no power of two.
    Polynomial,
    /// Any bytes will do.
    Other,
}

/// A message that a party sends.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// As it was sent in the recorded session.
    pub(crate) frame: Frame,
}

/// What `sender` sends on lane 0, in order: name, kind and bytes.
fn named(plan: &Plan, sender: Party) -> Vec<(String, Kind, u64)> {
    let mut labels = vec![
        ("hello".to_owned(), Kind::Hello),
        ("hello".to_owned(), Kind::Hello),
        ("base OT's first point".to_owned(), Kind::Points),
        ("base OT's choices".to_owned(), Kind::Points),
    ];
    let extension = plan.spec().ot.setup_bytes();
    let of_extension = ["trees", "first correlated OTs"].map(|name| (name.to_owned(), Kind::Other));
    labels.extend(of_extension.into_iter().take(extension.len()));
    for set in 0..plan.rlwe().len() {
        labels.push((format!("key of set {set}"), Kind::Polynomial));
        labels.push((format!("Galois key of set {set}"), Kind::Polynomial));
    }
    let setup = plan.setup_traffic().steps;
    assert_eq!(labels.len(), setup.len());
    let mut all: Vec<(String, Kind, Step)> =
        labels.into_iter().zip(setup).map(|((name, kind), step)| (name, kind, step)).collect();
    for (index, (layer, traffic)) in plan.layers().iter().zip(plan.layer_traffic()).enumerate() {
        let is_linear = matches!(layer.kind, LayerKind::Linear { .. });
        let kind = if is_linear { Kind::Polynomial } else { Kind::Other };
        let debug = format!("{:?}", layer.kind);
        let name = debug.split(' ').next().unwrap();
        for (number, step) in traffic.steps.iter().enumerate() {
            all.push((format!("step {index}, {name}, part {number}"), kind, step.clone()));
        }
    }
    let mut messages = Vec::new();
    for (name, kind, step) in all {
        let (count, bytes) = match (step, sender) {
            (Step::Up { count, bytes }, Party::Client)
            | (Step::Down { count, bytes }, Party::Server) => (count, bytes),
            (Step::Exchange { up, .. }, Party::Client) => (1, up),
            (Step::Exchange { down, .. }, Party::Server) => (1, down),
            _ => (0, 0),
        };
        for number in 0..count {
            let name = if count == 1 { name.clone() } else { format!("{name}, no. {number}") };
            messages.push((name, kind, bytes));
        }
    }
    messages
}

/// The messages of `sender`, those on lane 0 first. That they are as long as predicted is asserted.
pub(crate) fn messages(plan: &Plan, sender: Party, recording: &Recording) -> Vec<Message> {
    let sent = &recording[usize::from(sender == Party::Server)];
    let names = named(plan, sender);
    assert_eq!(names.len(), sent.keys().filter(|(lane, _)| *lane == 0).count());
    let mut names = names.into_iter();
    let message = |(&place, frame): (&Place, &Frame)| {
        let (name, kind) = if place.0 == 0 {
            let (name, kind, bytes) = names.next().unwrap();
            assert_eq!(bytes, frame.payload.len() as u64, "{name}");
            (name, kind)
        } else {
            (format!("random OTs, lane {}, no. {}", place.0, place.1), Kind::Other)
        };
        Message { name, kind, place, frame: frame.clone() }
    };
    sent.iter().map(message).collect()
}

/// What can be done to any message, for those that `concerns` holds for.
pub(crate) fn every_message(
    attacked: Party,
    messages: &[Message],
    concerns: fn(&Message) -> bool,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, message) in messages.iter().enumerate().filter(|(_, message)| concerns(message)) {
        let Message { name, kind, place, frame } = message;
        let mut case = |what: &str, expected, attack| {
            cases.push(Case::new(format!("{name}: {what}"), attacked, expected, attack));
        };
        let place = *place;
        let of_kind = |hello, points, polynomial| match kind {
            Kind::Hello => hello,
            Kind::Points => points,
            Kind::Polynomial => polynomial,
            Kind::Other => Expected::Unnoticed,
        };
        let unnoticed = Expected::Unnoticed;
        let flip = payload(place, |payload, _| payload[0] ^= 1);
        case("a bit flipped", of_kind(INCOMPATIBLE, MISBEHAVED, unnoticed), flip);
        let zeros = payload(place, |payload, _| payload.fill(0));
        case("zeros", of_kind(INCOMPATIBLE, MISBEHAVED, unnoticed), zeros);
        let ones = payload(place, |payload, _| payload.fill(0xff));
        case("ones", of_kind(INCOMPATIBLE, MISBEHAVED, MISBEHAVED), ones);
        let earlier = frame.payload.clone();
        let earlier = payload(place, move |payload, _| payload.copy_from_slice(&earlier));
        case("that of an earlier session", unnoticed, earlier);
        let longer = at(place, |frame, _| {
            let payload = [&frame.payload[..], &[0]].concat();
            Passage::Deliver(frame.with(payload).bytes())
        });
        case("a byte more", MISBEHAVED, longer);
        let shorter = at(place, |frame, _| {
            let payload = frame.payload[1..].to_vec();
            Passage::Deliver(frame.with(payload).bytes())
        });
        case("a byte less", MISBEHAVED, shorter);
        let end = at(place, |_, _| Passage::End(Vec::new()));
        case("the end before it", CLOSED, end);
        let cut = at(place, |frame, _| {
            let mut bytes = frame.bytes();
            bytes.pop();
            Passage::End(bytes)
        });
        case("the end within it", CLOSED, cut);
        let is_last = messages.get(index + 1).is_none_or(|next| next.place.0 != place.0);
        if place.0 == 0 && is_last {
            let end = at(place, |frame, _| Passage::End(frame.bytes()));
            case("the end after it", Expected::Right, end);
        }
        case("left out", Expected::Misses, at(place, |_, _| Passage::Deliver(Vec::new())));
        let twice = at(place, |frame, _| Passage::Deliver(frame.bytes().repeat(2)));
        case("twice", twice_is(messages, index), twice);
        if index > 0 {
            let before = &messages[index - 1];
            let is_as_long = before.frame.payload.len() == frame.payload.len();
            if before.place.0 == place.0 {
                let lane_place = before.place;
                let own = usize::from(attacked == Party::Client);
                let replay = at(place, move |frame, sent| {
                    let payload = sent[own][&lane_place].payload.clone();
                    Passage::Deliver(frame.with(payload).bytes())
                });
                case("the one before again", same_length(is_as_long), replay);
            }
            if before.place.0 == place.0 && before.frame.stamp == frame.stamp {
                case("and the one before swapped", same_length(is_as_long), swapped(before.place));
            }
        }
    }
    cases
}

/// Another message in the place of one of its lane.
fn same_length(is_as_long: bool) -> Expected {
    if is_as_long { Expected::Unnoticed } else { MISBEHAVED }
}

/// A message that comes twice takes the place of the next one, that of the next but one, and so on.
fn twice_is(messages: &[Message], index: usize) -> Expected {
    let lane = messages[index].place.0;
    let rest: Vec<usize> = messages[index..]
        .iter()
        .take_while(|message| message.place.0 == lane)
        .map(|message| message.frame.payload.len())
        .collect();
    if rest.len() == 1 {
        // Nobody reads what follows the last message.
        return Expected::Right;
    }
    same_length(rest.windows(2).all(|pair| pair[0] == pair[1]))
}

/// Holds the message at `first` back until the next one of its lane has passed.
fn swapped(first: Place) -> Attack {
    let mut held = None;
    Box::new(move |place, frame, _| {
        if place == first {
            held = Some(frame);
            return Passage::Deliver(Vec::new());
        }
        let later = held.take_if(|_| place.0 == first.0).map_or(Vec::new(), |held| held.bytes());
        Passage::Deliver([frame.bytes(), later].concat())
    })
}
