//! Base OTs and OT extensions, each party by itself.

use super::{time_us, timed_us};
use crate::error::RunError;
use heq_ir::plan::OtExtension;
use heq_ir::predict::profile::ExtensionCosts;
use heq_ot::base::{self, ReceiverChoices, SenderSetup};
use heq_ot::silent::{self, SilentConfig, SilentMessage};
use heq_ot::softspoken::{BASE_OTS, Delta, ExtendMessage, Receiver, Sender, SoftSpokenConfig};
use heq_ot::{Block, RotShape, SessionId};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::{Duration, Instant};

/// Rows of a batch.
const ROWS: usize = 1 << 16;

/// Widths of pads in bits, from which the time of a bit follows.
const PAD_BITS: [usize; 2] = [1, 9];

const SESSION: SessionId = SessionId([0; 32]);

/// Field of the extension that silent OT starts with, in bits.
const BOOTSTRAP_FIELD_BITS: u8 = 8;

/// Times of sender and receiver.
type Times = [f64; 2];

/// Microseconds of a party's base OTs of both directions, and all extensions.
pub(super) fn measure() -> Result<(f64, Vec<ExtensionCosts>), RunError> {
    let extensions = OtExtension::all().map(measure_extension).collect::<Result<_, _>>()?;
    Ok((base_ots_us()?, extensions))
}

fn base_ots_us() -> Result<f64, RunError> {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let choices = Delta::random(&mut rng).base_choices();
    let mut run = || {
        let start = Instant::now();
        let (sender, setup) = base::Sender::new(&SESSION, 0, &mut rng);
        let setup = SenderSetup::decode(&setup.encode())?;
        let (_keys, message) = base::choose(&SESSION, 0, &setup, &choices, &mut rng);
        let message = ReceiverChoices::decode(&message.encode(), BASE_OTS)?;
        let _pairs = sender.finish(&message);
        Ok::<Duration, RunError>(start.elapsed())
    };
    run()?;
    Ok(timed_us(|| run().unwrap_or_default()))
}

fn measure_extension(extension: OtExtension) -> Result<ExtensionCosts, RunError> {
    let narrow = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    let (setup_us, batch, iteration_us) = match extension {
        OtExtension::SoftSpoken { field_bits } => {
            let config = SoftSpokenConfig::new(narrow(field_bits))?;
            softspoken_times(config)?
        }
        OtExtension::Silent { log_rows } => silent_times(SilentConfig::new(narrow(log_rows))?)?,
    };
    let [few, many] = batch;
    let more = (PAD_BITS[1] - PAD_BITS[0]) as f64;
    let each = |time_us: f64| (time_us * 1000.0 / ROWS as f64).max(0.0);
    Ok(ExtensionCosts {
        extension,
        row_ns: few.map(each),
        bit_ns: [0, 1].map(|role| each(many[role] - few[role]) / more),
        iteration_us,
        setup_us: [setup_us; 2],
    })
}

fn shapes(bits: usize) -> [RotShape; 1] {
    [RotShape { planes: 1, elements: ROWS, bits }]
}

/// Both parties of SoftSpoken from ideal base OTs, and how long setting one of each up took.
fn softspoken_parties(config: SoftSpokenConfig) -> Result<(Sender, Receiver, f64), RunError> {
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let delta = Delta::random_odd(&mut rng);
    let base: Vec<_> =
        (0..BASE_OTS).map(|_| [Block::random(&mut rng), Block::random(&mut rng)]).collect();
    let choices = delta.base_choices();
    let keys: Vec<_> =
        base.iter().zip(choices.iter()).map(|(pair, c)| pair[usize::from(c)]).collect();
    let start = Instant::now();
    let (receiver, message) = Receiver::new(config, &SESSION, 0, &base)?;
    let sender = Sender::new(config, &SESSION, 0, delta, &keys, &message)?;
    Ok((sender, receiver, start.elapsed().as_secs_f64() * 1e6))
}

/// Set-up, batches of few and of many bits, and iterations, in microseconds.
type ExtensionTimes = (f64, [Times; 2], Times);

fn softspoken_times(config: SoftSpokenConfig) -> Result<ExtensionTimes, RunError> {
    let (mut sender, mut receiver, _) = softspoken_parties(config)?;
    let setup_us = time_us(|| softspoken_parties(config));
    let mut batch = |bits: usize| {
        let shapes = shapes(bits);
        let mut sending = Vec::new();
        let mut failure = Ok(());
        let receiving_us = timed_us(|| {
            let start = Instant::now();
            let (batches, message) = receiver.extend(&shapes);
            let wire = message.encode();
            let received = start.elapsed();
            drop(batches);
            let start = Instant::now();
            let message = ExtendMessage::decode(wire, config, ROWS);
            match message.and_then(|message| sender.extend(&shapes, &message)) {
                Ok(batches) => sending.push((start.elapsed(), drop(batches)).0),
                Err(error) => failure = Err(error),
            }
            received
        });
        failure?;
        Ok::<Times, RunError>([low_us(sending), receiving_us])
    };
    Ok((setup_us, [batch(PAD_BITS[0])?, batch(PAD_BITS[1])?], [0.0; 2]))
}

/// Both parties of silent OT, and how long setting one of each up took.
fn silent_parties(
    config: SilentConfig,
) -> Result<(silent::Sender, silent::Receiver, f64), RunError> {
    let bootstrap = SoftSpokenConfig::new(BOOTSTRAP_FIELD_BITS)?;
    let (mut sender, mut receiver, before_us) = softspoken_parties(bootstrap)?;
    let start = Instant::now();
    let rows = config.bootstrap_rows();
    let (choices, received_rows, message) = receiver.correlate(rows);
    let sent_rows = sender.correlate(rows, &message)?;
    let receiver = silent::Receiver::new(config, &SESSION, 1, &choices, received_rows)?;
    let delta = sender.into_delta();
    let sender = silent::Sender::new(config, &SESSION, 1, delta, sent_rows)?;
    Ok((sender, receiver, before_us + start.elapsed().as_secs_f64() * 1e6))
}

fn silent_times(config: SilentConfig) -> Result<ExtensionTimes, RunError> {
    let (mut sender, mut receiver, _) = silent_parties(config)?;
    let setup_us = time_us(|| silent_parties(config));
    // Batches from stock, and such as need an iteration, by role.
    let mut from_stock = [0, 1].map(|_| [Vec::new(), Vec::new()]);
    let mut iterating = [Vec::new(), Vec::new()];
    while from_stock[1][0].len() < 3 || iterating[0].len() < 3 {
        for (bits, from_stock) in PAD_BITS.into_iter().zip(&mut from_stock) {
            let iterations = config.iterations(receiver.rows_left(), ROWS);
            let start = Instant::now();
            let (batches, message) = sender.extend(&shapes(bits));
            let wire = message.encode();
            let sent = start.elapsed();
            drop(batches);
            let start = Instant::now();
            let message = SilentMessage::decode(&wire, config, iterations)?;
            let batches = receiver.extend(&shapes(bits), &message)?;
            let received = start.elapsed();
            drop(batches);
            for (role, time) in [sent, received].into_iter().enumerate() {
                match iterations {
                    0 => from_stock[role].push(time),
                    _ if bits == PAD_BITS[0] => iterating[role].push(time),
                    _ => {}
                }
            }
        }
    }
    let [few, many] = from_stock.map(|roles| roles.map(low_us));
    let whole = iterating.map(low_us);
    let iteration_us = [0, 1].map(|role| (whole[role] - few[role]).max(0.0));
    Ok((setup_us, [few, many], iteration_us))
}

fn low_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 8).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
