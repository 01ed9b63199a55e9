//! The folder in which a party keeps prepared inferences: one encrypted file each, removed before it is used.
//!
//! Invariant: no byte of an entry is used unless its file was removed and the removal reached the disk, so
//! that no crash, and no other process, can use it again. A folder that is restored from a copy breaks it.
//!
//! A file is `magic (8) | version u32 | role u32 | digest of the plan (32) | batch (32) | index u64 |
//! nonce (19) | segments`, integers little endian; see [`super::segments`].

use super::segments::{Nonce, SegmentReader, SegmentWriter};
use crate::protocol::Role;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use heq_data::plan_files::read_file;
use heq_ir::diagnostic::{Code, Diagnostic};
use heq_ir::plan::{PREPARED_HEADER_BYTES, PREPARED_NONCE_BYTES, Plan};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
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

/// Ending of a file that is not complete.
const PARTIAL: &str = "partial";

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
    /// Locked as long as this process may add entries.
    _lock: Option<File>,
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
        let cipher = read_key(&path)?;
        Ok(Self { folder: folder.to_path_buf(), cipher, _lock: None })
    }

    /// Opens a folder to add entries: makes it, and its key, if there is none, readable for their owner alone.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Code::WrongStore`] if another process adds entries to the folder.
    pub fn create(folder: &Path, key_file: Option<&Path>) -> Result<Self, Diagnostic> {
        let path = key_file.map_or(folder.join(KEY_FILE), Path::to_path_buf);
        make_folder(folder).map_err(|error| cannot(folder, "be made", &error))?;
        let lock = folder.join(LOCK_FILE);
        let lock_file = private().write(true).create(true).truncate(false).open(&lock);
        let lock_file = lock_file.map_err(|error| cannot(&lock, "be written", &error))?;
        if lock_file.try_lock().is_err() {
            let what = "another process prepares inferences in this folder";
            let remedy = "wait for it, or give another --store";
            return Err(Diagnostic::new(Code::WrongStore, shown(folder), what, remedy));
        }
        if !path.exists() {
            make_key(&path)?;
        }
        let store = Self { _lock: Some(lock_file), ..Self::open(folder, Some(&path))? };
        // What a crash left; the lock says that nobody writes it now.
        for name in store.names()?.iter().filter(|name| name.ends_with(PARTIAL)) {
            store.remove(&store.folder.join(name))?;
        }
        Ok(store)
    }

    /// The entries of the party `role` for `plan`: for every batch the first and those that follow it without
    /// a gap.
    ///
    /// # Errors
    /// [`Code::FileAccess`] if the folder cannot be read.
    pub fn batches(
        &self,
        role: Role,
        plan: &Plan,
    ) -> Result<Vec<(BatchId, Range<u64>)>, Diagnostic> {
        let mut indices: BTreeMap<BatchId, Vec<u64>> = BTreeMap::new();
        let prefix = prefix(plan);
        for name in self.names()? {
            let stored = name.strip_prefix(&prefix).and_then(|rest| parse(rest, role));
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

    /// How many inferences the party `role` holds for `plan`.
    ///
    /// # Errors
    /// As [`Store::batches`].
    pub fn count(&self, role: Role, plan: &Plan) -> Result<u64, Diagnostic> {
        let batches = self.batches(role, plan)?;
        Ok(batches.iter().map(|(_, range)| range.end - range.start).sum())
    }

    /// Adds an entry, which `write` writes; it is on disk when this returns, and not there at all if the
    /// process dies before.
    pub(crate) fn save(
        &self,
        role: Role,
        plan: &Plan,
        stored: Stored,
        write: impl FnOnce(&mut SegmentWriter) -> io::Result<()>,
    ) -> Result<(), Diagnostic> {
        let path = self.path(role, plan, stored);
        let mut nonce: Nonce = [0; PREPARED_NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| no_randomness(&error))?;
        let partial = path.with_extension(PARTIAL);
        let save = || {
            let file = private().write(true).create(true).truncate(true).open(&partial)?;
            let header = header(role, plan, stored);
            let mut writer = SegmentWriter::start(file, &self.cipher, &header, &nonce)?;
            write(&mut writer)?;
            writer.finish()?;
            fs::rename(&partial, &path)?;
            self.sync()
        };
        save().map_err(|error| cannot(&path, "be written", &error))
    }

    /// Takes an entry: when this returns, its file is gone for good, and what it held can be read once.
    pub(crate) fn claim(
        &self,
        role: Role,
        plan: &Plan,
        stored: Stored,
    ) -> Result<SegmentReader, Diagnostic> {
        let path = self.path(role, plan, stored);
        let file = File::open(&path).map_err(|error| cannot(&path, "be read", &error))?;
        // Of several processes one succeeds.
        self.remove(&path)?;
        let [client, server] = plan.prepared_contents();
        let length = if role == Role::Client { client } else { server };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let header = header(role, plan, stored);
        SegmentReader::start(file, &self.cipher, &header, length).map_err(|_| damaged())
    }

    /// Removes entries that no peer has.
    pub(crate) fn discard(
        &self,
        role: Role,
        plan: &Plan,
        batch: BatchId,
        indices: Range<u64>,
    ) -> Result<(), Diagnostic> {
        for index in indices {
            self.remove(&self.path(role, plan, Stored { batch, index }))?;
        }
        Ok(())
    }

    fn path(&self, role: Role, plan: &Plan, stored: Stored) -> PathBuf {
        let Stored { batch, index } = stored;
        let (prefix, batch, role) = (prefix(plan), hex(&batch.0), ending(role));
        self.folder.join(format!("{prefix}{batch}-{index:020}.{role}"))
    }

    fn names(&self) -> Result<Vec<String>, Diagnostic> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        list().map_err(|error| cannot(&self.folder, "be read", &error))
    }

    /// Removes a file for good.
    fn remove(&self, path: &Path) -> Result<(), Diagnostic> {
        let remove = || {
            fs::remove_file(path)?;
            self.sync()
        };
        remove().map_err(|error| cannot(path, "be taken", &error))
    }

    /// Returns when what was done to the folder is on disk.
    fn sync(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }
}

