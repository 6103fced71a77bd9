use super::tests::Bench;
use super::*;
use crate::fuse::tests::linked_text;
use std::path::PathBuf;

/// A large component of two linked modules. `answer` is in its data alone, and its length in a variable.
fn large(answer: &str) -> component::Component {
    let padding =
        format!(r#"(core module (memory 32) (data (i32.const 0) "{}"))"#, "x".repeat(functions::WORTHWHILE));
    component::read(linked_text(answer, &padding).as_bytes()).unwrap()
}

fn load(bench: &Bench, answer: &str) -> Loaded {
    let loaded = bench.service.component(&bench.target, &large(answer)).unwrap();
    assert_eq!(call(bench.target.engine(), &loaded), answer);
    loaded
}

fn call(engine: &Engine, loaded: &Loaded) -> String {
    super::tests::call(engine, &loaded.component, loaded.code.as_deref())
}

/// The entry that is not the one of any of these components: their code's.
fn code(bench: &Bench, answers: &[&str]) -> PathBuf {
    let theirs: Vec<_> = answers.iter().map(|answer| bench.entry(&large(answer))).collect();
    let files = std::fs::read_dir(&bench.dir).unwrap().map(|file| file.unwrap().path());
    let entry = |path: &PathBuf| EntryKey::from_name(&path.file_name().unwrap().to_string_lossy()).is_some();
    let others: Vec<_> = files.filter(|path| entry(path) && !theirs.contains(path)).collect();
    assert_eq!(others.len(), 1, "one entry for the code of all: {others:?}");
    others.into_iter().next().unwrap()
}

#[test]
fn components_of_one_interpreter_share_their_code_on_disk_and_in_memory() {
    let bench = Bench::new();
    let first = load(&bench, "first");
    let entry = code(&bench, &["first"]);
    let made = entry.metadata().unwrap().modified().unwrap();
    let second = load(&bench, "the second");
    assert_eq!(code(&bench, &["first", "the second"]), entry);
    assert!(Arc::ptr_eq(first.code.as_ref().unwrap(), second.code.as_ref().unwrap()));
    assert!(
        entry.metadata().unwrap().modified().unwrap() > made,
        "it was used, so that it is not the first to go"
    );
    assert_eq!((first.timing.cache, second.timing.cache), (CacheOutcome::Miss, CacheOutcome::Miss));

    // Another process finds both.
    let other = CompileService::new(Some(Cache::open(&bench.dir, 1 << 30).unwrap()));
    let found = other.cached(&bench.target, large("first").digest()).expect("stored");
    assert_eq!(call(bench.target.engine(), &found), "first");
}

#[test]
fn code_that_is_gone_or_damaged_is_made_again() {
    let bench = Bench::new();
    drop(load(&bench, "first"));
    let entry = code(&bench, &["first"]);
    let whole = std::fs::read(&entry).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        bench.replace(&entry, &damaged);
        assert!(bench.service.cached(&bench.target, large("first").digest()).is_none(), "byte {at}");
        assert!(!entry.exists(), "it is discarded");
        assert_eq!(load(&bench, "first").timing.cache, CacheOutcome::Miss);
        assert_eq!(load(&bench, "first").timing.cache, CacheOutcome::Hit);
    }
}

#[test]
fn the_artifact_of_a_component_in_parts_is_whole() {
    let bench = Bench::new();
    drop(load(&bench, "first"));
    let (artifact, _) = bench.service.artifact(&bench.target, &large("first")).unwrap();
    let component: Component = from_memory(bench.target.engine(), &artifact).unwrap();
    assert_eq!(component.component_type().imports(bench.target.engine()).count(), 0);
    assert!(bench.service.cached_artifact(&bench.target, large("first").digest()).is_none());
    assert_eq!(load(&bench, "first").timing.cache, CacheOutcome::Hit, "the parts are still there");
}

#[test]
fn a_cache_without_room_for_the_code_does_without() {
    let bench = Bench::bounded(4096);
    let loaded = load(&bench, "first");
    assert!(loaded.code.is_some());
    assert!(bench.cache().info().unwrap().bytes <= 4096);
}
