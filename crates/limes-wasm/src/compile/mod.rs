//! From a component to machine code: the compile service, and the cache that keeps its results on disk.

mod cache;
mod directory;
mod entry;
mod functions;
#[cfg(test)]
mod functions_tests;
mod key;
mod pack;
mod split;
#[cfg(test)]
mod split_tests;
mod target;
#[cfg(test)]
pub(crate) mod tests;

pub use cache::{Cache, CacheInfo};
pub use target::Target;

use crate::component::{self, Digest};
use crate::fuse::fuse;
use entry::{About, Code};
use key::EntryKey;
use limes_core::{CacheOutcome, Contract, Error, ErrorKind, Result, Timing};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Compiles components ahead of time, each once, and keeps the results if it has a cache.
///
/// To be shared by every thread of a process. All methods block: a large component compiles for seconds, on all cores.
pub struct CompileService {
    cache: Option<Cache>,
    /// Held while an entry is being made, so that a second caller waits for it instead of compiling as well.
    making: Mutex<HashMap<EntryKey, Arc<Mutex<()>>>>,
}

/// Machine code that can be instantiated, and what is known of the component it was made from.
pub struct Loaded {
    /// The component, compiled.
    pub component: Component,
    /// The core module that the component imports under the name [`CODE`](crate::fuse::CODE), if it does.
    pub code: Option<Arc<Module>>,
    /// How it is called.
    pub contract: Contract,
    /// The export that holds the contract, by its exact name.
    pub export: String,
    /// `compile`, `load` and `cache` are set.
    pub timing: Timing,
}

impl Loaded {
    pub(crate) fn new(
        source: &component::Component,
        component: Component,
        code: Option<Arc<Module>>,
        timing: Timing,
    ) -> Self {
        let (contract, export) = (source.contract(), source.export().to_owned());
        Self { component, code, contract, export, timing }
    }
}

impl CompileService {
    /// A service that keeps its results in `cache`, or compiles in memory each time when there is none.
    pub fn new(cache: Option<Cache>) -> Self {
        Self { cache, making: Mutex::default() }
    }

    /// The cache, if there is one.
    pub fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Loads what the input of this digest was compiled to; `None` when the cache does not have it.
    ///
    /// The digest is the caller's word for the bytes: ask with one that was taken of them. Those are not read: what was stored
    /// under it had been validated.
    pub fn cached(&self, target: &Target, digest: Digest) -> Option<Loaded> {
        let start = Instant::now();
        let key = EntryKey::of(target.engine(), digest);
        let cache = self.cache.as_ref()?;
        hit(cache, target, &key, start)
    }

    /// Compiles `component` for `engine`, or takes it from the cache.
    ///
    /// The timing's `load` holds what was spent on the cache, and on bringing the code into memory.
    /// When the cache cannot be written the code is used from memory, and a warning is traced once.
    ///
    /// # Errors
    /// [`BadComponent`](ErrorKind::BadComponent) when it does not compile.
    pub fn component(&self, target: &Target, component: &component::Component) -> Result<Loaded> {
        let engine = target.engine();
        let Some(cache) = &self.cache else {
            let start = Instant::now();
            let compile = |bytes: &[u8]| Component::from_binary(engine, bytes);
            let compiled = fused_or_not(component, compile).map_err(uncompilable)?;
            let timing = Timing { compile: nanos(start), ..Timing::default() };
            return Ok(Loaded::new(component, compiled, None, timing));
        };
        let start = Instant::now();
        let key = EntryKey::of(engine, component.digest());
        self.once(&key, || {
            if let Some(hit) = hit(cache, target, &key, start) {
                return Ok(hit);
            }
            if let Some(made) = self.in_parts(cache, target, component, &key) {
                return Ok(made);
            }
            let (artifact, compile) = whole(target, Some(cache), component)?;
            let start = Instant::now();
            let compiled = keep(cache, engine, &key, &artifact, &about(component)).map_err(unloadable)?;
            let timing =
                Timing { compile, load: nanos(start), cache: CacheOutcome::Miss, ..Timing::default() };
            Ok(Loaded::new(component, compiled, None, timing))
        })
    }

    /// The machine code itself, all of it, for this machine and an engine of the same settings. Goes through the cache, unless that has it in
    /// parts.
    ///
    /// # Errors
    /// As [`component`](Self::component).
    pub fn artifact(&self, target: &Target, component: &component::Component) -> Result<(Vec<u8>, Timing)> {
        let Some(cache) = &self.cache else {
            let (artifact, compile) = whole(target, None, component)?;
            return Ok((artifact, Timing { compile, ..Timing::default() }));
        };
        let start = Instant::now();
        let key = EntryKey::of(target.engine(), component.digest());
        self.once(&key, || {
            let entry = cache.get(&key);
            let is_in_parts = entry.as_ref().is_some_and(|entry| entry.about.code.is_some());
            let entry = entry.filter(|_| !is_in_parts);
            if let Some(artifact) = entry.and_then(|entry| cache.read(&key, &entry)) {
                let timing = Timing { load: nanos(start), cache: CacheOutcome::Hit, ..Timing::default() };
                return Ok((artifact, timing));
            }
            let (artifact, compile) = whole(target, Some(cache), component)?;
            if !is_in_parts {
                cache.put(&key, &artifact, &about(component));
            }
            Ok((artifact, Timing { compile, cache: CacheOutcome::Miss, ..Timing::default() }))
        })
    }

