//! The sandbox as others see it: components in, functions out.

use crate::compile::{self, Cache, CacheInfo, CompileService, Loaded};
use crate::component::{self, Digest};
use crate::engine::{Allocation, Engine, EngineSettings};
use crate::function::{self, WasmFunction};
use crate::fuse::CODE;
use crate::host::Host;
use crate::tiered::{self, TieredFunction};
use crate::unikernel::{Processor, UnikernelCode, UnikernelCompiler};
use limes_core::{
    CompileMode, Contract, Error, ErrorKind, Function, FunctionSpec, Grants, Limits, Prepared, Result,
    Sandbox, SandboxKind, Tier, Timing,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::{ComponentExportIndex, HasData, Linker, ResourceTable};

/// How a [`WasmSandbox`] is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where compiled code is kept; `None` compiles in memory each time (JIT).
    pub cache_dir: Option<PathBuf>,
    /// Size the cache is kept under, in bytes.
    pub cache_bytes: u64,
    /// Instances alive at once. Each reserves address space (some 5 GiB), not memory.
    pub slots: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_dir: None, cache_bytes: 2 << 30, slots: 1000 }
    }
}

/// Stack sizes in bytes that a function may have.
const STACK_RANGE: std::ops::RangeInclusive<u64> = (64 << 10)..=(8 << 20);

/// A component of fewer bytes is optimised at once, whatever its function's [`CompileMode`].
const LARGE: usize = 96 << 10;

/// What a small component begins with at most, in bytes: its memory, and what it puts there, which is copied at each call.
const SMALL: (u64, u64) = (2 << 20, 64 << 10);

fn is_small(component: &component::Component) -> bool {
    component.initial_memory() <= SMALL.0 && component.initial_data() <= SMALL.1
}

/// Runs WebAssembly components inside the process.
pub struct WasmSandbox {
    settings: Settings,
    compiler: Arc<CompileService>,
    unikernel: UnikernelCompiler,
    /// Made when first needed, which takes milliseconds; the common ones at once.
    environments: Mutex<HashMap<EngineSettings, Arc<Environment>>>,
}

/// An engine, and everything Limes offers to components in it.
struct Environment {
    engine: Arc<Engine>,
    linker: Linker<Host>,
    tier: Tier,
}

impl Environment {
    fn new(settings: EngineSettings) -> Result<Self> {
        let engine = Arc::new(Engine::new(settings)?);
        let linker = linker(engine.wasmtime(), settings.concurrent).map_err(|error| {
            Error::new(ErrorKind::Internal, "start engine", "cannot define the host's functions")
                .from_source(error)
        })?;
        Ok(Self { engine, linker, tier: settings.tier })
    }

    /// A function of the code that was loaded into this engine.
    fn link(&self, loaded: Loaded, terms: Terms) -> Result<WasmFunction> {
        let engine = self.engine.wasmtime();
        let Loaded { component, code, contract, export, .. } = loaded;
        let pre = match &code {
            None => self.linker.instantiate_pre(&component),
            Some(code) => {
                let mut linker = self.linker.clone();
                linker.root().module(CODE, code).and_then(|()| linker.instantiate_pre(&component))
            }
        };
        let pre = pre.map_err(|error| link_error(engine, &component, error))?;
        let Terms { name, limits, grants } = terms;
        Ok(WasmFunction(Arc::new(function::Prepared {
            name,
            engine: self.engine.clone(),
            tier: self.tier,
            pre,
            _code: code,
            contract,
            export: export_index(&component, contract, &export)?,
            needs_context: needs_context(engine, &component),
            limits,
            grants,
        })))
    }
}

/// What a function needs of its engine.
#[derive(Clone, Copy)]
struct Needs {
    /// WebAssembly stack, in bytes.
    stack: u64,
    /// Whether it has little memory.
    small: bool,
    concurrent: bool,
    tier: Tier,
}

impl Default for Needs {
    fn default() -> Self {
        Self { stack: Limits::default().stack, small: false, concurrent: false, tier: Tier::Optimized }
    }
}

/// What a function is called and may do.
#[derive(Clone)]
struct Terms {
    name: String,
    limits: Limits,
    grants: Grants,
}

