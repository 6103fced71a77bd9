use crate::client::{Client, PATIENCE, TestNode, config, eventually, node, node_with};
use crate::fake::{Guest, response};
use limes_node::{DrainReport, NodeConfig};
use parking_lot::Mutex;
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::Semaphore;

fn gated() -> (TestNode, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let inside = gate.clone();
    let node = node(Guest::http(move |request| {
        let gate = inside.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(response(request.uri().path().to_owned()))
        }
    }));
    (node, gate)
}

fn draining(node: &TestNode) -> std::thread::JoinHandle<DrainReport> {
    let node = node.node.clone();
    let drain = {
        let node = node.clone();
        std::thread::spawn(move || node.drain(PATIENCE))
    };
    eventually("it drains", || node.stats().node.draining);
    drain
}

#[test]
fn no_accepted_request_is_lost() {
    let (node, gate) = gated();
    let mut clients: Vec<_> = (0..100).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/function/f"));
    let drain = draining(&node);
    eventually("all are accepted", || node.running().len() == 100);
    gate.add_permits(100);
    for client in &mut clients {
        let answer = client.response().unwrap();
        assert_eq!((answer.status, &*answer.headers["connection"]), (200, "close"));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(drain.join().unwrap(), DrainReport { finished: 100, stopped: 0 });
    assert!(TcpStream::connect(node.local_addr()).is_err(), "it still listens");
}

#[test]
fn connections_in_the_backlog_are_accepted_and_answered() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let guest = Guest::http(move |_| {
        // Blocks the only server thread, so that nothing is accepted meanwhile.
        let _ = gate.lock().recv();
        async { Ok(response("f")) }
    });
    let node = node_with(NodeConfig { threads: 1, ..config() }, &[("f", guest)], |_| {});
    let mut clients = vec![node.client()];
    clients[0].send_get("/function/f");
    eventually("it blocks", || {
        node.stats().functions["f"].running == 1 && node.stats().functions["f"].loaded
    });
    for _ in 0..50 {
        let mut client = node.client();
        client.send_get("/function/f");
        clients.push(client);
    }
    let drain = draining(&node);
    drop(open);
    for client in &mut clients {
        assert_eq!(client.response().expect("an answer").text(), "f");
    }
    assert_eq!(drain.join().unwrap(), DrainReport { finished: 51, stopped: 0 });
}

#[test]
fn what_was_pipelined_is_answered() {
    let (node, gate) = gated();
    let mut client = node.client();
    client
        .send((0..5).map(|n| format!("GET /function/f/{n} HTTP/1.1\r\nhost: h\r\n\r\n")).collect::<String>());
    eventually("the first runs", || node.running().len() == 1);
    let drain = draining(&node);
    gate.add_permits(5);
    for n in 0..5 {
        let answer = client.response().unwrap();
        assert_eq!(answer.text(), format!("/{n}"));
        assert_eq!(answer.headers.contains_key("connection"), n == 4, "closed after the wrong one: {n}");
    }
    assert_eq!(drain.join().unwrap(), DrainReport { finished: 5, stopped: 0 });
}

#[test]
fn busy_clients_see_every_answer_and_a_clean_end() {
    let node = node(Guest::says("f"));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let mut client = node.client();
                assert_eq!(client.get("/function/f").status, 200);
                scope.spawn(move || {
                    loop {
                        let answer = client.get("/function/f");
                        assert_eq!(answer.status, 200);
                        if answer.headers.get("connection").is_some_and(|value| value == "close") {
                            return client.rest();
                        }
                    }
                })
            })
            .collect();
        assert_eq!(node.drain(PATIENCE).stopped, 0);
        for client in clients {
            assert_eq!(client.join().unwrap(), b"");
        }
    });
}

#[test]
fn idle_connections_do_not_hold_a_drain_up() {
    let node = node(Guest::says("f"));
    let mut used = node.client();
    assert_eq!(used.get("/function/f").text(), "f");
    let mut unused = node.client();
    eventually("both are open", || node.stats().node.connections_open == 2);
    assert_eq!(node.drain(PATIENCE), DrainReport { finished: 0, stopped: 0 });
    assert_eq!((used.rest(), unused.rest()), (Vec::new(), Vec::new()));
}

#[test]
fn what_outlasts_the_grace_period_is_stopped_and_told_so() {
    let node = node(Guest::never());
    let mut client: Client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.running().len() == 1);
    assert_eq!(node.drain(Duration::from_millis(50)), DrainReport { finished: 0, stopped: 1 });
    let answer = client.response().unwrap();
    assert_eq!((answer.status, &answer.error()["kind"]), (503, &"stopped".into()));
    assert!(node.logs("f", 0, 1).unwrap()[0].text.contains("the node shut down"));
    assert!(node.running().is_empty());
}

#[test]
fn dropping_a_node_ends_everything_at_once() {
    let node = node(Guest::never());
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.running().len() == 1);
    drop(node);
    // Whether there is still time to say so is left open.
    assert!(client.response().is_none_or(|answer| answer.status == 503));
    assert_eq!(client.rest(), b"");
}

#[test]
fn two_nodes_do_not_share_a_port_in_silence() {
    let first = node(Guest::says("f"));
    let config = limes_node::NodeConfig { threads: 1, ..limes_node::NodeConfig::new(first.local_addr()) };
    let error = limes_node::Node::start(config, Vec::new()).err().unwrap();
    assert_eq!(error.kind(), limes_core::ErrorKind::Io);
    assert!(error.to_string().contains("in use"), "{error}");
}
