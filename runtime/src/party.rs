//! A party's whole run, measured: set-up, then inferences, their preparation, or what was prepared.

use crate::error::RunError;
use crate::executor::Contribution;
use crate::offline::store::{BatchId, Shelf, Store, Stored};
use crate::offline::{agree, check_plan, entry};
use crate::session::{Caller, Mode, Modes, PreparedPlan, PreparedServer, Session};
use crate::stats::{Measured, SessionStats};
use heq_net::Channel;
use std::time::Instant;
use zeroize::Zeroizing;

/// The integer outputs of all samples, and what was measured.
pub type Outcome = (Vec<Vec<i64>>, SessionStats);

/// The same of all passes, wiped when dropped.
type PassOutcome = (Zeroizing<Vec<Vec<i64>>>, SessionStats);

/// Runs the client on quantized `samples`, as many at once as the plan says; returns the integer outputs
/// and what was measured. Where samples are left over the last is repeated beside them.
///
/// **Security**: the client learns the outputs, the server learns how many inferences there are.
///
/// # Errors
/// [`RunError`] if the peer is incompatible, goes away or breaks the protocol.
pub fn run_client(
    plan: &PreparedPlan,
    channel: Channel,
    samples: &[Vec<i64>],
) -> Result<Outcome, RunError> {
    let passes = passes(plan, samples);
    let run = Run::connect(plan, channel, Mode::Whole, number(passes.len()))?;
    let (outputs, stats) = run.infer(|index| passes.get(index).map(|x| Contribution::Input(x)))?;
    Ok((sample_outputs(plan, &outputs, samples.len()), stats))
}

/// Runs the client on as many of `samples`, from the first on, as both parties hold prepared inferences for,
/// which may be none; returns their outputs and what was measured.
///
/// **Security**: the client learns the outputs, the server how many inferences there are and which of them
/// were prepared. Every entry of `store` is gone before it is used.
///
/// # Errors
/// [`RunError`] as of [`run_client`], or if the store cannot be used.
pub fn run_prepared_client(
    plan: &PreparedPlan,
    channel: Channel,
    store: &Store,
    samples: &[Vec<i64>],
) -> Result<Outcome, RunError> {
    let mut passes = passes(plan, samples);
    let checked = plan.plan();
    let shelf = store.client(checked);
    // What is announced counts with the server.
    let held: u64 = shelf.batches()?.iter().map(|(_, range)| range.end - range.start).sum();
    passes.truncate(usize::try_from(held).unwrap_or(usize::MAX));
    if passes.is_empty() {
        return Ok((Vec::new(), SessionStats::default()));
    }
    let mut run = Run::connect(plan, channel, Mode::Prepared, number(passes.len()))?;
    let agreed = agree::client(&mut run.session.channel, &shelf, passes.len());
    let agreed = run.agreed(agreed)?;
    let (outputs, stats) = run.infer_prepared(Some(&shelf), &agreed, |index| {
        passes.get(index).map(|x| Contribution::Input(x))
    })?;
    let done = samples.len().min(agreed.len() * checked.batch());
    Ok((sample_outputs(plan, &outputs, done), stats))
}

/// Serves one session of inferences with the client at the other end of `channel`, as [`serve`] does.
///
/// # Errors
/// As [`serve`].
pub fn run_server(
    plan: &PreparedPlan,
    weights: &PreparedServer,
    store: Option<&Store>,
    channel: Channel,
) -> Result<SessionStats, RunError> {
    serve(plan, weights, store, Caller::receive(channel)?, &|| ())
}

