use crate::client::{PATIENCE, TestNode, config, eventually, node, node_with};
use crate::fake::{Guest, endless, response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") })
}

async fn connect(node: &TestNode) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(node.local_addr()).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
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
    assert_eq!(node.outcomes("f"), [("stopped", 1)].into());
}

#[test]
fn a_stream_that_is_not_read_holds_no_slot() {
    let mut config = config();
    config.body_timeout = Duration::from_millis(100);
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
