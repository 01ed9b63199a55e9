//! The folder in which a party keeps prepared inferences: one encrypted file each, removed before it is used.
//!
//! Invariant: no byte of an entry is used unless its file was removed and the removal reached the disk, so
//! that no crash, and no other process, can use it again. A folder that is restored from a copy breaks it.
//!
//! A file is `magic (8) | version u32 | role u32 | owner (32) | batch (32) | index u64 |
//! nonce (19) | segments`, integers little endian; see `segments.rs`. The owner is the plan's digest, at the
//! server hashed with that of the weights.

use super::segments::{Nonce, SegmentReader, SegmentWriter};
use crate::private_file::{is_open_to_others, options};
use crate::random::{self, NoRandomness};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::{PREPARED_NONCE_BYTES, Plan};
use heq_mutation::broken;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"HEQPREP\n";
const VERSION: u32 = 1;
const KEY_BYTES: usize = 32;

/// Name of the key unless another file is given.
const KEY_FILE: &str = "store.key";

/// Held by the process that adds entries.
const LOCK_FILE: &str = "store.lock";

/// What the name of a file has behind it that is not complete.
const PARTIAL: &str = ".partial";

/// Endings of entries.
const CLIENT: &str = "client";
const SERVER: &str = "server";

/// Bytes of the hash of key and owner that names begin with.
const PREFIX_BYTES: usize = 8;

/// The session in which inferences were prepared: a name that the two parties share with nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub [u8; 32]);

/// Whoever names a batch can use up its entries, so it is not shown.
impl std::fmt::Debug for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BatchId(..)")
    }
}

/// An entry: a prepared inference by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The batch.
    pub batch: BatchId,
    /// Its place in the batch.
    pub index: u64,
}

/// A folder of prepared inferences.
pub struct Store {
    folder: PathBuf,
    cipher: XChaCha20Poly1305,
    /// Tells the entries of this key from those of others.
    key_id: [u8; 32],
    /// Locked as long as this process may add entries.
    _lock: Option<File>,
}

/// What a party holds for one plan and, at the server, its weights: entries of others, and of other keys, are
/// as if they were not there.
pub(crate) struct Shelf<'a> {
    store: &'a Store,
    /// What all names begin with.
    prefix: String,
    /// What all names end with.
    ending: &'static str,
    /// What the headers of all files begin with.
    header: Vec<u8>,
    /// Bytes of an entry, before encryption.
    length: usize,
}

impl Store {
    /// Opens a folder that [`Store::create`] made, to use entries. The key is read from `key_file`, or from
    /// the folder itself.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if it cannot be read, [`Code::WrongStore`] if the key is malformed or others than
    /// its owner may read it.
    pub fn open(folder: &Path, key_file: Option<&Path>) -> Result<Self, Diagnostic> {
        let path = key_file.map_or(folder.join(KEY_FILE), Path::to_path_buf);
        let key = read_key(&path)?;
        let cipher = XChaCha20Poly1305::new(&(*key).into());
        let key_id = hash(&[b"heq/1/store/", &*key]);
        Ok(Self { folder: folder.to_path_buf(), cipher, key_id, _lock: None })
    }

