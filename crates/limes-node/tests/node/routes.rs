use crate::client::{TestNode, config, node, node_with, spec};
use crate::fake::{Fake, Guest, response};
use http_body::Body as _;
use limes_core::{Contract, ErrorKind, Input, Output, Sandbox};
use limes_node::{Call, Node};
use std::sync::Arc;

/// Answers with what it was asked.
fn mirror() -> Guest {
    Guest::http(|request| async move {
        let mut headers: Vec<_> =
            request.headers().iter().map(|(k, v)| format!("{k}={}", v.to_str().unwrap())).collect();
        headers.sort();
        let end = request.body().is_end_stream();
        Ok(response(format!("{} {} {} {end}", request.method(), request.uri(), headers.join(";"))))
    })
}

#[test]
fn the_guest_sees_the_path_after_its_name() {
    let node = node(mirror());
    for (path, seen) in [
        ("/function/f", "/"),
        ("/function/f/", "/"),
        ("/function/f?q=1", "/?q=1"),
        ("/function/f/a/b%20c?q=1&r", "/a/b%20c?q=1&r"),
        ("/function/f//x", "//x"),
    ] {
        let response = node.get(path);
        assert_eq!(
            (response.status, response.text()),
            (200, &*format!("GET {seen} host=test true")),
            "{path}"
        );
    }
}

#[test]
fn what_belongs_to_the_connection_does_not_reach_the_guest() {
    let node = node(mirror());
    let mut client = node.client();
    client.send(
        "GET /function/f HTTP/1.1\r\nHost: h:1\r\nConnection: keep-alive, x-hop\r\nx-hop: 1\r\nTE: trailers\r\n\
         Upgrade: websocket\r\nProxy-Authorization: p\r\nAccept: a\r\n\r\n",
    );
    assert_eq!(client.response().unwrap().text(), "GET / accept=a;host=h:1 true");
}

#[test]
fn an_unknown_path_or_name_is_not_found() {
    let node = node(Guest::says("f"));
    for path in ["/", "/function", "/function/", "/function/g", "/function/g/f", "/functions/f", "/f"] {
        let response = node.get(path);
        assert_eq!((response.status, &response.error()["kind"]), (404, &"not_found".into()), "{path}");
    }
    let stats = node.stats().node;
    assert_eq!((stats.requests, stats.unrouted), (7, 7));
}

#[test]
fn a_host_name_sends_the_whole_path_to_its_function() {
    let node = node_with(config(), &[("f", mirror()), ("g", Guest::says("g"))], |spec| {
        if spec.name == "f" {
            spec.hosts = vec!["App.example.com".into(), "[::1]".into()];
        }
    });
    let ask = |host: &str, path: &str| {
        let mut client = node.client();
        client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        client.response().unwrap()
    };
    for host in ["app.example.com", "APP.EXAMPLE.COM:8080", "app.example.com.", "[::1]:80"] {
        let answer = ask(host, "/function/g?x");
        assert_eq!(answer.text(), format!("GET /function/g?x host={host} true"));
    }
    assert_eq!(ask("other.example.com", "/function/g").text(), "g");
    assert_eq!(ask("other.example.com", "/").status, 404);
    assert_eq!(ask("elsewhere", "http://app.example.com/p").text(), "GET /p host=app.example.com true");
}

#[test]
fn a_host_belongs_to_one_function() {
    let node = node_with(config(), &[("f", Guest::says("f"))], |spec| spec.hosts = vec!["a.example".into()]);
    node.fake.set("g", Guest::says("g"));
    let mut other = crate::client::spec("g", 1);
    other.hosts = vec!["A.example".into()];
    let error = node.publish(other.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(node.fake.prepared("g"), 0, "it was compiled in vain");
    let mut first = crate::client::spec("f", 2);
    first.hosts = vec!["a.example".into()];
    assert_eq!(node.restore(vec![first, other]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(node.get("/function/f").text(), "f");
}

#[test]
fn run_takes_the_body_and_answers_text() {
    let node = node(Guest::new(Contract::Run, |invocation| async {
        let Input::Run(args) = invocation.input else { panic!("not for run") };
        Ok(Output::Run(format!("<{args}>")))
    }));
    let mut client = node.client();
    let answer = client.post("/function/f", "wörld".as_bytes());
    assert_eq!((answer.status, answer.text()), (200, "<wörld>"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(client.get("/function/f").text(), "<>");
    let refused = client.post("/function/f", b"\xff");
    assert_eq!((refused.status, &refused.error()["kind"]), (400, &"invalid_argument".into()));
    client.send("DELETE /function/f HTTP/1.1\r\nhost: h\r\n\r\n");
    let refused = client.response().unwrap();
    assert_eq!((refused.status, &*refused.headers["allow"]), (405, "GET, POST, PUT"));
}

#[test]
fn a_command_takes_stdin_and_answers_stdout() {
    let node = node(Guest::new(Contract::Cli02, |invocation| async {
        let Input::Command { args, stdin } = invocation.input else { panic!("not for commands") };
        assert!(args.is_empty());
        let stdin = stdin.collect(1000).await?;
        let exit_code = if stdin.starts_with(b"fail") { 3 } else { 0 };
        Ok(Output::Command { exit_code, stdout: stdin, stderr: Default::default() })
    }));
    let mut client = node.client();
    let answer = client.post("/function/f", b"\xffbytes");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"\xffbytes"[..]));
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    let failed = client.post("/function/f", b"fail");
    assert_eq!((failed.status, &failed.error()["context"]["exit_code"]), (500, &"3".into()));
    assert_eq!(node.outcomes("f"), [("ok", 1), ("guest_failure", 1)].into());
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let node = node(mirror());
    let mut client = node.client();
    let paths: Vec<_> = (0..50).map(|n| format!("/function/f/{n}")).collect();
    let requests: String =
        paths.iter().map(|path| format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).collect();
    client.send(requests);
    for n in 0..50 {
        assert_eq!(client.response().unwrap().text(), format!("GET /{n} host=h true"));
    }
}

#[test]
fn head_is_answered_without_a_body() {
    let node = node(Guest::says("hello"));
    let mut client = node.client();
    client.send("HEAD /function/f HTTP/1.1\r\nhost: h\r\n\r\n");
    let (status, headers) = client.head().unwrap();
    assert_eq!((status, &*headers["content-length"]), (200, "5"));
    assert_eq!(client.get("/function/f").text(), "hello");
}

#[test]
fn no_function_is_missing_before_all_are_known() {
    let fake = Arc::new(Fake::default());
    let node = Node::start(config(), vec![fake.clone() as Arc<dyn Sandbox>]).unwrap();
    let node = TestNode { node: Arc::new(node), fake };
    node.fake.set("early", Guest::says("early"));
    node.publish(spec("early", 1)).unwrap();
    assert_eq!(node.get("/function/early").text(), "early");
    assert!(node.remove("early"));
    for path in ["/function/f", "/nowhere"] {
        let answer = node.get(path);
        assert_eq!((answer.status, &*answer.headers["retry-after"]), (503, "1"));
        assert_eq!(
            (&answer.error()["kind"], &answer.error()["retryable"]),
            (&"unavailable".into(), &true.into())
        );
    }
    let error = node.start_call("f", Call::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    node.restore(Vec::new()).unwrap();
    assert_eq!(node.get("/function/f").status, 404);
    assert_eq!(node.get("/nowhere").status, 404);
}
