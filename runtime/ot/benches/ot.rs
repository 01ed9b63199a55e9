//! Rates of random OTs, both parties one after the other on one core: `cargo xtask bench ot`.
//!
//! A row is a provider and a width of pads. Set-up is not in it. Times are those of the fastest of many
//! batches, of each party; the median of their sum is given beside. Arguments: `--json`, and parts of the
//! names of rows.

#[path = "../../../tests/support/bench.rs"]
mod bench;

use bench::Report;
use std::time::{Duration, Instant};

use heq_ot::silent::{self, SilentConfig, SilentMessage};
use heq_ot::softspoken::{BASE_OTS, Delta, ExtendMessage, Receiver, Sender, SoftSpokenConfig};
use heq_ot::{Block, OtError, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::{Value, json};

/// What makes random OTs.
struct Provider {
    name: &'static str,
    /// Random OTs of a batch.
    ots: usize,
    /// Sets both parties up; what it returns makes a batch a call.
    set_up: fn() -> Result<Pair, OtError>,
}

const PROVIDERS: &[Provider] = &[
    Provider { name: "softspoken k=1", ots: 1 << 16, set_up: || softspoken(1) },
    Provider { name: "softspoken k=2", ots: 1 << 16, set_up: || softspoken(2) },
    Provider { name: "softspoken k=4", ots: 1 << 16, set_up: || softspoken(4) },
    Provider { name: "softspoken k=8", ots: 1 << 16, set_up: || softspoken(8) },
    silent_provider("silent n=2^18", 0, || silent(0)),
    silent_provider("silent n=2^19", 1, || silent(1)),
    silent_provider("silent n=2^20", 2, || silent(2)),
    silent_provider("silent n=2^21", 3, || silent(3)),
    silent_provider("silent n=2^22", 4, || silent(4)),
];

/// Silent OT with parameters `size` of [`SilentConfig::SIZES`]; a batch is what an iteration hands out.
const fn silent_provider(
    name: &'static str,
    size: usize,
    set_up: fn() -> Result<Pair, OtError>,
) -> Provider {
    Provider { name, ots: SilentConfig::SIZES[size].output_rows(), set_up }
}

/// Widths of pads, in bits.
const PAD_BITS: [usize; 3] = [1, 4, 128];

/// How long a row is repeated.
const ROW_TIME: Duration = Duration::from_millis(1_000);

/// Both parties of an extension.
type Pair = Box<dyn FnMut(&[RotShape]) -> Result<Cost, OtError>>;

/// What a batch cost.
struct Cost {
    receiver: Duration,
    sender: Duration,
    /// In all messages of both directions.
    bytes: usize,
}

/// The session of all rows.
const SESSION: SessionId = SessionId([0; 32]);

/// Both parties of SoftSpoken, from ideal base OTs.
fn softspoken_parties(config: SoftSpokenConfig) -> Result<(Sender, Receiver), OtError> {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let delta = Delta::random_odd(&mut rng);
    let base: Vec<_> =
        (0..BASE_OTS).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
    let choices = delta.base_choices();
    let keys: Vec<_> =
        base.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
    let (receiver, message) = Receiver::new(config, &SESSION, 0, &base)?;
    Ok((Sender::new(config, &SESSION, 0, delta, &keys, &message)?, receiver))
}

fn softspoken(k: u8) -> Result<Pair, OtError> {
    let config = SoftSpokenConfig::new(k)?;
    let (mut sender, mut receiver) = softspoken_parties(config)?;
    Ok(Box::new(move |shapes| {
        let start = Instant::now();
        let (_received, message) = receiver.extend(shapes);
        let wire = message.encode();
        let received = Instant::now();
        let bytes = wire.len();
        let rows = shapes.iter().map(|shape| shape.rows()).sum();
        let _sent = sender.extend(shapes, &ExtendMessage::decode(wire, config, rows)?)?;
        Ok(Cost { receiver: received - start, sender: received.elapsed(), bytes })
    }))
}

fn silent(size: usize) -> Result<Pair, OtError> {
    let config = SilentConfig::SIZES[size];
    let (mut sender, mut receiver) = softspoken_parties(SoftSpokenConfig::new(8)?)?;
    let (choices, rows, message) = receiver.correlate(config.bootstrap_rows());
    let sender_rows = sender.correlate(config.bootstrap_rows(), &message)?;
    let mut receiver = silent::Receiver::new(config, &SESSION, 1, &choices, rows)?;
    let delta = sender.into_delta();
    let mut sender = silent::Sender::new(config, &SESSION, 1, delta, sender_rows)?;
    Ok(Box::new(move |shapes| {
        let rows = shapes.iter().map(|shape| shape.rows()).sum();
        let iterations = config.iterations(receiver.rows_left(), rows);
        let start = Instant::now();
        let (_sent, message) = sender.extend(shapes);
        let wire = message.encode();
        let sent = Instant::now();
        let message = SilentMessage::decode(&wire, config, iterations)?;
        let _received = receiver.extend(shapes, &message)?;
        Ok(Cost { receiver: sent.elapsed(), sender: sent - start, bytes: wire.len() })
    }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let heading = format!(
        "{:<32} {:>12} {:>10} {:>8} {:>8} {:>10}",
        "provider, pads", "receiver ns", "sender ns", "M/s", "median", "bytes/OT"
    );
    let mut report = Report::new("ot", &arguments, &heading);
    let one_core = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    for provider in PROVIDERS {
        for pad_bits in PAD_BITS {
            let name = format!("{} pads={pad_bits}", provider.name);
            if report.wants(&name, true) {
                report.add(one_core.install(|| measure(provider, pad_bits, name))?, line);
            }
        }
    }
    report.finish();
    Ok(())
}

fn line(row: &Value) -> String {
    let field = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:<32} {:>12.2} {:>10.2} {:>8.1} {:>8.1} {:>10.3}",
        row["name"].as_str().unwrap_or_default(),
        field("receiver_ns"),
        field("sender_ns"),
        field("million_per_s"),
        field("median_million_per_s"),
        field("bytes_per_ot"),
    )
}

/// Repeats a batch of one plane.
fn measure(provider: &Provider, pad_bits: usize, name: String) -> Result<Value, OtError> {
    let ots = provider.ots;
    let shapes = [RotShape { planes: 1, elements: ots, bits: pad_bits }];
    let mut extend = (provider.set_up)()?;
    extend(&shapes)?;
    let (mut receiver, mut sender, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    let (mut sums, start) = (Vec::new(), Instant::now());
    while start.elapsed() < ROW_TIME {
        let cost = extend(&shapes)?;
        (receiver, sender) = (receiver.min(cost.receiver), sender.min(cost.sender));
        sums.push(cost.receiver + cost.sender);
        bytes += cost.bytes;
    }
    sums.sort_unstable();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / ots as f64;
    let median = sums.get(sums.len() / 2).map_or(f64::NAN, |sum| each(*sum));
    Ok(json!({
        "name": name,
        "ots": ots,
        "receiver_ns": each(receiver),
        "sender_ns": each(sender),
        "million_per_s": 1e3 / each(receiver + sender),
        "median_million_per_s": 1e3 / median,
        "bytes_per_ot": bytes as f64 / (ots * sums.len()) as f64,
        "batches": sums.len(),
    }))
}
