//! Random changes of what parties send, and what a session that meets them may end with.
#![allow(clippy::cast_possible_truncation, reason = "test support: numbers are small")]

use super::{Attack, Ended, Frame, HEADER_BYTES, PEER_CODES, Parties, Recording, code};
use crate::toy::every_message;
use heq_ir::plan::OtExtension;
use heq_net::memory::Passage;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A disturbed session in which nothing is sent for so long is given up.
pub const SHORT: Duration = Duration::from_millis(100);

/// One that nobody has disturbed is not.
const LONG: Duration = Duration::from_secs(60);

/// What a mutation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Nothing, since the session has fewer frames.
    #[default]
    Nothing,
    /// Frames are missing, or not as they are due: if a session ends well its result is right.
    Frames,
    /// Messages may hold something else.
    Contents,
}

/// Kinds of mutations.
pub const MUTATIONS: [&str; 15] = [
    "flip a bit",
    "flip bits of frame and header",
    "cut and go on",
    "cut and end",
    "end before",
    "drop",
    "twice",
    "swap with the next",
    "insert an earlier one",
    "one of another session",
    "another length",
    "another lane",
    "another stamp",
    "random payload",
    "insert random bytes",
];

/// What is done to one frame.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// Number of the frame among those of its sender.
    pub frame: usize,
    /// Index in [`MUTATIONS`].
    pub kind: usize,
    /// What else there is to choose.
    pub seed: u64,
}

/// What becomes of a frame, and of what was held back before it.
fn mutate(
    mutation: &Mutation,
    frame: &Frame,
    sent: &[Frame],
    other_session: Option<&Frame>,
    held: &mut Vec<u8>,
) -> (Passage, Touched) {
    let mut rng = ChaCha20Rng::seed_from_u64(mutation.seed);
    let mut below = |count: usize| (rng.next_u64() % count.max(1) as u64) as usize;
    let bytes = frame.bytes();
    let mut changed = frame.clone();
    let payload = &mut changed.payload;
    let mut touched = Touched::Frames;
    match MUTATIONS[mutation.kind] {
        "flip a bit" if !payload.is_empty() => {
            let place = below(payload.len());
            payload[place] ^= 1 << below(8);
            touched = Touched::Contents;
        }
        "flip bits of frame and header" => {
            let mut bytes = bytes;
            for _ in 0..=below(8) {
                let place = below(bytes.len());
                bytes[place] ^= 1 << below(8);
            }
            return (Passage::Deliver(bytes), Touched::Contents);
        }
        "cut and go on" => {
            return (Passage::Deliver(bytes[..below(bytes.len())].to_vec()), touched);
        }
        "cut and end" => return (Passage::End(bytes[..below(bytes.len())].to_vec()), touched),
        "end before" => return (Passage::End(Vec::new()), touched),
        "drop" => return (Passage::Deliver(Vec::new()), touched),
        "twice" => return (Passage::Deliver(bytes.repeat(2)), Touched::Contents),
        "swap with the next" => {
            *held = bytes;
            return (Passage::Deliver(Vec::new()), Touched::Contents);
        }
        "insert an earlier one" if !sent.is_empty() => {
            let earlier = sent[below(sent.len())].bytes();
            return (Passage::Deliver([earlier, bytes].concat()), Touched::Contents);
        }
        "one of another session" => {
            touched = Touched::Contents;
            changed = other_session.unwrap_or(frame).clone();
        }
        "another length" => {
            let length = match below(4) {
                0 => 0,
                1 => (1 << 28) - 1,
                2 => (16 << 20) + 1,
                _ => below(1 << 28) as u32,
            };
            changed.length_and_lane = frame.lane() << 28 | length;
        }
        "another lane" => changed.length_and_lane ^= (1 + below(15) as u32) << 28,
        "another stamp" => {
            let small = frame.stamp.wrapping_add(below(5) as u32).wrapping_sub(2);
            changed.stamp = [small, u32::MAX, 0, below(1 << 32) as u32][below(4)];
        }
        "insert random bytes" => {
            let mut random = vec![0; 1 + below(3 * HEADER_BYTES)];
            rng.fill_bytes(&mut random);
            return (Passage::Deliver([random, bytes].concat()), Touched::Contents);
        }
        _ => {
            rng.fill_bytes(payload);
            touched = Touched::Contents;
        }
    }
    (Passage::Deliver(changed.bytes()), touched)
}

