use crate::client::{config, eventually, node, node_with};
use crate::fake::{Guest, channel, response};
use bytes::Bytes;
use http_body::Body as _;
use limes_core::{Body, Contract, Error, ErrorKind, Output};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::pin::Pin;

fn echo() -> Guest {
    Guest::http(|request| async { Ok(http::Response::new(request.into_body())) })
}

/// Reads its whole body, and answers with what came of it.
fn reader() -> Guest {
    Guest::http(|request| async {
        let read = request.into_body().collect(u64::MAX).await;
        Ok(response(read.map_or_else(|error| error.kind().to_string(), |bytes| bytes.len().to_string())))
    })
}

#[test]
fn a_declared_body_over_the_limit_is_refused_unread() {
    let node = node_with(config(), &[("f", reader())], |spec| spec.limits.request = 1000);
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ncontent-length: 5000000\r\n\r\n");
    let answer = client.response().unwrap();
    assert_eq!((answer.status, &*answer.headers["connection"]), (413, "close"));
    assert_eq!(answer.error()["context"]["allowed"], "1000");
    assert_eq!(node.fake.prepared("f"), 0);
    assert_eq!(node.outcomes("f"), [("request_too_large", 1)].into());
    // A client may look for the answer only when it has sent everything: what it sends is taken and thrown away.
    for _ in 0..500 {
        client.send([b'x'; 10_000]);
    }
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_streamed_body_over_the_limit_ends_in_413_if_nothing_was_answered() {
    let node = node_with(config(), &[("f", reader())], |spec| spec.limits.request = 1000);
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("3e8\r\n{}\r\n", "x".repeat(1000)));
    client.send("1\r\nx\r\n");
    let answer = client.response().unwrap();
    assert_eq!((answer.status, &answer.error()["kind"]), (413, &"request_too_large".into()));
}

#[test]
fn a_body_at_the_limit_is_taken() {
    let node = node_with(config(), &[("f", reader())], |spec| spec.limits.request = 1000);
    let mut client = node.client();
    assert_eq!(client.post("/function/f", &[b'x'; 1000]).text(), "1000");
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(format!("3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000)));
    assert_eq!(client.response().unwrap().text(), "1000");
    eventually("the bytes are counted", || node.stats().functions["f"].bytes_in == 2000);
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let node = node(echo());
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("3\r\none\r\n");
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(client.chunk().unwrap(), b"one");
    client.send("3\r\ntwo\r\n");
    assert_eq!(client.chunk().unwrap(), b"two");
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), None);
    eventually("the end is counted", || node.outcomes("f") == [("ok", 1)].into());
    assert_eq!(client.post("/function/f", b"again").text(), "again");
    eventually("the bytes are counted", || node.stats().functions["f"].bytes_out == 11);
}

#[test]
fn a_body_that_fails_after_the_head_aborts_the_connection() {
    let node = node(Guest::http(|_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let _ = sender.send(Ok(Bytes::from_static(b"part"))).await;
            let _ = sender.send(Err(Error::new(ErrorKind::GuestTrap, "invoke", "unreachable"))).await;
        });
        Ok(http::Response::new(body))
    }));
    let mut client = node.client();
    client.send_get("/function/f");
    assert_eq!(client.head().unwrap().0, 200);
    let rest = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the body seems whole");
    eventually("the failure is counted", || node.outcomes("f") == [("guest_trap", 1)].into());
}

#[test]
fn a_request_body_that_stalls_fails_for_its_reader() {
    let mut config = config();
    config.body_timeout = std::time::Duration::from_millis(50);
    let node = node_with(config, &[("f", reader())], |_| {});
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(client.response().unwrap().text(), "timeout");
}

#[test]
fn a_request_body_that_breaks_off_fails_for_its_reader() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let node = node(Guest::http(move |request| {
        let sender = sender.lock().clone();
        async move {
            let mut body: Body = request.into_body();
            loop {
                match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    Some(Ok(_)) => {}
                    other => {
                        sender.send(other.map(|result| result.unwrap_err().kind())).unwrap();
                        return Ok(response(""));
                    }
                }
            }
        }
    }));
    let mut client = node.client();
    client.send(
        "POST /function/f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nnonsense\r\n",
    );
    assert_eq!(receiver.recv_timeout(crate::client::PATIENCE).unwrap(), Some(ErrorKind::InvalidArgument));
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let node = node(reader());
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    assert_eq!(client.head().unwrap().0, 100);
    client.send("body");
    assert_eq!(client.response().unwrap().text(), "4");
}

