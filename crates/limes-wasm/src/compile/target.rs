use super::functions::FunctionCache;
use std::sync::Arc;
use wasmtime::{Config, Engine, InstanceAllocationStrategy};

/// What components are compiled for: the engine that their code is loaded into, and the settings it was made with.
pub struct Target {
    engine: Engine,
    config: Config,
}

impl Target {
    /// Starts an engine with these settings.
    ///
    /// # Errors
    /// They contradict each other, or the machine cannot give what they ask for.
    pub fn new(config: Config) -> wasmtime::Result<Self> {
        Ok(Self { engine: Engine::new(&config)?, config })
    }

    /// The engine that code is loaded into.
    pub fn engine(&self) -> &Engine {
        &self.engine
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
