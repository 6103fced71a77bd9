use crate::client::{config, node, node_with};
use crate::fake::Guest;
use http::StatusCode;
use limes_core::{Body, ErrorKind};

#[test]
fn every_kind_of_failure_has_its_status_and_tells_no_backtrace() {
    for &kind in ErrorKind::ALL {
        let node = node(Guest::fails(kind));
        let answer = node.get("/function/f");
        assert_eq!(answer.status, kind.http_status());
        let error = answer.error();
        assert_eq!(error["kind"], kind.name());
        assert_eq!(error["message"], "it failed");
        assert_eq!(error["operation"], "invoke");
        assert_eq!(error["retryable"], kind.retryable());
        assert_eq!(error["context"], serde_json::json!({"limit": "memory"}));
        let retry = matches!(kind, ErrorKind::Overloaded | ErrorKind::Unavailable);
        assert_eq!(answer.headers.contains_key("retry-after"), retry, "{kind}");
        assert_eq!(node.outcomes("f"), [(kind.name(), 1)].into());
    }
}

#[test]
fn a_failure_leaves_everything_it_knows_in_the_log() {
    let node = node(Guest::fails(ErrorKind::GuestTrap));
    node.get("/function/f");
    let lines = node.logs("f", 0, 10).unwrap();
    let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["guest_trap: it failed", "0: secret!frame"]);
    assert!(lines.iter().all(|line| line.stream == limes_core::LogStream::System));
}

#[test]
fn a_status_that_is_not_final_is_the_functions_failure() {
    let node = node(Guest::http(|_| async {
        let mut response = http::Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok(response)
    }));
    assert_eq!(node.get("/function/f").error()["kind"], "guest_failure");
}

#[test]
fn a_guest_cannot_speak_for_the_connection() {
    let node = node(Guest::http(|_| async {
        let mut response = crate::fake::response("hello");
        for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked"), ("x-own", "1")] {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        Ok(response)
    }));
    let mut client = node.client();
    for _ in 0..2 {
        let answer = client.get("/function/f");
        assert_eq!((answer.text(), &*answer.headers["x-own"]), ("hello", "1"));
        assert!(!answer.headers.contains_key("connection"));
    }
}

#[test]
fn a_malformed_request_ends_its_connection_only() {
    let node = node(Guest::says("fine"));
    let mut bad = node.client();
    bad.send("NONSENSE\r\n\r\n");
    assert_eq!(bad.head().unwrap().0, 400);
    let mut large = node.client();
    large.send(format!("GET /function/f HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(70_000)));
    assert_eq!(large.head().unwrap().0, 431);
    assert_eq!(node.get("/function/f").text(), "fine");
}

#[test]
fn more_connections_than_allowed_are_closed_at_once() {
    let mut config = config();
    config.max_connections = 2;
    let node = node_with(config, &[("f", Guest::says("f"))], |_| {});
    let mut clients: Vec<_> = (0..2).map(|_| node.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/function/f").text(), "f");
    }
    assert_eq!(node.client().rest(), b"");
    let stats = node.stats().node;
    assert_eq!((stats.connections_open, stats.connections_accepted, stats.connections_refused), (2, 2, 1));
    drop(clients);
    crate::client::eventually("there is room again", || node.stats().node.connections_open == 0);
    assert_eq!(node.get("/function/f").text(), "f");
}
