//! The plans that a server serves.

use crate::error::RunError;
use crate::session::{PreparedPlan, PreparedServer};
use crate::watch::session_deadline;
use heq_data::plan_files::{read_plan_bytes, read_weights};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::weights::{ServerWeights, default_path};
use heq_ir::plan::{Plan, PlanDigest};
use heq_ir::predict::memory::{MemorySituation, PROGRAM_BYTES};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Which plans a server serves, and with what.
#[derive(Clone, Debug)]
pub struct Plans {
    /// Where they are.
    pub sources: Vec<PlanSource>,
    /// The weights, if there is one file of a plan and they are not beside it.
    pub weights: Option<PathBuf>,
    /// Most bytes of transformed weights of each plan.
    pub weight_cache_bytes: usize,
}

/// Where a plan is.
#[derive(Clone, Debug)]
pub enum PlanSource {
    /// In a file, or in a folder of files, which are read again with all others.
    File(PathBuf),
    /// In memory.
    Memory(Arc<PlanInMemory>),
}

impl From<PathBuf> for PlanSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// A plan in memory, with the weights that belong to it.
#[derive(Debug)]
pub struct PlanInMemory {
    /// Its name at the server.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// Its file.
    pub bytes: Arc<[u8]>,
    /// Its weights.
    pub weights: Arc<ServerWeights>,
}

/// A plan as a server serves it. All sessions share it.
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) plan: PreparedPlan,
    pub(crate) weights: PreparedServer,
    /// The file.
    pub(crate) bytes: Arc<[u8]>,
    /// Memory that sessions share, and that each takes, in bytes.
    pub(crate) shared_bytes: u64,
    pub(crate) session_bytes: u64,
    /// How long set-up and one inference may take.
    pub(crate) deadline: Duration,
}

/// All plans of a server.
pub(crate) struct Catalogue {
    offers: Vec<Arc<Offer>>,
}

/// One plan in the list that clients can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name: that of its file without the ending.
    pub name: String,
    /// Its digest, 64 hexadecimal digits.
    pub digest: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// The name of the model that it was compiled from.
    pub model: String,
}

impl Catalogue {
    /// Reads all plans with their weights.
    pub(crate) fn load(plans: &Plans, deadline: Option<Duration>) -> Result<Self, Diagnostic> {
        let mut offers: Vec<Arc<Offer>> = Vec::new();
        let found = found(&plans.sources)?;
        if let (Some(weights), [_, _, ..]) = (&plans.weights, found.as_slice()) {
            let what = "names the weights of one plan, but there are several";
            let remedy = "put the weights of each plan beside it, as PLAN.server.heq";
            return Err(Diagnostic::new(
                Code::BadOption,
                weights.display().to_string(),
                what,
                remedy,
            ));
        }
        for source in found {
            let offer = Offer::load(&source, plans, deadline)?;
            let digest = offer.plan.plan().digest();
            let twice = |other: &Arc<Offer>| {
                other.name == offer.name || other.plan.plan().digest() == digest
            };
            if let Some(other) = offers.iter().find(|other| twice(other)) {
                let what = format!("has the name or the digest of another plan, {}", other.name);
                let remedy = "give each plan once, in files of different names";
                return Err(Diagnostic::new(Code::BadOption, &offer.name, what, remedy));
            }
            offers.push(Arc::new(offer));
        }
        Ok(Self { offers })
    }

    /// Memory that all plans take, sessions apart. The program is counted with each plan, but there once.
    pub(crate) fn shared_bytes(&self) -> u64 {
        let plans = self.offers.iter().fold(0_u64, |sum, offer| {
            sum.saturating_add(offer.shared_bytes.saturating_sub(PROGRAM_BYTES))
        });
        plans.saturating_add(PROGRAM_BYTES)
    }

    pub(crate) fn offers(&self) -> &[Arc<Offer>] {
        &self.offers
    }

    /// The plan of a digest.
    pub(crate) fn find(&self, digest: PlanDigest) -> Option<&Arc<Offer>> {
        self.offers.iter().find(|offer| offer.plan.plan().digest() == digest)
    }