fn optimized(
    compiler: &CompileService,
    environment: &Environment,
    source: &component::Component,
) -> Result<Loaded> {
    compiler.component(environment.engine.target(), source)
}

fn linker(engine: &wasmtime::Engine, concurrent: bool) -> wasmtime::Result<Linker<Host>> {
    use wasmtime_wasi::p2::bindings::io;
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    // Streams need the table alone: defined again, so that they do not make a context nobody else asks for.
    linker.allow_shadowing(true);
    io::error::add_to_linker::<_, HasTable>(&mut linker, Host::table)?;
    io::poll::add_to_linker::<_, HasTable>(&mut linker, Host::table)?;
    io::streams::add_to_linker::<_, HasTable>(&mut linker, Host::table)?;
    crate::grants::define_name_lookup(&mut linker)?;
    crate::http02::define(&mut linker)?;
    linker.allow_shadowing(false);
    if concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl WasmSandbox {
    /// Starts the engine and opens the cache.
    ///
    /// # Errors
    /// The engine does not start, or the cache directory cannot be made private.
    pub fn new(settings: Settings) -> Result<Self> {
        let cache =
            settings.cache_dir.as_deref().map(|dir| Cache::open(dir, settings.cache_bytes)).transpose()?;
        let sandbox = Self {
            compiler: Arc::new(CompileService::new(cache)),
            unikernel: UnikernelCompiler::default(),
            environments: Mutex::default(),
            settings,
        };
        for small in [true, false] {
            sandbox.environment(Needs { small, ..Needs::default() })?;
        }
        Ok(sandbox)
    }

    /// Takes a component (or a wasip1 module, or either as wat text) to something that can be invoked.
    ///
    /// Blocks while it compiles. `name` is what the guest sees as its program name. With [`CompileMode::Tiered`], a large component
    /// that the cache does not have can be called as soon as a fast compiler is through with it; the optimised code is made on a
    /// thread of its own meanwhile, and calls that begin when it is ready go there.
    ///
    /// # Errors
    /// Not a valid component, no contract, imports that are not offered, or a limit out of range.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        limits: Limits,
        grants: Grants,
        compile: CompileMode,
    ) -> Result<Prepared> {
        let begun = Instant::now();
        let name = if name.is_empty() { "function".to_owned() } else { name.to_owned() };
        let terms = Terms { name, limits, grants };
        let (function, timing) = self.function(bytes, terms, compile)?;
        let whole = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let timing = Timing { load: whole.saturating_sub(timing.compile), tier: function.tier(), ..timing };
        Ok(Prepared { function, timing })
    }

    /// Machine code in the engine it needs, from the cache if that has it: then the component is not even read.
    fn function(
        &self,
        bytes: &[u8],
        terms: Terms,
        compile: CompileMode,
    ) -> Result<(Arc<dyn Function>, Timing)> {
        let mut needs = Needs { stack: terms.limits.stack, ..Needs::default() };
        let digest = Digest::of(bytes);
        for small in [true, false] {
            let environment = self.environment(Needs { small, ..needs })?;
            if let Some(loaded) = self.compiler.cached(environment.engine.target(), digest) {
                let timing = loaded.timing;
                return Ok((Arc::new(environment.link(loaded, terms)?), timing));
            }
        }
        let source = component::read(bytes)?;
        needs.concurrent = source.is_async();
        needs.small = is_small(&source) && !needs.concurrent;
        let environment = self.environment(needs)?;
        if compile == CompileMode::Tiered
            && source.bytes().len() >= LARGE
            && let Some(made) = self.tiered(&environment, needs, &source, &terms)?
        {
            return Ok(made);
        }
        let loaded = optimized(&self.compiler, &environment, &source)?;
        let timing = loaded.timing;
        Ok((Arc::new(environment.link(loaded, terms)?), timing))
    }

    /// What the fast compiler makes of a component, with the optimising one at work; `None` when the fast one does not take it,
    /// or the cache has what the other makes.
    fn tiered(
        &self,
        environment: &Arc<Environment>,
        needs: Needs,
        source: &component::Component,
        terms: &Terms,
    ) -> Result<Option<(Arc<dyn Function>, Timing)>> {
        if let Some(loaded) = self.compiler.cached(environment.engine.target(), source.digest()) {
            let timing = loaded.timing;
            return Ok(Some((Arc::new(environment.link(loaded, terms.clone())?), timing)));
        }
        let Ok(fast) = self.environment(Needs { tier: Tier::Baseline, ..needs }) else {
            return Ok(None);
        };
        let Some((component, timing)) = compile::baseline(fast.engine.target(), source) else {
            return Ok(None);
        };
        let loaded = Loaded::new(source, component, None, timing);
        let function = TieredFunction::new(fast.link(loaded, terms.clone())?);
        let (compiler, environment) = (self.compiler.clone(), environment.clone());
        let (source, terms) = (source.clone(), terms.clone());
        let optimize = move || environment.link(optimized(&compiler, &environment, &source)?, terms);
        Ok(tiered::replace_when_made(&function, tiered::PATIENCE, optimize).then_some((function, timing)))
    }

    /// Machine code for this machine, as `limes compile` writes it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn compile(&self, bytes: &[u8]) -> Result<(Vec<u8>, Timing)> {
        let source = component::read(bytes)?;
        let environment = self.environment(Needs { concurrent: source.is_async(), ..Needs::default() })?;
        self.compiler.artifact(environment.engine.target(), &source)
    }

    /// Machine code for the unikernel; blocks while it compiles.
    ///
    /// # Errors
    /// Not a valid component, no contract, or one that the unikernel does not have: it has those of WASI 0.2.
    pub fn compile_for_unikernel(&self, bytes: &[u8], processor: Processor) -> Result<UnikernelCode> {
        self.unikernel.compile(&self.compiler, bytes, processor)
    }

    /// What the cache holds.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn cache_info(&self) -> Result<CacheInfo> {
        self.compiler.cache().map_or_else(|| Ok(CacheInfo::default()), Cache::info)
    }

    /// Empties the cache; returns the bytes freed.
    ///
    /// # Errors
    /// An entry cannot be removed.
    pub fn cache_clear(&self) -> Result<u64> {
        self.compiler.cache().map_or(Ok(0), Cache::clear)
    }

    /// Checks every entry and discards the bad ones; returns how many were good and how many discarded.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn cache_verify(&self) -> Result<(u64, u64)> {
        self.compiler.cache().map_or(Ok((0, 0)), Cache::verify)
    }

    fn environment(&self, needs: Needs) -> Result<Arc<Environment>> {
        let Needs { stack, small, concurrent, tier } = needs;
        if !STACK_RANGE.contains(&stack) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "load",
                format!(
                    "limits.stack is {stack} bytes; it must be from {} to {}",
                    STACK_RANGE.start(),
                    STACK_RANGE.end()
                ),
            ));
        }
        let allocation = match tier {
            // A pool takes longer to make than the fast compiler's code is there.
            Tier::Baseline => Allocation::System,
            Tier::Optimized if small => Allocation::Spares,
            Tier::Optimized if stack == Limits::default().stack => Allocation::Pool,
            Tier::Optimized => Allocation::System,
        };
        let settings = EngineSettings { stack, slots: self.settings.slots, allocation, concurrent, tier };
        let mut environments = self.environments.lock();
        if let Some(environment) = environments.get(&settings) {
            return Ok(environment.clone());
        }
        let environment = Arc::new(Environment::new(settings)?);
        environments.insert(settings, environment.clone());
        Ok(environment)
    }
}

