//! Machine code of single functions, so that a component that shares many with one compiled before is compiled sooner: two
//! Python components carry the same interpreter.

use super::pack::{self, Pack};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wasmtime::CacheStore;

/// A component smaller than this, in bytes, compiles faster than functions are looked up.
pub(super) const WORTHWHILE: usize = 1 << 20;

/// Whether a component of so many bytes is compiled function by function.
pub(super) fn is_worthwhile(component: &[u8]) -> bool {
    component.len() >= WORTHWHILE
}

/// What is known while one component is compiled.
///
/// A key is the engine's own (a SHA-256 of the function's intermediate form, and of all settings that decide its code), so that
/// what is found under one is what compiling would give. The same function may get several keys: Cranelift 0.135 clears a function's
/// form for the next one but for its exception tables, and trampolines have such, so that a key depends on what its thread compiled
/// before. Some of a component's functions, up to a twelfth of Python's, are therefore compiled again.
pub(super) struct FunctionCache {
    packs: Vec<(Pack, AtomicBool)>,
    /// Where each function is: the pack, by its place in `packs`.
    places: HashMap<pack::Key, usize>,
    /// In an order, so that the same functions make the same pack.
    fresh: Mutex<BTreeMap<pack::Key, Vec<u8>>>,
}

impl FunctionCache {
    pub fn new(packs: Vec<Pack>) -> Arc<Self> {
        let places = packs
            .iter()
            .enumerate()
            .flat_map(|(place, pack)| pack.keys().map(move |key| (*key, place)))
            .collect();
        let packs = packs.into_iter().map(|pack| (pack, AtomicBool::new(false))).collect();
        Arc::new(Self { packs, places, fresh: Mutex::default() })
    }

    /// The packs that something was taken of, by name.
    pub fn used(&self) -> impl Iterator<Item = &str> {
        self.packs.iter().filter(|(_, used)| used.load(Ordering::Relaxed)).map(|(pack, _)| pack.name())
    }

    /// What was compiled meanwhile.
    pub fn take_fresh(&self) -> BTreeMap<pack::Key, Vec<u8>> {
        std::mem::take(&mut self.fresh.lock())
    }
}

impl std::fmt::Debug for FunctionCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionCache").field("functions", &self.places.len()).finish()
    }
}

impl CacheStore for FunctionCache {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let key: &pack::Key = key.try_into().ok()?;
        if let Some((pack, used)) = self.places.get(key).map(|&place| &self.packs[place]) {
            used.store(true, Ordering::Relaxed);
            return pack.get(key).map(Cow::Borrowed);
        }
        self.fresh.lock().get(key).cloned().map(Cow::Owned)
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let Ok(key) = key.try_into() else { return false };
        self.fresh.lock().insert(key, code);
        true
    }
}
