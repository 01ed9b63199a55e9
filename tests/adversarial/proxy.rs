//! Sessions with a proxy in between that changes random frames: no party panics, hangs, takes memory or
//! reports what is nobody's fault, and frames that are lost or malformed never lead to a wrong result. In a process of
//! its own, whose memory is measured.
//!
//! `HEQ_PROXY_SESSIONS=20000 cargo test --release -p heq-tests --test proxy -- --nocapture` runs so many; `HEQ_PROXY_SEED=N`
//! with `HEQ_PROXY_SESSIONS=1` repeats the one that a failure names.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::diagnostic::Code;
use heq_ir::plan::codec::{self, MAX_PLAN_BYTES};
use heq_ir::plan::{HELLO_BYTES, OtExtension};
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_runtime::service::fetch::{self, PlanKey};
use heq_tests::between::hello::hello;
use heq_tests::between::{
    Attack, Ended, Frame, HEADER_BYTES, PEER_CODES, Parties, Party, Recording, code, nothing,
};
use heq_tests::toy::every_message;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sessions where nobody asks for more: some 15 s of one core.
const SESSIONS: u64 = 400;

/// What the process may take beyond what it has after some sessions that nobody disturbs.
const MOST_GROWTH_BYTES: u64 = 64 << 20;

/// What it may take by lengths that are announced: a frame of a plan that is fetched, and what sessions take.
const MOST_ANNOUNCED_BYTES: u64 = 32 << 20;

/// One session in so many makes its random OTs by silent OT, which takes longer.
const SILENT_ONE_IN: u64 = 16;

/// A disturbed session in which nothing is sent for so long is given up.
const SHORT: Duration = Duration::from_millis(100);

/// One that nobody has disturbed is not.
const LONG: Duration = Duration::from_secs(60);

/// What a mutation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    /// Nothing, since the session has fewer frames.
    #[default]
    Nothing,
    /// Frames are missing, or not as they are due: if a session ends well its result is right.
    Frames,
    /// Messages may hold something else.
    Contents,
}

const MUTATIONS: [&str; 15] = [
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
struct Mutation {
    /// Number of the frame among those of its sender.
    frame: usize,
    /// Index in [`MUTATIONS`].
    kind: usize,
    seed: u64,
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
struct Site {
    parties: Arc<Parties>,
    earlier: Arc<Recording>,
}

impl Site {
    fn new(ot: OtExtension) -> Self {
        let (plan, weights) = every_message(ot);
        let parties = Parties::new(&plan, &weights);
        let earlier = Arc::new(parties.record());
        Self { parties, earlier }
    }

    /// Runs the session of `seed`; returns how it ended and what was done.
    fn run(&self, seed: u64) -> (String, Vec<&'static str>) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut mutations = [Vec::new(), Vec::new()];
        // One mutation in most sessions, so that they get far.
        for _ in 0..1 + (rng.next_u32() % 4) / 3 * (1 + rng.next_u32() % 2) {
            let party = (rng.next_u32() % 2) as usize;
            // Some are beyond the last frame.
            let frames = self.earlier[party].len() as u64 + 2;
            mutations[party].push(Mutation {
                frame: (rng.next_u64() % frames) as usize,
                kind: (rng.next_u64() % MUTATIONS.len() as u64) as usize,
                seed: rng.next_u64(),
            });
        }
        let described = format!("seed {seed}, {mutations:?}");
        let log = Log::default();
        let mut party = 0;
        let attacks = mutations.map(|mutations| {
            party += 1;
            attack(party - 1, mutations, Arc::clone(&self.earlier), Arc::clone(&log))
        });
        let ended = self.parties.run_until(attacks, || {
            if log.lock().unwrap().0 == Touched::Nothing { LONG } else { SHORT }
        });
        let ended = ended.unwrap_or_else(|fault| panic!("{described}: {fault}"));
        let (touched, done) = log.lock().unwrap().clone();
        for (role, ended) in ["client", "server"].into_iter().zip(&ended) {
            let is_allowed = code(ended).is_none_or(|code| PEER_CODES.contains(&code));
            assert!(is_allowed, "{described}: the {role} ended with {ended:?}");
        }
        let [client, server] = &ended;
        let is_right = client.as_ref().is_ok_and(|outputs| outputs == self.parties.expected());
        match touched {
            Touched::Nothing => {
                assert!(is_right && server.is_ok(), "{described}: undisturbed, found {ended:?}");
            }
            Touched::Frames => {
                assert!(is_right || client.is_err(), "{described}: a wrong result");
            }
            Touched::Contents => {}
        }
        let name =
            |ended: &Ended| code(ended).map_or("done".to_owned(), |code| format!("{code:?}"));
        let client = match (client, is_right) {
            (Ok(_), true) => "right".to_owned(),
            (Ok(_), false) => "wrong".to_owned(),
            (Err(_), _) => name(client),
        };
        (format!("{touched:?} touched: client {client}, server {}", name(server)), done)
    }
}

/// Memory of this process, which one test at a time has for itself.
struct Measured {
    before: Option<u64>,
    _alone: MutexGuard<'static, ()>,
}

impl Measured {
    fn start() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets the peak; where that is not possible the test is stricter.
        let _kept = std::fs::write("/proc/self/clear_refs", "5");
        Self { before: memory("VmRSS:"), _alone: alone }
    }

    /// Most bytes that were taken since, where the operating system tells.
    fn check(&self, most: u64) {
        let Some((before, peak)) = self.before.zip(memory("VmHWM:")) else { return };
        let growth = peak.saturating_sub(before);
        println!("{} MB at the peak, {growth} bytes more than before", peak >> 20);
        assert!(growth <= most, "memory grew by {growth} bytes");
    }
}

/// A line of what the operating system tells of the memory of this process, in bytes.
fn memory(line: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|found| found.strip_prefix(line))?;
    value.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|number| number.parse().ok())
}