impl Sandbox for WasmSandbox {
    fn kind(&self) -> SandboxKind {
        SandboxKind::Wasm
    }

    fn prepare(&self, spec: &FunctionSpec) -> Result<Prepared> {
        let bytes = read_component(spec)?;
        self.load(&spec.name, &bytes, spec.limits.clone(), spec.grants.clone(), spec.compile)
    }
}

/// Reads the component of a deployed function, and checks that it is the one that was deployed.
///
/// # Errors
/// [`ErrorKind::CorruptedState`] when it cannot be read, or holds other bytes.
pub fn read_component(spec: &FunctionSpec) -> Result<Vec<u8>> {
    let bytes = std::fs::read(&spec.component).map_err(|error| {
        let path = spec.component.display();
        let message = format!("`{path}`, deployed as `{}`, cannot be read; deploy it again", spec.name);
        Error::new(ErrorKind::CorruptedState, "load", message).from_source(error)
    })?;
    let found = Digest::of(&bytes);
    if Digest::from_hex(&spec.digest) != Some(found) {
        return Err(Error::new(
            ErrorKind::CorruptedState,
            "load",
            format!(
                "`{}` holds other bytes than were deployed as `{}` (SHA-256 {found}, not {}); deploy it again",
                spec.component.display(),
                spec.name,
                spec.digest
            ),
        ));
    }
    Ok(bytes)
}

