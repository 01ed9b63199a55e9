//! A simulated link: how long bytes take over a link of given bandwidth and round-trip time.
//!
//! Each direction is a wire of its own. A frame occupies its wire for `size / bandwidth`, after the
//! frames before it, and arrives half a round trip later:
//! `finish = max(previous finish, send time) + size / bandwidth; delivery = finish + rtt / 2`. So
//! throughput and latency overlap, and a computation runs while its message travels. Congestion,
//! loss, packet headers and the slow start of TCP are not simulated.

use heq_ir::link::LinkProfile;
use std::time::{Duration, Instant};

/// One direction of a link: decides when each frame arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    profile: LinkProfile,
    finish: Option<Instant>,
}

impl Wire {
    pub(crate) fn new(profile: LinkProfile) -> Self {
        Self { profile, finish: None }
    }

    /// When a frame of `frame_bytes` that is sent at `now` arrives as a whole.
    pub(crate) fn delivery(&mut self, now: Instant, frame_bytes: usize) -> Instant {
        let start = self.finish.map_or(now, |finish| finish.max(now));
        let finish = start + self.profile.transmission_time(frame_bytes as u64);
        self.finish = Some(finish);
        finish + self.profile.rtt() / 2
    }
}

/// Waits until `instant`. The operating system wakes a thread late by some 0.1 ms, which is as long
/// as the latency of a local network, so the last stretch is spent yielding instead.
pub(crate) fn wait_until(instant: Instant) {
    const YIELDED: Duration = Duration::from_micros(200);
    loop {
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        } else if left > YIELDED {
            std::thread::sleep(left - YIELDED);
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(bits_per_second: u64, rtt_us: u64) -> LinkProfile {
        LinkProfile::new(bits_per_second, Duration::from_micros(rtt_us)).unwrap()
    }

    #[test]
    fn throughput_and_latency_overlap() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut wire = Wire::new(profile(8_000_000, 20_000));
        assert_eq!(wire.delivery(start, 5000), at(5 + 10));
        assert_eq!(wire.delivery(start, 5000), at(10 + 10), "queues behind the first");
        assert_eq!(wire.delivery(at(7), 1000), at(11 + 10), "still behind");
        assert_eq!(wire.delivery(at(50), 1000), at(51 + 10), "the wire was free");
    }
}