/// What a party's mutations did, and which.
type Log = Arc<Mutex<(Touched, Vec<&'static str>)>>;

/// Mutates what one party sends.
fn attack(party: usize, mutations: Vec<Mutation>, earlier: Arc<Recording>, log: Log) -> Attack {
    let (mut sent, mut held, mut end) = (Vec::new(), Vec::new(), false);
    Box::new(move |place, frame, _| {
        let number = sent.len();
        let mut passage = Passage::Deliver(frame.bytes());
        let before = std::mem::take(&mut held);
        for mutation in mutations.iter().filter(|mutation| mutation.frame == number) {
            let other_session = earlier[party].get(&place);
            let (mutated, touched) = mutate(mutation, &frame, &sent, other_session, &mut held);
            passage = mutated;
            let mut log = log.lock().unwrap();
            log.0 = log.0.max(touched);
            log.1.push(MUTATIONS[mutation.kind]);
        }
        sent.push(frame);
        let (Passage::Deliver(mut bytes) | Passage::End(mut bytes)) = passage.clone();
        bytes.extend(before);
        end |= matches!(passage, Passage::End(_));
        if end { Passage::End(bytes) } else { Passage::Deliver(bytes) }
    })
}

/// The parties of one extension, with a session of theirs.
pub struct Site {
    /// The parties.
    pub parties: Arc<Parties>,
    /// What they sent in a session that nobody disturbed.
    pub earlier: Arc<Recording>,
}

impl Site {
    /// The parties of a plan with messages of every kind.
    #[must_use]
    pub fn new(ot: OtExtension) -> Self {
        let (plan, weights) = every_message(ot);
        let parties = Parties::new(&plan, &weights);
        let earlier = Arc::new(parties.record());
        Self { parties, earlier }
    }

    /// Runs a session with mutations of what client and server send; returns how it ended and what was done.
    ///
    /// # Errors
    /// What no peer may bring about: a panic, an end that does not come, an error that blames somebody else,
    /// or a wrong result where no message was changed.
    pub fn run(
        &self,
        mutations: [Vec<Mutation>; 2],
    ) -> Result<(String, Vec<&'static str>), String> {
        let described = format!("{mutations:?}");
        let log = Log::default();
        let mut party = 0;
        let attacks = mutations.map(|mutations| {
            party += 1;
            attack(party - 1, mutations, Arc::clone(&self.earlier), Arc::clone(&log))
        });
        let ended = self.parties.run_until(attacks, || {
            if log.lock().unwrap().0 == Touched::Nothing { LONG } else { SHORT }
        });
        let ended = ended.map_err(|fault| format!("{described}: {fault}"))?;
        let (touched, done) = log.lock().unwrap().clone();
        for (role, ended) in ["client", "server"].into_iter().zip(&ended) {
            if code(ended).is_some_and(|code| !PEER_CODES.contains(&code)) {
                return Err(format!("{described}: the {role} ended with {ended:?}"));
            }
        }
        let [client, server] = &ended;
        let is_right = client.as_ref().is_ok_and(|outputs| outputs == self.parties.expected());
        let fault = match touched {
            Touched::Nothing if !is_right || server.is_err() => "undisturbed",
            Touched::Frames if !is_right && client.is_ok() => "a wrong result",
            Touched::Nothing | Touched::Frames | Touched::Contents => "",
        };
        if !fault.is_empty() {
            return Err(format!("{described}: {fault}, found {ended:?}"));
        }
        let name =
            |ended: &Ended| code(ended).map_or("done".to_owned(), |code| format!("{code:?}"));
        let client = match (client, is_right) {
            (Ok(_), true) => "right".to_owned(),
            (Ok(_), false) => "wrong".to_owned(),
            (Err(_), _) => name(client),
        };
        Ok((format!("{touched:?} touched: client {client}, server {}", name(server)), done))
    }
}
