//! Sessions of two honest parties with somebody in between who changes what one of them sends: to the other
//! one, its peer misbehaves.

pub mod hello;
pub mod mutation;

use heq_ir::diagnostic::Code;
use heq_ir::eval::evaluate;
use heq_ir::plan::Plan;
use heq_ir::plan::weights::ServerWeights;
use heq_net::memory::{Interceptor, Passage, intercepted_pair};
use heq_net::{Channel, NetError};
use heq_runtime::error::RunError;
use heq_runtime::party::{run_client, run_server};
use heq_runtime::session::{PreparedPlan, PreparedServer, WEIGHT_CACHE_BYTES};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// A session whose connection was ended from outside has so long to end; else it hangs.
const HANG: Duration = Duration::from_secs(20);

/// How often it is looked whether anything is sent.
const TICK: Duration = Duration::from_millis(20);

/// A frame as it is written: the payload need not have the length that the header announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Payload length and, above 28 bits, the lane.
    pub length_and_lane: u32,
    /// Stamp of the flight.
    pub stamp: u32,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads a frame that a party sent.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let (header, payload) = bytes.split_at(HEADER_BYTES);
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        Self { length_and_lane: word(0), stamp: word(4), payload: payload.to_vec() }
    }

    /// Its lane.
    #[must_use]
    pub fn lane(&self) -> u32 {
        self.length_and_lane >> 28
    }

    /// With this payload, and a header that fits it.
    #[must_use]
    pub fn with(&self, payload: Vec<u8>) -> Self {
        let length_and_lane = u32::try_from(payload.len()).unwrap() | self.lane() << 28;
        Self { length_and_lane, stamp: self.stamp, payload }
    }

    /// Header and payload.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = [self.length_and_lane.to_le_bytes(), self.stamp.to_le_bytes()];
        [&header.concat()[..], &self.payload].concat()
    }
}

/// A lane, and the number of a message on it among those of its sender. What lanes send between each other has
/// no fixed order.
pub type Place = (u32, usize);

/// The frames that each party sent, the client first; no message of a toy plan has more than one.
pub type Recording = [BTreeMap<Place, Frame>; 2];

/// A party under attack, or the one that seems to attack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The client.
    Client,
    /// The server.
    Server,
}

impl Party {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Server];

    /// The other one.
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What becomes of a frame, given its place and all frames that were sent before it.
pub type Attack = Box<dyn FnMut(Place, Frame, &Recording) -> Passage + Send>;

/// An attack that changes nothing.
#[must_use]
pub fn nothing() -> Attack {
    Box::new(|_, frame, _| Passage::Deliver(frame.bytes()))
}

/// What a party ends with: the outputs, which a server has none of, or an error.
pub type Ended = Result<Vec<Vec<i64>>, RunError>;

/// Both parties of a plan, for any number of sessions; the server's prepared weights serve all of them.
pub struct Parties {
    plans: [PreparedPlan; 2],
    weights: PreparedServer,
    samples: Vec<Vec<i64>>,
    expected: Vec<Vec<i64>>,
}

impl Parties {
    /// Of `plan`, run on one sample.
    #[must_use]
    pub fn new(plan: &Plan, weights: &ServerWeights) -> Arc<Self> {
        let plans = [(); 2].map(|()| PreparedPlan::new(plan.clone()));
        let prepared = PreparedServer::new(&plans[1], weights, WEIGHT_CACHE_BYTES).unwrap();
        let range = plan.spec().input.quantization.range;
        let sample: Vec<i64> = (range.lo..=range.hi).cycle().take(plan.input_len()).collect();
        let expected = vec![evaluate(plan, weights, &sample).unwrap().output().to_vec()];
        Arc::new(Self { plans, weights: prepared, samples: vec![sample], expected })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.plans[0].plan()
    }

    /// The right outputs.
    #[must_use]
    pub fn expected(&self) -> &[Vec<i64>] {
        &self.expected
    }

    /// Serves who is at the other end of `channel`.
    ///
    /// # Errors
    /// As [`run_server`].
    pub fn serve(&self, channel: Channel) -> Ended {
        run_server(&self.plans[1], &self.weights, None, channel).map(|_| Vec::new())
    }

    /// Runs the client with whoever is at the other end of `channel`.
    ///
    /// # Errors
    /// As [`run_client`].
    pub fn ask(&self, channel: Channel) -> Ended {
        run_client(&self.plans[0], channel, &self.samples).map(|(outputs, _)| outputs)
    }