/// Serves one session of inferences; returns what was measured. Those that were prepared are taken from
/// `store`, without which there are none. `pulse` is called before each inference.
///
/// **Security**: the server learns nothing but the number of inferences, and which were prepared.
///
/// # Errors
/// [`RunError`] if the client wants something else, goes away or breaks the protocol, or the store cannot be
/// used.
pub fn serve(
    plan: &PreparedPlan,
    weights: &PreparedServer,
    store: Option<&Store>,
    caller: Caller,
    pulse: &dyn Fn(),
) -> Result<SessionStats, RunError> {
    let mut run = Run::accept(plan, caller, Modes::INFER, u32::MAX)?;
    let serve = |_| {
        pulse();
        Some(Contribution::Weights(weights))
    };
    if run.session.mode != Mode::Prepared {
        return Ok(run.infer(serve)?.1);
    }
    let shelf = store.map(|store| store.server(plan.plan(), weights.digest()));
    let announced = run.session.inferences;
    let agreed = agree::server(&mut run.session.channel, shelf.as_ref(), announced);
    let agreed = run.agreed(agreed)?;
    Ok(run.infer_prepared(shelf.as_ref(), &agreed, serve)?.1)
}

/// Prepares `count` inferences at the client's side, or as many as the server wants, each in `store` as soon
/// as it is done.
///
/// **Security**: the server learns how many there are.
///
/// # Errors
/// [`RunError`] as of [`run_client`]; [`RunError::User`] if a layer of the plan is packed.
pub fn prepare_client(
    plan: &PreparedPlan,
    channel: Channel,
    store: &Store,
    count: u32,
) -> Result<SessionStats, RunError> {
    check_plan(plan.plan())?;
    let run = Run::connect(plan, channel, Mode::Prepare, count)?;
    run.prepare(&store.client(plan.plan()), &Contribution::Input(&[]), &|| ())
}

/// Serves one session that prepares inferences, at most `most`, each in `store` as soon as it is done. `pulse`
/// is called before each.
///
/// **Security**: the server learns how many there are.
///
/// # Errors
/// [`RunError`] as of [`prepare_client`].
pub fn prepare_server(
    plan: &PreparedPlan,
    weights: &PreparedServer,
    store: &Store,
    most: u32,
    caller: Caller,
    pulse: &dyn Fn(),
) -> Result<SessionStats, RunError> {
    check_plan(plan.plan())?;
    let run = Run::accept(plan, caller, Modes::PREPARE, most)?;
    let shelf = store.server(plan.plan(), weights.digest());
    run.prepare(&shelf, &Contribution::Weights(weights), pulse)
}

/// The inputs of all passes.
fn passes(plan: &PreparedPlan, samples: &[Vec<i64>]) -> Vec<Zeroizing<Vec<i64>>> {
    let plan = plan.plan();
    let samples = samples.chunks(plan.batch());
    samples.map(|samples| Zeroizing::new(plan.pass_input(samples))).collect()
}

/// The outputs of the first `count` samples.
fn sample_outputs(plan: &PreparedPlan, outputs: &[Vec<i64>], count: usize) -> Vec<Vec<i64>> {
    let outputs = outputs.iter().flat_map(|outputs| plan.plan().sample_outputs(outputs));
    outputs.take(count).collect()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// A session that is measured.
struct Run<'a> {
    session: Session<'a>,
    stats: SessionStats,
    start: Instant,
}

impl<'a> Run<'a> {
    fn connect(
        plan: &'a PreparedPlan,
        channel: Channel,
        mode: Mode,
        inferences: u32,
    ) -> Result<Self, RunError> {
        let start = Instant::now();
        Ok(Self::of(Session::connect(plan, channel, mode, inferences)?, start))
    }

    fn accept(
        plan: &'a PreparedPlan,
        caller: Caller,
        modes: Modes,
        most: u32,
    ) -> Result<Self, RunError> {
        let start = Instant::now();
        Ok(Self::of(Session::accept(plan, caller, modes, most)?, start))
    }

    fn of(session: Session<'a>, start: Instant) -> Self {
        let layers = vec![Measured::default(); session.plan.plan().layers().len()];
        let stats = SessionStats { layers, ..SessionStats::default() };
        Self { session, stats, start }
    }

