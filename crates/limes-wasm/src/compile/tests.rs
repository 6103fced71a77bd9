use super::*;
use crate::fuse::CODE;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use wasmtime::component::Linker;
use wasmtime::{Config, Store};

const PLENTY: u64 = 1 << 30;

fn target() -> Target {
    let mut config = Config::new();
    config.wasm_component_model_async(true);
    Target::new(config).unwrap()
}

/// A component whose `run` answers with `answer`, whatever it is asked; different answers are different components.
pub(crate) fn answering(answer: &str) -> component::Component {
    let wat = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 1)
                (data (i32.const 64) "{answer}")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "run") (param i32 i32) (result i32)
                    (i32.store (i32.const 0) (i32.const 64))
                    (i32.store (i32.const 4) (i32.const {}))
                    (i32.const 0)))
            (core instance $m (instantiate $m))
            (func $run (param "args" string) (result string)
                (canon lift (core func $m "run") (memory $m "memory") (realloc (func $m "realloc"))))
            (instance $i (export "run" (func $run)))
            (export "component:run/run" (instance $i)))"#,
        answer.len()
    );
    component::read(wat.as_bytes()).unwrap()
}

/// What a component answers; one in two parts with its code. It may import `answer`, which says `imported`.
pub(crate) fn call(engine: &Engine, component: &Component, code: Option<&Module>) -> String {
    let mut linker = Linker::new(engine);
    linker.root().func_wrap("answer", |_, ()| Ok(("imported".to_owned(),))).unwrap();
    if let Some(code) = code {
        linker.root().module(CODE, code).unwrap();
    }
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, component).unwrap();
    let interface = instance.get_export_index(&mut store, None, "component:run/run").unwrap();
    let run = instance.get_export_index(&mut store, Some(&interface), "run").unwrap();
    let run = instance.get_typed_func::<(&str,), (String,)>(&mut store, run).unwrap();
    run.call(&mut store, ("",)).unwrap().0
}

/// A service on a directory of its own.
pub(super) struct Bench {
    pub target: Target,
    pub service: CompileService,
    pub dir: PathBuf,
    _root: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self::bounded(PLENTY)
    }

    pub fn bounded(max_bytes: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("cache");
        let service = CompileService::new(Some(Cache::open(&dir, max_bytes).unwrap()));
        Self { target: target(), service, dir, _root: root }
    }

    pub fn cache(&self) -> &Cache {
        self.service.cache().unwrap()
    }

    pub fn entry(&self, component: &component::Component) -> PathBuf {
        self.dir.join(EntryKey::of(self.target.engine(), component.digest()).to_string())
    }

    /// Loads `component`, checks that it still gives `answer`, and says whether the cache had it.
    pub fn outcome(&self, component: &component::Component, answer: &str) -> CacheOutcome {
        let Loaded { component: compiled, timing, .. } =
            self.service.component(&self.target, component).unwrap();
        assert_eq!(call(self.target.engine(), &compiled, None), answer);
        assert_eq!(timing.compile == 0, timing.cache == CacheOutcome::Hit, "{timing:?}");
        assert!(timing.load > 0);
        timing.cache
    }

    /// Puts `bytes` in the place of an entry, as a new file: the old one may be mapped.
    pub fn replace(&self, path: &Path, bytes: &[u8]) {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    /// The entry of `component` must have been found bad: it is remade, right, and found the next time.
    pub fn assert_remade(&self, component: &component::Component, answer: &str, what: &str) {
        assert_eq!(self.outcome(component, answer), CacheOutcome::Miss, "{what}");
        assert_eq!(self.outcome(component, answer), CacheOutcome::Hit, "{what}");
    }
}

/// xorshift64*: the same positions in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

