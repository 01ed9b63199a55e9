//! What the user says about the choice: what is minimised, within what, among which candidates.

use crate::kernel::packing::PackingRule;
use heq_ir::link::LinkProfile;
use heq_ir::plan::Plan;
use heq_ir::predict::{CostProfile, PlanPrediction, Situation};
use heq_ir::stop::Stop;
use std::sync::Arc;

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Objective {
    /// Time of an inference.
    #[default]
    Latency,
    /// Bytes on the wire, both ways, random OTs included.
    Bytes,
    /// Time of an inference that was prepared; what is done beforehand counts little.
    OnlineLatency,
    /// Seconds, and this many for every MB (10^6 bytes).
    Weighted {
        /// Seconds that a MB is worth, at least 0.
        seconds_per_mb: f64,
    },
}

impl std::fmt::Display for Objective {
    /// As `--objective` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latency => f.write_str("latency"),
            Self::Bytes => f.write_str("bytes"),
            Self::OnlineLatency => f.write_str("online-latency"),
            Self::Weighted { seconds_per_mb } => write!(f, "weighted:{seconds_per_mb}"),
        }
    }
}

/// Bounds that a plan must keep; those that are not given bind nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Memory of the client in bytes.
    pub client_memory: Option<u64>,
    /// Memory of the server in bytes.
    pub server_memory: Option<u64>,
    /// Bytes of an inference, both ways, random OTs included.
    pub max_bytes: Option<u64>,
    /// Predicted time of an inference in seconds.
    pub max_latency_s: Option<f64>,
}

/// The tiles of linear layers that may be used.
///
/// All rules but the first cut output planes into as few tiles as fit a ring, and have one tile a ring,
/// or one for every level of merging.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TileRule {
    /// All.
    #[default]
    Any,
    /// Cheetah's: as many input planes a request as fit, one kernel a response, groups apart from each
    /// other; in matrix products as few requests and responses together as fit. [HLHD22, Section 3]
    WholePlanes,
    /// One input plane of a group a request, and as many kernels a response as fit, then groups.
    OneChannel,
    /// As many kernels a response as input planes a request, as many as fit, then groups.
    Square,
}

/// The moduli that may be used, and how much of a request travels. Of responses as many low bits are
/// dropped as the noise lets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModulusRule {
    /// All that fit; low bits of requests are dropped, too.
    #[default]
    Any,
    /// The narrowest of a ring in which the noise of a tile fits, the coefficients of requests whole.
    Narrowest,
    /// The widest of a ring that the security table and the kernels allow, without keys to merge
    /// responses, the coefficients of requests whole.
    Widest,
}

/// The forms of circuits on shared bits that may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormRule {
    /// All.
    #[default]
    Any,
    /// Those that no other beats in both bytes and random OTs: long carries.
    FewestBytes,
    /// Those of the fewest flights: both sums made at once, trees of comparisons.
    FewestFlights,
}

/// Which candidates there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// How many elements coefficients hold.
    pub packing: PackingRule,
    /// Whether responses may be merged.
    pub merges: bool,
    /// Whether layers that read the same value may share requests.
    pub shares: bool,
    /// The only ring degree, if there is only one.
    pub ring_degree: Option<usize>,
    /// Tiles.
    pub tiles: TileRule,
    /// Moduli.
    pub moduli: ModulusRule,
    /// Forms of circuits on shared bits.
    pub forms: FormRule,
}

/// Everything there is.
impl Default for Restriction {
    fn default() -> Self {
        Self {
            packing: PackingRule::Auto,
            merges: true,
            shares: true,
            ring_degree: None,
            tiles: TileRule::Any,
            moduli: ModulusRule::Any,
            forms: FormRule::Any,
        }
    }
}

/// Steps from what others do to what this compiler does, with the same protocols. [XLW24, Section 5]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// A ring of [`Preset::RING_BITS`] bits, N = 4096 and the widest modulus, Cheetah's tiles.
    Cheetah,
    /// Rings as wide as the quantized sums, the narrowest modulus, the same tiles.
    NaiveQuant,
    /// Also tiles that suit the widths, and several elements a coefficient.
    Hequant,
    /// Everything there is.
    #[default]
    Best,
}

