//! Channels within one process: the same frames and the same meter as over TCP, without a socket.
//!
//! Used to run both parties in one program, over an ideal link, over a simulated one, or over one that
//! somebody interferes with.

use crate::channel::Channel;
use crate::connection::{Abort, Finish, Incoming, Outgoing};
use crate::error::NetError;
use crate::shaped::{Wire, wait_until};
use heq_ir::link::LinkProfile;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Two connected channels without delay.
#[must_use]
pub fn pair() -> (Channel, Channel) {
    connected(None)
}

/// Two connected channels whose messages take as long as over a link of this profile.
#[must_use]
pub fn shaped_pair(profile: LinkProfile) -> (Channel, Channel) {
    connected(Some(profile))
}

/// What becomes of a frame that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passage {
    /// These bytes arrive in its place, which need not be a frame, and may be none.
    Deliver(Vec<u8>),
    /// These bytes arrive in its place, and after them the end of the stream, which the sender does not notice.
    End(Vec<u8>),
}

/// Decides what becomes of each frame of one direction, header included, in the order in which they are sent.
pub type Interceptor = Box<dyn FnMut(Vec<u8>) -> Passage + Send>;

/// Two connected channels with somebody in between, for tests: the first interceptor has what the first
/// channel sends, the second what the second does.
#[must_use]
pub fn intercepted_pair(interceptors: [Interceptor; 2]) -> (Channel, Channel) {
    let [left, right] =
        interceptors.map(|interceptor| Route { wire: None, interceptor: Some(interceptor) });
    joined(left, right)
}

fn connected(profile: Option<LinkProfile>) -> (Channel, Channel) {
    let [left, right] = [(); 2].map(|()| Route { wire: profile.map(Wire::new), interceptor: None });
    joined(left, right)
}

fn joined(left: Route, right: Route) -> (Channel, Channel) {
    let pipes = [(); 2].map(|()| Arc::new(Pipe::default()));
    let end = |route, to: usize, from: usize| {
        let (outgoing, incoming) = (Arc::clone(&pipes[to]), Arc::clone(&pipes[from]));
        Channel::new(
            MemoryOutgoing { pipe: outgoing, opposite: Arc::clone(&incoming), route },
            MemoryIncoming { pipe: incoming, frame: Vec::new(), consumed: 0 },
        )
    };
    (end(left, 0, 1), end(right, 1, 0))
}

/// How the frames of one direction travel.
struct Route {
    wire: Option<Wire>,
    interceptor: Option<Interceptor>,
}

/// One direction: frames that are on their way.
#[derive(Default)]
struct Pipe {
    state: Mutex<PipeState>,
    changed: Condvar,
}

#[derive(Default)]
struct PipeState {
    frames: VecDeque<TimedFrame>,
    /// Nothing is added any more; what is there can still be taken.
    is_closed: bool,
    /// What is sent is lost, and the receiver finds the pipe closed.
    is_cut: bool,
}

struct TimedFrame {
    bytes: Vec<u8>,
    delivery: Option<Instant>,
}

impl Pipe {
    fn state(&self) -> MutexGuard<'_, PipeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Closes the pipe and drops what nobody will take.
    fn abandon(&self) {
        let mut state = self.state();
        state.is_closed = true;
        state.frames.clear();
        drop(state);
        self.changed.notify_all();
    }

    fn cut(&self) {
        self.state().is_cut = true;
        self.changed.notify_all();
    }