#[test]
fn what_was_compiled_once_is_found_by_component_by_input_and_by_digest() {
    let bench = Bench::new();
    let hello = answering("hello");
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Miss);
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Hit);
    let cached = bench.service.cached(&bench.target, hello.digest()).expect("stored");
    assert_eq!((cached.contract, cached.export.as_str()), (Contract::Run, "component:run/run"));
    assert_eq!(cached.timing.cache, CacheOutcome::Hit);
    assert_eq!(call(bench.target.engine(), &cached.component, None), "hello");

    // The binary is another input than the text it was made from.
    assert!(bench.service.cached(&bench.target, Digest::of(hello.bytes())).is_none());
    assert!(bench.service.cached(&bench.target, Digest::of(b"something else")).is_none());
}

#[test]
fn another_process_finds_what_this_one_stored() {
    let bench = Bench::new();
    let hello = answering("hello");
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Miss);
    let other = CompileService::new(Some(Cache::open(&bench.dir, PLENTY).unwrap()));
    let fresh = target();
    let loaded = other.cached(&fresh, hello.digest()).expect("stored");
    assert_eq!(call(fresh.engine(), &loaded.component, None), "hello");
}

#[test]
fn engines_with_other_settings_do_not_share_code() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    let other = Target::new(config).unwrap();
    assert!(bench.service.cached(&other, hello.digest()).is_none());

    // Nor when somebody gives the one's entry the other's name.
    let stray = bench.dir.join(EntryKey::of(other.engine(), hello.digest()).to_string());
    std::fs::copy(bench.entry(&hello), &stray).unwrap();
    assert!(bench.service.cached(&other, hello.digest()).is_none());
    assert!(!stray.exists());
}

#[test]
fn without_a_cache_every_load_compiles_and_nothing_is_written() {
    let service = CompileService::new(None);
    let (target, hello) = (target(), answering("hello"));
    for _ in 0..2 {
        let Loaded { component: compiled, timing, .. } = service.component(&target, &hello).unwrap();
        assert_eq!(call(target.engine(), &compiled, None), "hello");
        assert!(timing.compile > 0 && timing.cache == CacheOutcome::Unused);
    }
}

#[test]
fn the_artifact_is_what_the_engine_takes() {
    let bench = Bench::new();
    let hello = answering("hello");
    let (compiled, timing) = bench.service.artifact(&bench.target, &hello).unwrap();
    assert_eq!(timing.cache, CacheOutcome::Miss);
    let (stored, timing) = bench.service.artifact(&bench.target, &hello).unwrap();
    assert_eq!(timing.cache, CacheOutcome::Hit);
    assert!(compiled == stored);
    // SAFETY: the service has just compiled it.
    let component = unsafe { Component::deserialize(bench.target.engine(), stored) }.unwrap();
    assert_eq!(call(bench.target.engine(), &component, None), "hello");
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Hit);
    let (uncached, _) = CompileService::new(None).artifact(&bench.target, &hello).unwrap();
    assert_eq!(uncached.len(), compiled.len());
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_the_entry_made_again() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let path = bench.entry(&hello);
    let good = std::fs::read(&path).unwrap();
    let seed = 0xb17_f11b;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    // Everywhere in what follows the artifact, and at random in the artifact.
    let tail = good.len() - 96 - hello.export().len()..good.len();
    let positions: Vec<usize> = tail.chain((0..300).map(|_| random.below(good.len()))).collect();
    for at in positions {
        let mut bad = good.clone();
        bad[at] ^= 1 << random.below(8);
        bench.replace(&path, &bad);
        assert!(bench.service.cached(&bench.target, hello.digest()).is_none(), "byte {at}");
        assert!(!path.exists(), "byte {at}: the bad entry is still there");
        std::fs::write(&path, &good).unwrap();
    }
    for _ in 0..20 {
        let at = random.below(good.len());
        let mut bad = good.clone();
        bad[at] ^= 1 << random.below(8);
        bench.replace(&path, &bad);
        bench.assert_remade(&hello, "hello", &format!("byte {at}"));
    }
}

