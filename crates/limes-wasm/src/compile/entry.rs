use super::key::{EntryKey, FORMAT};
use crate::component::Digest;
use limes_core::Contract;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

const MAGIC: [u8; 8] = *b"limesAOT";
const MAC: usize = 32;

/// Length of what ends every entry:
/// magic (8), format (4), contract (4), length of the artifact (8) and of the export's name (8), digest of the code (32, all zero where it is in
/// the artifact), key (32), MAC (32).
/// Numbers are little-endian. Before it come the artifact, first since the engine wants it page-aligned, and the name.
const TRAILER: usize = 96 + MAC;

/// Longest name of an export that is believed.
const MAX_EXPORT: u64 = 4096;

/// Read at once when an entry is checked; small enough to stay in the processor's cache.
const CHUNK: usize = 64 << 10;

/// What an entry says of the component it was made from, so that a hit need not read the component. Of a core module there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub contract: Option<Contract>,
    pub export: String,
    /// The core module that its code is in, where that is in an entry of its own.
    pub code: Option<Digest>,
}

/// Machine code as the engine loads it.
pub(super) trait Code: Sized {
    /// From the file at `path`.
    ///
    /// # Safety
    /// It begins with what Wasmtime compiled, and that does not change as long as the result is there.
    unsafe fn map(engine: &Engine, path: &str) -> wasmtime::Result<Self>;

    /// From memory.
    ///
    /// # Safety
    /// `artifact` is what Wasmtime compiled.
    unsafe fn copy(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Self>;
}

impl Code for Component {
    unsafe fn map(engine: &Engine, path: &str) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize_file(engine, path) }
    }

    unsafe fn copy(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize(engine, artifact) }
    }
}

impl Code for Module {
    unsafe fn map(engine: &Engine, path: &str) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize_file(engine, path) }
    }

    unsafe fn copy(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Self::deserialize(engine, artifact) }
    }
}

/// An entry whose authentication code has been checked.
pub(super) struct Entry {
    file: File,
    artifact: usize,
    pub about: About,
}

/// Everything that follows the artifact in a file.
pub(super) fn seal(mac_key: &[u8; 32], key: &EntryKey, artifact: &[u8], about: &About) -> Vec<u8> {
    let mut tail = about.export.clone().into_bytes();
    tail.extend(MAGIC);
    tail.extend(FORMAT.to_le_bytes());
    tail.extend(code(about.contract).to_le_bytes());
    tail.extend((artifact.len() as u64).to_le_bytes());
    tail.extend((about.export.len() as u64).to_le_bytes());
    tail.extend(about.code.map_or([0; 32], |code| code.0));
    tail.extend(key.0);
    let mut mac = blake3::Hasher::new_keyed(mac_key);
    mac.update(artifact).update(&tail);
    tail.extend(mac.finalize().as_bytes());
    tail
}

const CONTRACTS: [Contract; 5] =
    [Contract::Run, Contract::Http02, Contract::Http03, Contract::Cli02, Contract::Cli03];

const NO_CONTRACT: u32 = u32::MAX;

fn code(contract: Option<Contract>) -> u32 {
    match contract {
        Some(Contract::Run) => 0,
        Some(Contract::Http02) => 1,
        Some(Contract::Http03) => 2,
        Some(Contract::Cli02) => 3,
        Some(Contract::Cli03) => 4,
        None => NO_CONTRACT,
    }
}

impl Entry {
    /// The entry that [`seal`] has just completed in `file`.
    pub fn written(file: File, artifact: usize, about: About) -> Self {
        Self { file, artifact, about }
    }

    /// Checks that `file` is the entry of `key`, whole, and written by a holder of `mac_key`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(file: File, mac_key: &[u8; 32], key: &EntryKey) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let trailer_at = size.checked_sub(TRAILER as u64).ok_or_else(|| fault("it is too short"))?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, trailer_at)?;
        let (sealed, mac) = trailer.split_at(TRAILER - MAC);
        // Nothing in the file is believed before this: not even its lengths.
        authenticate(&file, size - MAC as u64, mac_key, mac)?;

        let (magic, rest) = sealed.split_at(8);
        let (numbers, rest) = rest.split_at(24);
        let (code, stored_key) = rest.split_at(32);
        let number = |at: usize, len: usize| {
            numbers[at..at + len].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (format, contract, artifact, export) = (number(0, 4), number(4, 4), number(8, 8), number(16, 8));
        if magic != MAGIC || format != u64::from(FORMAT) {
            return Err(fault("it has another format"));
        }
        if stored_key != key.0 {
            return Err(fault("it was made for another component or engine"));
        }
        if export > MAX_EXPORT || artifact.checked_add(export) != Some(trailer_at) {
            return Err(fault("its lengths do not add up"));
        }
        let mut name = vec![0; export as usize];
        file.read_exact_at(&mut name, artifact)?;
        let export = String::from_utf8(name).map_err(|_| fault("its name is no text"))?;
        let contract = match usize::try_from(contract).ok().and_then(|code| CONTRACTS.get(code)) {
            None if contract != u64::from(NO_CONTRACT) => return Err(fault("it has an unknown contract")),
            contract => contract.copied(),
        };
        let code = code.try_into().map(Digest).ok().filter(|code| code.0 != [0; 32]);
        let artifact = usize::try_from(artifact).map_err(io::Error::other)?;
        Ok(Self { file, artifact, about: About { contract, export, code } })
    }

    /// The code, mapped from the file where that is possible, and copied otherwise.
    pub fn map<T: Code>(&self, engine: &Engine) -> wasmtime::Result<T> {
        // By descriptor, so that it is the file that was checked even if another has taken its name.
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        // SAFETY: the authentication code shows that a holder of this directory's key stored what Wasmtime compiled;
        // the key is this user's alone, as is the directory, and files in it are replaced but never written to.
        // The file holds more than the artifact, behind it: ELF is read by its header, which does not reach there.
        let mapped = unsafe { T::map(engine, &path) };
        mapped.or_else(|error| {
            // No /proc, or a file system that must not hold code.
            tracing::debug!(error = format!("{error:#}"), "cannot map compiled code; copying it");
            let artifact = self.read()?;
            // SAFETY: as above.
            unsafe { T::copy(engine, &artifact) }
        })
    }

    /// The artifact, copied.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut artifact = vec![0; self.artifact];
        self.file.read_exact_at(&mut artifact, 0)?;
        Ok(artifact)
    }

    pub fn file(&self) -> &File {
        &self.file
    }
}

/// Compares the code of the first `len` bytes with `mac`, in constant time.
fn authenticate(file: &File, len: u64, mac_key: &[u8; 32], mac: &[u8]) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new_keyed(mac_key);
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact_at(&mut chunk[..wanted], at)?;
        hasher.update(&chunk[..wanted]);
        at += wanted as u64;
    }
    if hasher.finalize() == *mac { Ok(()) } else { Err(fault("its authentication code is wrong")) }
}

fn fault(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
