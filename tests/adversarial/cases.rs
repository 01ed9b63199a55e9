//! What a peer can do wrong once: hellos, headers, points, polynomials. Each case has a name, the message that
//! is changed, and how the party that receives it must end.

use super::messages::{Kind, Message};
use heq_ir::diagnostic::Code;
use heq_net::memory::Passage;
use heq_runtime::session::{MAX_INFERENCES, PROTOCOL_VERSION};
use heq_tests::between::hello::{
    BINDING, INFERENCES, MAGIC, MODES, NONCE, PLAN, ROLE, SECONDS, VERDICT, VERSION, binding,
};
use heq_tests::between::{Attack, Frame, HEADER_BYTES, Party, Place, Recording};
use std::ops::Range;

/// How the attacked party must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// With this error.
    Fails(Code),
    /// With an error, after a message that does not come or comes where another is due.
    Misses,
    /// As if nothing had happened, with the right result.
    Right,
    /// Without an error, and perhaps with a wrong result: the message has the right form, and that is all that a
    /// semi-honest protocol promises to check.
    Unnoticed,
}

pub(crate) const MISBEHAVED: Expected = Expected::Fails(Code::PeerMisbehaved);
pub(crate) const INCOMPATIBLE: Expected = Expected::Fails(Code::PeerIncompatible);
pub(crate) const CLOSED: Expected = Expected::Fails(Code::Connection);

/// One attack on one party.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) attacked: Party,
    pub(crate) expected: Expected,
    pub(crate) attack: Attack,
}

impl Case {
    pub(crate) fn new(
        name: impl Into<String>,
        attacked: Party,
        expected: Expected,
        attack: Attack,
    ) -> Self {
        Self { name: name.into(), attacked, expected, attack }
    }
}

/// Replaces the frame at `place`.
pub(crate) fn at(
    place: Place,
    change: impl FnOnce(Frame, &Recording) -> Passage + Send + 'static,
) -> Attack {
    let mut change = Some(change);
    Box::new(move |found, frame, sent| match change.take_if(|_| found == place) {
        Some(change) => change(frame, sent),
        None => Passage::Deliver(frame.bytes()),
    })
}

/// Changes the payload at `place`, not its length.
pub(crate) fn payload(
    place: Place,
    change: impl FnOnce(&mut [u8], &Recording) + Send + 'static,
) -> Attack {
    at(place, |mut frame, sent| {
        change(&mut frame.payload, sent);
        Passage::Deliver(frame.bytes())
    })
}

const HELLO: Place = (0, 0);

