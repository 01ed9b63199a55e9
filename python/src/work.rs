//! Work that takes long: on a thread of its own, without the interpreter's lock, until it is done or stopped.

use crate::error::{Outcome, raised};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::stop::Stop;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often signals are looked for.
const TICK: Duration = Duration::from_millis(50);

/// How long work that was stopped is waited for. One that computes ends a little later by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far work is: a part of the whole from 0 to 1, and a few words.
pub(crate) type Progress = (f64, String);

/// What work is told, and tells.
pub(crate) struct Task {
    pub(crate) stop: Stop,
    progress: Option<Sender<Event>>,
}

enum Event {
    Progress(Progress),
    Done,
}

impl Task {
    /// Tells how far the work is, if somebody wants to know.
    pub(crate) fn tell(&self, part: f64, text: impl FnOnce() -> String) {
        if let Some(progress) = &self.progress {
            // Whoever listened may have gone.
            let _ = progress.send(Event::Progress((part, text())));
        }
    }

    /// What tells how far the work is from another thread.
    pub(crate) fn teller(&self) -> Option<impl Fn(f64, String) + Send + Sync + use<>> {
        let progress = self.progress.clone()?;
        Some(move |part, text| {
            let _ = progress.send(Event::Progress((part, text)));
        })
    }
}

/// Does `work`, and calls `progress` with how far it is.
///
/// # Errors
/// The exception of a diagnostic, of `progress`, or of a signal: in the last two cases the work is stopped.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Task) -> Outcome<T> + Send + 'static,
) -> PyResult<T> {
    check_process().map_err(|found| raised(py, &found.into()))?;
    let stop = Stop::default();
    let (tell, mut told) = mpsc::channel();
    let (end, mut ended) = mpsc::channel();
    let task = Task { stop: stop.clone(), progress: progress.is_some().then_some(tell.clone()) };
    let thread = std::thread::Builder::new().name("heq-work".to_owned()).spawn(move || {
        let outcome = work(&task);
        drop(task);
        // Whoever waited may have been stopped.
        let _ = end.send(outcome);
        // Wakes whoever waits.
        let _ = tell.send(Event::Done);
    });
    if thread.is_err() {
        let remedy = "raise the limits of processes and memory";
        let what = "the system has no thread left";
        return Err(raised(
            py,
            &Diagnostic::new(Code::SystemResources, "heq", what, remedy).into(),
        ));
    }
    let outcome = wait(py, progress.as_ref(), &mut told);
    if let Err(error) = outcome {
        stop.stop();
        py.detach(|| linger(&mut ended));
        return Err(error);
    }
    match ended.recv() {
        Ok(outcome) => outcome.map_err(|found| raised(py, &found)),
        Err(_) => {
            let (what, remedy) = ("a thread panicked", "this is a fault of heq; please report it");
            Err(raised(py, &Diagnostic::new(Code::Internal, "heq", what, remedy).into()))
        }
    }
}

/// Refuses to work in a process that was forked from one that did: its threads are not there, and whoever waited
/// for them would wait forever.
fn check_process() -> Result<(), Diagnostic> {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let process = std::process::id();
    if *FIRST.get_or_init(|| process) == process {
        return Ok(());
    }
    let what = "this process was forked from one that used heq, whose threads it does not have";
    let remedy = "start processes with multiprocessing.get_context(\"spawn\")";
    Err(Diagnostic::new(Code::SystemResources, "heq", what, remedy))
}

/// Waits until the work is done, and calls `progress` meanwhile.
fn wait(py: Python<'_>, progress: Option<&Py<PyAny>>, told: &mut Receiver<Event>) -> PyResult<()> {
    let mut next = Instant::now();
    let mut last = None;
    loop {
        let event = py.detach(|| next_event(told));
        let is_over = match event {
            Ok(Event::Progress(found)) => {
                last = Some(found);
                false
            }
            Ok(Event::Done) | Err(RecvTimeoutError::Disconnected) => true,
            Err(RecvTimeoutError::Timeout) => false,
        };
        if is_over || Instant::now() >= next {
            py.check_signals()?;
            if let (Some(progress), Some((part, text))) = (progress, last.take()) {
                progress.call1(py, (part, text))?;
            }
            next = Instant::now() + TICK;
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Waits a little for work that was stopped.
fn linger<T>(ended: &mut Receiver<T>) {
    let _ended = ended.recv_timeout(PATIENCE);
}

/// What comes within a tick. It borrows for itself alone: a receiver is of one thread.
fn next_event(told: &mut Receiver<Event>) -> Result<Event, RecvTimeoutError> {
    told.recv_timeout(TICK)
}