    /// Runs a session in which `attacks` change what client and server send. If nothing was sent for `patience`, the
    /// connection ends, as it does by a timeout. Returns how client and server ended.
    ///
    /// # Errors
    /// What no peer may bring about: that a party panics, or does not end.
    pub fn run(
        self: &Arc<Self>,
        attacks: [Attack; 2],
        patience: Duration,
    ) -> Result<[Ended; 2], &'static str> {
        self.run_until(attacks, || patience)
    }

    /// As [`Parties::run`], with patience that may end on the way.
    ///
    /// # Errors
    /// As [`Parties::run`].
    pub fn run_until(
        self: &Arc<Self>,
        attacks: [Attack; 2],
        patience: impl Fn() -> Duration,
    ) -> Result<[Ended; 2], &'static str> {
        let sent = Arc::new(AtomicUsize::new(0));
        let interceptors = interceptors(attacks, &sent);
        let (client, server) = intercepted_pair(interceptors);
        let lifelines = [client.lifeline(), server.lifeline()];
        let (tell, hear) = channel();
        self.start(0, client, tell.clone(), |parties, channel| parties.ask(channel));
        self.start(1, server, tell, |parties, channel| parties.serve(channel));
        wait_for_both(&hear, &patience, &sent, || {
            for lifeline in &lifelines {
                lifeline.end(NetError::Timeout { doing: "receiving" });
            }
        })
    }

    fn start(
        self: &Arc<Self>,
        party: usize,
        channel: Channel,
        tell: Sender<(usize, Ended)>,
        run: fn(&Self, Channel) -> Ended,
    ) {
        let parties = Arc::clone(self);
        // Nobody waits for a thread that hangs.
        std::thread::spawn(move || {
            let ended = run(&parties, channel);
            tell.send((party, ended)).unwrap();
        });
    }

    /// Runs a session that nobody disturbs, the result of which must be right.
    pub fn check_honest(self: &Arc<Self>) {
        let [client, server] = self.run([nothing(), nothing()], HANG).unwrap();
        assert_eq!(client.unwrap(), self.expected);
        server.unwrap();
    }

    /// What both parties send in a session that nobody disturbs, the result of which is right.
    #[must_use]
    pub fn record(self: &Arc<Self>) -> Recording {
        let kept = Arc::new(Mutex::new(Recording::default()));
        let keep = |party: usize| -> Attack {
            let kept = Arc::clone(&kept);
            Box::new(move |place, frame, _| {
                let bytes = frame.bytes();
                kept.lock().unwrap()[party].insert(place, frame);
                Passage::Deliver(bytes)
            })
        };
        let [client, server] = self.run([keep(0), keep(1)], HANG).unwrap();
        assert_eq!(client.unwrap(), self.expected);
        server.unwrap();
        kept.lock().unwrap().clone()
    }
}

/// What lets `attacks` decide on the frames of client and server, and counts in `sent` those that were sent.
#[must_use]
pub fn interceptors(attacks: [Attack; 2], sent: &Arc<AtomicUsize>) -> [Interceptor; 2] {
    let recording = Arc::new(Mutex::new(Recording::default()));
    let mut parties = 0..2;
    attacks.map(|mut attack| -> Interceptor {
        let (sent, recording) = (Arc::clone(sent), Arc::clone(&recording));
        let (party, mut counts) = (parties.next().unwrap(), BTreeMap::new());
        Box::new(move |bytes| {
            let frame = Frame::of(&bytes);
            let count = counts.entry(frame.lane()).or_insert(0);
            let place = (frame.lane(), *count);
            *count += 1;
            let mut recording = recording.lock().unwrap();
            let passage = attack(place, frame.clone(), &recording);
            recording[party].insert(place, frame);
            sent.fetch_add(1, Ordering::Relaxed);
            passage
        })
    })
}

/// Waits for both parties, and calls `give_up` when nothing happens for `patience`.
fn wait_for_both(
    hear: &Receiver<(usize, Ended)>,
    patience: &dyn Fn() -> Duration,
    sent: &AtomicUsize,
    give_up: impl Fn(),
) -> Result<[Ended; 2], &'static str> {
    let mut ended = [None, None];
    let (mut seen, mut since, mut given_up) = (0, Instant::now(), false);
    while ended.iter().any(Option::is_none) {
        let tick = if given_up { HANG } else { TICK };
        match hear.recv_timeout(tick) {
            Ok((party, result)) => ended[party] = Some(result),
            Err(RecvTimeoutError::Disconnected) => return Err("a party panicked"),
            Err(RecvTimeoutError::Timeout) if given_up => {
                return Err("a party hangs after its connection ended");
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = sent.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                } else if since.elapsed() >= patience() {
                    give_up();
                    given_up = true;
                }
            }
        }
    }
    Ok(ended.map(Option::unwrap))
}

/// The code of an error; none of a result.
#[must_use]
pub fn code(ended: &Ended) -> Option<Code> {
    ended.as_ref().err().map(|error| error.describe().code)
}

/// The codes of what a peer can be to blame for.
pub const PEER_CODES: [Code; 5] = [
    Code::Authentication,
    Code::Connection,
    Code::PeerIncompatible,
    Code::PeerMisbehaved,
    Code::Refused,
];
