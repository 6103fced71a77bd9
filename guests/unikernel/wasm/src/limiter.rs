//! Memory, tables and instances, counted for all of a store together.

use limes_channel::Limits;
use wasmtime::ResourceLimiter;

/// Enforces the limits on one store, and remembers the first refusal, so that a trap that follows from it is reported as what it is.
pub struct Limiter {
    memory: Budget,
    tables: Budget,
    instances: usize,
}

struct Budget {
    name: &'static str,
    allowed: u64,
    used: u64,
    refused: Option<u64>,
}

impl Budget {
    fn new(name: &'static str, allowed: u64) -> Self {
        Self { name, allowed, used: 0, refused: None }
    }

    /// Growth beyond `maximum`, which the guest's own code has set, fails whatever is said here, and takes nothing.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let wanted = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if wanted > self.allowed {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used = wanted;
        true
    }

    fn refused(&self) -> Option<(&'static str, u64)> {
        self.refused.map(|asked| (self.name, asked))
    }
}

impl Limiter {
    pub fn new(limits: &Limits) -> Self {
        Self {
            memory: Budget::new("memory", limits.memory),
            tables: Budget::new("table_elements", limits.table_elements),
            instances: limits.instances as usize,
        }
    }

    /// The limit that was hit first, if one was, and what was asked for.
    pub fn breach(&self) -> Option<(&'static str, u64)> {
        self.memory.refused().or_else(|| self.tables.refused())
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, now: usize, then: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.memory.grow(now, then, maximum))
    }

    fn table_growing(&mut self, now: usize, then: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.tables.grow(now, then, maximum))
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}
