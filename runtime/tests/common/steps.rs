//! Two parties in one process that run interactive steps, on random OTs of the ideal functionality or
//! of the extension.
#![allow(dead_code, reason = "every test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy exempts test functions alone")]

use heq_ir::plan::OtExtension;
use heq_ir::traffic::{FlightClock, RotRun, RotSender, Step, Traffic};
use heq_net::{Channel, Meter, memory};
use heq_ot::ideal::ideal_rot;
use heq_ot::{RotReceiverBatch, RotSenderBatch, RotShape, SessionId};
use heq_runtime::error::RunError;
use heq_runtime::protocol::{Link, Role};
use heq_runtime::session::extension::{End, Extension};
use heq_runtime::stock::Stock;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// The shape of the batch that a step takes as `run`.
pub(crate) fn shape(run: &RotRun) -> RotShape {
    let number = |number: u64| usize::try_from(number).unwrap();
    let (planes, elements) = (number(run.planes), number(run.elements));
    RotShape { planes, elements, bits: number(run.bits) }
}

/// A party's random OTs.
pub(crate) struct Stocks {
    pub(crate) sender: Stock<RotSenderBatch>,
    pub(crate) receiver: Stock<RotReceiverBatch>,
}

impl Stocks {
    pub(crate) fn link<'a>(&'a mut self, role: Role, channel: &'a mut Channel) -> Link<'a> {
        Link { role, channel, sender: &mut self.sender, receiver: &mut self.receiver }
    }

    pub(crate) fn check_used_up(&mut self) {
        assert!(self.sender.is_used_up() && self.receiver.is_used_up(), "OTs left over");
    }
}

/// The client's and the server's random OTs of `runs`, from the ideal functionality.
pub(crate) fn ideal_stocks(runs: &[RotRun], rng: &mut ChaCha20Rng) -> [Stocks; 2] {
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

/// Runs `client` and `server`, one of them in a thread of its own.
pub(crate) fn both<C, S: Send>(
    client: impl FnOnce(&mut Channel) -> C,
    server: impl FnOnce(&mut Channel) -> S + Send,
) -> (C, S, Meter) {
    let (mut client_end, mut server_end) = memory::pair();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || server(&mut server_end));
        let client = client(&mut client_end);
        (client, server.join().unwrap(), client_end.snapshot())
    })
}

/// Runs `step` as both parties with exactly the ideal random OTs `runs`; returns client's and server's
/// results and the client's meter.
pub(crate) fn two_parties<T: Send>(
    runs: &[RotRun],
    step: impl Fn(&mut Link<'_>) -> Result<T, RunError> + Sync,
) -> (T, T, Meter) {
    let [client, server] = ideal_stocks(runs, &mut ChaCha20Rng::seed_from_u64(11));
    let run = |role: Role, mut stocks: Stocks, channel: &mut Channel| {
        let result = step(&mut stocks.link(role, channel)).unwrap();
        stocks.check_used_up();
        result
    };
    both(|channel| run(Role::Client, client, channel), |channel| run(Role::Server, server, channel))
}

/// Lengths of the messages that `role` receives.
pub(crate) fn received_bytes(traffic: &Traffic, role: Role) -> Vec<usize> {
    let mut lengths = Vec::new();
    for step in &traffic.steps {
        let (count, bytes) = match (step, role) {
            (Step::Up { count, bytes }, Role::Server)
            | (Step::Down { count, bytes }, Role::Client) => (*count, *bytes),
            (Step::Up { .. }, Role::Client) | (Step::Down { .. }, Role::Server) => (0, 0),
            (Step::Exchange { up, .. }, Role::Server) => (1, *up),
            (Step::Exchange { down, .. }, Role::Client) => (1, *down),
        };
        lengths.extend((0..count).map(|_| usize::try_from(bytes).unwrap()));
    }
    lengths
}

/// Checks that as much was moved as `traffic` counts.
pub(crate) fn check_traffic(meter: Meter, traffic: &Traffic, context: &str) {
    assert_eq!((meter.bytes_sent, meter.bytes_received), traffic.wire_bytes(), "{context}");
    assert_eq!(u64::from(meter.horizon), FlightClock::default().advance(traffic), "{context}");
}

/// A party's random OTs of `runs` from its `extension`, with messages of bounded size.
pub(crate) fn extend(
    extension: &mut Extension,
    role: Role,
    runs: &[RotRun],
    channel: &mut Channel,
) -> Stocks {
    /// Rows of an exchange, unless a single run takes more.
    const ROWS: usize = 1 << 22;
    let own = if role == Role::Server { RotSender::Server } else { RotSender::Client };
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    let mut rest = runs;
    while !rest.is_empty() {
        let mut rows = 0;
        let fits = |run: &&RotRun| {
            rows += shape(run).rows();
            rows <= ROWS
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let of = |is_own: bool| now.iter().filter(move |run| (run.sender == own) == is_own);
        let [sends, receives] = [true, false].map(|own| of(own).map(shape).collect::<Vec<_>>());
        let Extension { sender, receiver } = &mut *extension;
        let mut send = |channel: &mut _| sent.extend(sender.extend(&sends, channel).unwrap());
        let mut receive =
            |channel: &mut _| received.extend(receiver.extend(&receives, channel).unwrap());
        // Either party may lead, so both begin with the same direction.
        match role {
            Role::Server => (send(channel), receive(channel)),
            Role::Client => (receive(channel), send(channel)),
        };
        rest = later;
    }
    Stocks { sender: sent.into_iter().collect(), receiver: received.into_iter().collect() }
}

/// Base OTs and set-up of a party's extension.
pub(crate) fn establish(role: Role, ot: OtExtension, channel: &mut Channel) -> Extension {
    let rng = &mut ChaCha20Rng::seed_from_u64(role as u64);
    Extension::establish(role, &SessionId([7; 32]), ot, channel, rng).unwrap()
}