#[test]
fn an_answer_before_the_body_is_read_arrives_whole() {
    let node = node(Guest::says("early"));
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ncontent-length: 5000000\r\n\r\n");
    assert_eq!(client.response().unwrap().text(), "early");
    for _ in 0..500 {
        client.send([b'x'; 10_000]);
    }
}

#[test]
fn a_whole_body_has_the_length_that_its_head_announces() {
    let node = node(Guest::http(|request| async move {
        let (announced, body) = request.uri().query().unwrap().split_once('/').unwrap();
        let response = http::Response::builder().status(&request.uri().path()[1..]);
        Ok(response.header("content-length", announced).body(Bytes::from(body.to_owned()).into()).unwrap())
    }));
    let mut client = node.client();
    for bad in ["100/hello", "4/hello", "+5/hello", "5x/hello", "5/", "99999999999999999999/hello"] {
        let answer = client.get(&format!("/function/f/200?{bad}"));
        assert_eq!((answer.status, &answer.error()["kind"]), (500, &"guest_failure".into()), "{bad}");
        assert!(answer.error()["message"].as_str().unwrap().contains("as it announced"), "{bad}");
    }
    assert_eq!(client.get("/function/f/200?5/hello").text(), "hello");
    assert_eq!(client.get("/function/f/200?0/").text(), "");
    for (method, path) in [("HEAD", "/function/f/200?100/"), ("GET", "/function/f/304?100/")] {
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
        assert!(matches!(client.head().unwrap().0, 200 | 304), "{path}");
    }
    assert_eq!(client.get("/function/f/200?2/ok").text(), "ok", "the connection is out of step");
}

#[test]
fn a_guest_whose_announced_body_was_sent_is_not_stopped() {
    let mut guest = Guest::new(Contract::Http02, |invocation| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            let _ = sender.send(Ok("whole".into())).await;
            sender.closed().await;
            invocation.control.finish(Ok(()));
        });
        Ok(Output::Http(http::Response::builder().header("content-length", 5).body(body).unwrap()))
    });
    guest.wild = true;
    let node = node(guest);
    let mut client = node.client();
    for _ in 0..2 {
        assert_eq!(client.get("/function/f").text(), "whole");
    }
    eventually("both are counted", || node.outcomes("f") == [("ok", 2)].into());
}

#[test]
fn a_guest_whose_body_nobody_is_sent_goes_on_to_its_end() {
    let node = node(Guest::http(|request| async move {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for part in ["one", "two", "three"] {
                let _ = sender.send(Ok(part.into())).await;
            }
        });
        Ok(http::Response::builder().status(&request.uri().path()[1..]).body(body).unwrap())
    }));
    let mut client = node.client();
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        client.send(format!("{method} /function/f/{status} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let (answered, headers) = client.head().unwrap();
        assert_eq!((answered, headers.get("content-length")), (status, None));
    }
    assert_eq!(client.get("/function/f/200").text(), "onetwothree");
    eventually("all are counted", || node.outcomes("f") == [("ok", 4)].into());
}

#[test]
fn a_stop_does_not_wait_for_a_body_that_is_read_whole() {
    let node = node(Guest::new(Contract::Run, |_| async { Ok(Output::Run("never".into())) }));
    let mut client = node.client();
    client.send("POST /function/f HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n");
    eventually("it waits for the body", || node.stats().functions["f"].running == 1);
    let mut drip = client.stream.get_ref().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut drip, b"y").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    assert!(node.stop(node.running()[0].id));
    let answer = client.response().unwrap();
    assert_eq!((answer.status, &answer.error()["kind"]), (503, &"stopped".into()));
    client.stream.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    dripping.join().unwrap();
}
