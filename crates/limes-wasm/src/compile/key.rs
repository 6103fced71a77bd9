use crate::component::Digest;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use wasmtime::Engine;

/// Part of every key: raised when the same input is turned into another component, or entries look different.
pub(super) const FORMAT: u32 = 3;

/// What an entry is stored under: SHA-256 over the input's digest, all that decides what the engine makes of it
/// (settings, processor, Wasmtime's version), and this crate's version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EntryKey(pub [u8; 32]);

impl EntryKey {
    /// Of what an engine makes of the component with this digest.
    pub fn of(engine: &Engine, digest: Digest) -> Self {
        Self::with(engine, digest, b"")
    }

    /// Of what an engine makes of the core module with this digest.
    pub fn of_code(engine: &Engine, digest: Digest) -> Self {
        Self::with(engine, digest, b"core module")
    }

    fn with(engine: &Engine, digest: Digest, what: &[u8]) -> Self {
        let mut state = HashState(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut state);
        let compatibility: [u8; 32] = state.0.finalize().into();
        let mut key = Sha256::new();
        key.update(digest.0);
        key.update(what);
        key.update(compatibility);
        key.update(FORMAT.to_le_bytes());
        key.update(env!("CARGO_PKG_VERSION"));
        Self(key.finalize().into())
    }

    /// Reads the name of an entry's file; `None` for any other name.
    pub fn from_name(name: &str) -> Option<Self> {
        // Only lower case is ever written, so another spelling is another file.
        let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
        lower.then(|| Digest::from_hex(name)).flatten().map(|digest| Self(digest.0))
    }
}

/// The name of the entry's file.
impl fmt::Display for EntryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

/// Collects what a [`Hash`] says into SHA-256: the standard hasher's 64 bits are too few to tell files apart for good.
struct HashState(Sha256);

impl Hasher for HashState {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}
