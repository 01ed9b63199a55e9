//! Messages in memory, and what waking threads takes.

use super::{time_us, timed_us};
use crate::error::RunError;
use heq_net::{NetError, memory};
use rayon::prelude::*;
use std::time::{Duration, Instant};

/// Bytes of a large message.
const LARGE: usize = 1 << 18;

/// Messages each way between two threads, in a group; the fastest group counts.
const ROUND_TRIPS: usize = 20;
const GROUPS: usize = 20;

/// Pause after which threads sleep that waited for work.
const PAUSE: Duration = Duration::from_micros(500);

pub(super) struct Threads {
    pub(super) message_us: f64,
    pub(super) message_byte_ns: f64,
    pub(super) wake_us: f64,
    pub(super) section_us: f64,
    pub(super) session_us: f64,
}

pub(super) fn measure() -> Result<Threads, RunError> {
    let [small_us, large_us] = [self_sent_us(1)?, self_sent_us(LARGE)?];
    let one_way_us = round_trip_us()? / 2.0;
    let spawn_us = time_us(|| std::thread::Builder::new().spawn(|| ()).map(|thread| thread.join()));
    Ok(Threads {
        message_us: small_us / 2.0,
        message_byte_ns: ((large_us - small_us) * 1000.0 / (2 * LARGE) as f64).max(0.0),
        wake_us: (one_way_us - small_us).max(0.0),
        section_us: section_us(),
        session_us: spawn_us,
    })
}

/// A message of `bytes` that one thread sends and receives.
fn self_sent_us(bytes: usize) -> Result<f64, RunError> {
    let (mut left, mut right) = memory::pair();
    let message = vec![1; bytes];
    let mut run = || {
        left.send(&message)?;
        right.recv(bytes)
    };
    run()?;
    Ok(time_us(run))
}

/// A message each way between two threads that wait for each other.
fn round_trip_us() -> Result<f64, RunError> {
    let (mut left, mut right) = memory::pair();
    std::thread::scope(|scope| {
        let echo = move || -> Result<(), NetError> {
            for _ in 0..GROUPS * ROUND_TRIPS {
                right.recv(1)?;
                right.send(&[1])?;
            }
            Ok(())
        };
        std::thread::Builder::new().spawn_scoped(scope, echo).map_err(|_| RunError::NoThread)?;
        let mut fastest = Duration::MAX;
        for _ in 0..GROUPS {
            let start = Instant::now();
            for _ in 0..ROUND_TRIPS {
                left.send(&[1])?;
                left.recv(1)?;
            }
            fastest = fastest.min(start.elapsed());
        }
        Ok(fastest.as_secs_f64() * 1e6 / ROUND_TRIPS as f64)
    })
}

/// Beginning and end of a computation on all threads, which slept.
fn section_us() -> f64 {
    timed_us(|| {
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        (0..rayon::current_num_threads()).into_par_iter().for_each(|index| {
            std::hint::black_box(index);
        });
        start.elapsed()
    })
}