/// Hellos with one field changed.
pub(crate) fn hellos(attacked: Party) -> Vec<Case> {
    let is_client = attacked == Party::Client;
    let mut cases = Vec::new();
    let mut field = |name: &str, range: Range<usize>, value: Vec<u8>, expected| {
        let attack = payload(HELLO, move |hello, _| hello[range].copy_from_slice(&value));
        cases.push(Case::new(format!("hello: {name}"), attacked, expected, attack));
    };
    let word = |value: u32| value.to_le_bytes().to_vec();
    field("other magic", MAGIC, b"HEQPEER\r".to_vec(), INCOMPATIBLE);
    for version in [0, PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1, u32::MAX] {
        field(&format!("version {version}"), VERSION, word(version), INCOMPATIBLE);
    }
    field("the role of the other", ROLE, vec![u8::from(!is_client)], INCOMPATIBLE);
    for role in [2, 255] {
        field(&format!("role {role}"), ROLE, vec![role], MISBEHAVED);
    }
    // What a client wants, the server decides about; a server has to repeat it, and a client to whom another
    // mode is repeated goes away.
    for (modes, of_client) in [
        ([0, 0, 0], MISBEHAVED),
        ([2, 0, 0], INCOMPATIBLE),
        ([3, 0, 0], MISBEHAVED),
        ([4, 0, 0], CLOSED),
        ([8, 0, 0], INCOMPATIBLE),
        ([16, 0, 0], MISBEHAVED),
        ([1, 0, 0x80], MISBEHAVED),
    ] {
        let expected = if is_client { MISBEHAVED } else { of_client };
        field(&format!("modes {modes:?}"), MODES, modes.to_vec(), expected);
    }
    let of_plan = if is_client { MISBEHAVED } else { INCOMPATIBLE };
    field("another plan", PLAN, vec![0xab; 32], of_plan);
    field("no plan", PLAN, vec![0; 32], of_plan);
    field("a nonce of zeros", NONCE, vec![0; 32], MISBEHAVED);
    field("a nonce of ones", NONCE, vec![0xff; 32], Expected::Unnoticed);
    // The client behind a number that it did not say goes away at the server's answer.
    for (number, of_client) in [
        (0, INCOMPATIBLE),
        (2, CLOSED),
        (MAX_INFERENCES, CLOSED),
        (MAX_INFERENCES + 1, INCOMPATIBLE),
        (u32::MAX, INCOMPATIBLE),
    ] {
        let expected = if is_client { MISBEHAVED } else { of_client };
        field(&format!("{number} inferences"), INFERENCES, word(number), expected);
    }
    let between = Expected::Fails(Code::Authentication);
    field("no binding", BINDING, vec![0; 32], between);
    field("a binding of ones", BINDING, vec![0xff; 32], between);
    field("the binding of the other", BINDING, binding(attacked).to_vec(), between);
    field("seconds without a verdict", SECONDS, word(1), MISBEHAVED);
    for verdict in 1..=10 {
        let of_server = match verdict {
            1..=4 => Expected::Fails(Code::Refused),
            5..=8 => INCOMPATIBLE,
            9 => Expected::Fails(Code::Authentication),
            _ => MISBEHAVED,
        };
        let expected = if is_client { of_server } else { MISBEHAVED };
        field(&format!("verdict {verdict}"), VERDICT, word(verdict), expected);
    }
    field("verdict 2^32-1", VERDICT, word(u32::MAX), MISBEHAVED);
    if is_client {
        let nonce = payload(HELLO, |hello, sent| {
            hello[NONCE].copy_from_slice(&sent[0][&HELLO].payload[NONCE]);
        });
        cases.push(Case::new("hello: the client's nonce", attacked, MISBEHAVED, nonce));
        let echo = at(HELLO, |_, sent| Passage::Deliver(sent[0][&HELLO].bytes()));
        cases.push(Case::new("hello: the client's own", attacked, INCOMPATIBLE, echo));
    }
    cases
}

/// Bytes that are no frame, and frames that say nothing.
pub(crate) fn streams(attacked: Party) -> Vec<Case> {
    let raw = |name: &str, bytes: Vec<u8>, expected| {
        Case::new(name, attacked, expected, at(HELLO, move |_, _| Passage::End(bytes)))
    };
    let beat = |payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap();
        Frame { length_and_lane: length | 15 << 28, stamp: 0, payload: payload.to_vec() }.bytes()
    };
    let before_hello = |bytes: Vec<u8>| {
        at(HELLO, move |frame, _| Passage::Deliver([bytes, frame.bytes()].concat()))
    };
    vec![
        raw("nothing at all", Vec::new(), CLOSED),
        raw("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), MISBEHAVED),
        raw("zeros", vec![0; 256], MISBEHAVED),
        raw("ones", vec![0xff; 256], MISBEHAVED),
        raw("a heartbeat and the end", beat(&[]), CLOSED),
        Case::new(
            "1000 heartbeats",
            attacked,
            Expected::Right,
            before_hello(beat(&[]).repeat(1000)),
        ),
        Case::new("a heartbeat with a payload", attacked, MISBEHAVED, before_hello(beat(b"!"))),
    ]
}