#[test]
fn a_truncated_or_lengthened_entry_is_made_again() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let path = bench.entry(&hello);
    let good = std::fs::read(&path).unwrap();
    for len in [0, 1, 95, 96, 97, good.len() / 2, good.len() - 1] {
        bench.replace(&path, &good[..len]);
        bench.assert_remade(&hello, "hello", &format!("{len} bytes"));
    }
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    bench.replace(&path, &longer);
    bench.assert_remade(&hello, "hello", "one byte more");
}

#[test]
fn an_entry_written_with_another_key_is_made_again() {
    let (bench, foreign) = (Bench::new(), Bench::new());
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    foreign.outcome(&hello, "hello");
    assert_ne!(
        std::fs::read(bench.dir.join("key")).unwrap(),
        std::fs::read(foreign.dir.join("key")).unwrap()
    );
    bench.replace(&bench.entry(&hello), &std::fs::read(foreign.entry(&hello)).unwrap());
    bench.assert_remade(&hello, "hello", "foreign key");
}

#[test]
fn an_entry_in_another_ones_place_is_made_again() {
    let bench = Bench::new();
    let (hello, other) = (answering("hello"), answering("other"));
    bench.outcome(&hello, "hello");
    bench.outcome(&other, "other");
    bench.replace(&bench.entry(&hello), &std::fs::read(bench.entry(&other)).unwrap());
    bench.assert_remade(&hello, "hello", "other component");
}

#[test]
fn an_entry_that_is_a_link_a_pipe_a_directory_or_open_to_others_is_made_again() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let path = bench.entry(&hello);
    let elsewhere = bench.dir.join("elsewhere");
    std::fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    bench.assert_remade(&hello, "hello", "link");
    assert!(elsewhere.exists(), "the link's target is nobody's business");
    assert!(path.symlink_metadata().unwrap().is_file());

    std::fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    bench.assert_remade(&hello, "hello", "pipe");

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    bench.assert_remade(&hello, "hello", "directory");

    std::fs::set_permissions(&path, Permissions::from_mode(0o620)).unwrap();
    bench.assert_remade(&hello, "hello", "mode");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn only_this_user_can_look_into_the_directory_and_its_files() {
    let bench = Bench::new();
    bench.outcome(&answering("hello"), "hello");
    assert_eq!(bench.dir.metadata().unwrap().mode() & 0o777, 0o700);
    let files: Vec<_> = std::fs::read_dir(&bench.dir).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 3, "key, lock and entry: {files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
    }
    std::fs::set_permissions(&bench.dir, Permissions::from_mode(0o755)).unwrap();
    Cache::open(&bench.dir, PLENTY).unwrap();
    assert_eq!(bench.dir.metadata().unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_of_somebody_else_or_none_at_all_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let foreign = root.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    // Only root may give a directory away; everybody else finds one of root's.
    let foreign = match std::os::unix::fs::chown(&foreign, Some(65534), None) {
        Ok(()) => foreign,
        Err(_) => PathBuf::from("/usr"),
    };
    let error = Cache::open(&foreign, PLENTY).err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("belongs to user"), "{error}");

    let file = root.path().join("file");
    File::create(&file).unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Cache::open(&path, PLENTY).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn a_key_that_cannot_be_trusted_is_replaced_and_old_entries_with_it() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let key = bench.dir.join("key");
    let old = std::fs::read(&key).unwrap();
    let reopened = || CompileService::new(Some(Cache::open(&bench.dir, PLENTY).unwrap()));
    assert!(reopened().cached(&bench.target, hello.digest()).is_some(), "a good key is kept");

    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(reopened().cached(&bench.target, hello.digest()).is_none(), "others may have read the key");
    let new = std::fs::read(&key).unwrap();
    assert!(new != old && new.len() == 32 && key.metadata().unwrap().mode() & 0o777 == 0o600);

    std::fs::write(&key, &new[..31]).unwrap();
    reopened();
    assert_eq!(std::fs::read(&key).unwrap().len(), 32);
}

