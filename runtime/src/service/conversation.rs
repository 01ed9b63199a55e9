//! A connection from beginning to end: who it is, what it wants, its turn, its session.

use super::catalogue::Offer;
use super::connections::Unauthenticated;
use super::{Clients, Purpose, Service, fetch, memory};
use crate::error::RunError;
use crate::party::{prepare_server, serve};
use crate::session::{Caller, Modes, Refusal, Wish};
use crate::stats::SessionStats;
use heq_net::NetError;
use heq_net::tcp::Accepted;
use heq_net::tls::{Peer, ServerTls};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// How long a client has to authenticate and say what it wants.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long fetching a plan may take.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

/// How long a client that is refused may take to hear it.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);

/// What became of a client that was served: a session, or a plan that it fetched.
type Served = Option<(Arc<Offer>, SessionStats)>;

impl Service {
    /// Gives a connection a thread.
    pub(super) fn receive(self: &Arc<Self>, accepted: Accepted) {
        let (unknown, was_full) = self.connections.unknown(accepted.closer());
        if was_full {
            self.metrics.turned_away();
        }
        let counted = self.connections.count();
        let service = Arc::clone(self);
        let thread = std::thread::Builder::new().name("heq-session".to_owned());
        let spawned = thread.spawn(move || {
            let _counted = counted;
            let converse = AssertUnwindSafe(|| service.converse(accepted, unknown));
            if catch_unwind(converse).is_err() {
                // The session is gone; what it held is free.
                let error = RunError::Internal { what: "a session panicked" };
                service.failed("-", None, Instant::now(), &error);
            }
        });
        if let Err(error) = spawned {
            tracing::error!("a session has no thread: {error}");
        }
    }