    /// The entries that were agreed on, unless that failed: then the session ends.
    fn agreed(
        &mut self,
        agreed: Result<(Vec<Stored>, u32), RunError>,
    ) -> Result<Vec<Stored>, RunError> {
        let (agreed, offers) = agreed.inspect_err(|_| self.session.channel.abort())?;
        self.stats.offers = offers;
        Ok(agreed)
    }

    fn infer<'c>(
        mut self,
        contribution: impl Fn(usize) -> Option<Contribution<'c>>,
    ) -> Result<PassOutcome, RunError> {
        self.end_setup();
        let mut outputs = Zeroizing::new(Vec::new());
        let mut all = || {
            for index in 0..self.session.inferences as usize {
                let contribution = contribution(index).ok_or(NO_INPUT)?;
                outputs.push(self.session.infer(&contribution, &mut self.stats.layers)?);
                self.stats.inferences += 1;
            }
            Ok(())
        };
        let outcome = all();
        Ok((outputs, self.end(outcome)?))
    }

    fn infer_prepared<'c>(
        mut self,
        shelf: Option<&Shelf<'_>>,
        agreed: &[Stored],
        contribution: impl Fn(usize) -> Option<Contribution<'c>>,
    ) -> Result<PassOutcome, RunError> {
        self.session.inferences = number(agreed.len());
        self.end_setup();
        let mut outputs = Zeroizing::new(Vec::new());
        let mut all = || {
            let (plan, role) = (self.session.plan.plan(), self.session.role);
            for (index, &stored) in agreed.iter().enumerate() {
                let contribution = contribution(index).ok_or(NO_INPUT)?;
                let start = Instant::now();
                let reader = shelf.ok_or(NO_STORE)?.claim(stored)?;
                let prepared = entry::read(plan, role, reader)?;
                let taken = prepared.taken.clone();
                self.session.load(prepared);
                self.stats.store_s += start.elapsed().as_secs_f64();
                outputs.push(self.session.infer(&contribution, &mut self.stats.layers)?);
                for taken in taken.map(|ahead| ahead.taken()) {
                    self.stats.rots.used += taken.rots;
                    self.stats.rots.waited_s += taken.waited.as_secs_f64();
                }
                self.stats.inferences += 1;
            }
            Ok(())
        };
        let outcome = all();
        Ok((outputs, self.end(outcome)?))
    }

    fn prepare(
        mut self,
        shelf: &Shelf<'_>,
        contribution: &Contribution<'_>,
        pulse: &dyn Fn(),
    ) -> Result<SessionStats, RunError> {
        self.end_setup();
        let batch = BatchId(self.session.id.0);
        let mut all = || {
            let (plan, role) = (self.session.plan.plan(), self.session.role);
            for index in 0..u64::from(self.session.inferences) {
                pulse();
                let made = self.session.prepare(contribution, &mut self.stats.layers)?;
                let start = Instant::now();
                let stored = Stored { batch, index };
                shelf.save(stored, |writer| entry::write(plan, role, &made, writer))?;
                self.stats.store_s += start.elapsed().as_secs_f64();
                self.stats.inferences += 1;
            }
            Ok(())
        };
        let outcome = all();
        self.end(outcome)
    }

    fn end_setup(&mut self) {
        let (role, meter) = (self.session.role, self.session.meter());
        self.stats.setup.add(role, meter, self.start.elapsed());
        self.stats.mode = self.session.mode;
    }

    fn end(self, outcome: Result<(), RunError>) -> Result<SessionStats, RunError> {
        let Self { session, mut stats, .. } = self;
        let (correlations, made) = session.end(outcome)?;
        stats.correlations = correlations;
        if stats.mode != Mode::Prepared {
            stats.rots = made;
        }
        Ok(stats)
    }
}

const NO_STORE: RunError = RunError::Internal { what: "a prepared inference has no store" };
const NO_INPUT: RunError = RunError::Internal { what: "an inference has no input" };
