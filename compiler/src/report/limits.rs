//! Limits that a plan's cost must keep, for checks that run unattended.

use super::Report;
use super::units::{bytes, seconds};

/// Limits of one inference; those that are not given bind nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CostLimits {
    /// Bytes both ways, the random OTs that are made for it included.
    pub bytes: Option<u64>,
    /// Sequential message steps, set-up left aside.
    pub flights: Option<u64>,
    /// Predicted time in seconds, set-up left aside.
    pub latency_s: Option<f64>,
    /// Predicted peak memory of either party in bytes.
    pub memory: Option<u64>,
}

impl Report<'_> {
    /// The limits that do not hold, each as a sentence that names the figure and both values.
    #[must_use]
    pub fn broken(&self, limits: &CostLimits) -> Vec<String> {
        let mut broken = Vec::new();
        let mut check = |option: &str, is_broken: bool, sentence: String| {
            if is_broken {
                broken.push(format!("{option}: {sentence}"));
            }
        };
        let all = self.inference_bytes();
        if let Some(limit) = limits.bytes {
            let sentence = format!("an inference takes {all} bytes, the limit is {limit}");
            check("--max-bytes", all > limit, sentence);
        }
        let flights = self.online.flights;
        if let Some(limit) = limits.flights {
            let sentence = format!("an inference takes {flights} flights, the limit is {limit}");
            check("--max-flights", flights > limit, sentence);
        }
        let latency = self.prediction.online_s();
        if let Some(limit) = limits.latency_s {
            let (found, most) = (seconds(latency), seconds(limit));
            let sentence =
                format!("an inference is predicted to take {found}, the limit is {most}");
            check("--max-latency", latency > limit, sentence);
        }
        for (party, memory) in [("client", &self.memory.client), ("server", &self.memory.server)] {
            let peak = memory.peak();
            if let Some(limit) = limits.memory {
                let (found, most) = (bytes(peak), bytes(limit));
                let sentence =
                    format!("the {party} is predicted to take {found}, the limit is {most}");
                check("--max-memory", peak > limit, sentence);
            }
        }
        broken
    }
}