    /// A connection from beginning to end.
    fn converse(&self, accepted: Accepted, unknown: Unauthenticated) {
        let from = accepted.peer_address().to_string();
        let start = Instant::now();
        let caller = self.introduce(accepted);
        drop(unknown);
        let mut peer = None;
        let is_known = caller.is_ok();
        let outcome = caller.and_then(|caller| {
            peer = caller.peer().cloned();
            self.attend(caller)
        });
        match outcome {
            Ok(served) => self.served(&from, peer.as_ref(), start, served),
            // Somebody who only looks whether the port is open.
            Err(RunError::Network(NetError::Closed { .. })) if !is_known => {
                tracing::debug!(from, "a connection without a word");
                self.sessions.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.failed(&from, peer.as_ref(), start, &error),
        }
    }

    fn served(&self, from: &str, peer: Option<&Peer>, start: Instant, served: Served) {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let client = peer.map_or("-", |peer| peer.name.as_str());
        let Some((offer, stats)) = served else {
            tracing::info!(session, from, client, "plan fetched");
            return;
        };
        self.metrics.served(&offer.name, offer.plan.plan(), &stats);
        if let Some(on_session) = &self.options.on_session {
            on_session(session, &offer.plan, &stats);
        }
        tracing::info!(
            session,
            from,
            client,
            plan = offer.name,
            mode = stats.mode.name(),
            inferences = stats.inferences,
            seconds = start.elapsed().as_secs_f64(),
            "session ended"
        );
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, from: &str, peer: Option<&Peer>, start: Instant, error: &RunError) {
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        let client = peer.map_or("-", |peer| peer.name.as_str());
        let diagnostic = error.describe();
        let code = diagnostic.code;
        self.metrics.failed(error, &code.to_string());
        if let RunError::RefusedClient { refusal, .. } = error {
            let reason = refusal.name();
            tracing::info!(session, from, client, reason, "{diagnostic}");
        } else {
            let seconds = start.elapsed().as_secs_f64();
            tracing::warn!(session, from, client, %code, seconds, "{diagnostic}");
        }
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(diagnostic);
    }

    /// Finds out who a client is and what it wants.
    fn introduce(&self, accepted: Accepted) -> Result<Caller, RunError> {
        let identity = self.identity();
        let tls: Option<&ServerTls> = (*identity).as_ref().map(|(tls, _)| tls);
        let deadline = Instant::now() + HANDSHAKE_DEADLINE;
        let channel = accepted.open(self.options.connection, tls, deadline)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let _watched = self.watch.watch(channel.lifeline(), left);
        Caller::receive(channel)
    }

    /// Does what a client wants, when it is its turn.
    fn attend(&self, caller: Caller) -> Result<Served, RunError> {
        let peer = caller.peer().cloned();
        let watched = self.watch.watch(caller.lifeline(), REFUSAL_DEADLINE);
        let share = peer.as_ref().map(|peer| self.admission.share(peer.pin)).transpose();
        let _share = match share {
            Ok(share) => share,
            Err(refusal) => return Err(caller.refuse(refusal)),
        };
        let (digest, inferences) = match caller.wish() {
            Wish::Plan(_) => {
                watched.allow(FETCH_DEADLINE);
                return fetch::serve(caller, &self.catalogue()).map(|()| None);
            }
            Wish::Session { plan, inferences, .. } => (plan, inferences),
        };
        let Some(offer) = self.catalogue().find(digest).map(Arc::clone) else {
            return Err(caller.refuse(Refusal::UnknownPlan));
        };
        let modes = match &self.options.purpose {
            Purpose::Infer(_) => Modes::INFER,
            Purpose::Prepare(..) => Modes::PREPARE,
        };
        let (caller, _) = caller.expect(digest, modes)?;
        watched.allow(self.options.limits.patience + REFUSAL_DEADLINE);
        let _permit = match self.admit(&offer, peer.as_ref(), inferences) {
            Ok(permit) => permit,
            Err(refusal) => {
                watched.allow(REFUSAL_DEADLINE);
                return Err(caller.refuse(refusal));
            }
        };
        watched.allow(offer.deadline);
        let pulse = || watched.allow(offer.deadline);
        let (plan, weights) = (&offer.plan, &offer.weights);
        let stats = match &self.options.purpose {
            Purpose::Infer(store) => serve(plan, weights, store.as_ref(), caller, &pulse),
            Purpose::Prepare(store, most) => {
                prepare_server(plan, weights, store, *most, caller, &pulse)
            }
        };
        memory::give_back();
        let stats = stats?;
        // The client comes again for what this server had not prepared.
        let unserved = inferences.saturating_sub(stats.inferences);
        self.quota.give_back(peer.as_ref(), self.outputs(&offer, unserved));
        Ok(Some((offer, stats)))
    }

    /// Outputs that count for the quota: of those that prepare none, they count when they are run.
    fn outputs(&self, offer: &Offer, inferences: u32) -> u64 {
        match &self.options.purpose {
            Purpose::Infer(_) => u64::from(inferences) * offer.plan.plan().batch() as u64,
            Purpose::Prepare(..) => 0,
        }
    }

    /// Waits for a place for a session of so many inferences.
    fn admit(
        &self,
        offer: &Offer,
        peer: Option<&Peer>,
        inferences: u32,
    ) -> Result<super::admission::Permit, Refusal> {
        let outputs = self.outputs(offer, inferences);
        // The list may be read again while the client waits.
        let in_quota = |is_counted: bool| {
            let identity = self.identity();
            let clients = (*identity).as_ref().and_then(|(_, clients)| clients.as_ref());
            let is_listed = |clients: &Clients| peer.is_some_and(|peer| clients.contains(peer.pin));
            if !clients.is_none_or(is_listed) {
                return Err(Refusal::NotAdmitted);
            }
            if is_counted {
                self.quota.take(peer, clients, outputs)
            } else {
                self.quota.check(peer, clients, outputs)
            }
        };
        in_quota(false)?;
        let permit = self.admission.enter(self.options.purpose.session_bytes(offer))?;
        in_quota(true)?;
        Ok(permit)
    }
}