/// Headers that do not fit what is due, at some message.
pub(crate) fn headers(attacked: Party, message: &Message) -> Vec<Case> {
    let Message { name, place, .. } = message;
    let mut cases = Vec::new();
    let mut case = |what: &str, expected, attack| {
        cases.push(Case::new(format!("{name}: {what}"), attacked, expected, attack));
    };
    for length in 0..HEADER_BYTES {
        let cut = at(*place, move |frame, _| Passage::End(frame.bytes()[..length].to_vec()));
        case(&format!("cut after {length} bytes of the header"), CLOSED, cut);
    }
    let mut header = |what: &str, change: fn(&mut Frame)| {
        let attack = at(*place, move |mut frame, _| {
            change(&mut frame);
            Passage::Deliver(frame.bytes())
        });
        case(what, MISBEHAVED, attack);
    };
    const LENGTH: u32 = (1 << 28) - 1;
    header("announces 0 bytes", |frame| frame.length_and_lane &= !LENGTH);
    header("announces a frame and a byte", |frame| {
        frame.length_and_lane = frame.length_and_lane & !LENGTH | ((16 << 20) + 1);
    });
    header("announces 2^28-1 bytes", |frame| frame.length_and_lane |= LENGTH);
    header("a header of ones", |frame| frame.length_and_lane = u32::MAX);
    header("on lane 3", |frame| frame.length_and_lane = frame.length_and_lane & LENGTH | 3 << 28);
    header("on lane 14", |frame| frame.length_and_lane = frame.length_and_lane & LENGTH | 14 << 28);
    header("as a heartbeat", |frame| frame.length_and_lane |= 15 << 28);
    header("the stamp 0", |frame| frame.stamp = 0);
    header("the stamp 2^32-1", |frame| frame.stamp = u32::MAX);
    header("a stamp 16 too large", |frame| frame.stamp += 16);
    let another = (place.0 + 1) % 3;
    let moved = at(*place, move |mut frame, _| {
        frame.length_and_lane = frame.length_and_lane & LENGTH | another << 28;
        Passage::Deliver(frame.bytes())
    });
    case(&format!("on lane {another}"), Expected::Misses, moved);
    cases
}

/// Contents that are checked, and some that are not.
pub(crate) fn contents(attacked: Party, messages: &[Message]) -> Vec<Case> {
    let mut cases = Vec::new();
    let own = usize::from(attacked == Party::Server);
    for Message { name, kind, place, frame } in messages {
        let place = *place;
        let mut case = |what: &str, expected, change: fn(&mut [u8])| {
            let attack = payload(place, move |payload, _| change(payload));
            cases.push(Case::new(format!("{name}: {what}"), attacked, expected, attack));
        };
        match kind {
            Kind::Points => {
                case("the last point is the identity", MISBEHAVED, |payload| {
                    let (_, point) = payload.split_last_chunk_mut::<32>().unwrap();
                    point.fill(0);
                });
                case("the last point is negative", MISBEHAVED, |payload| {
                    let (_, point) = payload.split_last_chunk_mut::<32>().unwrap();
                    point[0] |= 1;
                });
                case("the last point is not canonical", MISBEHAVED, |payload| {
                    let (_, point) = payload.split_last_chunk_mut::<32>().unwrap();
                    point[31] |= 0x80;
                });
                // Keys of the two directions have tags of their own, and an index.
                case("all points the same", Expected::Unnoticed, |payload| {
                    let first = payload[..32].to_vec();
                    payload.chunks_exact_mut(32).for_each(|point| point.copy_from_slice(&first));
                });
                let frame = frame.clone();
                let echo = at(place, move |found, sent| {
                    let own = sent[own ^ 1].get(&place).unwrap_or(&frame);
                    Passage::Deliver(found.with(own.payload.clone()).bytes())
                });
                let name = format!("{name}: the receiver's own, or an earlier one");
                cases.push(Case::new(name, attacked, Expected::Unnoticed, echo));
            }
            Kind::Polynomial => {
                case("the first residue is not below the modulus", MISBEHAVED, |payload| {
                    payload[..8].fill(0xff);
                });
                case("the last residue is not below the modulus", MISBEHAVED, |payload| {
                    let (_, last) = payload.split_last_chunk_mut::<8>().unwrap();
                    last.fill(0xff);
                });
            }
            Kind::Hello | Kind::Other => {}
        }
    }
    cases
}
