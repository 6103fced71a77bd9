//! Components of one interpreter: their code is compiled once, and shared by all of them, on disk and in memory.

use super::entry::About;
use super::key::EntryKey;
use super::{Cache, CompileService, Loaded, Target, about, find, functions, keep, nanos, precompile};
use crate::component::{self, Digest};
use crate::fuse::{Split, split};
use limes_core::{CacheOutcome, Timing};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{Engine, Module};

impl CompileService {
    /// Compiles a component in two parts; `None` where it is not worthwhile, it cannot be split, or the engine does not take the parts: then
    /// it is compiled as it is.
    pub(super) fn in_parts(
        &self,
        cache: &Cache,
        target: &Target,
        component: &component::Component,
        key: &EntryKey,
    ) -> Option<Loaded> {
        if !functions::is_worthwhile(component.bytes()) {
            return None;
        }
        let split = split(component.bytes())?;
        match self.parts(cache, target, component, key, &split) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "cannot compile a component in two parts");
                None
            }
        }
    }

    fn parts(
        &self,
        cache: &Cache,
        target: &Target,
        component: &component::Component,
        key: &EntryKey,
        split: &Split,
    ) -> wasmtime::Result<Loaded> {
        let digest = Digest::of(&split.code);
        let (code, mut compile) = self.code(cache, target, digest, &split.code)?;
        let begun = Instant::now();
        let artifact = target.engine().precompile_component(&split.component)?;
        compile += nanos(begun);
        let begun = Instant::now();
        let about = About { code: Some(digest), ..about(component) };
        let made = keep(cache, target.engine(), key, &artifact, &about)?;
        let timing = Timing { compile, load: nanos(begun), cache: CacheOutcome::Miss, ..Timing::default() };
        Ok(Loaded::new(component, made, Some(code), timing))
    }

    /// The code with this digest, and how long it took to compile: 0 where the cache had it.
    fn code(
        &self,
        cache: &Cache,
        target: &Target,
        digest: Digest,
        module: &[u8],
    ) -> wasmtime::Result<(Arc<Module>, u64)> {
        let key = EntryKey::of_code(target.engine(), digest);
        self.once(&key, || {
            if let Some(code) = known(cache, target, &key) {
                return Ok((code, 0));
            }
            let compile = |engine: &Engine| engine.precompile_module(module);
            let (artifact, took) = precompile(target, Some(cache), module, compile)?;
            let code = keep(cache, target.engine(), &key, &artifact, &About::default())?;
            Ok((target.share(key, code), took))
        })
    }
}

/// The code with this digest, of a function that is loaded, or from the cache.
pub(super) fn cached(cache: &Cache, target: &Target, digest: Digest) -> Option<Arc<Module>> {
    known(cache, target, &EntryKey::of_code(target.engine(), digest))
}

fn known(cache: &Cache, target: &Target, key: &EntryKey) -> Option<Arc<Module>> {
    if let Some(code) = target.shared(key) {
        cache.touch(&key.to_string());
        return Some(code);
    }
    let (code, _) = find(cache, target.engine(), key)?;
    Some(target.share(*key, code))
}
