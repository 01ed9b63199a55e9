//! Which OT extensions a plan may name, and what they take.

use super::options::SearchOptions;
use crate::ilp::{Amounts, Extension, Resource};
use heq_ir::plan::OtExtension;
use heq_ir::traffic::wire_bytes;

/// Which OT extension a plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtRule {
    /// The best.
    Auto,
    /// This one.
    Fixed(OtExtension),
}

impl OtRule {
    /// The extension that the views of candidates count on: while it is open, the one that most plans
    /// take.
    #[must_use]
    pub fn assumed(self) -> OtExtension {
        match self {
            Self::Auto => OtExtension::Silent { log_rows: 20 },
            Self::Fixed(extension) => extension,
        }
    }

    /// The extensions that may be chosen.
    #[must_use]
    pub fn candidates(self) -> Vec<OtExtension> {
        match self {
            Self::Auto => OtExtension::all().collect(),
            Self::Fixed(extension) => vec![extension],
        }
    }
}

/// What an OT extension takes; its set-up once a session, of which `share` counts.
pub(super) fn extension(ot: OtExtension, search: &SearchOptions, share: f64) -> Extension {
    let setup_bytes = ot.setup_bytes().iter().map(|&bytes| wire_bytes(bytes)).sum::<u64>() as f64;
    let setup_us = search.profile.extension_setup_us(ot);
    let row_us = search.profile.row_us(ot);
    let situation = search.situation();
    let made = |us: f64, bytes: f64| {
        // Of rows that the server sends, then of those that the client sends.
        let senders = [Resource::Down, Resource::Up];
        let receivers = [Resource::Up, Resource::Down];
        let sent = if ot.sender_sends() { senders } else { receivers };
        let production = us + situation.transmission_us(bytes) / 2.0;
        sent.map(|direction| {
            Amounts::of([
                (Resource::Production, production),
                (Resource::ClientCpu, us),
                (Resource::ServerCpu, us),
                (direction, bytes),
            ])
        })
    };
    let extension = Extension {
        once: Amounts::of([
            (Resource::Path, share * (setup_us + search.situation().transmission_us(setup_bytes))),
            (Resource::Setup, 2.0 * share * setup_bytes),
            (Resource::ClientCpu, share * setup_us),
            (Resource::ServerCpu, share * setup_us),
        ]),
        row: match ot.iteration() {
            None => made(row_us, ot.bytes_per_row()),
            Some(_) => made(0.0, 0.0),
        },
        // Rows left over serve the next inference, so that one pays for its share of an iteration.
        iteration: ot.iteration().map(|(rows, bytes)| {
            let rows = share * rows as f64;
            (rows, made(rows * row_us, share * bytes as f64))
        }),
    };
    if search.is_prepared() { extension.beforehand() } else { extension }
}