/// What a file begins with, which its encryption binds it to.
fn header(role: Role, plan: &Plan, stored: Stored) -> [u8; PREPARED_HEADER_BYTES] {
    let role: u32 = match role {
        Role::Client => 0,
        Role::Server => 1,
    };
    let mut header = [0; PREPARED_HEADER_BYTES];
    let mut rest = &mut header[..];
    for part in [
        &MAGIC[..],
        &VERSION.to_le_bytes(),
        &role.to_le_bytes(),
        &plan.digest().0,
        &stored.batch.0,
        &stored.index.to_le_bytes(),
    ] {
        // Their lengths are those of the header.
        let _ = rest.write_all(part);
    }
    header
}

/// What the names of all entries of a plan begin with.
fn prefix(plan: &Plan) -> String {
    let digest = plan.digest().0;
    format!("{}-", hex(digest.get(..8).unwrap_or(&digest)))
}

fn ending(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// The entry whose name goes on like this.
fn parse(rest: &str, role: Role) -> Option<Stored> {
    let (name, found) = rest.rsplit_once('.')?;
    let (batch, index) = name.split_once('-')?;
    let digits = batch.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.0.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    let batch = BatchId(bytes.try_into().ok()?);
    let index = index.parse().ok()?;
    (found == ending(role) && digits.1.is_empty()).then_some(Stored { batch, index })
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

/// Options of files that their owner alone may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a fresh key.
fn make_key(path: &Path) -> Result<(), Diagnostic> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut key[..]).map_err(|error| no_randomness(&error))?;
    let write = || {
        let mut file = private().write(true).create_new(true).open(path)?;
        file.write_all(&key[..])?;
        file.sync_all()
    };
    write().map_err(|error| cannot(path, "be written", &error))
}

fn read_key(path: &Path) -> Result<XChaCha20Poly1305, Diagnostic> {
    let wrong = |what: &str, remedy: &str| {
        Diagnostic::new(Code::WrongStore, shown(path), what.to_owned(), remedy.to_owned())
    };
    let key = Zeroizing::new(read_file(path, KEY_BYTES)?);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(path).map_err(|error| cannot(path, "be read", &error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            let what = "others than its owner may read or write the key";
            return Err(wrong(what, "chmod 600 the file, and prepare anew what it protected"));
        }
    }
    let malformed = || wrong("is no key of a store", "give the file that heq-run prepare wrote");
    XChaCha20Poly1305::new_from_slice(&key).map_err(|_| malformed())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn cannot(path: &Path, be_done: &str, error: &io::Error) -> Diagnostic {
    let remedy = if error.kind() == io::ErrorKind::NotFound {
        "another process may have used it; otherwise prepare first"
    } else {
        "check the folder, its permissions and its room"
    };
    Diagnostic::new(Code::FileAccess, shown(path), format!("cannot {be_done}: {error}"), remedy)
}

fn no_randomness(error: &getrandom::Error) -> Diagnostic {
    Diagnostic::new(Code::Internal, "random numbers", error.to_string(), "try again")
}

/// An entry that cannot be read.
pub(crate) fn damaged() -> Diagnostic {
    let what = "an entry is damaged, or belongs to another key, plan or batch; it was removed";
    Diagnostic::new(Code::WrongStore, "store", what, "run again: the next one is used")
}
