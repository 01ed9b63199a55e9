//! Sessions with a proxy in between that changes random frames: no party panics, hangs, takes memory or
//! reports what is nobody's fault, and frames that are lost or malformed never lead to a wrong result. In a process of
//! its own, whose memory is measured.
//!
//! `HEQ_PROXY_SESSIONS=20000 cargo test --release -p heq-tests --test proxy -- --nocapture` runs so many; `HEQ_PROXY_SEED=N`
//! with `HEQ_PROXY_SESSIONS=1` repeats the one that a failure names.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "clippy exempts test functions, not their helpers"
)]

use heq_ir::diagnostic::Code;
use heq_ir::plan::codec::{self, MAX_PLAN_BYTES};
use heq_ir::plan::{HELLO_BYTES, OtExtension};
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_runtime::service::fetch::{self, PlanKey};
use heq_tests::between::hello::hello;
use heq_tests::between::mutation::{MUTATIONS, Mutation, SHORT, Site};
use heq_tests::between::{Attack, Party, code, nothing};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Sessions where nobody asks for more: some 15 s of one core.
const SESSIONS: u64 = 400;

/// What the process may take beyond what it has after some sessions that nobody disturbs.
const MOST_GROWTH_BYTES: u64 = 64 << 20;

/// What it may take by lengths that are announced: a frame of a plan that is fetched, and what sessions take.
const MOST_ANNOUNCED_BYTES: u64 = 48 << 20;

/// One session in so many makes its random OTs by silent OT, which takes longer.
const SILENT_ONE_IN: u64 = 16;

/// Runs the session of `seed`; returns how it ended and what was done.
fn run(site: &Site, seed: u64) -> (String, Vec<&'static str>) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut mutations = [Vec::new(), Vec::new()];
    // One mutation in most sessions, so that they get far.
    for _ in 0..1 + (rng.next_u32() % 4) / 3 * (1 + rng.next_u32() % 2) {
        let party = (rng.next_u32() % 2) as usize;
        // Some are beyond the last frame.
        let frames = site.earlier[party].len() as u64 + 2;
        mutations[party].push(Mutation {
            frame: (rng.next_u64() % frames) as usize,
            kind: (rng.next_u64() % MUTATIONS.len() as u64) as usize,
            seed: rng.next_u64(),
        });
    }
    site.run(mutations).unwrap_or_else(|fault| panic!("seed {seed}, {fault}"))
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
        let (outcome, mutations) = run(site, seed);
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