#[test]
fn the_least_recently_used_goes_first_and_the_newest_stays() {
    let components: Vec<_> = (0..5).map(|n| answering(&format!("answer {n}"))).collect();
    let size = {
        let bench = Bench::new();
        bench.outcome(&components[0], "answer 0");
        bench.cache().info().unwrap().bytes
    };
    let bench = Bench::bounded(size * 3 + size / 2);
    let present = || components.iter().map(|c| bench.entry(c).exists()).collect::<Vec<_>>();
    for (n, component) in components.iter().take(3).enumerate() {
        bench.outcome(component, &format!("answer {n}"));
        // Used long ago, the later the less so.
        let used = SystemTime::now() - Duration::from_secs(1000 - n as u64);
        File::open(bench.entry(component)).unwrap().set_modified(used).unwrap();
    }
    assert_eq!(present(), [true, true, true, false, false]);
    assert_eq!(bench.outcome(&components[0], "answer 0"), CacheOutcome::Hit);
    bench.outcome(&components[3], "answer 3");
    assert_eq!(
        present(),
        [true, false, true, true, false],
        "1 was the one not used for longest: 0 was used since"
    );
    bench.outcome(&components[4], "answer 4");
    assert_eq!(present(), [true, false, false, true, true]);
    let info = bench.cache().info().unwrap();
    assert_eq!(info.entries, 3);
    assert!(info.bytes <= info.max_bytes, "{info:?}");
}

#[test]
fn the_entry_just_stored_stays_though_the_others_look_newer() {
    let (old, new) = (answering("answer 0"), answering("answer 1"));
    let size = {
        let bench = Bench::new();
        bench.outcome(&old, "answer 0");
        bench.cache().info().unwrap().bytes
    };
    let bench = Bench::bounded(size + size / 2);
    bench.outcome(&old, "answer 0");
    // As after the clock was set back.
    let used = SystemTime::now() + Duration::from_secs(1000);
    File::open(bench.entry(&old)).unwrap().set_modified(used).unwrap();
    bench.outcome(&new, "answer 1");
    assert!(bench.entry(&new).exists() && !bench.entry(&old).exists());
}

#[test]
fn what_is_larger_than_the_whole_cache_is_used_and_not_kept() {
    let bench = Bench::bounded(100);
    let hello = answering("hello");
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Miss);
    assert_eq!(bench.outcome(&hello, "hello"), CacheOutcome::Miss);
    assert_eq!(bench.cache().info().unwrap().entries, 0);
}

#[test]
fn two_services_on_one_directory_agree_from_the_first_moment() {
    const SERVICES: usize = 8;
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("cache");
    let start = Barrier::new(SERVICES);
    std::thread::scope(|scope| {
        for n in 0..SERVICES {
            let (dir, start) = (&dir, &start);
            scope.spawn(move || {
                start.wait();
                let service = CompileService::new(Some(Cache::open(dir, PLENTY).unwrap()));
                let target = target();
                for answer in ["shared".to_owned(), format!("own {n}")] {
                    let compiled = service.component(&target, &answering(&answer)).unwrap().component;
                    assert_eq!(call(target.engine(), &compiled, None), answer);
                }
            });
        }
    });
    let cache = Cache::open(&dir, PLENTY).unwrap();
    assert_eq!(cache.verify().unwrap(), (SERVICES as u64 + 1, 0));
}

