use crate::client::{PATIENCE, TestNode, config, eventually, node, node_with};
use crate::fake::{Guest, endless, response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(100);

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
}

async fn connect(node: &TestNode) -> SendRequest<Full<Bytes>> {
    connect_with(node, |_| {}).await
}

async fn connect_with(
    node: &TestNode,
    change: impl Fn(&mut Builder<TokioExecutor>),
) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(node.local_addr()).await.unwrap();
    let mut http2 = Builder::new(TokioExecutor::new());
    change(&mut http2);
    let (sender, connection) = http2.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> http::Request<Full<Bytes>> {
    let uri = format!("http://h2.example{path}");
    http::Request::builder().method(method).uri(uri).body(Full::new(body.into())).unwrap()
}

#[test]
fn http2_without_tls_is_served_on_the_same_port() {
    let node = node(Guest::http(|request| async {
        let seen = format!("{} {:?} ", request.uri(), request.headers()["host"]);
        let body = request.into_body().collect(1 << 20).await?;
        Ok(response([seen.as_bytes(), &body].concat()))
    }));
    block_on(async {
        let mut sender = connect(&node).await;
        let answers =
            (0..20).map(|n| sender.send_request(request("POST", &format!("/function/f/{n}"), "body")));
        let answers = futures_util::future::join_all(answers.collect::<Vec<_>>()).await;
        for (n, answer) in answers.into_iter().enumerate() {
            let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("/{n} \"h2.example\" body"));
        }
    });
    assert_eq!(node.stats().node.connections_accepted, 1);
}

#[test]
fn a_large_answer_arrives_whole() {
    let bytes: Bytes = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let sent = bytes.clone();
    let node = node(Guest::http(move |_| {
        let bytes = sent.clone();
        async { Ok(response(bytes)) }
    }));
    block_on(async {
        let answer = connect(&node).await.send_request(request("GET", "/function/f", "")).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "12000000");
        assert!(answer.into_body().collect().await.unwrap().to_bytes() == bytes, "other bytes arrived");
    });
}

#[test]
fn a_reset_stream_stops_its_guest_only() {
    let node = node_with(config(), &[("f", Guest::never()), ("g", Guest::says("g"))], |_| {});
    block_on(async {
        let mut sender = connect(&node).await;
        let never = tokio::spawn(sender.send_request(request("GET", "/function/f", "")));
        tokio::task::spawn_blocking({
            let node = node.node.clone();
            move || eventually("it runs", || node.running().len() == 1)
        })
        .await
        .unwrap();
        never.abort();
        let answer = sender.send_request(request("GET", "/function/g", "")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "g");
        tokio::task::spawn_blocking({
            let node = node.node.clone();
            move || eventually("it is stopped", || node.running().is_empty())
        })
        .await
        .unwrap();
    });
    eventually("it is counted", || node.outcomes("f") == [("stopped", 1)].into());
}

#[test]
fn a_stream_that_is_not_read_holds_no_slot() {
    let mut config = config();
    config.body_timeout = SHORT;
    let guest = Guest::http(|_| async { Ok(http::Response::new(endless())) });
    let node = node_with(config, &[("f", guest), ("g", Guest::says("g"))], |_| {});
    block_on(async {
        let mut sender = connect(&node).await;
        let unread = sender.send_request(request("GET", "/function/f", "")).await.unwrap();
        assert_eq!(unread.status(), 200);
        tokio::task::spawn_blocking({
            let node = node.node.clone();
            move || eventually("the guest is stopped", || node.running().is_empty())
        })
        .await
        .unwrap();
        let answer = sender.send_request(request("GET", "/function/g", "")).await.unwrap();
        assert_eq!(answer.status(), 200, "the other streams suffer");
        assert!(unread.into_body().collect().await.is_err(), "the unread body seems whole");
    });
    assert_eq!(node.outcomes("f"), [("stopped", 1)].into());
}

