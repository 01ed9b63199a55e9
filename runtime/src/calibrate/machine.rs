//! What is measured and when.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pause after which the scheduler has counted a thread's time.
const PAUSE: Duration = Duration::from_micros(50);

/// Processor time of a thread or, where the operating system does not tell, time.
pub(super) struct ThreadClock {
    cpu_us: Option<f64>,
    start: Instant,
}

impl ThreadClock {
    /// Starts to measure this thread.
    pub(super) fn start() -> Self {
        let cpu_us = thread_cpu_us();
        Self { cpu_us, start: Instant::now() }
    }

    /// Microseconds since the start, in the same thread.
    pub(super) fn elapsed_us(&self) -> f64 {
        let wall_us = self.start.elapsed().as_secs_f64() * 1e6;
        match (self.cpu_us, thread_cpu_us()) {
            (Some(start), Some(end)) => end - start,
            _ => wall_us,
        }
    }
}

/// Microseconds of this thread so far, as Linux counts them.
fn thread_cpu_us() -> Option<f64> {
    // What a thread used is counted when it stops.
    std::thread::sleep(PAUSE);
    let counts = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(counts.split(' ').next()?.parse::<f64>().ok()? / 1000.0)
}

/// Name of the processor, where the operating system tells.
pub(super) fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| format!("a processor of architecture {}", std::env::consts::ARCH))
}

/// Today as YYYY-MM-DD, in universal time.
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    date(seconds / 86_400)
}

/// The date `days` days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_follow_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (364, "1970-12-31"),
            (365, "1971-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_454, "2026-01-01"),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