#[test]
fn threads_that_want_the_same_component_compile_it_once() {
    const THREADS: usize = 8;
    let bench = Bench::new();
    let hello = answering("hello");
    let start = Barrier::new(THREADS);
    let missed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                let miss = bench.outcome(&hello, "hello") == CacheOutcome::Miss;
                missed.fetch_add(usize::from(miss), Ordering::Relaxed);
            });
        }
    });
    assert_eq!(missed.into_inner(), 1);
    assert!(bench.service.making.lock().is_empty());
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without_and_said_once() {
    let bench = Bench::new();
    std::fs::remove_dir_all(&bench.dir).unwrap();
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for n in 0..3 {
            let answer = format!("answer {n}");
            assert_eq!(bench.outcome(&answering(&answer), &answer), CacheOutcome::Miss);
        }
    });
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_discarded_entry_is_traced() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    bench.replace(&bench.entry(&hello), b"nonsense");
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || bench.assert_remade(&hello, "hello", "nonsense"));
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}

#[test]
fn verify_discards_the_bad_and_clear_frees_the_rest() {
    let bench = Bench::new();
    for n in 0..4 {
        bench.outcome(&answering(&format!("answer {n}")), &format!("answer {n}"));
    }
    let bad = bench.entry(&answering("answer 2"));
    let mut bytes = std::fs::read(&bad).unwrap();
    bytes[100] ^= 1;
    bench.replace(&bad, &bytes);
    assert_eq!(bench.cache().verify().unwrap(), (3, 1));
    assert_eq!(bench.cache().verify().unwrap(), (3, 0));
    let info = bench.cache().info().unwrap();
    assert_eq!((info.entries, info.dir.as_deref(), info.max_bytes), (3, Some(bench.dir.as_path()), PLENTY));
    let in_use = bench.service.cached(&bench.target, answering("answer 1").digest()).unwrap();
    assert_eq!(bench.cache().clear().unwrap(), info.bytes);
    assert_eq!(bench.cache().info().unwrap().entries, 0);
    assert_eq!(call(bench.target.engine(), &in_use.component, None), "answer 1", "what is loaded goes on");
    assert_eq!(bench.outcome(&answering("answer 1"), "answer 1"), CacheOutcome::Miss);
}

#[test]
fn temporary_files_of_the_dead_are_swept_and_those_of_the_living_left() {
    let bench = Bench::new();
    let (dead, living) = (bench.dir.join(".tmp-dead"), bench.dir.join(".tmp-living"));
    for path in [&dead, &living] {
        std::fs::write(path, b"half").unwrap();
    }
    File::open(&dead).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3700)).unwrap();
    File::open(&living).unwrap().set_modified(SystemTime::now() - Duration::from_secs(3000)).unwrap();
    Cache::open(&bench.dir, PLENTY).unwrap();
    assert!(!dead.exists() && living.exists());
    assert_eq!(bench.cache().info().unwrap().entries, 0, "temporary files are no entries");
}

#[test]
fn entries_are_mapped_from_the_file_and_not_copied() {
    let bench = Bench::new();
    let hello = answering("hello");
    bench.outcome(&hello, "hello");
    let loaded = bench.service.cached(&bench.target, hello.digest()).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let entry = bench.entry(&hello);
    assert!(maps.contains(&*entry.to_string_lossy()), "{} is not in\n{maps}", entry.display());
    drop(loaded);
}

#[test]
fn what_does_not_compile_is_the_components_fault() {
    // Valid by the proposals the reader takes, and turned off in this engine.
    let mut config = Config::new();
    config.wasm_component_model_async(true).wasm_simd(false).wasm_relaxed_simd(false);
    let target = Target::new(config).unwrap();
    let wat = r#"(component
        (core module $m
            (func (export "run") (result i32)
                (drop (v128.const i32x4 0 0 0 0)) (i32.const 0)))
        (core instance $m (instantiate $m))
        (func $run (result (result)) (canon lift (core func $m "run")))
        (instance $i (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $i)))"#;
    let component = component::read(wat.as_bytes()).unwrap();
    for service in [CompileService::new(None), Bench::new().service] {
        let error = service.component(&target, &component).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadComponent);
        assert!(error.to_string().contains("SIMD"), "{error}");
    }
}
