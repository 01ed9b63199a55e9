//! A discrete-event simulation of two parties: threads that compute on shared cores, two wires, and random
//! OTs made ahead.
//!
//! Six actors each do a list of actions in order: of either party the thread that walks the plan, its
//! *walker*, and two that make random OTs, its *producers*, each on a lane of its own. Between two events all
//! that compute share the cores in proportion to their threads; an event is the end of a computation or the
//! arrival of a message.

#[cfg(test)]
mod tests;

use super::Situation;
use std::collections::VecDeque;

/// Parties; in pairs the client is the first.
const PARTIES: usize = 2;

/// Lanes: that of the walkers, and those of the producers.
const LANES: usize = 3;

/// What an actor does next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action {
    /// Computes.
    Compute {
        /// Microseconds of one thread.
        work_us: f64,
        /// Threads that can do it at the same time, at least 1.
        width: f64,
        /// Whether threads of the party's pool do it, not the actor's own.
        is_pooled: bool,
    },
    /// Sends a message to the same kind of actor of the peer, in bytes on the wire.
    Send(f64),
    /// Waits for the peer's next message.
    Receive,
    /// Waits until random OTs may be made, or none is ahead.
    Reserve {
        /// Bytes of their pads.
        bytes: f64,
        /// Most bytes ahead with them.
        limit: f64,
    },
    /// Random OTs of the next chunk are there for the walker.
    Publish,
    /// Waits for the random OTs of a chunk, of which a part of so many bytes leaves the stock.
    Take {
        /// Lane of its producers.
        lane: usize,
        /// Index of the chunk.
        chunk: usize,
        /// Bytes of pads.
        bytes: f64,
    },
    /// The party's set-up is done.
    Start,
    /// Waits until the party's set-up is done.
    AwaitStart,
    /// A part of the run ends.
    EndPart,
}

impl Action {
    /// Microseconds of one thread that it takes.
    pub(super) fn work_us(&self) -> f64 {
        if let Self::Compute { work_us, .. } = *self { work_us } else { 0.0 }
    }
}

/// What the actors do.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripts {
    /// Of the walkers of client and server.
    pub(super) walkers: [Vec<Action>; PARTIES],
    /// Of the producers of client and server, by lane.
    pub(super) producers: [[Vec<Action>; PARTIES]; LANES - 1],
}

/// Where the time of a part went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PartTimes {
    /// From the end of the client's part before to the end of this one.
    pub(super) wall: f64,
    /// The walkers of client and server compute; where both do, half each.
    pub(super) computing: [f64; PARTIES],
    /// Neither walker computes, and one waits for random OTs.
    pub(super) random_ots: f64,
    /// Both walkers wait for messages, and a wire is busy.
    pub(super) bandwidth: f64,
    /// Both walkers wait for messages, and no wire is busy.
    pub(super) latency: f64,
}

/// What a simulation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// The parts of the client's walker.
    pub(super) parts: Vec<PartTimes>,
    /// Processor time that the parties were given, in microseconds.
    pub(super) given_us: [f64; PARTIES],
    /// How long the producers of client and server were not waiting for room, in microseconds: of either
    /// the one that was it longer.
    pub(super) producing_us: [f64; PARTIES],
    /// Bytes that client and server sent.
    pub(super) sent_bytes: [f64; PARTIES],
    /// When the last actor came to its end, or could not go on, in microseconds.
    pub(super) end_us: f64,
    /// Whether every actor came to its end.
    pub(super) is_complete: bool,
}

/// Why an actor does not go on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Computing {
        left_us: f64,
        width: f64,
        /// For work of a pool, its place among all that was ever handed to one.
        queued: Option<u64>,
    },
    ForMessage,
    ForRandomOts,
    ForRoom,
    Done,
}

struct Actor<'a> {
    party: usize,
    /// 0 for walkers, else that of producers.
    lane: usize,
    script: &'a [Action],
    next: usize,
    state: State,
    /// Whether it has to be woken before it goes on.
    has_slept: bool,
}

#[derive(Default)]
struct Party {
    has_started: bool,
    /// Chunks of each lane so far.
    chunks: [usize; LANES],
    ahead_bytes: [f64; LANES],
    producing_us: [f64; LANES],
    /// When its outgoing wire is free.
    wire_free: f64,
    /// When the messages that it has not received arrive, by lane.
    inbox: [VecDeque<f64>; LANES],
}

struct Simulation<'s> {
    situation: &'s Situation<'s>,
    now: f64,
    /// Computations so far.
    queued: u64,
    parties: [Party; PARTIES],
    part: PartTimes,
    outcome: Outcome,
}

