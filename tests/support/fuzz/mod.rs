//! What any bytes from a file or a peer must survive: one target for each place where they come in.
//!
//! A target gives bytes to the code that reads them and looks at what that says. It fails on a panic, on an
//! error that blames this program, on an answer that contradicts itself, and, where a session runs, on one
//! that does not end. `tests/fuzz` runs targets under libFuzzer, and the test `fuzz` a while without it.
#![allow(clippy::cast_possible_truncation, reason = "test support: numbers are small")]

mod files;
mod messages;
mod sessions;

use crate::between::PEER_CODES;
use heq_runtime::error::RunError;
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use std::path::PathBuf;

/// A place where bytes come in.
pub struct Target {
    /// Its name, of the folder of its seeds too.
    pub name: &'static str,
    /// Reads the bytes; what it returns is a fault of the code that reads them.
    pub run: fn(&[u8]) -> Result<(), String>,
    /// Bytes that it reads without complaint, or nearly, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "onnx_import", run: files::onnx_import, seeds: files::onnx_seeds },
    Target { name: "plan", run: files::plan, seeds: files::plan_seeds },
    Target { name: "weights", run: files::weights, seeds: files::weights_seeds },
    Target { name: "arrays", run: files::arrays, seeds: files::array_seeds },
    Target { name: "pictures", run: files::arrays, seeds: files::picture_seeds },
    Target { name: "documents", run: files::documents, seeds: files::document_seeds },
    Target { name: "identities", run: files::identities, seeds: files::identity_seeds },
    Target { name: "frames", run: messages::frames, seeds: messages::frame_seeds },
    Target { name: "handshake", run: messages::handshake, seeds: messages::handshake_seeds },
    Target { name: "ciphertexts", run: messages::ciphertexts, seeds: messages::scripts },
    Target { name: "keys", run: messages::keys, seeds: messages::scripts },
    Target { name: "base_ot", run: messages::base_ot, seeds: messages::base_ot_seeds },
    Target { name: "ot_extension", run: messages::ot_extension, seeds: messages::scripts },
    Target { name: "client_session", run: sessions::client, seeds: sessions::seeds },
    Target { name: "server_session", run: sessions::server, seeds: sessions::seeds },
];

/// Runs a target on bytes.
///
/// # Panics
/// If the target fails or does not exist.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    if let Err(fault) = (target.run)(bytes) {
        panic!("{name}: {fault}");
    }
}

/// Where the seeds of a target lie.
#[must_use]
pub fn seed_folder(name: &str) -> PathBuf {
    crate::root().join("tests/fuzz/seeds").join(name)
}

/// A few random changes of `bytes`; `other` is what pieces are taken from.
pub fn mutate(rng: &mut ChaCha20Rng, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    let index =
        |rng: &mut ChaCha20Rng, count: usize| (rng.next_u64() % count.max(1) as u64) as usize;
    for _ in 0..=index(rng, 4) {
        let at = index(rng, bytes.len());
        let end = (at + 1 + index(rng, 32)).min(bytes.len());
        match index(rng, 7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << index(rng, 8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][index(rng, 5)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at.min(end)..end)),
            4 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let from = index(rng, other.len());
                let piece = other[from..(from + 32).min(other.len())].to_vec();
                bytes.splice(at.min(end)..end, piece);
            }
            _ => {
                let word = [0, u64::MAX, 1 << 31, 1 << 63][index(rng, 4)];
                let width = [1, 4, 8][index(rng, 3)];
                bytes.splice(
                    at..(at + width).min(bytes.len()).max(at),
                    word.to_le_bytes()[..width].to_vec(),
                );
            }
        }
    }
    bytes
}

/// What bytes say beside their contents: read from the front, zeros after the end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    /// A message of what is left: of `length` bytes, repeated as often as that takes, or for one choice in
    /// four as it is.
    fn message(&mut self, length: usize) -> Vec<u8> {
        if self.byte().is_multiple_of(4) {
            return self.0.to_vec();
        }
        let rest = if self.0.is_empty() { &[0][..] } else { self.0 };
        rest.iter().copied().cycle().take(length).collect()
    }
}

/// Whether an error says that the peer, or the way to it, is at fault.
fn blames_peer(error: RunError) -> Result<(), String> {
    let found = error.into_diagnostic();
    if PEER_CODES.contains(&found.code) {
        return Ok(());
    }
    Err(format!("blames somebody else than the peer: {found}"))
}
