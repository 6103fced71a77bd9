use crate::client::{config, eventually, node, node_with, spec};
use crate::fake::Guest;
use limes_core::{Contract, Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Semaphore;

fn revision(number: u64) -> Guest {
    Guest::http(move |_| async move { Ok(crate::fake::response(number.to_string())) })
}

#[test]
fn deploys_under_load_lose_no_request() {
    let node = node(revision(1));
    let (newest, seen, over) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = node.client();
                    let mut served = 0;
                    while !over.load(Ordering::SeqCst) {
                        let at_least = newest.load(Ordering::SeqCst);
                        let answer = client.get("/function/f");
                        assert_eq!(answer.status, 200, "{answer:?}");
                        let revision: u64 = answer.text().parse().unwrap();
                        assert!(revision >= at_least, "{revision} answered after {at_least} was published");
                        seen.fetch_max(revision, Ordering::SeqCst);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for number in 2..=100 {
            node.fake.set("f", revision(number));
            node.publish(spec("f", number)).unwrap();
            newest.store(number, Ordering::SeqCst);
            eventually("it is served", || seen.load(Ordering::SeqCst) == number);
        }
        over.store(true, Ordering::SeqCst);
        let served: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert_eq!(node.outcomes("f"), [("ok", served)].into());
    });
    assert_eq!(node.get("/function/f").text(), "100");
    assert_eq!(node.stats().functions["f"].revision, 100);
}

#[test]
fn a_request_ends_on_the_revision_it_began_with() {
    let gate = Arc::new(Semaphore::new(0));
    let inside = gate.clone();
    let node = node(Guest::http(move |_| {
        let gate = inside.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(crate::fake::response("old"))
        }
    }));
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || {
        let function = &node.stats().functions["f"];
        function.running == 1 && function.loaded
    });
    node.fake.set("f", Guest::says("new"));
    node.publish(spec("f", 2)).unwrap();
    assert_eq!(node.get("/function/f").text(), "new");
    gate.add_permits(1);
    assert_eq!(client.response().unwrap().text(), "old");
}

#[test]
fn publishing_says_what_it_found_and_loads_at_once() {
    let node = node(Guest::says("f"));
    node.fake.set("g", Guest::new(Contract::Run, |_| std::future::pending()));
    let published = node.publish(spec("g", 1)).unwrap();
    assert_eq!((published.contract, published.timing.load), (Contract::Run, 7));
    assert!(node.stats().functions["g"].loaded);
    assert!(!node.stats().functions["f"].loaded);
}

#[test]
fn a_failed_deploy_changes_nothing() {
    let node = node(Guest::says("good"));
    assert_eq!(node.get("/function/f").text(), "good");
    node.fake.set_prepare("f", || Err(Error::new(ErrorKind::UnsupportedContract, "load", "nothing to call")));
    assert_eq!(node.publish(spec("f", 2)).unwrap_err().kind(), ErrorKind::UnsupportedContract);
    let mut bad = spec("f", 3);
    bad.name = "Bad/Name".into();
    assert_eq!(node.publish(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut bad = spec("f", 3);
    bad.limits.concurrency = 0;
    assert_eq!(node.publish(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(node.get("/function/f").text(), "good");
    assert_eq!(node.stats().functions["f"].revision, 1);
}

#[test]
fn a_removed_function_is_gone() {
    let node = node_with(config(), &[("f", Guest::says("f"))], |spec| spec.hosts = vec!["f.example".into()]);
    assert_eq!(node.get("/function/f").text(), "f");
    assert!(node.remove("f"));
    assert!(!node.remove("f"));
    assert_eq!(node.get("/function/f").status, 404);
    assert_eq!(node.logs("f", 0, 1).unwrap_err().kind(), ErrorKind::NotFound);
    let mut client = node.client();
    client.send("GET / HTTP/1.1\r\nhost: f.example\r\n\r\n");
    assert_eq!(client.response().unwrap().status, 404);
}

#[test]
fn restoring_replaces_the_whole_table_and_keeps_what_was_counted() {
    let node = node_with(config(), &[("f", Guest::says("f")), ("g", Guest::says("g"))], |_| {});
    assert_eq!(node.get("/function/f").text(), "f");
    node.restore(vec![spec("f", 2)]).unwrap();
    assert_eq!(node.get("/function/g").status, 404);
    assert_eq!(node.get("/function/f").text(), "f");
    assert_eq!(node.outcomes("f"), [("ok", 2)].into());
    let twice = vec![spec("f", 3), spec("f", 4)];
    assert_eq!(node.restore(twice).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(node.stats().functions["f"].revision, 2);
}

#[test]
fn ten_thousand_functions_are_restored_without_loading_one() {
    let node = node(Guest::says("f"));
    let specs = (0..10_000).map(|n| limes_core::FunctionSpec { name: format!("f{n}"), ..spec("f", 1) });
    node.restore(specs.collect()).unwrap();
    assert_eq!(node.fake.prepared("f"), 0);
    assert_eq!(node.get("/function/f9999").text(), "f");
    assert_eq!(node.stats().node.loaded, 1);
}
