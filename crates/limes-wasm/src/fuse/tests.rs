use super::{fuse, split};
use crate::{compile, component};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module};

/// Two libraries that share one memory and one table, as tool chains link them: `main` calls through the table what `lib` puts there
/// where a global says. `extra` is put before the last line.
fn linked(extra: &str) -> Vec<u8> {
    answering("linked", extra)
}

/// The same with another answer. Its length is six more than what a variable begins with.
fn answering(answer: &str, extra: &str) -> Vec<u8> {
    component::read(linked_text(answer, extra).as_bytes()).unwrap().bytes().to_vec()
}

/// The same as text.
pub(crate) fn linked_text(answer: &str, extra: &str) -> String {
    let variable = answer.len() as i32 - 6;
    format!(
        r#"(component
            (core module $main
                (type $text (func (param i32 i32) (result i32)))
                (memory (export "memory") 1)
                (table (export "table") 4 funcref)
                (global (export "base") i32 (i32.const 2))
                (global (export "count") (mut i32) (i32.const {variable}))
                (data (i32.const 64) "{answer}")
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "call") (param i32 i32) (result i32)
                    (call_indirect (type $text) (local.get 0) (local.get 1) (i32.const 3))))
            (core module $lib
                (import "env" "memory" (memory 1))
                (import "env" "table" (table 0 funcref))
                (import "env" "base" (global $base i32))
                (import "env" "count" (global $count (mut i32)))
                (elem (global.get $base) func $nothing $run)
                (start $begin)
                (func $begin (global.set $count (i32.add (global.get $count) (i32.const 6))))
                (func $nothing (result i32) (unreachable))
                (func $run (param i32 i32) (result i32)
                    (i32.store (i32.const 0) (i32.const 64))
                    (i32.store (i32.const 4) (global.get $count))
                    (i32.const 0)))
            (core instance $main (instantiate $main))
            (core instance $env (export "memory" (memory $main "memory")) (export "table" (table $main "table"))
                (export "base" (global $main "base")) (export "count" (global $main "count")))
            (core instance $lib (instantiate $lib (with "env" (instance $env))))
            {extra}
            (func $run (param "args" string) (result string)
                (canon lift (core func $main "call") (memory $main "memory") (realloc (func $main "realloc"))))
            (instance $i (export "run" (func $run)))
            (export "component:run/run" (instance $i)))"#
    )
}

fn call(component: &[u8]) -> String {
    call_with(component, None)
}

/// Calls a component; one in two parts with its code.
fn call_with(component: &[u8], code: Option<&[u8]>) -> String {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::from_binary(&engine, component).unwrap();
    let code = code.map(|code| Module::from_binary(&engine, code).unwrap());
    compile::tests::call(&engine, &component, code.as_ref())
}

#[test]
fn linked_modules_become_one_that_answers_the_same() {
    let component = linked("");
    let fused = fuse(&component).expect("two linked modules");
    assert_eq!(component::inspect(&component).unwrap().core_modules.len(), 2);
    assert_eq!(component::inspect(&fused).unwrap().core_modules.len(), 1);
    assert_eq!((call(&component), call(&fused)), ("linked".into(), "linked".into()));
}

/// A module that reaches what it imports through a shim, whose table is filled in when both are there, as `wit-component` does it.
const SHIMMED: &str = r#"(component
    (import "answer" (func $answer (result string)))
    (core module $shim
        (type $answer (func (param i32)))
        (table (export "$imports") 1 1 funcref)
        (func (export "0") (param i32) (call_indirect (type $answer) (local.get 0) (i32.const 0))))
    (core module $main
        (import "host" "answer" (func $answer (param i32)))
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "call") (param i32 i32) (result i32) (call $answer (i32.const 0)) (i32.const 0)))
    (core module $fixup
        (import "" "0" (func (param i32)))
        (import "" "$imports" (table 1 1 funcref))
        (elem (i32.const 0) func 0))
    (core instance $shim (instantiate $shim))
    (core instance $to_main (export "answer" (func $shim "0")))
    (core instance $main (instantiate $main (with "host" (instance $to_main))))
    (core func $lowered
        (canon lower (func $answer) (memory $main "memory") (realloc (func $main "realloc"))))
    (core instance $to_fixup (export "0" (func $lowered)) (export "$imports" (table $shim "$imports")))
    (core instance (instantiate $fixup (with "" (instance $to_fixup))))
    (func $run (param "args" string) (result string)
        (canon lift (core func $main "call") (memory $main "memory") (realloc (func $main "realloc"))))
    (instance $i (export "run" (func $run)))
    (export "component:run/run" (instance $i)))"#;

#[test]
fn a_module_and_its_shim_become_one_that_answers_the_same() {
    let component = component::read(SHIMMED.as_bytes()).unwrap().bytes().to_vec();
    let fused = fuse(&component).expect("a module and its shim");
    let modules = |component: &[u8]| component::inspect(component).unwrap().core_modules.len();
    assert_eq!((modules(&component), modules(&fused)), (3, 2));
    assert_eq!((call(&component), call(&fused)), ("imported".into(), "imported".into()));
    assert!(split(&component).is_none());
}

#[test]
fn components_that_begin_with_something_else_have_the_same_code() {
    let parts = |answer| split(&answering(answer, "")).expect("two linked modules");
    let (first, other) = (parts("linked"), parts("joined together"));
    assert_eq!(call_with(&first.component, Some(&first.code)), "linked");
    assert_eq!(call_with(&other.component, Some(&other.code)), "joined together");
    assert!(first.code == other.code && first.component != other.component);
}

#[test]
fn what_begins_with_more_than_memory_and_numbers_is_not_split() {
    let passive = ("(start $begin)", r#"(start $begin) (data $d "x") (func (data.drop $d))"#);
    let second = ("(start $begin)", "(start $begin) (memory 1)");
    for (place, change) in [passive, second] {
        let text = linked_text("linked", "").replace(place, change);
        let component = component::read(text.as_bytes()).unwrap();
        assert!(split(component.bytes()).is_none() && fuse(component.bytes()).is_some(), "{text}");
    }
}

#[test]
fn what_is_fused_needs_no_second_time() {
    assert_eq!(fuse(&fuse(&linked("")).unwrap()), None);
}

#[test]
fn what_cannot_be_followed_is_left_alone() {
    // A second instance of a module, and a destructor that is a core function.
    let twice = r#"(core instance (instantiate $lib (with "env" (instance $env))))"#;
    let destructor = r#"(core module $d (func (export "drop") (param i32)))
        (core instance $d (instantiate $d))
        (type $r (resource (rep i32) (dtor (func $d "drop"))))"#;
    for extra in [twice, destructor] {
        assert_eq!(fuse(&linked(extra)), None, "{extra}");
    }
}

#[test]
fn one_module_is_left_alone() {
    let text = r#"(component (core module $m) (core instance (instantiate $m)))"#;
    assert_eq!(fuse(&wat::parse_str(text).unwrap()), None);
}

#[test]
fn damaged_components_are_refused_or_stay_whole() {
    let component = linked("");
    for at in 8..component.len() {
        for value in [0, 0x7f, component[at] ^ 1] {
            let mut damaged = component.clone();
            damaged[at] = value;
            // Whatever comes of it, it must not panic; the engine validates what it is given.
            let _ = fuse(&damaged);
        }
        let _ = fuse(&component[..at]);
    }
}