#[test]
fn frames_changed_at_random_do_no_harm() {
    let sessions = number("HEQ_PROXY_SESSIONS").unwrap_or(SESSIONS);
    let first = number("HEQ_PROXY_SEED").unwrap_or(0);
    let [softspoken, silent] =
        [OtExtension::SoftSpoken { field_bits: 4 }, OtExtension::Silent { log_rows: 18 }]
            .map(Site::new);
    for site in [&softspoken, &silent] {
        for _ in 0..10 {
            site.parties.check_honest();
        }
    }
    let measured = Measured::start();
    let start = Instant::now();
    let (mut outcomes, mut done) = (BTreeMap::new(), BTreeMap::new());
    for seed in first..first + sessions {
        let site = if seed % SILENT_ONE_IN == 0 { &silent } else { &softspoken };
        let (outcome, mutations) = site.run(seed);
        *outcomes.entry(outcome).or_insert(0) += 1;
        for mutation in mutations {
            *done.entry(mutation).or_insert(0) += 1;
        }
    }
    println!("{sessions} sessions in {:.0} s", start.elapsed().as_secs_f64());
    outcomes.iter().for_each(|(outcome, count)| println!("{count:7}  {outcome}"));
    done.iter().for_each(|(mutation, count)| println!("{count:7}  {mutation}"));
    measured.check(MOST_GROWTH_BYTES);
    for site in [&softspoken, &silent] {
        site.parties.check_honest();
    }
}

/// Whatever length a header announces, and whatever a server says that its plan takes, memory is taken for what is due.
#[test]
fn lengths_that_are_announced_take_no_memory() {
    let site = Site::new(OtExtension::SoftSpoken { field_bits: 4 });
    for _ in 0..10 {
        site.parties.check_honest();
    }
    let measured = Measured::start();
    for (party, frames) in site.earlier.iter().enumerate() {
        for &place in frames.keys() {
            for length in [(1 << 28) - 1, (16 << 20) + 1, 16 << 20, u32::MAX] {
                let announce: Attack = Box::new(move |found, mut frame, _| {
                    if found == place {
                        frame.length_and_lane = frame.length_and_lane >> 28 << 28 | length;
                    }
                    Passage::Deliver(frame.bytes())
                });
                let mut attacks = [nothing(), nothing()];
                attacks[party] = announce;
                let ended = site.parties.run(attacks, SHORT).unwrap();
                let found = code(&ended[1 - party]);
                assert_eq!(
                    found,
                    Some(Code::PeerMisbehaved),
                    "{party} {place:?} {length}: {ended:?}"
                );
            }
        }
    }
    // The largest plan there may be takes a frame before more must come.
    let most = (MAX_PLAN_BYTES + codec::HEADER_BYTES) as u64;
    for (length, expected) in [
        (most, Code::Connection),
        (most + 1, Code::PeerMisbehaved),
        (1 << 63, Code::PeerMisbehaved),
        (u64::MAX, Code::PeerMisbehaved),
    ] {
        // The hello, the length, and the header of the plan's first frame.
        let mut sent = 0;
        let answers: Interceptor = Box::new(move |mut bytes| {
            sent += 1;
            if sent < 3 {
                return Passage::Deliver(bytes);
            }
            bytes[..4].copy_from_slice(&(16_u32 << 20).to_le_bytes());
            Passage::End(bytes)
        });
        let (client, mut server) = intercepted_pair([Box::new(Passage::Deliver), answers]);
        let digest = site.parties.plan().digest();
        let error = std::thread::scope(|scope| {
            scope.spawn(move || {
                server.recv(HELLO_BYTES).unwrap();
                server.send(&hello(Party::Server, 8, digest.0, 0)).unwrap();
                server.send(&length.to_le_bytes()).unwrap();
                // A client that has gone is an answer, too.
                let _sent = server.send(&[1]).and_then(|()| server.recv(0));
            });
            fetch::plan(client, &PlanKey::Digest(digest)).unwrap_err()
        });
        assert_eq!(error.describe().code, expected, "{length}: {error}");
    }
    measured.check(MOST_ANNOUNCED_BYTES);
}