    fn put(&self, frame: TimedFrame) -> Result<(), NetError> {
        let mut state = self.state();
        if state.is_closed {
            return Err(NetError::Closed { doing: "sending" });
        }
        if state.is_cut {
            return Ok(());
        }
        state.frames.push_back(frame);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for the next frame.
    fn take(&self) -> Result<TimedFrame, NetError> {
        let mut state = self.state();
        loop {
            match state.frames.pop_front() {
                Some(frame) => return Ok(frame),
                None if state.is_closed || state.is_cut => {
                    return Err(NetError::Closed { doing: "receiving" });
                }
                None => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct MemoryOutgoing {
    pipe: Arc<Pipe>,
    /// The other direction, which ends too when the connection is given up.
    opposite: Arc<Pipe>,
    route: Route,
}

impl Outgoing for MemoryOutgoing {
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), NetError> {
        let Route { wire, interceptor } = &mut self.route;
        let passage = match interceptor {
            Some(intercept) => intercept(bytes),
            None => Passage::Deliver(bytes),
        };
        let (Passage::Deliver(bytes) | Passage::End(bytes)) = &passage;
        let delivery = wire.as_mut().map(|wire| wire.delivery(Instant::now(), bytes.len()));
        match passage {
            Passage::Deliver(bytes) => self.pipe.put(TimedFrame { bytes, delivery }),
            Passage::End(bytes) => {
                let sent = self.pipe.put(TimedFrame { bytes, delivery });
                self.pipe.cut();
                sent
            }
        }
    }

    fn finish(&mut self) -> Finish {
        self.pipe.close();
        Box::new(|| Ok(()))
    }

    fn aborter(&self) -> Abort {
        let (pipe, opposite) = (Arc::clone(&self.pipe), Arc::clone(&self.opposite));
        Box::new(move || {
            pipe.close();
            opposite.abandon();
        })
    }

    fn failure(&mut self) -> Option<NetError> {
        None
    }

    fn limit_queue(&mut self, _limit_bytes: u64) {
        // Both parties are of one process.
    }
}

impl Drop for MemoryOutgoing {
    fn drop(&mut self) {
        self.pipe.close();
    }
}

struct MemoryIncoming {
    pipe: Arc<Pipe>,
    /// The frame being received, of which `consumed` bytes have been handed out.
    frame: Vec<u8>,
    consumed: usize,
}

impl Incoming for MemoryIncoming {
    fn recv_exact(&mut self, buffer: &mut [u8]) -> Result<(), NetError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.consumed == self.frame.len() {
                let frame = self.pipe.take()?;
                if let Some(delivery) = frame.delivery {
                    wait_until(delivery);
                }
                self.frame = frame.bytes;
                self.consumed = 0;
            }
            let available = &self.frame[self.consumed..];
            let length = available.len().min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&available[..length]);
            filled += length;
            self.consumed += length;
        }
        Ok(())
    }

    fn await_end(&mut self) {
        // What was put into a pipe stays there.
    }
}

impl Drop for MemoryIncoming {
    fn drop(&mut self) {
        self.pipe.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{MAX_PAYLOAD_BYTES, wire_bytes};
    use crate::meter::Meter;
    use std::time::Duration;

    #[test]
    fn both_sides_count_alike() {
        let (mut left, mut right) = pair();
        left.send(b"one").unwrap();
        left.send(b"").unwrap();
        assert_eq!(right.recv(3).unwrap(), b"one");
        assert_eq!(right.recv(0).unwrap(), b"");
        let before = right.snapshot();
        right.send(b"answer").unwrap();
        assert_eq!(left.recv(6).unwrap(), b"answer");

        let (left, right_meter) = (left.snapshot(), right.snapshot());
        assert_eq!(left.bytes_sent, wire_bytes(3) + wire_bytes(0));
        assert_eq!(left.bytes_sent, right_meter.bytes_received);
        assert_eq!(left.bytes_received, right_meter.bytes_sent);
        assert_eq!(left.messages_sent + left.messages_received, 3);
        assert_eq!((left.horizon, right_meter.horizon), (2, 2));
        let answer = Meter { bytes_sent: 14, messages_sent: 1, horizon: 1, ..Meter::default() };
        assert_eq!(right_meter.since(before), answer);
    }

    #[test]
    fn an_exchange_is_one_flight() {
        let (mut left, mut right) = pair();
        for flight in 1..=3 {
            left.send(b"ab").unwrap();
            assert_eq!(right.exchange(b"cde", 2).unwrap(), b"ab");
            assert_eq!(left.recv(3).unwrap(), b"cde");
            assert_eq!((left.snapshot().horizon, right.snapshot().horizon), (flight, flight));
        }
    }

    #[test]
    fn long_messages_are_split_and_joined() {
        let (mut left, mut right) = pair();
        let message: Vec<u8> = (0..=250).cycle().take(2 * MAX_PAYLOAD_BYTES + 5).collect();
        left.send(&message).unwrap();
        assert!(right.recv(message.len()).unwrap() == message);
        let meter = right.snapshot();
        assert_eq!(meter.bytes_received, message.len() as u64 + 3 * 8);
        assert_eq!((meter.messages_received, meter.horizon), (1, 1));
    }

    #[test]
    fn another_length_ends_the_channel() {
        for (sent, expected) in [(3, 4), (4, 3), (0, 1), (1, 0), (7, MAX_PAYLOAD_BYTES + 7)] {
            let (mut left, mut right) = pair();
            left.send(&vec![0; sent]).unwrap();
            let due = expected.min(MAX_PAYLOAD_BYTES);
            let error = right.recv(expected).unwrap_err();
            assert!(
                matches!(error, NetError::UnexpectedLength { expected, found }
                    if (expected, found) == (due, sent)),
                "{error}"
            );
            assert!(matches!(right.recv(sent), Err(NetError::Failed)));
            assert!(matches!(right.send(b""), Err(NetError::Failed)));
            assert!(matches!(left.recv(1), Err(NetError::Closed { .. })));
        }
    }

    #[test]
    fn what_was_sent_before_a_drop_arrives() {
        let (mut left, mut right) = pair();
        left.send(b"last").unwrap();
        left.close().unwrap();
        assert_eq!(right.recv(4).unwrap(), b"last");
        assert!(matches!(right.recv(4), Err(NetError::Closed { .. })));
    }

    #[test]
    fn what_is_intercepted_arrives_as_it_was_changed() {
        let mut sent = 0;
        let change = move |mut frame: Vec<u8>| {
            sent += 1;
            let last = frame.len() - 1;
            frame[last] ^= 1;
            if sent < 3 { Passage::Deliver(frame) } else { Passage::End(frame) }
        };
        let pass = Box::new(Passage::Deliver);
        let (mut left, mut right) = intercepted_pair([Box::new(change), pass]);
        for _ in 0..4 {
            left.send(b"a").unwrap();
        }
        for _ in 0..3 {
            assert_eq!(right.recv(1).unwrap(), b"`");
        }
        right.send(b"b").unwrap();
        assert_eq!(left.recv(1).unwrap(), b"b");
        assert!(matches!(right.recv(1), Err(NetError::Closed { .. })));
    }

    #[test]
    fn a_simulated_link_takes_the_predicted_time() {
        let rtt = Duration::from_millis(10);
        let profile = LinkProfile::new(80_000_000, rtt).unwrap();
        let (mut left, mut right) = shaped_pair(profile);
        let size = 100_000;
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..3 {
                    right.send(&vec![2; size]).unwrap();
                }
                right.recv(0).unwrap();
            });
            for _ in 0..3 {
                left.recv(size).unwrap();
            }
            left.send(b"").unwrap();
        });
        let predicted =
            profile.transmission_time(3 * wire_bytes(size as u64) + wire_bytes(0)) + rtt;
        let elapsed = start.elapsed();
        assert!(elapsed >= predicted, "{elapsed:?} < {predicted:?}");
        assert!(elapsed < predicted + Duration::from_millis(500), "{elapsed:?} > {predicted:?}");
    }
}