/// Reads a component file.
///
/// # Errors
/// [`ErrorKind::Io`] when there is none, or it cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        Error::new(ErrorKind::Io, "load", format!("cannot read `{}`", path.display())).from_source(error)
    })
}

/// The function of the contract's interface that is called.
fn export_index(
    component: &wasmtime::component::Component,
    contract: Contract,
    interface: &str,
) -> Result<ComponentExportIndex> {
    let function = if contract.is_http() { "handle" } else { "run" };
    let instance = component.get_export_index(None, interface);
    instance.and_then(|instance| component.get_export_index(Some(&instance), function)).ok_or_else(|| {
        let missing = format!("the component's `{interface}` has no function `{function}`");
        Error::new(ErrorKind::UnsupportedContract, "load", missing)
    })
}

/// Why a component does not link: imports that nobody offers, or offered ones of another shape.
fn link_error(
    engine: &wasmtime::Engine,
    component: &wasmtime::component::Component,
    error: wasmtime::Error,
) -> Error {
    let kind = component.component_type();
    let unknown: Vec<_> = kind
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| *name != CODE && !component::is_offered(name))
        .collect();
    if unknown.is_empty() {
        let message = "the component imports functions of a shape that its WASI version does not have";
        return Error::new(ErrorKind::BadComponent, "link component", message).from_source(error);
    }
    component::unsupported_import_error(&unknown).from_source(error)
}

/// Whether a WASI context is wanted: arguments, environment, standard streams, files, sockets.
fn needs_context(engine: &wasmtime::Engine, component: &wasmtime::component::Component) -> bool {
    let kind = component.component_type();
    kind.imports(engine).any(|(name, _)| {
        ["wasi:cli/", "wasi:filesystem/", "wasi:sockets/"].iter().any(|package| name.starts_with(package))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::tests::answering;
    use limes_core::{Input, call};
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn optimising_waits_for_the_end_of_the_first_call() {
        let sandbox = WasmSandbox::new(Settings { slots: 1, ..Settings::default() }).unwrap();
        let (source, limits) = (answering("first"), Limits::default());
        let environment = |tier| sandbox.environment(Needs { tier, ..Needs::default() }).unwrap();
        let (fast, slow) = (environment(Tier::Baseline), environment(Tier::Optimized));
        let terms = Terms { name: "first".into(), limits, grants: Grants::default() };
        let (component, timing) = compile::baseline(fast.engine.target(), &source).unwrap();
        let loaded = Loaded::new(&source, component, None, timing);
        let function = TieredFunction::new(fast.link(loaded, terms.clone()).unwrap());

        let (begins, begun) = mpsc::channel();
        let compiler = sandbox.compiler.clone();
        let optimize = move || {
            begins.send(()).unwrap();
            slow.link(optimized(&compiler, &slow, &source)?, terms)
        };
        assert!(tiered::replace_when_made(&function, Duration::from_secs(3600), optimize));
        assert!(begun.recv_timeout(Duration::from_millis(100)).is_err(), "nobody has called yet");
        let first = call(function, Input::Run(String::new()), Duration::from_secs(30), 1 << 10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert!(runtime.block_on(first.future).is_ok());
        begun.recv_timeout(Duration::from_secs(30)).expect("the first call has ended");
    }
}
