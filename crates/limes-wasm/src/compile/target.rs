use super::functions::FunctionCache;
use super::key::EntryKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Module};

/// What components are compiled for: the engine that their code is loaded into, and the settings it was made with.
pub struct Target {
    engine: Engine,
    config: Config,
    /// Code that functions share, as long as one of them is loaded.
    shared: Mutex<HashMap<EntryKey, Weak<Module>>>,
}

impl Target {
    /// Starts an engine with these settings.
    ///
    /// # Errors
    /// They contradict each other, or the machine cannot give what they ask for.
    pub fn new(config: Config) -> wasmtime::Result<Self> {
        Ok(Self { engine: Engine::new(&config)?, config, shared: Mutex::default() })
    }

    /// The engine that code is loaded into.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The code of `key`, if a function has it.
    pub(super) fn shared(&self, key: &EntryKey) -> Option<Arc<Module>> {
        self.shared.lock().get(key).and_then(Weak::upgrade)
    }

    /// Has all functions from now on share `code`, or what they share already.
    pub(super) fn share(&self, key: EntryKey, code: Module) -> Arc<Module> {
        let mut shared = self.shared.lock();
        shared.retain(|_, code| code.strong_count() > 0);
        if let Some(code) = shared.get(&key).and_then(Weak::upgrade) {
            return code;
        }
        let code = Arc::new(code);
        shared.insert(key, Arc::downgrade(&code));
        code
    }

    /// An engine of the same settings that compiles alone, and takes from `functions` what was compiled before.
    pub(super) fn compiler(&self, functions: Arc<FunctionCache>) -> wasmtime::Result<Engine> {
        let mut config = self.config.clone();
        // It holds no instance, so it needs no pool for them; code does not depend on it.
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        config.enable_incremental_compilation(functions)?;
        Engine::new(&config)
    }
}
