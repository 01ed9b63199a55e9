//! Targets that run whole sessions of which one party's frames are changed on the way.
//!
//! The other party follows the protocol, and what it sends meets the bytes of the target: a list of mutations.
//! So the party that is looked at comes to every state with messages that are nearly right.

use super::Script;
use crate::between::mutation::{MUTATIONS, Mutation, Site};
use heq_ir::plan::OtExtension;
use std::sync::LazyLock;

/// Bytes of a mutation, and most of a session.
const MUTATION_BYTES: usize = 6;
const MUTATIONS_OF_A_SESSION: usize = 3;

static SITE: LazyLock<Site> =
    LazyLock::new(|| Site::new(OtExtension::SoftSpoken { field_bits: 4 }));

fn mutations(bytes: &[u8]) -> Vec<Mutation> {
    let mutation = |bytes| {
        let mut script = Script(bytes);
        let (frame, kind) = (usize::from(script.byte()), usize::from(script.byte()));
        let seed = script.word() as u64 | (script.word() as u64) << 16;
        Mutation { frame, kind: kind % MUTATIONS.len(), seed }
    };
    bytes.chunks(MUTATION_BYTES).take(MUTATIONS_OF_A_SESSION).map(mutation).collect()
}

/// A session in which what the server sends is changed.
pub(super) fn client(bytes: &[u8]) -> Result<(), String> {
    SITE.run([Vec::new(), mutations(bytes)]).map(|_| ())
}

/// A session in which what the client sends is changed.
pub(super) fn server(bytes: &[u8]) -> Result<(), String> {
    SITE.run([mutations(bytes), Vec::new()]).map(|_| ())
}

/// Every kind of mutation in some frames of either direction, and none.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let frames = [0, 1, 4, 9];
    let each = (0..MUTATIONS.len() as u8)
        .flat_map(|kind| frames.map(|frame| vec![frame, kind, frame * 7 + kind, 0, 3, 0]));
    std::iter::once(Vec::new()).chain(each).collect()
}
