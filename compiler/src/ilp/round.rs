//! Choices that compute every step, and how parts of candidates become one.

use super::Program;

impl Program {
    /// Whether every step is computed as often as it is there.
    pub(super) fn covers(&self, counts: &[u32]) -> bool {
        let mut done = vec![0_u32; self.steps.len()];
        for (candidate, &count) in self.candidates.iter().zip(counts) {
            candidate.steps.iter().for_each(|&step| done[step] += count);
        }
        done.iter().zip(&self.steps).all(|(&done, step)| done == step.count)
    }

    /// The choice closest to one of parts: every candidate as often as it is whole there, then once those
    /// of the largest parts that are left, and what is not computed yet by what has most of it.
    pub(super) fn rounded(&self, parts: &[f64]) -> Vec<u32> {
        let mut missing: Vec<u32> = self.steps.iter().map(|step| step.count).collect();
        let mut counts = vec![0_u32; self.candidates.len()];
        let mut choose = |j: usize, most: u32, counts: &mut [u32]| {
            let steps = &self.candidates[j].steps;
            let count = steps.iter().map(|&step| missing[step]).min().unwrap_or(0).min(most);
            steps.iter().for_each(|&step| missing[step] -= count);
            counts[j] += count;
        };
        for (j, part) in parts.iter().enumerate() {
            choose(j, whole(*part), &mut counts);
        }
        let left = |j: usize| parts[j] - f64::from(whole(parts[j]));
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by(|&a, &b| left(b).total_cmp(&left(a)));
        order.iter().filter(|&&j| left(j) > SLACK).for_each(|&j| choose(j, 1, &mut counts));
        let is_alone = |j: &&usize| self.candidates[**j].steps.len() == 1;
        order.iter().filter(is_alone).for_each(|&j| choose(j, u32::MAX, &mut counts));
        counts
    }
}

/// Solvers return integers that are off by as much.
const SLACK: f64 = 1e-6;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of steps that is not negative"
)]
fn whole(part: f64) -> u32 {
    (part.clamp(0.0, f64::from(u32::MAX)) + SLACK).floor() as u32
}