    /// Opens a folder to add entries: makes it, and its key, if there is none, readable for their owner alone.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Code::WrongStore`] if another process adds entries to the folder.
    pub fn create(folder: &Path, key_file: Option<&Path>) -> Result<Self, Diagnostic> {
        let path = key_file.map_or(folder.join(KEY_FILE), Path::to_path_buf);
        make_folder(folder).map_err(|error| cannot_write(folder, &error))?;
        let lock = folder.join(LOCK_FILE);
        let lock_file = options().write(true).create(true).truncate(false).open(&lock);
        let lock_file = lock_file.map_err(|error| cannot_write(&lock, &error))?;
        match lock_file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(cannot_write(&lock, &error)),
            Err(TryLockError::WouldBlock) => {
                let what = "another process prepares inferences in this folder";
                let remedy = "wait for it, or give another --store";
                return Err(Diagnostic::new(Code::WrongStore, shown(folder), what, remedy));
            }
        }
        if !path.exists() {
            make_key(&path)?;
        }
        let store = Self { _lock: Some(lock_file), ..Self::open(folder, Some(&path))? };
        // What a crash left; the lock says that nobody writes it now.
        for name in store.names()? {
            if name.strip_suffix(PARTIAL).is_some_and(is_entry_name) {
                store.remove(&store.folder.join(name))?;
            }
        }
        Ok(store)
    }

    /// How many inferences the client holds for `plan`.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if the folder cannot be read.
    pub fn client_count(&self, plan: &Plan) -> Result<u64, Diagnostic> {
        let batches = self.client(plan).batches()?;
        Ok(batches.iter().map(|(_, range)| range.end - range.start).sum())
    }

    /// The client's entries for `plan`.
    pub(crate) fn client(&self, plan: &Plan) -> Shelf<'_> {
        let [length, _] = plan.prepared_contents();
        self.shelf(0, CLIENT, plan.digest().0, length)
    }

    /// The server's entries for `plan`, with the weights of which `weights` is the digest.
    pub(crate) fn server(&self, plan: &Plan, weights: &[u8; 32]) -> Shelf<'_> {
        let [_, length] = plan.prepared_contents();
        let is_any = broken!(
            "entries of any weights are used",
            "heq-tests offline entries_of_other_weights_are_not_used"
        );
        let weights = if is_any { &[0; 32] } else { weights };
        let owner = hash(&[b"heq/1/prepared/", &plan.digest().0, weights]);
        self.shelf(1, SERVER, owner, length)
    }

    fn shelf(&self, role: u32, ending: &'static str, owner: [u8; 32], length: u64) -> Shelf<'_> {
        let header = [&MAGIC[..], &VERSION.to_le_bytes(), &role.to_le_bytes(), &owner].concat();
        let prefix = hex(&hash(&[&self.key_id, &owner])[..PREFIX_BYTES]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Shelf { store: self, prefix, ending, header, length }
    }

    fn names(&self) -> Result<Vec<String>, Diagnostic> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        list().map_err(|error| {
            let what = format!("cannot be read: {error}");
            let remedy = "check the folder and its permissions";
            Diagnostic::new(Code::FileAccess, shown(&self.folder), what, remedy)
        })
    }

    /// Removes a file for good.
    fn remove(&self, path: &Path) -> Result<(), Diagnostic> {
        let remove = || {
            fs::remove_file(path)?;
            self.sync()
        };
        remove().map_err(|error| self.cannot_take(&error))
    }

    /// Why an entry cannot be used. Its name is not shown: whoever knows it can use up its batch.
    fn cannot_take(&self, error: &io::Error) -> Diagnostic {
        let what = format!("an entry cannot be taken: {error}");
        let remedy = "run again: if another process took it, the next one is used";
        Diagnostic::new(Code::FileAccess, shown(&self.folder), what, remedy)
    }

    /// Returns when what was done to the folder is on disk.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }
}

impl Shelf<'_> {
    /// For every batch the first entry and those that follow it without a gap.
    pub(crate) fn batches(&self) -> Result<Vec<(BatchId, Range<u64>)>, Diagnostic> {
        let mut indices: BTreeMap<BatchId, Vec<u64>> = BTreeMap::new();
        for name in self.store.names()? {
            // Other forms of the same numbers are other names.
            let stored = parse(&name).filter(|stored| self.name(*stored) == name);
            if let Some(Stored { batch, index }) = stored {
                indices.entry(batch).or_default().push(index);
            }
        }
        let range = |(batch, mut indices): (BatchId, Vec<u64>)| {
            indices.sort_unstable();
            let first = indices.first().copied().unwrap_or(0);
            let run = (first..).zip(&indices).take_while(|(expected, index)| expected == *index);
            (batch, first..first + run.count() as u64)
        };
        Ok(indices.into_iter().map(range).collect())
    }

    /// Adds an entry, which `write` writes; it is on disk when this returns, and not there at all if the
    /// process dies before.
    pub(crate) fn save(
        &self,
        stored: Stored,
        write: impl FnOnce(&mut SegmentWriter) -> io::Result<()>,
    ) -> Result<(), Diagnostic> {
        let mut nonce: Nonce = [0; PREPARED_NONCE_BYTES];
        random::fill(&mut nonce).map_err(NoRandomness::describe)?;
        let folder = &self.store.folder;
        let partial = folder.join(self.name(stored) + PARTIAL);
        let save = || {
            let file = options().write(true).create(true).truncate(true).open(&partial)?;
            let mut writer =
                SegmentWriter::start(file, &self.store.cipher, &self.header(stored), &nonce)?;
            write(&mut writer)?;
            writer.finish()?;
            fs::rename(&partial, folder.join(self.name(stored)))?;
            self.store.sync()
        };
        save().map_err(|error| {
            // If that fails, too, the next process removes it.
            let _ = fs::remove_file(&partial);
            cannot_write(folder, &error)
        })
    }

    /// Takes an entry: when this returns, its file is gone for good, and what it held can be read once.
    pub(crate) fn claim(&self, stored: Stored) -> Result<SegmentReader, Diagnostic> {
        let path = self.store.folder.join(self.name(stored));
        let file = File::open(&path).map_err(|error| self.store.cannot_take(&error))?;
        // Of several processes one succeeds.
        if !broken!(
            "entries are used and not removed",
            "heq-tests offline prepared_inferences_are_exact_and_take_what_the_plan_says"
        ) {
            self.store.remove(&path)?;
        }
        let header = self.header(stored);
        SegmentReader::start(file, &self.store.cipher, &header, self.length).map_err(|_| damaged())
    }

    /// Removes entries that the peer has passed over.
    pub(crate) fn discard(&self, batch: BatchId, indices: Range<u64>) -> Result<(), Diagnostic> {
        if broken!(
            "entries that were passed over stay",
            "heq-tests offline parties_that_hold_different_entries_use_what_both_hold"
        ) {
            return Ok(());
        }
        for index in indices {
            let name = self.name(Stored { batch, index });
            self.store.remove(&self.store.folder.join(name))?;
        }
        Ok(())
    }

    fn name(&self, Stored { batch, index }: Stored) -> String {
        format!("{}-{}-{index:020}.{}", self.prefix, hex(&batch.0), self.ending)
    }

    /// What a file begins with, which its encryption binds it to.
    fn header(&self, Stored { batch, index }: Stored) -> Vec<u8> {
        [&self.header[..], &batch.0, &index.to_le_bytes()].concat()
    }
}

