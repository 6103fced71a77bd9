use super::*;
use limes_core::ErrorKind;
use serde_json::json;

/// A component that exports `export` holding `item`, lifted from a core function that is given in text.
fn exporting(export: &str, before: &str, item: &str, ty: &str, core: &str) -> String {
    format!(
        r#"(component
            {before}
            (core module $m
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                (func (export "f") {core}))
            (core instance $m (instantiate $m))
            (func $f {ty} (canon lift (core func $m "f") (memory $m "memory") (realloc (func $m "realloc"))))
            (instance $i (export "{item}" (func $f)))
            (export "{export}" (instance $i)))"#
    )
}

/// Answers with its argument.
fn run() -> String {
    exporting(
        "component:run/run",
        "",
        "run",
        r#"(param "args" string) (result string)"#,
        "(param i32 i32) (result i32)
            (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0)",
    )
}

fn http02(version: &str) -> String {
    exporting(
        &format!("wasi:http/incoming-handler@{version}"),
        &format!(
            r#"(import "wasi:http/types@{version}" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))"#
        ),
        "handle",
        r#"(param "request" (own $request)) (param "response-out" (own $out))"#,
        "(param i32 i32)",
    )
}

fn http03(version: &str) -> String {
    exporting(
        &format!("wasi:http/handler@{version}"),
        &format!(
            r#"(import "wasi:http/types@{version}" (instance $types
                (export "request" (type (sub resource)))
                (export "response" (type (sub resource)))
                (type $code (variant (case "dns-timeout") (case "internal-error")))
                (export "error-code" (type (eq $code)))))
            (alias export $types "request" (type $request))
            (alias export $types "response" (type $response))
            (alias export $types "error-code" (type $code))"#
        ),
        "handle",
        r#"async (param "request" (own $request)) (result (result (own $response) (error $code)))"#,
        "(param i32) (result i32) (unreachable)",
    )
}

fn cli(version: &str, color: &str) -> String {
    exporting(
        &format!("wasi:cli/run@{version}"),
        "",
        "run",
        &format!("{color} (result (result))"),
        "(result i32) (i32.const 0)",
    )
}

