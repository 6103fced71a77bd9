//! Clients that go away, or that do not do their part.

use crate::client::{Client, TestNode, config, eventually, node, node_with};
use crate::fake::{Guest, channel, endless};
use limes_core::ErrorKind;
use socket2::{Domain, Socket, Type};
use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(100);

fn stopped_by_its_client(node: &TestNode) {
    eventually("its end is logged", || !node.logs("f", 0, 10).unwrap().is_empty());
    eventually("it is gone", || node.running().is_empty());
    assert_eq!(node.outcomes("f"), [("stopped", 1)].into());
    let log = &node.logs("f", 0, 10).unwrap()[0].text;
    assert!(log.contains("its client went away"), "{log}");
}

#[test]
fn a_guest_is_stopped_when_its_client_goes_away() {
    let node = node(Guest::never());
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.running().len() == 1);
    drop(client);
    stopped_by_its_client(&node);
}

#[test]
fn clients_that_leave_at_once_leave_nothing() {
    let node = node(Guest::says("f"));
    for _ in 0..500 {
        node.client().send_get("/function/f");
    }
    eventually("every connection ends", || node.stats().node.connections_open == 0);
    assert!(node.running().is_empty(), "{:?}", node.running());
}

#[test]
fn a_client_that_closes_its_sending_side_counts_as_gone() {
    let node = node(Guest::never());
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.running().len() == 1);
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    stopped_by_its_client(&node);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_guest_is_stopped_when_its_client_leaves_in_the_middle_of_the_answer() {
    let node = node(Guest::http(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let _ = sender.send(Ok("first".into())).await;
            sender.closed().await;
        });
        Ok(http::Response::new(body))
    }));
    let mut client = node.client();
    client.send_get("/function/f");
    client.head().unwrap();
    assert_eq!(client.chunk().unwrap(), b"first");
    drop(client);
    stopped_by_its_client(&node);
}

#[test]
fn a_head_that_does_not_come_to_an_end_is_cut_off() {
    let mut config = config();
    config.header_timeout = SHORT;
    let node = node_with(config, &[("f", Guest::says("f"))], |_| {});
    let mut silent = node.client();
    let mut slow = node.client();
    slow.send("GET /function/f HT");
    let mut second = node.client();
    assert_eq!(second.get("/function/f").text(), "f");
    second.send("GET /function/f HTTP/1.1\r\nhost: h\r\nx-drip: ");
    for client in [&mut silent, &mut slow, &mut second] {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(node.get("/function/f").text(), "f");
}

#[test]
fn dripping_bytes_do_not_prolong_a_head() {
    let mut config = config();
    config.header_timeout = SHORT;
    let node = node_with(config, &[("f", Guest::says("f"))], |_| {});
    let mut client = node.client();
    client.send("GET /function/f HTTP/1.1\r\nx-drip: ");
    let mut drip = client.stream.get_ref().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut drip, b"y").is_ok() {
            std::thread::yield_now();
        }
    });
    assert!(client.rest().is_empty() || node.stats().node.requests == 0);
    dripping.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed() {
    let mut config = config();
    config.idle_timeout = SHORT;
    let node = node_with(config, &[("f", Guest::says("f"))], |_| {});
    let mut client = node.client();
    assert_eq!(client.get("/function/f").text(), "f");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_request_in_flight_is_not_an_idle_connection() {
    let mut config = config();
    (config.idle_timeout, config.header_timeout, config.body_timeout) = (SHORT, SHORT, SHORT);
    let guest = Guest::http(|_| async {
        tokio::time::sleep(SHORT * 4).await;
        Ok(crate::fake::response("slow"))
    });
    let node = node_with(config, &[("f", guest)], |_| {});
    assert_eq!(node.get("/function/f").text(), "slow");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let mut config = config();
    config.body_timeout = SHORT;
    let guest = Guest::http(|_| async { Ok(http::Response::new(endless())) });
    let node = node_with(config, &[("f", guest)], |_| {});
    let mut client = node.client();
    client.send_get("/function/f");
    stopped_by_its_client(&node);
    assert!(!client.rest().ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_client_that_does_not_read_a_whole_answer_is_cut_off() {
    let mut config = config();
    config.body_timeout = SHORT;
    let guest = Guest::http(|_| async { Ok(crate::fake::response(vec![b'x'; 64 << 20])) });
    let node = node_with(config, &[("f", guest)], |_| {});
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it was served", || node.stats().node.requests == 1);
    eventually("it is cut off", || node.stats().node.connections_open == 0);
}

#[test]
fn a_client_that_reads_a_little_now_and_then_is_cut_off() {
    const SIZE: usize = 512 << 10;
    let mut config = config();
    config.body_timeout = SHORT * 6;
    let guest = Guest::http(|_| async { Ok(crate::fake::response(vec![b'x'; SIZE])) });
    let node = node_with(config, &[("f", guest)], |_| {});
    // With small segments and the smallest buffer there is room in the node's socket every few reads.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(256).unwrap();
    socket.set_recv_buffer_size(1).unwrap();
    socket.connect(&node.local_addr().into()).unwrap();
    let mut client = Client::new(socket.into());
    client.send_get("/function/f");
    let (mut read, mut piece) = (0, [0; 1024]);
    while let Ok(size @ 1..) = client.stream.get_mut().read(&mut piece) {
        read += size;
        std::thread::sleep(SHORT / 10);
    }
    assert!(read < SIZE, "it was sent the whole answer");
}

#[test]
fn an_operator_stops_an_invocation_by_its_identity() {
    let node = node(Guest::never());
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.running().len() == 1);
    let running = node.running().remove(0);
    assert_eq!((&*running.function, running.revision), ("f", 1));
    assert!(serde_json::to_value(&running).unwrap()["age_ms"].is_u64());
    assert_eq!(running.client, Some(client.stream.get_ref().local_addr().unwrap()));
    assert!(!node.stop(running.id + 1), "there is no such invocation");
    assert!(node.stop(running.id));
    let answer = client.response().unwrap();
    assert_eq!((answer.status, &answer.error()["kind"]), (503, &ErrorKind::Stopped.name().into()));
    assert!(!node.stop(running.id), "it is gone");
}

#[test]
fn a_panic_in_a_sandbox_ends_its_request_only() {
    let guest = Guest::http(|request| async move {
        assert!(request.uri().path() != "/panic", "on purpose");
        Ok(crate::fake::response("fine"))
    });
    let node = node_with(config(), &[("f", guest)], |spec| spec.limits.concurrency = 1);
    let mut client = node.client();
    client.send_get("/function/f/panic");
    assert!(client.response().is_none());
    eventually("it is over", || node.running().is_empty());
    assert_eq!(node.get("/function/f").text(), "fine");
}