    /// The machine code that the input of this digest was compiled to, with its contract and export; `None` when the cache does not have it.
    pub fn cached_artifact(&self, target: &Target, digest: Digest) -> Option<(Vec<u8>, Contract, String)> {
        let key = EntryKey::of(target.engine(), digest);
        let cache = self.cache.as_ref()?;
        let entry = cache.get(&key).filter(|entry| entry.about.code.is_none())?;
        let artifact = cache.read(&key, &entry)?;
        Some((artifact, entry.about.contract?, entry.about.export))
    }

    /// Runs `make` while no other thread of this process runs it for the same key.
    fn once<T>(&self, key: &EntryKey, make: impl FnOnce() -> T) -> T {
        let gate = self.making.lock().entry(*key).or_default().clone();
        let made = {
            let _turn = gate.lock();
            make()
        };
        let mut making = self.making.lock();
        // Two are left when nobody waits: this one and the map's. Who comes later takes a fresh one.
        if Arc::strong_count(&gate) == 2 {
            making.remove(key);
        }
        made
    }
}

/// What the cache has under `key`, with the code that goes with it.
fn hit(cache: &Cache, target: &Target, key: &EntryKey, start: Instant) -> Option<Loaded> {
    let (component, About { contract, export, code }) = find(cache, target.engine(), key)?;
    let code = match code {
        Some(digest) => Some(split::cached(cache, target, digest)?),
        None => None,
    };
    let timing = Timing { load: nanos(start), cache: CacheOutcome::Hit, ..Timing::default() };
    Some(Loaded { component, code, contract: contract?, export, timing })
}

/// What the cache has under `key`, loaded; what the engine does not take is discarded.
fn find<T: Code>(cache: &Cache, engine: &Engine, key: &EntryKey) -> Option<(T, About)> {
    let entry = cache.get(key)?;
    match entry.map(engine) {
        Ok(code) => Some((code, entry.about)),
        Err(error) => {
            cache.discard(key, &format!("the engine does not take it: {error:#}"));
            None
        }
    }
}

/// Keeps what `engine` has just compiled, and loads it: from the cache, or from memory where that cannot keep it.
fn keep<T: Code>(
    cache: &Cache,
    engine: &Engine,
    key: &EntryKey,
    artifact: &[u8],
    about: &About,
) -> wasmtime::Result<T> {
    match cache.put(key, artifact, about).and_then(|entry| entry.map(engine).ok()) {
        Some(code) => Ok(code),
        None => from_memory(engine, artifact),
    }
}

fn about(component: &component::Component) -> About {
    About { contract: Some(component.contract()), export: component.export().to_owned(), code: None }
}

/// Compiles all of a component, with its linked modules made one.
fn whole(target: &Target, cache: Option<&Cache>, component: &component::Component) -> Result<(Vec<u8>, u64)> {
    let compile = |engine: &Engine| fused_or_not(component, |bytes| engine.precompile_component(bytes));
    precompile(target, cache, component.bytes(), compile).map_err(uncompilable)
}

/// Compiles; something large function by function, where `cache` may know some of them.
fn precompile(
    target: &Target,
    cache: Option<&Cache>,
    bytes: &[u8],
    compile: impl FnOnce(&Engine) -> wasmtime::Result<Vec<u8>>,
) -> wasmtime::Result<(Vec<u8>, u64)> {
    let start = Instant::now();
    let functions = cache.filter(|_| functions::is_worthwhile(bytes)).map(Cache::functions);
    let compiler = functions.clone().map(|functions| target.compiler(functions)).transpose()?;
    let artifact = compile(compiler.as_ref().unwrap_or(target.engine()))?;
    let took = nanos(start);
    if let (Some(cache), Some(functions)) = (cache, functions) {
        cache.keep_functions(&functions);
    }
    Ok((artifact, took))
}

/// Compiles a component with its linked modules made one; as it is, where they are none, or the engine does not take the result.
fn fused_or_not<T>(
    component: &component::Component,
    compile: impl Fn(&[u8]) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    if let Some(fused) = fuse(component.bytes()) {
        match compile(&fused) {
            Ok(compiled) => return Ok(compiled),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot compile linked modules as one");
            }
        }
    }
    compile(component.bytes())
}

/// What the fast compiler of `target` makes of `component`; `None` when it does not take it. The result is kept nowhere: what the
/// optimising compiler makes takes its place before long.
pub(crate) fn baseline(target: &Target, component: &component::Component) -> Option<(Component, Timing)> {
    let start = Instant::now();
    let compile = |bytes: &[u8]| Component::from_binary(target.engine(), bytes);
    // It is young, and panics where it lacks something.
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| fused_or_not(component, compile)));
    match made {
        Ok(Ok(compiled)) => Some((compiled, Timing { compile: nanos(start), ..Timing::default() })),
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{error:#}"), "the fast compiler does not take a component");
            None
        }
        Err(_) => None,
    }
}

fn from_memory<T: Code>(engine: &Engine, artifact: &[u8]) -> wasmtime::Result<T> {
    // SAFETY: `artifact` is what this very engine has just compiled; it has not left this process.
    unsafe { T::copy(engine, artifact) }
}

fn unloadable(error: wasmtime::Error) -> Error {
    Error::new(ErrorKind::Internal, "load component", "the engine does not take the code it has compiled")
        .from_source(error)
}

fn uncompilable(error: wasmtime::Error) -> Error {
    Error::new(
        ErrorKind::BadComponent,
        "compile component",
        "the component is valid but does not compile; it may use a proposal or a size that the engine does not support",
    )
    .from_source(error)
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
