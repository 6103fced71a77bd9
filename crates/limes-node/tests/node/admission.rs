use crate::calls::runtime;
use crate::client::{Client, TestNode, config, eventually, node_with};
use crate::fake::{Guest, response};
use limes_core::{ErrorKind, Input, Output};
use limes_node::Call;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A function whose requests end one by one, with each permit added.
fn gated(concurrency: u32, queue: u32, timeout: u64) -> (TestNode, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inside = gate.clone();
    let guest = Guest::http(move |request| {
        let gate = inside.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(response(request.uri().path().to_owned()))
        }
    });
    let node = node_with(config(), &[("f", guest), ("g", Guest::says("g"))], |spec| {
        spec.limits.concurrency = concurrency;
        spec.limits.queue = queue;
        spec.limits.timeout = timeout;
    });
    (node, gate)
}

fn ask(node: &TestNode, path: &str) -> Client {
    let mut client = node.client();
    client.send_get(path);
    client
}

fn at_work(node: &TestNode) -> (usize, usize) {
    let function = &node.stats().functions["f"];
    (function.running, function.queued)
}

#[test]
fn beyond_slots_and_queue_a_request_is_turned_away() {
    let (node, gate) = gated(2, 1, 60_000);
    let mut served: Vec<_> = (0..2).map(|_| ask(&node, "/function/f")).collect();
    eventually("both run", || at_work(&node) == (2, 0));
    served.push(ask(&node, "/function/f"));
    eventually("one waits", || at_work(&node) == (2, 1));

    let refused = node.get("/function/f");
    assert_eq!((refused.status, &*refused.headers["retry-after"]), (503, "1"));
    assert_eq!(refused.error()["kind"], "overloaded");
    assert_eq!(refused.error()["retryable"], true);
    assert_eq!(node.get("/function/g").text(), "g", "another function suffers too");

    gate.add_permits(3);
    for client in &mut served {
        assert_eq!(client.response().unwrap().status, 200);
    }
    assert_eq!(node.outcomes("f"), [("ok", 3), ("overloaded", 1)].into());
    assert!(node.stats().functions["f"].phases_ns["queue"] > 0);
    assert_eq!(node.logs("f", 0, 10).unwrap(), [], "a flood fills the log");
}

#[test]
fn the_queue_is_first_come_first_served() {
    let (node, gate) = gated(1, 3, 60_000);
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(ask(&node, &format!("/function/f/{n}")));
        eventually("it is there", || at_work(&node) == (1, n));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        gate.add_permits(1);
        assert_eq!(client.response().unwrap().text(), format!("/{n}"));
        assert_eq!(node.outcomes("f"), [("ok", n as u64 + 1)].into());
    }
}

#[test]
fn a_request_that_waits_too_long_times_out() {
    let (node, gate) = gated(1, 1, 60_000);
    let mut first = ask(&node, "/function/f");
    eventually("the first runs", || at_work(&node) == (1, 0));
    let soon = Call { timeout: Some(Duration::from_millis(50)), ..Call::default() };
    let waiting = runtime().block_on(node.start_call("f", soon).unwrap().future);
    assert_eq!(waiting.err().unwrap().kind(), ErrorKind::Timeout);
    gate.add_permits(1);
    assert_eq!(first.response().unwrap().status, 200);
    gate.add_permits(1);
    assert_eq!(node.get("/function/f").status, 200, "the slot was lost");
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let (node, gate) = gated(1, 1, 60_000);
    let mut first = ask(&node, "/function/f");
    eventually("the first runs", || at_work(&node) == (1, 0));
    let second = ask(&node, "/function/f");
    eventually("the second waits", || at_work(&node) == (1, 1));
    drop(second);
    eventually("it left", || at_work(&node) == (1, 0));
    let mut third = ask(&node, "/function/f");
    eventually("the third waits", || at_work(&node) == (1, 1));
    gate.add_permits(2);
    assert_eq!(first.response().unwrap().status, 200);
    assert_eq!(third.response().unwrap().status, 200);
}

#[test]
fn a_slot_is_held_until_the_guest_is_gone() {
    let gate = Arc::new(Semaphore::new(0));
    let inside = gate.clone();
    let mut guest = Guest::new(limes_core::Contract::Http02, move |invocation| {
        let gate = inside.clone();
        async move {
            let Input::Http(_) = invocation.input else { panic!("not an HTTP input") };
            tokio::spawn(async move {
                gate.acquire().await.unwrap().forget();
                invocation.control.finish(Ok(()));
            });
            Ok(Output::Http(response("done")))
        }
    });
    guest.wild = true;
    let node = node_with(config(), &[("f", guest)], |spec| {
        spec.limits.concurrency = 1;
        spec.limits.queue = 0;
    });
    assert_eq!(node.get("/function/f").text(), "done");
    assert_eq!(node.get("/function/f").status, 503, "the guest still runs");
    assert_eq!(node.running().len(), 1);
    gate.add_permits(1);
    eventually("the guest is gone", || node.running().is_empty());
    assert_eq!(node.get("/function/f").text(), "done");
}

#[test]
fn a_sandbox_that_forgets_to_finish_loses_no_slot() {
    let mut guest = Guest::never();
    guest.wild = true;
    let node = node_with(config(), &[("f", guest)], |spec| spec.limits.concurrency = 1);
    for _ in 0..3 {
        let client = ask(&node, "/function/f");
        eventually("it runs", || at_work(&node) == (1, 0));
        drop(client);
        eventually("it is gone", || at_work(&node) == (0, 0));
    }
    eventually("each is counted", || node.outcomes("f") == [("stopped", 3)].into());
}
