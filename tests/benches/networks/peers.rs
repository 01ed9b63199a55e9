//! What other systems take for one inference of the same networks.
//!
//! Measured on one machine (2 cores, AMD Zen 5, AVX-512, 24 GB), client and server as two processes over
//! loopback: SPU 0.9.5 with Cheetah and FM64, OpenCheetah with its ring of 37 bits, whose ReLU and
//! truncation are approximate. Set-up (keys, base OT, first Ferret) is not in it. CPU is of both parties.

/// A system and its figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) system: &'static str,
    /// Bytes both ways.
    pub(crate) bytes: f64,
    /// User and system time of both parties in seconds.
    pub(crate) cpu_s: f64,
    /// Sequential message steps, where they were counted exactly.
    pub(crate) flights: Option<f64>,
}

const fn peer(system: &'static str, megabytes: f64, cpu_s: f64, flights: Option<f64>) -> Peer {
    Peer { system, bytes: megabytes * 1e6, cpu_s, flights }
}

pub(crate) const SPU_MLP: Peer = peer("SPU", 1.40, 0.46, None);
pub(crate) const SPU_LENET: Peer = peer("SPU", 3.29, 1.0, None);
pub(crate) const SPU_RESNET20: Peer = peer("SPU", 36.6, 19.6, None);
pub(crate) const SPU_RESNET32: Peer = peer("SPU", 59.0, 30.0, None);
pub(crate) const OPEN_CHEETAH_SQUEEZENET: Peer = peer("OpenCheetah", 447.0, 65.0, Some(822.0));
pub(crate) const OPEN_CHEETAH_RESNET50: Peer = peer("OpenCheetah", 1903.0, 152.0, Some(1050.0));
