//! Measures this machine's primitives: what predictions of time are made of.
//!
//! Every number comes from the code that a run executes, for one thread while all are busy, on data of this
//! module's own. A time is
//! exceeded by seven eighths of its repetitions: other programs only ever make a repetition slower. What the numbers
//! mean: [`heq_ir::predict::profile`]; how predictions use them: docs/cost-model.md.

mod bits;
mod fit;
mod machine;
mod ots;
mod rings;
mod threads;
mod whole;

use crate::error::RunError;
use heq_he::simd::vectorised;
use heq_ir::eval::linear::Products;
use heq_ir::geometry::{Chw, ConvGeometry, Window};
use heq_ir::predict::CostProfile;
use heq_ir::predict::profile::SCHEMA;
use std::time::{Duration, Instant};

/// How long a primitive is repeated.
const BUDGET: Duration = Duration::from_millis(12);

/// Fewest repetitions.
const REPETITIONS: usize = 5;

/// Measures this machine. `command` is recorded; `progress` is told what is about to be measured.
///
/// # Errors
/// [`RunError`] if a thread cannot be started, or a primitive fails on well-formed data.
pub fn calibrate(command: &str, mut progress: impl FnMut(&str)) -> Result<CostProfile, RunError> {
    progress("polynomials");
    let rings = on_all_threads(rings::measure)?;
    progress("random OTs");
    let (base_ots_us, extensions) = on_all_threads(ots::measure)?;
    progress("steps on shared bits");
    let (gates, look_ups) = bits::measure()?;
    progress("messages and threads");
    let threads = threads::measure()?;
    let mut profile = CostProfile {
        schema: SCHEMA.to_owned(),
        machine: machine::processor(),
        date: machine::today(),
        command: command.to_owned(),
        rings,
        extensions,
        base_ots_us: [base_ots_us; 2],
        gates,
        look_ups,
        message_us: threads.message_us,
        message_byte_ns: threads.message_byte_ns,
        wake_us: threads.wake_us,
        section_us: threads.section_us,
        mac_ns: mac_ns()?,
        session_us: threads.session_us,
        fresh_byte_ns: fresh_byte_ns(),
        whole: 1.0,
    };
    progress("a small plan as a whole");
    let whole = whole::measure(&profile)?;
    profile.slow_down(whole);
    Ok(profile)
}

/// Nanoseconds of the first use of a byte, in a block so large that no allocator keeps it for later.
fn fresh_byte_ns() -> f64 {
    const BYTES: usize = 64 << 20;
    const PAGE: usize = 4096;
    let touch_us = time_us(|| {
        let mut block = vec![0_u8; BYTES];
        block.iter_mut().step_by(PAGE).for_each(|byte| *byte = std::hint::black_box(1));
        block
    });
    touch_us * 1000.0 / BYTES as f64
}

/// Nanoseconds of a product that is added to a sum in the clear, in a layer of usual shape.
fn mac_ns() -> Result<f64, RunError> {
    const WRONG: RunError = RunError::Internal { what: "a layer of the calibration has no shape" };
    let geometry = ConvGeometry {
        input: Chw::new(64, 16, 16),
        out_channels: 64,
        window: Window::dense([3, 3], [1, 1], [1; 4]),
        groups: 1,
        batch: 1,
    };
    let words = |count: usize| (0..).step_by(40_503).take(count).collect::<Vec<u32>>();
    let weights = words(geometry.weight_count().ok_or(WRONG)?);
    let x = words(geometry.input.len());
    let products = Products::new(&geometry, &weights, &x).ok_or(WRONG)?;
    let us = time_us(|| {
        let blocks = products.blocks().into_iter();
        blocks.map(|block| vectorised(|| products.of_block(&block))).collect::<Vec<_>>()
    });
    Ok(us * 1000.0 / (products.outputs() * geometry.fan_in()) as f64)
}

/// What one of as many threads as compute in a run measures while all do the same, so that they share caches
/// and memory as in a run. Each has a pool of its own, of one thread.
fn on_all_threads<T: Send>(
    measure: impl Fn() -> Result<T, RunError> + Sync,
) -> Result<T, RunError> {
    let run = || {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        pool.map_err(|_| RunError::NoThread)?.install(&measure)
    };
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..rayon::current_num_threads() {
            others.push(
                std::thread::Builder::new()
                    .spawn_scoped(scope, run)
                    .map_err(|_| RunError::NoThread)?,
            );
        }
        let measured = run();
        for other in others {
            let panicked = RunError::Internal { what: "a thread of the calibration panicked" };
            other.join().map_err(|_| panicked)??;
        }
        measured
    })
}

/// Microseconds of a run of `kernel`.
fn time_us<T>(mut kernel: impl FnMut() -> T) -> f64 {
    timed_us(|| {
        let start = Instant::now();
        let result = kernel();
        let elapsed = start.elapsed();
        drop(std::hint::black_box(result));
        elapsed
    })
}

/// Microseconds of what `run` measures of itself, exceeded by seven eighths of its runs.
fn timed_us(mut run: impl FnMut() -> Duration) -> f64 {
    let (mut times, start) = (vec![run()], Instant::now());
    // The first is a warm-up.
    times.clear();
    while times.len() < REPETITIONS || start.elapsed() < BUDGET {
        times.push(run());
    }
    times.sort_unstable();
    times.get(times.len() / 8).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
