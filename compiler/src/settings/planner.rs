//! What the user says about the choice of a plan.

use super::PackingArgument;
use crate::kernel::packing::PackingRule;
use crate::select::options::{Limits, Objective, Preset, Restriction, SearchOptions};
use clap::{Args, ValueEnum};
use heq_data::costs::read_costs;
use heq_data::parse_size;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::link::LinkProfile;
use std::path::PathBuf;
use std::sync::Arc;

/// How a plan is chosen.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choice of the plan")]
pub struct PlannerSettings {
    /// The link that the plan is for: lan is 3 Gbit/s and 0.3 ms there and back, wan 400 Mbit/s and
    /// 40 ms, mobile 50 Mbit/s and 60 ms
    #[arg(long, value_name = "lan|wan|mobile|BANDWIDTH,RTT", default_value = "wan")]
    network: LinkProfile,
    /// What is minimised: the time of an inference, its bytes, the time of one that heq-run prepare
    /// prepared, or seconds and A seconds for every MB
    #[arg(long, value_name = "latency|bytes|online-latency|weighted:A", default_value = "latency", value_parser = parse_objective)]
    objective: Objective,
    /// Candidates: those of the papers that this compiler starts from, step by step, or all
    #[arg(long, value_enum, default_value = "best")]
    preset: PresetArgument,
    /// Times of the machines, as heq-run calibrate measures them (default: of a server with AVX-512)
    #[arg(long, value_name = "COSTS.json")]
    profile: Option<PathBuf>,
    /// Threads that each party will compute on
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Inferences of a session, among which its set-up is divided
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    inferences: u32,
    /// Most memory of the client
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    client_memory: Option<u64>,
    /// Most memory of the server, which it keeps with a --weight-cache of what is left
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    server_memory: Option<u64>,
    /// Most bytes of an inference, both ways, random OTs included
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_bytes: Option<u64>,
    /// Longest predicted time of an inference in seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    max_latency: Option<f64>,
}

impl PlannerSettings {
    /// The preset.
    pub(super) fn preset(&self) -> Preset {
        match self.preset {
            PresetArgument::Cheetah => Preset::Cheetah,
            PresetArgument::NaiveQuant => Preset::NaiveQuant,
            PresetArgument::Hequant => Preset::Hequant,
            PresetArgument::Best => Preset::Best,
        }
    }

    /// The options of the search, with `packing` where the preset leaves it open.
    pub(super) fn options(
        &self,
        packing: Option<PackingArgument>,
    ) -> Result<SearchOptions, Diagnostic> {
        let mut restriction = self.preset().restriction();
        if let Some(packing) = packing {
            restriction = Restriction { packing: packing.into(), ..restriction };
        }
        if self.objective == Objective::OnlineLatency {
            restriction.packing = match restriction.packing {
                PackingRule::Auto | PackingRule::None => PackingRule::None,
                PackingRule::WithinChannel | PackingRule::CrossChannel => {
                    return Err(Diagnostic::new(
                        Code::BadOption,
                        "--packing",
                        "a mask has no room in a coefficient that holds several elements",
                        "leave it out with --objective online-latency, or give none",
                    ));
                }
            };
        }
        Ok(SearchOptions {
            objective: self.objective,
            network: self.network,
            profile: self
                .profile
                .as_deref()
                .map_or_else(|| Ok(Arc::default()), |path| read_costs(path).map(Arc::new))?,
            threads: self.threads.into(),
            inferences: self.inferences,
            limits: Limits {
                client_memory: self.client_memory,
                server_memory: self.server_memory,
                max_bytes: self.max_bytes,
                max_latency_s: self.max_latency,
            },
            restriction,
            ..SearchOptions::default()
        })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetArgument {
    /// A ring of 37 bits, N = 4096, the widest modulus, whole planes
    Cheetah,
    /// Rings as wide as the quantized sums, the narrowest modulus
    NaiveQuant,
    /// Also tiles that suit the widths, and several elements a coefficient
    Hequant,
    /// Everything there is
    Best,
}

/// Most seconds that a MB is worth.
const MOST_SECONDS: f64 = 1e6;

fn parse_objective(text: &str) -> Result<Objective, String> {
    match text {
        "latency" => return Ok(Objective::Latency),
        "bytes" => return Ok(Objective::Bytes),
        "online-latency" => return Ok(Objective::OnlineLatency),
        _ => {}
    }
    let seconds = text.strip_prefix("weighted:").and_then(|number| number.parse().ok());
    let seconds = seconds.filter(|seconds: &f64| (0.0..=MOST_SECONDS).contains(seconds));
    seconds.map(|seconds_per_mb| Objective::Weighted { seconds_per_mb }).ok_or_else(|| {
        "give latency, bytes, online-latency, or weighted:A with A seconds a MB".to_owned()
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| "give a number of seconds above zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_are_named() {
        for (text, expected) in [
            ("latency", Some(Objective::Latency)),
            ("bytes", Some(Objective::Bytes)),
            ("online-latency", Some(Objective::OnlineLatency)),
            ("weighted:0.5", Some(Objective::Weighted { seconds_per_mb: 0.5 })),
            ("weighted:-1", None),
            ("weighted:nan", None),
            ("weighted:1e7", None),
            ("weighted:", None),
            ("time", None),
        ] {
            assert_eq!(parse_objective(text).ok(), expected, "{text}");
        }
    }
}
