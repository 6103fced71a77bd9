use crate::client::{config, eventually, node, node_with};
use crate::fake::Guest;
use limes_core::{Error, ErrorKind};
use parking_lot::Mutex;
use std::sync::mpsc;

#[test]
fn a_function_is_loaded_once_for_all_who_wait() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let node = node(Guest::never());
    node.fake.set_prepare("f", move || {
        let _ = gate.lock().recv();
        Ok(Guest::says("loaded"))
    });
    let mut clients: Vec<_> = (0..20).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/function/f"));
    eventually("all wait", || node.running().len() == 20);
    drop(open);
    for client in &mut clients {
        assert_eq!(client.response().unwrap().text(), "loaded");
    }
    assert_eq!(node.fake.prepared("f"), 1);
    let stats = &node.stats().functions["f"];
    assert_eq!((stats.cold_loads, stats.loaded), (1, true));
    assert!(stats.phases_ns["load"] > 0);
}

#[test]
fn a_failed_load_is_told_to_all_who_wait_and_tried_again() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let node = node(Guest::never());
    node.fake.set_prepare("f", move || {
        let _ = gate.lock().recv();
        Err(Error::new(ErrorKind::BadComponent, "load", "not wasm").with("offset", 3))
    });
    let mut clients: Vec<_> = (0..5).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/function/f"));
    eventually("all wait", || node.running().len() == 5);
    drop(open);
    for client in &mut clients {
        let answer = client.response().unwrap();
        assert_eq!((answer.status, &answer.error()["context"]["offset"]), (422, &"3".into()));
    }
    // One that was not waiting yet when it failed has tried again.
    assert!(node.fake.prepared("f") < 5, "each has made a load of its own");
    node.fake.set("f", Guest::says("mended"));
    assert_eq!(node.get("/function/f").text(), "mended");
}

#[test]
fn a_load_that_panics_is_tried_again() {
    let node = node(Guest::never());
    node.fake.set_prepare("f", || panic!("on purpose"));
    assert_eq!(node.get("/function/f").error()["kind"], "internal");
    node.fake.set("f", Guest::says("mended"));
    assert_eq!(node.get("/function/f").text(), "mended");
}

#[test]
fn a_load_that_takes_too_long_times_out_and_serves_the_next() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let node = node_with(config(), &[("f", Guest::never())], |spec| spec.limits.timeout = 100);
    node.fake.set_prepare("f", move || {
        let _ = gate.lock().recv();
        Ok(Guest::says("loaded"))
    });
    assert_eq!(node.get("/function/f").status, 504);
    drop(open);
    eventually("it is loaded", || node.stats().functions["f"].loaded);
    assert_eq!(node.get("/function/f").text(), "loaded");
    assert_eq!(node.fake.prepared("f"), 1);
}

#[test]
fn the_least_recently_used_function_is_unloaded() {
    let mut config = config();
    config.max_loaded = 2;
    let functions = ["a", "b", "c"].map(|name| (name, Guest::says(name)));
    let node = node_with(config, &functions, |_| {});
    for name in ["a", "b", "a", "c"] {
        assert_eq!(node.get(&format!("/function/{name}")).text(), name);
    }
    let loaded = ["a", "b", "c"].map(|name| node.stats().functions[name].loaded);
    assert_eq!(loaded, [true, false, true]);
    assert_eq!(node.get("/function/b").text(), "b");
    assert_eq!(["a", "b", "c"].map(|name| node.fake.prepared(name)), [1, 2, 1]);
    assert_eq!(node.stats().node.loaded, 2);
}