impl Preset {
    /// All, each with more candidates than the one before or better ones.
    pub const ALL: [Self; 4] = [Self::Cheetah, Self::NaiveQuant, Self::Hequant, Self::Best];

    /// As `--preset` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cheetah => "cheetah",
            Self::NaiveQuant => "naive-quant",
            Self::Hequant => "hequant",
            Self::Best => "best",
        }
    }

    /// Width of the accumulators of [`Preset::Cheetah`] in bits.
    pub const RING_BITS: u32 = 37;

    /// The candidates of the preset.
    #[must_use]
    pub fn restriction(self) -> Restriction {
        let best = Restriction::default();
        let cheetah = Restriction {
            packing: PackingRule::None,
            merges: false,
            shares: false,
            ring_degree: Some(4096),
            tiles: TileRule::WholePlanes,
            moduli: ModulusRule::Widest,
            ..best
        };
        match self {
            Self::Cheetah => cheetah,
            Self::NaiveQuant => {
                Restriction { ring_degree: None, moduli: ModulusRule::Narrowest, ..cheetah }
            }
            Self::Hequant => {
                Restriction { merges: false, shares: false, moduli: ModulusRule::Narrowest, ..best }
            }
            Self::Best => best,
        }
    }

    /// Least width of accumulators in bits, if there is one.
    #[must_use]
    pub fn ring_bits(self) -> Option<u32> {
        (self == Self::Cheetah).then_some(Self::RING_BITS)
    }
}

impl std::fmt::Display for Restriction {
    /// The preset with these candidates, or `custom`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let preset = Preset::ALL.into_iter().find(|preset| preset.restriction() == *self);
        f.write_str(preset.map_or("custom", Preset::name))
    }
}

/// How many candidates the program gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// The best in every view of them.
    #[default]
    Full,
    /// The best for the objective: enough to compare models with each other.
    Quick,
}

/// How the choice is made.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// What is minimised.
    pub objective: Objective,
    /// The link between the parties.
    pub network: LinkProfile,
    /// Times of the machines.
    pub profile: Arc<CostProfile>,
    /// Threads of each party.
    pub threads: usize,
    /// Inferences of a session, among which its set-up is divided.
    pub inferences: u32,
    /// What the plan must keep within.
    pub limits: Limits,
    /// Which candidates there are.
    pub restriction: Restriction,
    /// How many of them are looked at.
    pub effort: Effort,
    /// Ends the search before it has found a plan.
    pub stop: Stop,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            network: LinkProfile::WAN,
            profile: Arc::default(),
            threads: 2,
            inferences: 1,
            limits: Limits::default(),
            restriction: Restriction::default(),
            effort: Effort::default(),
            stop: Stop::default(),
        }
    }
}

impl SearchOptions {
    /// Whether plans are for prepared inferences.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.objective == Objective::OnlineLatency
    }

    /// Predicted times of what is to be fast: an inference of `plan`, or a prepared one.
    #[must_use]
    pub fn predict(&self, plan: &Plan) -> PlanPrediction {
        match self.is_prepared() {
            true => plan.predict_prepared(&self.situation()),
            false => plan.predict(&self.situation()),
        }
    }

    /// Bytes of an inference of `plan`, both ways, random OTs included; of a prepared one of both phases.
    #[must_use]
    pub fn bytes(&self, plan: &Plan) -> u64 {
        if !self.is_prepared() {
            let cost = plan.cost(1);
            return cost.online().bytes() + cost.correlations.bytes();
        }
        let offline = plan.offline_cost(1);
        let beforehand = offline.online().bytes() + offline.correlations.bytes();
        beforehand + plan.online_cost(1, 1).online().bytes()
    }

    /// What times are predicted for: two machines.
    #[must_use]
    pub fn situation(&self) -> Situation<'_> {
        Situation {
            profile: &self.profile,
            link: Some(self.network),
            threads: self.threads,
            is_shared: false,
        }
    }
}