/// The entry of a name, whoever it is of.
fn parse(name: &str) -> Option<Stored> {
    let (_, rest) = name.split_once('-')?;
    let (batch, rest) = rest.split_once('-')?;
    let (index, _) = rest.split_once('.')?;
    let (digits, []) = batch.as_bytes().as_chunks::<2>() else { return None };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    // One more than an index is a number, too.
    let index = index.parse().ok().filter(|&index: &u64| index < u64::MAX)?;
    Some(Stored { batch: BatchId(bytes.try_into().ok()?), index })
}

/// Whether a name is of the form that entries have.
fn is_entry_name(name: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let prefix = name.split_once('-').map_or("", |(prefix, _)| prefix);
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    prefix.len() == 2 * PREFIX_BYTES
        && is_hex(prefix)
        && [CLIENT, SERVER].contains(&ending)
        && parse(name).is_some()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let all = parts.iter().fold(Sha256::new(), |all, part| all.chain_update(part));
    all.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes a fresh key; it is whole when it has its name.
fn make_key(path: &Path) -> Result<(), Diagnostic> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    random::fill(&mut key[..]).map_err(NoRandomness::describe)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let write = || {
        let mut file = options().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(&key[..])?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| cannot_write(path, &error))
}

fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Diagnostic> {
    let wrong = |what: &str, remedy: &str| {
        Diagnostic::new(Code::WrongStore, shown(path), what.to_owned(), remedy.to_owned())
    };
    let bytes = Zeroizing::new(read_file(path, KEY_BYTES)?);
    let is_open = is_open_to_others(path).map_err(|error| cannot_write(path, &error))?;
    if is_open
        && !broken!(
            "others may read the key of a store",
            "heq-tests offline a_store_is_its_owners_alone"
        )
    {
        let what = "others than its owner may read or write the key";
        return Err(wrong(what, "chmod 600 the file, and prepare anew what it protected"));
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() != key.len() {
        return Err(wrong("is no key of a store", "give the file that heq-run prepare wrote"));
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn cannot_write(path: &Path, error: &io::Error) -> Diagnostic {
    let remedy = "check the folder, its permissions and its room";
    Diagnostic::new(Code::FileAccess, shown(path), format!("cannot be written: {error}"), remedy)
}

/// An entry that cannot be read.
pub(crate) fn damaged() -> Diagnostic {
    let what = "an entry is damaged; it was removed";
    Diagnostic::new(Code::WrongStore, "store", what, "run again: the next one is used")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_names_of_one_form() {
        let batch = "0f".repeat(32);
        let name = format!("0123456789abcdef-{batch}-{:020}.client", 7);
        assert_eq!(parse(&name).unwrap().index, 7);
        assert!(is_entry_name(&name));
        for other in [
            name.replace(".client", ".partial"),
            name.replace("0123456789abcdef", "movie"),
            format!("0123456789abcdef-{batch}-{}.server", u64::MAX),
            format!("0123456789abcdef-{}-7.server", &batch[1..]),
            "impartial".to_owned(),
            String::new(),
        ] {
            assert!(!is_entry_name(&other), "{other}");
        }
    }
}
