//! Memory, tables and instances, counted for all of a store together.

use limes_core::{Error, Limits};
use wasmtime::ResourceLimiter;

/// Enforces [`Limits::memory`], [`Limits::table_elements`] and [`Limits::instances`] on one store,
/// and remembers the first refusal, so that a trap that follows from it is reported as what it is.
pub(crate) struct Limiter {
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

    fn error(&self) -> Option<Error> {
        self.refused.map(|asked| Error::limit("run guest", self.name, self.allowed, asked))
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

    /// The limit that was hit first, if one was.
    pub fn breach(&self) -> Option<Error> {
        self.memory.error().or_else(|| self.tables.error())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_budget() {
        let mut limiter = Limiter::new(&Limits { memory: 100, ..Limits::default() });
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(limiter.breach().is_none());
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        assert!(limiter.breach().unwrap().to_string().contains("memory is 100, the function asked for 101"));
    }

    #[test]
    fn what_a_memory_may_not_grow_to_takes_nothing() {
        let mut limiter = Limiter::new(&Limits { memory: 100, ..Limits::default() });
        for _ in 0..3 {
            assert!(!limiter.memory_growing(0, 60, Some(50)).unwrap());
        }
        assert!(limiter.memory_growing(0, 100, Some(100)).unwrap());
        assert!(limiter.breach().is_none());
    }
}
