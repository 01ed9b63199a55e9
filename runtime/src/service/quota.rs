//! How many outputs a client may have a day.
//!
//! Outputs tell something of the model, and many of them more; a quota bounds how fast. What a client
//! announces counts when its session is admitted, whether or not it ends well: of a plan for batches all
//! samples that fit. Days are those of UTC; a clock that goes back gives nobody more: the counts of a day that
//! it had reached stay until that day is over, or until the file is removed. With a file the counts outlive
//! the server; it is one server's alone.

use super::clients::Clients;
use crate::session::Refusal;
use heq_data::plan_files::{read_file, write_file};
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_net::tls::Peer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const SCHEMA: &str = "heq-quota/1";

const DAY_S: u64 = 86_400;

/// Most bytes of the file.
const MAX_BYTES: usize = 64 << 20;

/// Counts what clients had today.
pub(crate) struct Quota {
    /// Of clients for whom the list says nothing; none: as many as they like.
    limit: Option<u64>,
    file: Option<PathBuf>,
    counts: Mutex<Counts>,
    /// Locked as long as this process counts in the file.
    _lock: Option<File>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counts {
    schema: String,
    /// Days since 1970.
    day: u64,
    /// Outputs of each key.
    used: BTreeMap<String, u64>,
}

impl Quota {
    /// Goes on with what `file` says, if it is there.
    pub(crate) fn open(limit: Option<u64>, file: Option<PathBuf>) -> Result<Self, Diagnostic> {
        let lock = file.as_deref().map(lock).transpose()?;
        let mut counts = Counts { schema: SCHEMA.to_owned(), ..Counts::default() };
        if let Some(file) = file.as_ref().filter(|file| file.exists()) {
            let bytes = read_file(file, MAX_BYTES)?;
            let wrong = |what: String| {
                let remedy = "give the file that this option wrote, or remove it to begin anew";
                Diagnostic::new(Code::WrongDocument, file.display().to_string(), what, remedy)
            };
            counts = serde_json::from_slice(&bytes)
                .map_err(|error| wrong(format!("is no record of quotas: {error}")))?;
            if counts.schema != SCHEMA {
                return Err(wrong(format!("is of schema {}, not {SCHEMA}", counts.schema)));
            }
        }
        Ok(Self { limit, file, counts: Mutex::new(counts), _lock: lock })
    }

    /// Refuses a client that would have more than it may with so many `outputs` more.
    pub(crate) fn check(
        &self,
        peer: Option<&Peer>,
        clients: Option<&Clients>,
        outputs: u64,
    ) -> Result<(), Refusal> {
        self.ask(peer, clients, outputs, false)
    }

    /// Counts `outputs` of a client, or refuses it.
    pub(crate) fn take(
        &self,
        peer: Option<&Peer>,
        clients: Option<&Clients>,
        outputs: u64,
    ) -> Result<(), Refusal> {
        self.ask(peer, clients, outputs, true)
    }

    /// Takes back what was counted and not served; the file hears of it with the next count.
    pub(crate) fn give_back(&self, peer: Option<&Peer>, outputs: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = counts.used.get_mut(&name_of(peer)) {
            *used = used.saturating_sub(outputs);
        }
    }

    fn ask(
        &self,
        peer: Option<&Peer>,
        clients: Option<&Clients>,
        outputs: u64,
        counts: bool,
    ) -> Result<(), Refusal> {
        let own = peer.zip(clients).and_then(|(peer, clients)| clients.quota(peer.pin));
        let limit = own.or(self.limit);
        let Some(limit) = limit else { return Ok(()) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        self.ask_at(now, name_of(peer), limit, outputs, counts)
    }

    fn ask_at(
        &self,
        now: u64,
        name: String,
        limit: u64,
        outputs: u64,
        is_counted: bool,
    ) -> Result<(), Refusal> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now / DAY_S;
        if day > counts.day {
            counts.day = day;
            counts.used.clear();
        } else if day < counts.day {
            let days = counts.day - day;
            tracing::warn!(days, "the clock is behind the day of which quotas are counted");
        }
        let used = counts.used.get(&name).copied().unwrap_or(0);
        let used = used.saturating_add(outputs);
        if used > limit {
            let left = counts.day.saturating_add(1).saturating_mul(DAY_S).saturating_sub(now);
            let retry_after_s = u32::try_from(left).unwrap_or(u32::MAX);
            return Err(Refusal::QuotaUsedUp { retry_after_s });
        }
        if !is_counted {
            return Ok(());
        }
        let before = counts.used.insert(name.clone(), used);
        if let Some(file) = &self.file {
            let text = serde_json::to_vec(&*counts).unwrap_or_default();
            if let Err(diagnostic) = write_file(file, &text) {
                // What is not counted is not served.
                tracing::error!("{diagnostic}");
                counts.used.insert(name, before.unwrap_or(0));
                return Err(Refusal::Busy { retry_after_s: 60 });
            }
        }
        Ok(())
    }
}

/// The name that a client is counted under.
fn name_of(peer: Option<&Peer>) -> String {
    peer.map_or_else(|| "unauthenticated".to_owned(), |peer| peer.pin.to_string())
}

/// Makes sure that no other server counts in the same file.
fn lock(path: &Path) -> Result<File, Diagnostic> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let place = path.display().to_string();
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(name);
    let file = file.map_err(|error| {
        let remedy = "check that the folder exists and is writable";
        Diagnostic::new(Code::FileAccess, &place, format!("cannot be locked: {error}"), remedy)
    })?;
    file.try_lock().map_err(|_| {
        let remedy = "give each server a --quota-file of its own";
        Diagnostic::new(Code::FileAccess, place, "another server counts in this file", remedy)
    })?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(quota: &Quota, now: u64, count: u64) -> Result<(), Refusal> {
        quota.ask_at(now, "sha256:aa".to_owned(), 10, count, false)?;
        quota.ask_at(now, "sha256:aa".to_owned(), 10, count, true)
    }