    /// What a client asks for: a plan by digest or name, or the list.
    pub(crate) fn fetch(&self, key: PlanDigest) -> Option<Arc<[u8]>> {
        if key == LIST {
            return Some(serde_json::to_vec(&self.list()).unwrap_or_default().into());
        }
        let named = |offer: &&Arc<Offer>| name_key(&offer.name) == key;
        let offer = self.find(key).or_else(|| self.offers.iter().find(named))?;
        Some(Arc::clone(&offer.bytes))
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |offer: &Arc<Offer>| Listed {
            name: offer.name.clone(),
            digest: offer.plan.plan().digest().to_string(),
            bytes: offer.bytes.len() as u64,
            model: offer.plan.plan().spec().model.clone(),
        };
        self.offers.iter().map(listed).collect()
    }
}

/// Asks for the list of plans.
pub(crate) const LIST: PlanDigest = PlanDigest([0; 32]);

/// What asks for a plan by its name.
pub(crate) fn name_key(name: &str) -> PlanDigest {
    let hash = Sha256::new().chain_update(b"heq/1/plan-name/").chain_update(name.as_bytes());
    PlanDigest(hash.finalize().into())
}

impl Offer {
    fn load(
        source: &PlanSource,
        plans: &Plans,
        deadline: Option<Duration>,
    ) -> Result<Self, Diagnostic> {
        let path = match source {
            PlanSource::Memory(of) => {
                let (plan, bytes) = (of.plan.clone(), Arc::clone(&of.bytes));
                let cache = plans.weight_cache_bytes;
                return Self::new(of.name.clone(), plan, bytes, &of.weights, cache, deadline);
            }
            PlanSource::File(path) => path,
        };
        let (plan, bytes) = read_plan_bytes(path)?;
        let weights_path = plans.weights.clone().unwrap_or_else(|| default_path(path));
        let weights = read_weights(&weights_path, &plan)?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self::new(name, plan, bytes.into(), &weights, plans.weight_cache_bytes, deadline)
    }

    fn new(
        name: String,
        plan: Plan,
        bytes: Arc<[u8]>,
        weights: &ServerWeights,
        weight_cache_bytes: usize,
        deadline: Option<Duration>,
    ) -> Result<Self, Diagnostic> {
        let situation = MemorySituation {
            weight_cache_bytes: weight_cache_bytes as u64,
            threads: rayon::current_num_threads(),
        };
        let shared_bytes = plan.shared_memory(&situation);
        let session_bytes = plan.memory(&situation).server.peak().saturating_sub(shared_bytes);
        let deadline = deadline.unwrap_or_else(|| session_deadline(&plan));
        let plan = PreparedPlan::new(plan);
        let weights = PreparedServer::new(&plan, weights, weight_cache_bytes)
            .map_err(RunError::into_diagnostic)?;
        Ok(Self { name, plan, weights, bytes, shared_bytes, session_bytes, deadline })
    }
}

/// Plans one by one: of folders the files in them, in the order of their names.
fn found(given: &[PlanSource]) -> Result<Vec<PlanSource>, Diagnostic> {
    let mut all = Vec::new();
    for source in given {
        let path = match source {
            PlanSource::File(path) if path.is_dir() => path,
            PlanSource::File(_) | PlanSource::Memory(_) => {
                all.push(source.clone());
                continue;
            }
        };
        let place = path.display().to_string();
        let cannot_read = |error: std::io::Error| {
            let remedy = "check the folder and its permissions";
            Diagnostic::new(Code::FileAccess, &place, format!("cannot be read: {error}"), remedy)
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(cannot_read)? {
            found.push(entry.map_err(cannot_read)?.path());
        }
        found.retain(|path| is_plan_file(path));
        if found.is_empty() {
            let what = "has no plan in it";
            let remedy = "put files PLAN.heq into it, with PLAN.server.heq beside each";
            return Err(Diagnostic::new(Code::FileAccess, place, what, remedy));
        }
        found.sort();
        all.extend(found.into_iter().map(PlanSource::File));
    }
    Ok(all)
}

/// Whether a file is named like a plan, and not like weights.
fn is_plan_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".heq") && !name.ends_with(".server.heq")
}
