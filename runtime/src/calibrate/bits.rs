//! Steps on shared bits: both parties run a few of them on random OTs of the ideal functionality, and a linear
//! model is fitted to the processor time of each.

use super::fit::{Sample, fit};
use super::machine;
use crate::error::RunError;
use crate::protocol::gates::Gates;
use crate::protocol::to_arithmetic::to_arithmetic;
use crate::protocol::{Link, Role, open, table};
use crate::share::{mask, planes_of_words};
use crate::stock::Stock;
use heq_ir::predict::profile::BitCosts;
use heq_ir::protocol::adder::{AdderForm, CarryForm};
use heq_ir::protocol::count::CountMachine;
use heq_ir::protocol::open as opening;
use heq_ir::protocol::requantize::{RequantizeForm, RequantizeWidths, requantize};
use heq_ir::protocol::table::TableWidths;
use heq_ir::protocol::to_arithmetic::ToArithmeticForm;
use heq_ir::traffic::{RotRun, RotSender, Traffic};
use heq_net::{Channel, memory};
use heq_ot::ideal::ideal_rot;
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::time::Duration;

/// Processor time of both parties for which a step is repeated.
const STEP_TIME: Duration = Duration::from_millis(50);

/// Most repetitions of a step.
const MAX_RUNS: usize = 50;

/// A step that is measured.
#[derive(Clone, Copy)]
enum Work {
    Requantize { widths: RequantizeWidths, form: RequantizeForm },
    ToArithmetic { planes: u32, bits: u32 },
    Table(TableWidths),
    Open { acc_bits: u32 },
}

/// Gates, with their numbers of elements: few for the time of a message, many for all others. Those of the
/// largest are in no cache, as in the layers that take longest.
fn gates() -> Vec<(Work, usize)> {
    let mut works = Vec::new();
    for ([acc_bits, result_bits, shift], digit_bits, sums) in [
        ([16, 4, 8], 3, AdderForm::Ripple),
        ([28, 7, 17], 4, AdderForm::Select),
        ([28, 8, 17], 3, AdderForm::Ripple),
    ] {
        let limit = (1 << result_bits) - 1;
        let widths = RequantizeWidths { acc_bits, guard_bits: 1, shift, result_bits, limit };
        let carry = CarryForm { compared_bits: widths.removed_bits(), digit_bits };
        let form = RequantizeForm { carry, sums, range: sums };
        works.extend([300, 6000, 400_000].map(|count| (Work::Requantize { widths, form }, count)));
    }
    for (planes, bits) in [(4, 16), (7, 28)] {
        let work = Work::ToArithmetic { planes, bits };
        works.extend([300, 6000, 400_000].map(|count| (work, count)));
    }
    works
}

fn look_ups() -> Vec<(Work, usize)> {
    let table = |input_bits, result_bits| Work::Table(TableWidths { input_bits, result_bits });
    vec![
        (Work::Open { acc_bits: 16 }, 100),
        (Work::Open { acc_bits: 24 }, 50_000),
        (table(4, 4), 500),
        (table(4, 4), 50_000),
        (table(6, 4), 16_384),
        (table(8, 8), 8192),
    ]
}

/// Gates and look-ups at client and server.
pub(super) fn measure() -> Result<([BitCosts; 2], [BitCosts; 2]), RunError> {
    Ok((model(&gates())?, model(&look_ups())?))
}

fn model(works: &[(Work, usize)]) -> Result<[BitCosts; 2], RunError> {
    let mut samples = [Vec::new(), Vec::new()];
    for &(work, elements) in works {
        let counts = work.counts(elements);
        let times = work.measure(elements)?;
        for (samples, sum) in samples.iter_mut().zip(times) {
            samples.push(Sample { counts, sum });
        }
    }
    Ok(samples.map(|samples| {
        let [step_us, element_us, byte_us, pad_byte_us] = fit(&samples);
        BitCosts {
            step_us,
            element_ns: element_us * 1000.0,
            byte_ns: byte_us * 1000.0,
            pad_byte_ns: pad_byte_us * 1000.0,
        }
    }))
}

impl Work {
    fn traffic(self, elements: usize) -> Traffic {
        match self {
            Self::Requantize { widths, form } => {
                let mut machine = CountMachine::new(elements);
                let Ok(_) = requantize(&mut machine, &widths, &form);
                machine.finish()
            }
            Self::ToArithmetic { planes, bits } => {
                ToArithmeticForm::Direct.traffic(elements, planes, bits)
            }
            Self::Table(widths) => widths.traffic(elements),
            Self::Open { acc_bits } => opening::traffic(elements, acc_bits, 1),
        }
    }

    /// How often the coefficients of [`BitCosts`] count, in their order.
    fn counts(self, elements: usize) -> [f64; 4] {
        let traffic = self.traffic(elements);
        let (up, down) = traffic.wire_bytes();
        let numbers = [
            traffic.steps.len() as u64,
            elements as u64,
            up.saturating_add(down),
            traffic.pad_bytes(),
        ];
        numbers.map(|number| number as f64)
    }