/// Runs the actors to their end.
pub(super) fn simulate(scripts: &Scripts, situation: &Situation<'_>) -> Outcome {
    let mut actors = Vec::with_capacity(LANES * PARTIES);
    for (lane, of_lane) in [&scripts.walkers].into_iter().chain(&scripts.producers).enumerate() {
        for (party, script) in of_lane.iter().enumerate() {
            let (next, state, has_slept) = (0, State::ForRoom, false);
            actors.push(Actor { party, lane, script, next, state, has_slept });
        }
    }
    let mut simulation = Simulation {
        situation,
        now: 0.0,
        queued: 0,
        parties: Default::default(),
        part: PartTimes::default(),
        outcome: Outcome::default(),
    };
    simulation.settle(&mut actors);
    while let Some(span) = simulation.until_next_event(&actors) {
        simulation.pass(span, &mut actors);
        simulation.settle(&mut actors);
    }
    let is_complete = actors.iter().all(|actor| actor.state == State::Done);
    let producing_us =
        simulation.parties.map(|party| party.producing_us.into_iter().skip(1).fold(0.0, f64::max));
    Outcome { is_complete, end_us: simulation.now, producing_us, ..simulation.outcome }
}

impl Simulation<'_> {
    /// Lets every actor go on that can, until none can without time.
    fn settle(&mut self, actors: &mut [Actor<'_>]) {
        let mut has_changed = true;
        while has_changed {
            has_changed = false;
            for actor in &mut *actors {
                while self.step(actor) {
                    has_changed = true;
                }
            }
        }
    }

    /// Does an actor's next action if it takes no time; whether it did.
    fn step(&mut self, actor: &mut Actor<'_>) -> bool {
        let computes = matches!(actor.state, State::Computing { left_us, .. } if left_us > 0.0);
        if computes || actor.state == State::Done {
            return false;
        }
        let Some(&action) = actor.script.get(actor.next) else {
            actor.state = State::Done;
            return true;
        };
        if let Some(wait) = self.wait(actor, action) {
            actor.state = wait;
            actor.has_slept = true;
            return false;
        }
        if std::mem::take(&mut actor.has_slept) && self.wakes(action) {
            let left_us = self.situation.profile.wake_us;
            actor.state = State::Computing { left_us, width: 1.0, queued: None };
            return true;
        }
        actor.next += 1;
        actor.state = State::Computing { left_us: 0.0, width: 1.0, queued: None };
        self.act(actor, action);
        true
    }

    /// What an actor waits for before it does `action`.
    fn wait(&self, actor: &Actor<'_>, action: Action) -> Option<State> {
        let party = &self.parties[actor.party];
        match action {
            Action::Receive => {
                let arrival = party.inbox[actor.lane].front();
                (!arrival.is_some_and(|&arrival| arrival <= self.now)).then_some(State::ForMessage)
            }
            Action::Take { lane, chunk, .. } => {
                (party.chunks[lane] <= chunk).then_some(State::ForRandomOts)
            }
            Action::Reserve { bytes, limit } => {
                let ahead_bytes = party.ahead_bytes[actor.lane];
                let is_full = ahead_bytes > 0.0 && ahead_bytes + bytes > limit;
                is_full.then_some(State::ForRoom)
            }
            Action::AwaitStart => (!party.has_started).then_some(State::ForRoom),
            Action::Compute { .. }
            | Action::Send(_)
            | Action::Publish
            | Action::Start
            | Action::EndPart => None,
        }
    }

    /// Whether an actor that waited for `action` slept.
    fn wakes(&self, action: Action) -> bool {
        let is_message = action == Action::Receive;
        let wake_us =
            if is_message { self.situation.wake_us() } else { self.situation.profile.wake_us };
        wake_us > 0.0
    }

    fn act(&mut self, actor: &mut Actor<'_>, action: Action) {
        let party = &mut self.parties[actor.party];
        match action {
            Action::Compute { work_us, width, is_pooled } => {
                self.queued += 1;
                let queued = is_pooled.then_some(self.queued);
                let (left_us, width) = (work_us.max(0.0), width.max(1.0));
                actor.state = State::Computing { left_us, width, queued };
            }
            Action::Send(bytes) => {
                party.wire_free =
                    party.wire_free.max(self.now) + self.situation.transmission_us(bytes);
                let arrival = party.wire_free + self.situation.latency_us();
                self.outcome.sent_bytes[actor.party] += bytes;
                self.parties[1 - actor.party].inbox[actor.lane].push_back(arrival);
            }
            Action::Receive => drop(party.inbox[actor.lane].pop_front()),
            Action::Reserve { bytes, .. } => party.ahead_bytes[actor.lane] += bytes,
            Action::Publish => party.chunks[actor.lane] += 1,
            Action::Take { lane, bytes, .. } => {
                party.ahead_bytes[lane] = (party.ahead_bytes[lane] - bytes).max(0.0);
            }
            Action::Start => party.has_started = true,
            Action::AwaitStart => {}
            // Parts are the client's, though the server's walker marks its own too.
            Action::EndPart if (actor.party, actor.lane) == (0, 0) => {
                self.outcome.parts.push(std::mem::take(&mut self.part));
            }
            Action::EndPart => {}
        }
    }

    /// Time until the next computation ends or the next message that is waited for arrives.
    fn until_next_event(&self, actors: &[Actor<'_>]) -> Option<f64> {
        let mut next: Option<f64> = None;
        for (actor, rate) in actors.iter().zip(self.rates(actors)) {
            let span = match actor.state {
                // What waits for a pool has no end yet.
                State::Computing { left_us, .. } => (rate > 0.0).then_some(left_us / rate),
                State::ForMessage => {
                    let inbox = &self.parties[actor.party].inbox[actor.lane];
                    inbox.front().map(|arrival| arrival - self.now)
                }
                State::ForRandomOts | State::ForRoom | State::Done => None,
            };
            if let Some(span) = span {
                next = Some(next.map_or(span, |next| next.min(span)));
            }
        }
        next
    }

    /// Cores that every actor computes on.
    ///
    /// A pool works off what it is handed in that order; what comes later gets the threads that are left.
    /// If more threads compute than there are cores, all get the same share.
    fn rates(&self, actors: &[Actor<'_>]) -> Vec<f64> {
        let threads = self.situation.threads.max(1) as f64;
        // On shared cores there are one pool and one set of cores.
        let group = |actor: &Actor<'_>| if self.situation.is_shared { 0 } else { actor.party };
        let (mut pool, mut runnable) = ([threads; PARTIES], [0.0; PARTIES]);
        let mut order: Vec<usize> = (0..actors.len()).collect();
        order.sort_by_key(|&index| {
            let State::Computing { queued, .. } = actors[index].state else { return None };
            queued
        });
        let mut rates = vec![0.0; actors.len()];
        for index in order {
            let actor = &actors[index];
            let State::Computing { width, queued, .. } = actor.state else { continue };
            if queued.is_some() {
                rates[index] = width.min(pool[group(actor)]);
                pool[group(actor)] -= rates[index];
            } else {
                rates[index] = width;
            }
            runnable[group(actor)] += rates[index];
        }
        for (rate, actor) in rates.iter_mut().zip(actors) {
            *rate *= (threads / runnable[group(actor)].max(threads)).min(1.0);
        }
        rates
    }

    /// Lets `span` microseconds pass.
    fn pass(&mut self, span: f64, actors: &mut [Actor<'_>]) {
        let span = span.max(0.0);
        self.attribute(span, actors);
        let rates = self.rates(actors);
        for (actor, rate) in actors.iter_mut().zip(rates) {
            if !matches!(actor.state, State::ForRoom | State::Done) {
                self.parties[actor.party].producing_us[actor.lane] += span;
            }
            if let State::Computing { left_us, .. } = &mut actor.state {
                // The one that ends first ends exactly.
                let ends = rate > 0.0 && *left_us / rate <= span;
                let given = if ends { *left_us } else { rate * span };
                *left_us -= given;
                self.outcome.given_us[actor.party] += given;
            }
        }
        // So does the arrival that is waited for.
        let arrivals = actors.iter().filter(|actor| actor.state == State::ForMessage);
        let arrivals = arrivals
            .filter_map(|actor| self.parties[actor.party].inbox[actor.lane].front().copied());
        let end = self.now + span;
        let near = arrivals.filter(|arrival| (arrival - end).abs() <= end.abs() * 1e-12);
        self.now = near.fold(end, f64::max);
    }

    fn attribute(&mut self, span: f64, actors: &[Actor<'_>]) {
        let part = &mut self.part;
        part.wall += span;
        let walkers: Vec<State> =
            actors.iter().filter(|actor| actor.lane == 0).map(|actor| actor.state).collect();
        let computes =
            [0, 1].map(|party| matches!(walkers.get(party), Some(State::Computing { .. })));
        let wire_free = self.parties.iter().map(|party| party.wire_free).fold(self.now, f64::max);
        match computes {
            [true, true] => part.computing.iter_mut().for_each(|time| *time += span / 2.0),
            [true, false] => part.computing[0] += span,
            [false, true] => part.computing[1] += span,
            [false, false] if walkers.contains(&State::ForRandomOts) => part.random_ots += span,
            [false, false] => {
                let busy = span.min(wire_free - self.now);
                part.bandwidth += busy;
                part.latency += span - busy;
            }
        }
    }
}
