use super::tests::Bench;
use super::*;
use std::path::PathBuf;

/// A component of more than a megabyte; `answer` is in its data, so that all of them have the same code.
fn large(answer: &str) -> component::Component {
    assert_eq!(answer.len(), 5, "the length is in the code");
    let padding = "x".repeat(functions::WORTHWHILE);
    let wat = format!(
        r#"(component
            (core module $m
                (memory (export "memory") 32)
                (data (i32.const 64) "{answer}")
                (data (i32.const 65536) "{padding}")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "run") (param i32 i32) (result i32)
                    (i32.store (i32.const 0) (i32.const 64))
                    (i32.store (i32.const 4) (i32.const 5))
                    (i32.const 0)))
            (core instance $m (instantiate $m))
            (func $run (param "args" string) (result string)
                (canon lift (core func $m "run") (memory $m "memory") (realloc (func $m "realloc"))))
            (instance $i (export "run" (func $run)))
            (export "component:run/run" (instance $i)))"#
    );
    component::read(wat.as_bytes()).unwrap()
}

fn packs(bench: &Bench) -> Vec<PathBuf> {
    let files = std::fs::read_dir(&bench.dir).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| pack::is_pack(&path.file_name().unwrap().to_string_lossy())).collect()
}

#[test]
fn functions_compiled_once_are_not_compiled_for_the_next_component() {
    let bench = Bench::new();
    assert_eq!(bench.outcome(&large("first"), "first"), CacheOutcome::Miss);
    let kept = packs(&bench);
    assert_eq!(kept.len(), 1);
    assert_eq!(bench.outcome(&large("other"), "other"), CacheOutcome::Miss);
    // The engine is free to build a trampoline another way: that one is new.
    let size = |packs: Vec<PathBuf>| packs.iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    assert!(size(packs(&bench)) < 2 * size(kept), "the second had most of its functions");
}

#[test]
fn a_small_component_leaves_no_functions() {
    let bench = Bench::new();
    bench.outcome(&super::tests::answering("small"), "small");
    assert!(packs(&bench).is_empty());
}

#[test]
fn damaged_functions_are_discarded_and_compiled_again() {
    let bench = Bench::new();
    bench.outcome(&large("first"), "first");
    let whole = std::fs::read(&packs(&bench)[0]).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 20) {
        let path = &packs(&bench)[0];
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        bench.replace(path, &damaged);
        std::fs::remove_file(bench.entry(&large("other"))).ok();
        assert_eq!(bench.outcome(&large("other"), "other"), CacheOutcome::Miss);
        let kept: Vec<_> = packs(&bench).iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(!kept.contains(&damaged) && !kept.is_empty(), "byte {at}");
    }
}

#[test]
fn functions_are_counted_verified_and_cleared_with_the_cache() {
    let bench = Bench::new();
    bench.outcome(&large("first"), "first");
    let info = bench.cache().info().unwrap();
    let files = [bench.entry(&large("first")), packs(&bench).remove(0)];
    let sizes = files.map(|path| path.metadata().unwrap().len());
    assert_eq!((info.entries, info.bytes), (1, sizes.iter().sum()));
    assert_eq!(bench.cache().verify().unwrap(), (2, 0));
    assert_eq!(bench.cache().clear().unwrap(), info.bytes);
    assert!(packs(&bench).is_empty());
}

#[test]
fn functions_keep_to_their_share_of_the_bound() {
    let bench = Bench::bounded(4096);
    // The artifact is larger than the whole cache, its functions than their share of it.
    bench.service.component(&bench.target, &large("first")).unwrap();
    assert!(packs(&bench).iter().all(|path| path.metadata().unwrap().len() <= 1024));
    assert!(bench.cache().info().unwrap().bytes <= 4096);
}