fn error(input: impl AsRef<[u8]>, kind: ErrorKind) -> String {
    let error = read(input.as_ref()).expect_err("must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

fn contract(wat: &str) -> (Contract, String) {
    let component = read(wat.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    (component.contract(), component.export().to_owned())
}

#[test]
fn every_contract_is_found_by_what_is_exported() {
    assert_eq!(contract(&run()), (Contract::Run, "component:run/run".into()));
    let versioned = run().replace("component:run/run", "component:run/run@1.2.3");
    assert_eq!(contract(&versioned), (Contract::Run, "component:run/run@1.2.3".into()));
    for version in ["0.2.0", "0.2.3", "0.2.12", "0.2.99"] {
        let export = format!("wasi:http/incoming-handler@{version}");
        assert_eq!(contract(&http02(version)), (Contract::Http02, export));
        assert_eq!(contract(&cli(version, "")), (Contract::Cli02, format!("wasi:cli/run@{version}")));
    }
    for version in ["0.3.0", "0.3.1"] {
        assert_eq!(contract(&http03(version)), (Contract::Http03, format!("wasi:http/handler@{version}")));
        assert_eq!(contract(&cli(version, "async")), (Contract::Cli03, format!("wasi:cli/run@{version}")));
    }
}

#[test]
fn asynchronous_components_are_told_from_the_rest() {
    let is_async = |wat: &str| read(wat.as_bytes()).unwrap().is_async();
    for synchronous in [run(), http02("0.2.3"), cli("0.2.0", "")] {
        assert!(!is_async(&synchronous), "{synchronous}");
    }
    let imports = |item: &str| run().replacen("(core module", &format!("(import {item}) (core module"), 1);
    assert!(!is_async(&imports(r#""wasi:random/random@0.2.0" (instance (export "f" (func)))"#)));
    for asynchronous in [
        http03("0.3.0"),
        cli("0.3.0", "async"),
        imports(r#""wasi:random/random@0.3.0" (instance (export "f" (func)))"#),
        imports(r#""foo:bar/baz" (instance (export "f" (func async)))"#),
        imports(r#""foo:bar/baz" (instance (export "f" (func (result (stream u8)))))"#),
    ] {
        assert!(is_async(&asynchronous), "{asynchronous}");
    }
}

#[test]
fn of_several_contracts_the_first_of_the_order_is_taken() {
    let both = |first: &str, second: &str| {
        cli("0.2.0", "").replace(
            r#"(export "wasi:cli/run@0.2.0" (instance $i))"#,
            &format!(r#"(export "{first}" (instance $i)) (export "{second}" (instance $i))"#),
        )
    };
    assert_eq!(contract(&both("wasi:cli/run@0.2.0", "wasi:cli/run@0.3.0")).0, Contract::Cli03);
    assert_eq!(contract(&both("wasi:cli/run@0.3.0", "wasi:cli/run@0.2.0")).0, Contract::Cli03);
    // What has the right name but the wrong type does not stand in the way of what is right.
    assert_eq!(contract(&both("component:run/run", "wasi:cli/run@0.2.0")).0, Contract::Cli02);
}

#[test]
fn a_contract_with_the_wrong_type_says_what_was_found_and_what_is_needed() {
    let wrong = exporting(
        "component:run/run",
        "",
        "run",
        r#"(param "args" (list u8)) (result u32)"#,
        "(param i32 i32) (result i32) (i32.const 0)",
    );
    let message = error(&wrong, ErrorKind::UnsupportedContract);
    assert!(message.contains("`run` is func(args: list<u8>) -> u32"), "{message}");
    assert!(message.contains("must hold `run: func(args: string) -> string`"), "{message}");

    let misnamed = run().replace(r#"(export "run" (func $f))"#, r#"(export "start" (func $f))"#);
    let message = error(&misnamed, ErrorKind::UnsupportedContract);
    assert!(message.contains("it has no `run`"), "{message}");

    let message = error(cli("0.2.0", "async"), ErrorKind::UnsupportedContract);
    assert!(message.contains("`run` is async func() -> result"), "{message}");
}

#[test]
fn a_component_without_a_contract_says_what_it_exports_and_what_is_accepted() {
    let message = error(run().replace("component:run/run", "foo:bar/baz"), ErrorKind::UnsupportedContract);
    assert_eq!(
        message,
        "component exports nothing Limes can call: found `foo:bar/baz`; it needs component:run/run, \
         wasi:http/incoming-handler@0.2, wasi:http/handler@0.3, wasi:cli/run@0.2 or wasi:cli/run@0.3"
    );
    assert!(error("(component)", ErrorKind::UnsupportedContract).contains("found nothing;"));
    // The engine links a pre-release with nothing but itself.
    let message = error(http03("0.3.0-rc-2025-09-16"), ErrorKind::UnsupportedContract);
    assert!(message.contains("found `wasi:http/handler@0.3.0-rc-2025-09-16`"), "{message}");
}

#[test]
fn many_exports_are_counted_rather_than_listed() {
    let exports: String = (0..50).map(|n| format!(r#"(export "foo:bar/i{n}" (instance $i))"#)).collect();
    let many = run().replace(r#"(export "component:run/run" (instance $i))"#, &exports);
    let message = error(&many, ErrorKind::UnsupportedContract);
    assert!(message.contains("`foo:bar/i19` and 30 more;"), "{message}");
}

#[test]
fn text_and_binary_are_the_same_component_with_digests_of_their_own() {
    let text = read(run().as_bytes()).unwrap();
    let binary = read(text.bytes()).unwrap();
    assert_eq!(text.bytes(), binary.bytes());
    assert_eq!(text.digest(), Digest::of(run().as_bytes()));
    assert_eq!(binary.digest(), Digest::of(text.bytes()));
    assert_eq!(Digest::from_hex(&text.digest().to_string()), Some(text.digest()));
}

#[test]
fn an_error_in_text_has_its_line_and_column() {
    let message = error("(component\n  (core modul))", ErrorKind::BadComponent);
    assert!(message.contains("line 2, column 4: "), "{message}");
    let long = format!("(component {} (core modul))", " ".repeat(600));
    let message = error(&long, ErrorKind::BadComponent);
    assert!(message.contains("line 1, column 614: "), "{message}");
    let message = error("(component (core instance (instantiate $none)))", ErrorKind::BadComponent);
    assert!(message.contains("line 1, column 40: "), "{message}");
}

#[test]
fn bytes_that_are_no_webassembly_are_named() {
    assert!(error([], ErrorKind::BadComponent).contains("the file is empty"));
    assert!(error(b"\x7fELF\x02", ErrorKind::BadComponent).contains("machine code"));
    assert!(error(b"\x89PNG\r\n\x1a\n...", ErrorKind::BadComponent).contains("89 50 4e 47 0d 0a 1a 0a"));
    assert!(error("hello", ErrorKind::BadComponent).contains("line 1, column 1"));
}

#[test]
fn invalid_code_says_the_offset() {
    let wat = "(module (func (export \"_start\") (result i32)))";
    let error = read(wat.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadComponent);
    assert!(error.to_string().contains("type mismatch"), "{error}");
    let offset = error.context().iter().find(|(key, _)| *key == "offset").expect("an offset");
    assert!(offset.1.parse::<usize>().unwrap() > 8);
    let mut component = read(run().as_bytes()).unwrap().bytes;
    component.truncate(component.len() - 1);
    assert!(read(&component).unwrap_err().to_string().contains("at offset 0x"));
}

#[test]
fn an_input_past_the_bound_is_refused_unread() {
    let message = error(vec![0; MAX_INPUT + 1], ErrorKind::BadComponent);
    assert!(message.contains("268435457 bytes; at most 268435456"), "{message}");
}

const COMMAND: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (call $exit (i32.const 3))))"#;

/// The core module of [`run`], with the component types that bindings generators write.
fn reactor(imports: &str) -> Vec<u8> {
    let decoded = wit_component::decode(read(run().as_bytes()).unwrap().bytes()).unwrap();
    let wit_component::DecodedWasm::Component(resolve, world) = decoded else { panic!("a component") };
    let mut module = wat::parse_str(format!(
        r#"(module
            {imports}
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "component:run/run#run") (param i32 i32) (result i32)
                (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0)))"#
    ))
    .unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, Default::default()).unwrap();
    module
}

#[test]
fn a_wasip1_command_becomes_a_command_component() {
    let component = read(COMMAND.as_bytes()).unwrap();
    assert_eq!((component.kind(), component.contract()), (Kind::Module, Contract::Cli02));
    assert!(component.export().starts_with("wasi:cli/run@0.2."), "{}", component.export());
    let nothing_imported = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    assert_eq!(contract(nothing_imported).0, Contract::Cli02);
}

#[test]
fn a_reactor_with_component_types_becomes_what_they_say() {
    let pure = read(&reactor("")).unwrap();
    assert_eq!((pure.kind(), pure.contract()), (Kind::Module, Contract::Run));
    assert!(inspect(&reactor("")).unwrap().imports.is_empty());
    let wasi = reactor(r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#);
    assert_eq!(read(&wasi).unwrap().contract(), Contract::Run);
}

#[test]
fn a_module_that_is_neither_says_what_it_has_and_what_it_needs() {
    let message =
        error(r#"(module (import "env" "log" (func)) (func (export "add")))"#, ErrorKind::BadComponent);
    assert!(message.contains("exports `add` and imports `env.log`"), "{message}");
    assert!(message.contains("`_start`"), "{message}");
    let message = error(
        r#"(module (import "env" "log" (func)) (memory (export "memory") 1) (func (export "_start")))"#,
        ErrorKind::BadComponent,
    );
    assert!(message.contains("cannot be made a component") && message.contains("env"), "{message}");
}

#[test]
fn an_inspection_has_the_documented_shape() {
    let wat = http02("0.2.3");
    let found = serde_json::to_value(inspect(wat.as_bytes()).unwrap()).unwrap();
    let binary = read(wat.as_bytes()).unwrap();
    let module = &found["core_modules"][0]["size"];
    assert!(module.as_u64().unwrap() > 8 && module.as_u64().unwrap() < binary.bytes().len() as u64);
    assert_eq!(
        found,
        json!({
            "kind": "component",
            "contract": "http02",
            "contract_interface": "wasi:http/incoming-handler@0.2.3",
            "size": wat.len(),
            "digest": Digest::of(wat.as_bytes()).to_string(),
            "imports": [
                {"name": "wasi:http/types@0.2.3", "items": ["incoming-request", "response-outparam"]},
            ],
            "exports": [{"name": "wasi:http/incoming-handler@0.2.3", "items": ["handle"]}],
            "core_modules": [{"size": module}],
            "grants_needed": [],
            "unsupported_imports": [],
        })
    );
}

#[test]
fn a_component_without_a_contract_is_inspected_all_the_same() {
    let found = serde_json::to_value(inspect(b"(component)").unwrap()).unwrap();
    assert_eq!((&found["contract"], &found["contract_interface"]), (&json!(null), &json!(null)));
    assert_eq!(inspect(COMMAND.as_bytes()).unwrap().kind, Kind::Module);
}

/// A component that imports each of `names` as an instance with one function.
fn importing(names: &[&str]) -> String {
    let imports: String =
        names.iter().map(|name| format!(r#"(import "{name}" (instance (export "f" (func))))"#)).collect();
    format!("(component {imports})")
}

#[test]
fn imports_name_the_grants_they_may_need() {
    let grants = |names: &[&str]| inspect(importing(names).as_bytes()).unwrap().grants_needed;
    assert_eq!(grants(&["wasi:filesystem/preopens@0.2.0"]), ["dirs"]);
    assert_eq!(grants(&["wasi:filesystem/types@0.3.0"]), ["dirs"]);
    assert_eq!(grants(&["wasi:http/outgoing-handler@0.2.3"]), ["http"]);
    assert_eq!(grants(&["wasi:http/client@0.3.0", "wasi:http/types@0.3.0"]), ["http"]);
    assert_eq!(grants(&["wasi:sockets/udp@0.2.0", "wasi:sockets/tcp-create-socket@0.2.0"]), ["tcp", "udp"]);
    assert_eq!(grants(&["wasi:sockets/types@0.3.0"]), ["tcp", "udp"]);
    assert_eq!(grants(&["wasi:sockets/ip-name-lookup@0.2.0", "wasi:cli/environment@0.2.0"]), ["env", "dns"]);
    assert_eq!(grants(&["wasi:clocks/wall-clock@0.2.0", "wasi:random/random@0.3.0"]), [""; 0]);
}

#[test]
fn imports_that_nobody_offers_are_named() {
    let unknown = [
        "foo:bar/baz",
        "wasi:keyvalue/store@0.2.0",
        "wasi:http/types@0.3.0-rc-2025-09-16",
        "wasi:http/types@1.0.0",
        "wasi:io/streams@0.3.0",
        "wasi:cli/exit",
    ];
    let mut all = vec!["wasi:io/streams@0.2.6", "wasi:cli/exit@0.3.0"];
    all.extend(unknown);
    assert_eq!(inspect(importing(&all).as_bytes()).unwrap().unsupported_imports, unknown);

    let bare = r#"(component (import "log" (func)))"#;
    assert_eq!(inspect(bare.as_bytes()).unwrap().unsupported_imports, ["log"]);
    let types_only =
        r#"(component (import "foo:bar/types" (instance (type $t (enum "a")) (export "t" (type (eq $t))))))"#;
    assert!(inspect(types_only.as_bytes()).unwrap().unsupported_imports.is_empty());
}

#[test]
fn the_error_for_an_import_says_what_is_offered() {
    let error = unsupported_import_error(&["foo:bar/baz"]);
    assert_eq!(error.kind(), ErrorKind::BadComponent);
    let message = error.to_string();
    assert!(
        message.starts_with("component imports `foo:bar/baz`, which no sandbox of Limes offers"),
        "{message}"
    );
    for package in
        ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random", "wasi:sockets"]
    {
        assert_eq!(message.matches(package).count(), 1, "{package} in {message}");
    }
    assert!(offered_interfaces().all(|name| is_offered(&format!("{name}.0"))));
}

/// xorshift64*: the same mutations in every run.
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
fn mutated_and_truncated_inputs_are_refused_or_read_but_never_panic() {
    let seed = 0x11_4e_5e_ed;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let valid: Vec<Vec<u8>> = vec![
        read(run().as_bytes()).unwrap().bytes,
        read(http03("0.3.0").as_bytes()).unwrap().bytes,
        reactor(""),
        wat::parse_str(COMMAND).unwrap(),
        http02("0.2.3").into_bytes(),
    ];
    let mut refused = 0;
    for input in &valid {
        for round in 0..rounds() {
            let mut bytes = input.clone();
            if round % 4 == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            for _ in 0..=random.below(4) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.below(bytes.len());
                match random.below(4) {
                    0 => bytes[at] ^= 1 << random.below(8),
                    1 => bytes[at] = random.below(256) as u8,
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, random.below(256) as u8),
                }
            }
            match read(&bytes) {
                Ok(component) => assert!(!component.bytes().is_empty()),
                Err(error) => {
                    refused += 1;
                    assert!(
                        matches!(error.kind(), ErrorKind::BadComponent | ErrorKind::UnsupportedContract),
                        "{error}"
                    );
                }
            }
            let _ = inspect(&bytes);
        }
    }
    assert!(
        refused > valid.len() * rounds() / 2,
        "only {refused} refused: the mutations do not reach the reader"
    );
}

/// Mutations of each valid input; `LIMES_MUTATIONS` asks for more.
fn rounds() -> usize {
    std::env::var("LIMES_MUTATIONS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(100)
}

#[test]
fn a_component_says_whether_it_may_have_several_memories() {
    let has_several = |wat: &str| read(wat.as_bytes()).unwrap().has_several_memories();
    let one = run();
    assert!(!has_several(&one));
    let second = one.replacen("(component", "(component (core module (memory 1))", 1);
    assert!(has_several(&second), "two are defined");
    let twice = one.replacen("(core instance", "(core instance (instantiate $m)) (core instance", 1);
    assert!(twice != one && has_several(&twice), "what defines it is instantiated twice");
    let nested = |inner: &str| {
        one.replacen(
            "(component",
            &format!("(component (component $c {inner}) (instance (instantiate $c))"),
            1,
        )
    };
    assert!(has_several(&nested("(core module $m (memory 1)) (core instance (instantiate $m))")));
    assert!(!has_several(&nested("")), "types around an export, as generators write them");
}

/// A component that makes `each` instances of one that makes `each` of another, and so on, `depth` of them.
fn instances_of_instances(each: usize, depth: usize) -> String {
    let mut inner = "(core module $m) (core instance (instantiate $m))".to_owned();
    for _ in 0..depth {
        inner = format!("(component $c {inner}) {}", "(instance (instantiate $c))".repeat(each));
    }
    inner
}

fn with_inside(inner: &str) -> Result<Component> {
    read(run().replacen("(component", &format!("(component {inner}"), 1).as_bytes())
}

#[test]
fn instances_inside_are_counted_before_they_are_made() {
    for (each, depth) in [(20, 2), (1, 90), (900, 1)] {
        assert!(with_inside(&instances_of_instances(each, depth)).is_ok(), "{each}, {depth}");
    }
    for (each, depth) in [(900, 3), (2, 60), (90, 40)] {
        let error = with_inside(&instances_of_instances(each, depth)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadComponent, "{error}");
    }
}

#[test]
fn instances_of_what_is_defined_outside_are_counted_too() {
    let make = |name: &str| format!("(instance (instantiate ${name}))").repeat(900);
    let aliased = format!(
        "(component $a
            (component $c (core module $m) {})
            (component $b (alias outer $a $c (component $o)) (export $p \"o\" (component $o)) {} {})
            {})
        (instance (instantiate $a))",
        "(core instance (instantiate $m))".repeat(900),
        make("o"),
        make("p"),
        make("b")
    );
    let imported = "(component $c
            (component $i (import \"x\" (component $x)) (instance (instantiate $x)))
            (component $d)
            (instance (instantiate $i (with \"x\" (component $d)))))";
    for inner in [&aliased, imported] {
        assert_eq!(with_inside(inner).unwrap_err().kind(), ErrorKind::BadComponent, "{inner}");
    }
}