    /// Width of the words that the step starts from.
    fn word_bits(self) -> u32 {
        match self {
            Self::Requantize { widths, .. } => widths.word_bits(),
            Self::ToArithmetic { planes, .. } => planes,
            Self::Table(widths) => widths.input_bits,
            Self::Open { acc_bits } => acc_bits + 1,
        }
    }

    /// Processor time of client and server in microseconds.
    fn measure(self, elements: usize) -> Result<[f64; 2], RunError> {
        let runs = self.traffic(elements).rots;
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut times: [Vec<f64>; 2] = Default::default();
        let mut sum = 0.0;
        while sum < STEP_TIME.as_secs_f64() * 1e6 && times[0].len() < MAX_RUNS {
            let [client, server] = stocks(&runs, &mut rng);
            let (mut client_end, mut server_end) = memory::pair();
            let words: Vec<u64> =
                (0..elements).map(|_| rng.next_u64() & mask(self.word_bits())).collect();
            let measured = std::thread::scope(|scope| {
                let run = || self.run(Role::Server, server, &words, &mut server_end);
                let server = std::thread::Builder::new()
                    .spawn_scoped(scope, run)
                    .map_err(|_| RunError::NoThread)?;
                // Each party has a new thread, whose time begins with it.
                let run = || self.run(Role::Client, client, &words, &mut client_end);
                let client = std::thread::Builder::new()
                    .spawn_scoped(scope, run)
                    .map_err(|_| RunError::NoThread)?;
                let panicked = |_| Err(RunError::Internal { what: "a party panicked" });
                let join = |party: std::thread::ScopedJoinHandle<'_, Result<f64, RunError>>| {
                    party.join().unwrap_or_else(panicked)
                };
                Ok::<_, RunError>([join(client)?, join(server)?])
            })?;
            for (times, time) in times.iter_mut().zip(measured) {
                times.push(time);
                sum += time;
            }
        }
        Ok(times.map(|mut times| {
            times.sort_unstable_by(f64::total_cmp);
            times.get(times.len() / 8).copied().unwrap_or(0.0)
        }))
    }

    /// Runs the step; microseconds of the thread.
    fn run(
        self,
        role: Role,
        mut stocks: Stocks,
        words: &[u64],
        channel: &mut Channel,
    ) -> Result<f64, RunError> {
        let planes = match self {
            Self::ToArithmetic { planes, .. } => planes_of_words(words, planes),
            Self::Table(widths) => planes_of_words(words, widths.input_bits),
            Self::Requantize { .. } | Self::Open { .. } => Vec::new(),
        };
        let clock = machine::ThreadClock::start();
        let Stocks { sender, receiver } = &mut stocks;
        let mut link = Link { role, channel, sender, receiver };
        match self {
            Self::Requantize { widths, form } => {
                let planes = planes_of_words(words, widths.word_bits());
                requantize(&mut Gates::new(&mut link, &planes, words.len()), &widths, &form)?;
            }
            Self::ToArithmetic { bits, .. } => {
                let form = ToArithmeticForm::Direct;
                to_arithmetic(&mut link, &planes, words.len(), bits, 0, form)?;
            }
            Self::Table(widths) => match role {
                Role::Client => drop(table::client(&mut link, &widths, &planes, words.len())?),
                Role::Server => {
                    let entries = vec![1; widths.entries()];
                    drop(table::server(&mut link, &widths, &planes, words.len(), &entries)?);
                }
            },
            Self::Open { acc_bits } => drop(open::open(&mut link, words, acc_bits, 1)?),
        }
        Ok(clock.elapsed_us())
    }
}

/// A party's random OTs.
struct Stocks {
    sender: Stock<RotSenderBatch>,
    receiver: Stock<RotReceiverBatch>,
}

/// The client's and the server's random OTs of `runs`, from the ideal functionality.
fn stocks(runs: &[RotRun], rng: &mut ChaCha20Rng) -> [Stocks; 2] {
    let mut both = |sender: RotSender| -> (Stock<RotSenderBatch>, Stock<RotReceiverBatch>) {
        let runs = runs.iter().filter(|run| run.sender == sender);
        let (sent, received): (Vec<_>, Vec<_>) = runs.map(|run| ideal_rot(shape(run), rng)).unzip();
        (sent.into_iter().collect(), received.into_iter().collect())
    };
    let (server_sender, client_receiver) = both(RotSender::Server);
    let (client_sender, server_receiver) = both(RotSender::Client);
    [
        Stocks { sender: client_sender, receiver: client_receiver },
        Stocks { sender: server_sender, receiver: server_receiver },
    ]
}

fn shape(run: &RotRun) -> RotShape {
    // Those of the steps above are small.
    let number = |number: u64| usize::try_from(number).unwrap_or(0);
    RotShape { planes: number(run.planes), elements: number(run.elements), bits: number(run.bits) }
}
