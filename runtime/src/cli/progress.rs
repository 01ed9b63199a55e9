//! The progress bar of a client on a terminal: step, bytes, time left.

use crate::session::Observer;
use heq_ir::diagnostic::cell;
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::predict::{CostProfile, Situation};
use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often the time left is drawn again.
const TICK: Duration = Duration::from_millis(250);

/// Columns for the name of a step.
const NAME_COLUMNS: usize = 32;

/// A bar on the terminal, until it is dropped.
pub(super) struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar, and what draws on it. Steps take the space that their predicted time on `link`, or
/// on a local network if that is not known, has of the whole.
pub(super) fn bar(plan: &Plan, inferences: usize, link: Option<LinkProfile>) -> (Bar, Observer) {
    let profile = CostProfile::default();
    let link = Some(link.unwrap_or(LinkProfile::LAN));
    let situation = Situation { profile: &profile, link, threads: 1, is_shared: false };
    let mut ends = Vec::with_capacity(plan.layers().len() + 1);
    let mut end = 0_u64;
    ends.push(end);
    for layer in plan.predict(&situation).layers {
        // Below a microsecond a step is still a step.
        let span = Duration::try_from_secs_f64(layer.wall_s).unwrap_or_default();
        end += 1 + u64::try_from(span.as_micros()).unwrap_or(u64::MAX >> 32);
        ends.push(end);
    }
    let names: Vec<String> = plan.layers().iter().map(|layer| short(&cell(&layer.name))).collect();
    let bar = ProgressBar::new(end.saturating_mul(inferences as u64));
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {percent:>3} %  {msg}  {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    let drawn = bar.clone();
    let observer: Observer = Box::new(move |progress| {
        let step = ends.get(progress.step).copied().unwrap_or(end);
        drawn.set_position(u64::from(progress.inference).saturating_mul(end).saturating_add(step));
        let name = names.get(progress.step).map_or("", String::as_str);
        let of = match progress.inferences {
            0 | 1 => String::new(),
            all => format!("inference {} of {all}, ", progress.inference + 1),
        };
        drawn.set_message(format!("{of}{name}, {}", BinaryBytes(progress.bytes)));
    });
    (Bar(bar), observer)
}

/// The end of a name that is too long: what comes first is often alike.
fn short(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_COLUMNS {
        return name.to_owned();
    }
    let kept = name.chars().skip(count - NAME_COLUMNS + 1);
    std::iter::once('\u{2026}').chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_beginning() {
        assert_eq!(short("conv1"), "conv1");
        let long = short(&format!("{}/conv1", "x".repeat(100)));
        assert_eq!(long.chars().count(), NAME_COLUMNS);
        assert!(long.ends_with("x/conv1") && long.starts_with('\u{2026}'));
    }
}