/// Bytes that tell when nobody has them any more.
fn tracked(size: usize) -> (Bytes, Arc<AtomicBool>) {
    struct Tracked(Vec<u8>, Arc<AtomicBool>);
    impl AsRef<[u8]> for Tracked {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Tracked {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    (Bytes::from_owner(Tracked(vec![b'x'; size], gone.clone())), gone)
}

#[test]
fn an_answer_that_its_client_makes_no_room_for_is_given_up() {
    for (size, window) in [(5, 0), (5, 1), (5, 4), (1 << 20, 0), (1 << 20, 70_000)] {
        let mut config = config();
        config.body_timeout = SHORT;
        let (bytes, gone) = tracked(size);
        let bytes = parking_lot::Mutex::new(Some(bytes));
        let guest = Guest::http(move |_| {
            let bytes = bytes.lock().take().unwrap_or_default();
            async { Ok(response(bytes)) }
        });
        let node = node_with(config, &[("f", guest)], |_| {});
        block_on(async {
            let mut sender = connect_with(&node, |http2| {
                http2.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
            })
            .await;
            let unread = sender.send_request(request("GET", "/function/f", "")).await.unwrap();
            tokio::task::spawn_blocking(move || {
                eventually("nothing of it is kept", || gone.load(Ordering::Relaxed));
            })
            .await
            .unwrap();
            let other = sender.send_request(request("GET", "/function/f", "")).await.unwrap();
            assert_eq!(other.status(), 200, "the other streams suffer");
            assert!(unread.into_body().collect().await.is_err(), "{size} bytes seem whole, window {window}");
        });
    }
}

#[test]
fn a_client_that_makes_no_room_does_not_keep_its_connection() {
    let mut config = config();
    (config.body_timeout, config.idle_timeout) = (SHORT, SHORT);
    let endless = Guest::http(|_| async { Ok(http::Response::new(endless())) });
    let functions = [("f", Guest::says("small")), ("g", endless)];
    let node = node_with(config, &functions, |spec| spec.limits.concurrency = 1);
    for path in ["/function/f", "/function/g", "/nowhere"] {
        block_on(async {
            let mut sender = connect_with(&node, |http2| {
                http2.initial_stream_window_size(0);
            })
            .await;
            let _unread = sender.send_request(request("GET", path, "")).await.unwrap();
            let node = node.node.clone();
            let closed = move || node.running().is_empty() && node.stats().node.connections_open == 0;
            tokio::task::spawn_blocking(move || eventually("it is closed", closed)).await.unwrap();
        });
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[test]
fn a_client_that_makes_room_byte_by_byte_is_given_up() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    let mut config = config();
    config.body_timeout = SHORT;
    let guest = Guest::http(|_| async { Ok(response(vec![b'x'; 60_000])) });
    let node = node_with(config, &[("f", guest)], |_| {});
    let mut stream = TcpStream::connect(node.local_addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    // The windows begin empty.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    // `GET`, `http`, and two literals: the path and the authority.
    let head = [b"\x82\x86\x04\x0b".as_slice(), b"/function/f", b"\x01\x01h"].concat();
    stream.write_all(&frame(HEADERS, 0x4 | 0x1, 1, &head)).unwrap();
    let mut drip = stream.try_clone().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let byte = frame(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes());
            while !done.load(Ordering::Relaxed) && drip.write_all(&byte).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).expect("a reset of the stream");
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            if head[3] == RST_STREAM {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_answer_without_a_body_ends_with_its_head() {
    let node = node(Guest::http(|request| async move {
        let status = request.uri().path()[1..].parse().unwrap();
        Ok(http::Response::builder().status::<u16>(status).body(Bytes::from("text").into()).unwrap())
    }));
    let missing = node.get("/function/g").body.len().to_string();
    block_on(async {
        let mut sender = connect(&node).await;
        for (method, path, status, length) in [
            ("HEAD", "/function/f/200", 200, Some("4")),
            ("HEAD", "/function/g", 404, Some(missing.as_str())),
            ("GET", "/function/f/204", 204, None),
            ("GET", "/function/f/304", 304, None),
        ] {
            let answer = sender.send_request(request(method, path, "")).await.unwrap();
            let found = answer.headers().get("content-length").map(|length| length.to_str().unwrap());
            assert_eq!((answer.status().as_u16(), found), (status, length));
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "", "{method} {path}");
        }
    });
}

#[test]
fn a_drain_ends_an_http2_connection_after_its_streams() {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let inside = gate.clone();
    let node = node(Guest::http(move |_| {
        let gate = inside.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(response("late"))
        }
    }));
    block_on(async {
        let mut sender = connect(&node).await;
        let waiting: Vec<_> =
            (0..5).map(|_| tokio::spawn(sender.send_request(request("GET", "/function/f", "")))).collect();
        let drain = tokio::task::spawn_blocking({
            let node = node.node.clone();
            move || {
                eventually("all run", || node.running().len() == 5);
                std::thread::scope(|scope| {
                    let drain = scope.spawn(|| node.drain(PATIENCE));
                    eventually("it drains", || node.stats().node.draining);
                    gate.add_permits(5);
                    drain.join().unwrap()
                })
            }
        });
        for answer in waiting {
            assert_eq!(
                answer.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes(),
                "late"
            );
        }
        let report = drain.await.unwrap();
        assert_eq!((report.finished, report.stopped), (5, 0));
    });
}

#[test]
fn a_declared_body_over_the_limit_is_refused() {
    let node = node_with(config(), &[("f", Guest::says("f"))], |spec| spec.limits.request = 3);
    block_on(async {
        let mut sender = connect(&node).await;
        let answer = sender.send_request(request("POST", "/function/f", "four")).await.unwrap();
        assert_eq!(answer.status(), 413);
        let answer = sender.send_request(request("POST", "/function/f", "abc")).await.unwrap();
        assert_eq!(answer.status(), 200, "the connection is lost");
    });
}