    #[test]
    fn a_day_has_its_inferences() {
        let quota = Quota::open(None, None).unwrap();
        let noon = 20_000 * DAY_S + DAY_S / 2;
        assert_eq!(take(&quota, noon, 7), Ok(()));
        let left = Refusal::QuotaUsedUp { retry_after_s: 43_200 };
        assert_eq!(take(&quota, noon, 4), Err(left));
        assert_eq!(take(&quota, noon, 3), Ok(()));
        assert!(take(&quota, noon - DAY_S, 1).is_err(), "a clock that went back");
        assert_eq!(take(&quota, noon + DAY_S, 10), Ok(()));
        assert!(take(&quota, noon + DAY_S, u64::MAX).is_err());
    }

    #[test]
    fn a_clock_that_jumps_gives_nobody_more_than_a_new_day() {
        let day = |day: u64| day * DAY_S + 5;
        let quota = Quota::open(None, None).unwrap();
        let steps = [
            // Time, outputs, and how long to wait if they are refused.
            (day(20_000), 10, None),
            // A day far ahead is a new one, once.
            (day(30_000), 8, None),
            (day(20_000), 3, Some(10_001 * DAY_S - 5)),
            (day(20_000), 2, None),
            (day(20_001), 1, Some(10_000 * DAY_S - 5)),
            (0, 1, Some(30_001 * DAY_S)),
            (day(30_000), 1, Some(DAY_S - 5)),
            (day(30_001), 10, None),
            // The last day that there is.
            (u64::MAX, 10, None),
            (u64::MAX, 1, Some(0)),
            (0, 1, Some(u64::from(u32::MAX))),
        ];
        for (step, (now, outputs, refused)) in steps.into_iter().enumerate() {
            let retry_after_s =
                refused.map(|seconds: u64| u32::try_from(seconds).unwrap_or(u32::MAX));
            let expected = retry_after_s
                .map_or(Ok(()), |retry_after_s| Err(Refusal::QuotaUsedUp { retry_after_s }));
            assert_eq!(take(&quota, now, outputs), expected, "step {step}");
        }
    }

    #[test]
    fn a_file_of_any_day_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quota.json");
        let used = u64::MAX;
        let text = format!(
            r#"{{"schema":"heq-quota/1","day":{},"used":{{"sha256:aa":{used}}}}}"#,
            u64::MAX
        );
        std::fs::write(&file, text).unwrap();
        let quota = Quota::open(None, Some(file)).unwrap();
        let refused = Refusal::QuotaUsedUp { retry_after_s: u32::MAX };
        assert_eq!(take(&quota, 20_000 * DAY_S, 1), Err(refused));
    }

    #[test]
    fn counts_outlive_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("quota.json");
        let noon = 20_000 * DAY_S;
        let open = || Quota::open(None, Some(file.clone())).unwrap();
        assert_eq!(take(&open(), noon, 9), Ok(()));
        assert!(take(&open(), noon, 2).is_err());
        assert_eq!(take(&open(), noon, 1), Ok(()));
        for wrong in ["", "{}", r#"{"schema":"heq-quota/9","day":1,"used":{}}"#] {
            std::fs::write(&file, wrong).unwrap();
            let error = Quota::open(None, Some(file.clone())).err().unwrap();
            assert_eq!(error.code, Code::WrongDocument, "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_counted_is_not_served() {
        let folder = tempfile::tempdir().unwrap();
        let quota = Quota::open(None, Some(folder.path().join("quota.json"))).unwrap();
        let twice = Quota::open(None, Some(folder.path().join("quota.json"))).err().unwrap();
        assert_eq!(twice.code, Code::FileAccess);
        drop(folder);
        assert!(matches!(take(&quota, DAY_S, 1), Err(Refusal::Busy { .. })));
    }
}
