//! Flights: the number of message steps that must follow one another.
//!
//! A flight clock is a Lamport clock that only messages advance. Each party has a *depth*, the
//! largest stamp it has received. A sent frame is stamped `depth + 1`; receiving a stamp raises the
//! depth to it. The *horizon* is the largest stamp sent or received: the length of the longest
//! chain of messages in which each was sent after the one before had arrived. Messages that cross
//! each other, or that follow each other in one direction, share a flight.
//!
//! Which stamps are possible: the frames of one direction arrive in order, and a depth never falls,
//! so an honest peer's stamps never fall: `stamp >= own depth`, and `stamp >= 1`. The peer's depth
//! is the largest stamp it has received, which is one that we sent, so it is at most the last stamp
//! that we sent and thereby at most our horizon: `stamp <= last sent + 1 <= horizon + 1`. Any other
//! stamp is a violation. So a peer that forges stamps within these bounds can shift the count by at
//! most one flight for each one that we start.

use crate::error::NetError;
use heq_mutation::broken;

/// One party's flight clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FlightClock {
    depth: u32,
    last_sent: u32,
}

impl FlightClock {
    /// The number of flights so far.
    pub(crate) fn horizon(self) -> u32 {
        self.depth.max(self.last_sent)
    }

    /// The stamp of a message that is sent now.
    pub(crate) fn sent(&mut self) -> Result<u32, NetError> {
        self.last_sent = self.depth.checked_add(1).ok_or(NetError::FlightsExhausted)?;
        Ok(self.last_sent)
    }

    /// Checks the stamp of a message that has arrived, and advances to it.
    pub(crate) fn received(&mut self, stamp: u32) -> Result<(), NetError> {
        let least = self.depth.max(1);
        let most = self.last_sent.saturating_add(1);
        let is_possible = (least..=most).contains(&stamp);
        if !is_possible && !broken!("stamps may be any", "heq-net malformed impossible_stamps") {
            return Err(NetError::BadStamp { found: stamp, least, most });
        }
        self.depth = stamp;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Replays `steps` between two clocks and returns their horizons: `'A'` and `'B'` send, `'a'`
    /// and `'b'` receive.
    fn replay(steps: &str) -> [u32; 2] {
        let mut clocks = [FlightClock::default(); 2];
        let mut queues = [const { VecDeque::new() }; 2];
        for step in steps.chars() {
            let party = usize::from(step.eq_ignore_ascii_case(&'b'));
            if step.is_ascii_uppercase() {
                queues[1 - party].push_back(clocks[party].sent().unwrap());
            } else {
                let stamp = queues[party].pop_front().unwrap();
                clocks[party].received(stamp).unwrap_or_else(|e| panic!("{steps}: {e}"));
            }
        }
        clocks.map(FlightClock::horizon)
    }

    fn check_flights(steps: &str, expected: u32) {
        assert_eq!(replay(steps), [expected; 2], "{steps}");
    }

    #[test]
    fn flights_are_the_longest_chain() {
        check_flights("", 0);
        check_flights("Ab", 1);
        check_flights("AbAbAb", 1);
        check_flights("AbBa", 2);
        check_flights("ABab", 1);
        check_flights("ABabABab", 2);
        check_flights("ABabABbaAbBa", 4);
        check_flights("AAAbbbBBaa", 2);
    }

    #[test]
    fn any_schedule_of_honest_parties_is_accepted() {
        let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
        for _ in 0..500 {
            let mut steps = String::new();
            let mut pending = [0_u32; 2];
            for _ in 0..60 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let party = usize::from(state >> 40 & 1 == 1);
                if state >> 50 & 1 == 1 && pending[party] > 0 {
                    pending[party] -= 1;
                    steps.push(['a', 'b'][party]);
                } else {
                    pending[1 - party] += 1;
                    steps.push(['A', 'B'][party]);
                }
            }
            for (party, count) in pending.into_iter().enumerate() {
                steps.extend(std::iter::repeat_n(['a', 'b'][party], count as usize));
            }
            let [left, right] = replay(&steps);
            assert_eq!(left, right, "{steps}");
        }
    }

    #[test]
    fn impossible_stamps_are_refused() {
        let mut clock = FlightClock::default();
        for stamp in [0, 2, u32::MAX] {
            assert!(clock.received(stamp).is_err(), "{stamp}");
        }
        clock.received(1).unwrap();
        assert!(clock.received(2).is_err(), "nothing was sent that could have raised the peer");
        assert_eq!(clock.sent().unwrap(), 2);
        clock.received(3).unwrap();
        assert!(clock.received(2).is_err(), "stamps of one direction never fall");
    }

    #[test]
    fn the_last_stamp_is_not_exceeded() {
        let mut clock = FlightClock { depth: u32::MAX, last_sent: u32::MAX };
        assert!(matches!(clock.sent(), Err(NetError::FlightsExhausted)));
    }
}
