//! Time of the extension for each party, one core, set-up excluded, fixed seed.
//!
//! Prints, for each field, the time of an OT at the receiver and at the sender and the rate of both
//! in sequence. Run with `cargo bench -p heq-ot`.
#![expect(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::time::{Duration, Instant};

use heq_ot::softspoken::{BASE_OTS, Delta, Receiver, Sender, SoftSpokenConfig};
use heq_ot::{Block, OtError, SessionId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// OTs in one extension.
const N: usize = 1 << 16;

/// Extensions timed; the fastest of each party counts.
const REPETITIONS: usize = 200;

fn main() -> Result<(), OtError> {
    let session = SessionId([0; 32]);
    for k in [1, 2, 4, 8] {
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let config = SoftSpokenConfig::new(k)?;
        let delta = Delta::random(&mut rng);
        let base: Vec<_> =
            (0..BASE_OTS).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
        let choices = delta.base_choices();
        let keys: Vec<_> =
            base.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
        let (mut receiver, message) = Receiver::new(config, &session, 0, &base)?;
        let mut sender = Sender::new(config, &session, 0, delta, &keys, &message)?;
        let (mut receiver_time, mut sender_time) = (Duration::MAX, Duration::MAX);
        for _ in 0..REPETITIONS {
            let start = Instant::now();
            let (_received, message) = receiver.extend(N);
            receiver_time = receiver_time.min(start.elapsed());
            let start = Instant::now();
            let _sent = sender.extend(N, &message)?;
            sender_time = sender_time.min(start.elapsed());
        }
        let [receiver_ns, sender_ns] =
            [receiver_time, sender_time].map(|time| time.as_secs_f64() * 1e9 / N as f64);
        println!(
            "softspoken/k={k}/n={N}: receiver {receiver_ns:.1} ns, sender {sender_ns:.1} ns, \
             both {:.1} M/s",
            1e3 / (receiver_ns + sender_ns)
        );
    }
    Ok(())
}
