//! Calls past HTTP.

use crate::client::{PATIENCE, TestNode, config, eventually, node, node_with};
use crate::fake::{Guest, channel, response};
use limes_core::{
    Body, Completed, Contract, Error, ErrorKind, Input, Invocation, LogStream, Output, Result, StopReason,
};
use limes_node::Call;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

fn call(node: &TestNode, call: Call) -> Result<Completed> {
    runtime().block_on(node.start_call("f", call)?.future)
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

#[test]
fn a_call_gives_the_whole_answer_its_timing_and_what_was_written() {
    let node = node(Guest::new(Contract::Http02, |invocation| async move {
        invocation.control.log(LogStream::Stdout, b"out");
        invocation.control.log(LogStream::Stderr, b"err");
        let Input::Http(request) = invocation.input else { panic!("not an HTTP input") };
        let (sender, body) = channel();
        tokio::spawn(async move {
            for part in ["streamed ", "answer"] {
                let _ = sender.send(Ok(part.into())).await;
            }
        });
        let response = http::Response::builder().status(201).header("seen", request.uri().path());
        Ok(Output::Http(response.body(body).unwrap()))
    }));
    let asked = Call { path: "/p".into(), headers: vec![("x".into(), b"1".into())], ..Call::default() };
    let outcome = call(&node, asked).unwrap();
    let Output::Http(response) = outcome.output else { panic!("not HTTP") };
    assert_eq!((response.status().as_u16(), response.headers()["seen"].to_str().unwrap()), (201, "/p"));
    assert!(matches!(response.body(), Body::Full(bytes) if bytes == "streamed answer"));
    assert_eq!((&outcome.stdout[..], &outcome.stderr[..]), (&b"out"[..], &b"err"[..]));
    assert!(outcome.timing.route > 0 && outcome.timing.load > 0);
    assert_eq!(node.outcomes("f"), [("ok", 1)].into());
    assert_eq!(node.logs("f", 0, 10).unwrap().len(), 2);
}

#[test]
fn each_contract_takes_what_it_knows_of_a_call() {
    let run = node(Guest::new(Contract::Run, |invocation| async {
        let Input::Run(args) = invocation.input else { panic!("not for run") };
        Ok(Output::Run(args))
    }));
    let args = |args: &[&str], body: &'static str| Call {
        args: args.iter().map(|&arg| arg.into()).collect(),
        body: body.into(),
        ..Call::default()
    };
    for (asked, seen) in [(args(&["a", "b"], "body"), "a b"), (args(&[], "body"), "body")] {
        assert!(matches!(call(&run, asked).unwrap().output, Output::Run(text) if text == seen));
    }
    let command = node(Guest::new(Contract::Cli03, |invocation| async {
        let Input::Command { args, stdin } = invocation.input else { panic!("not for commands") };
        let stdout = format!("{args:?} {:?}", stdin.collect(100).await?).into();
        Ok(Output::Command { exit_code: 4, stdout, stderr: Default::default() })
    }));
    let outcome = call(&command, args(&["-v"], "in")).unwrap();
    assert!(
        matches!(outcome.output, Output::Command { exit_code: 4, stdout, .. } if stdout == "[\"-v\"] b\"in\"")
    );
}

#[test]
fn what_a_call_may_write_and_answer_is_bounded() {
    let guest = Guest::new(Contract::Http02, |invocation| async move {
        invocation.control.log(LogStream::Stdout, &[b'x'; 100]);
        let Input::Http(request) = invocation.input else { panic!("not an HTTP input") };
        let body = if request.uri().path() == "/endless" { crate::fake::endless() } else { Body::Empty };
        Ok(Output::Http(http::Response::new(body)))
    });
    let node = node_with(config(), &[("f", guest)], |spec| {
        spec.limits.output = 10;
        spec.limits.response = 1000;
        spec.limits.request = 10;
    });
    assert_eq!(call(&node, Call::default()).unwrap().stdout.len(), 10);
    let error = call(&node, Call { path: "/endless".into(), ..Call::default() }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.context().contains(&("limit", "response".into())));
    eventually("the guest is stopped", || node.running().is_empty());
    let error = call(&node, Call { body: vec![0; 11].into(), ..Call::default() }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::RequestTooLarge);
}

#[test]
fn a_call_that_makes_no_sense_is_refused_at_once() {
    let node = node(Guest::says("f"));
    for bad in [
        Call { path: "no-slash".into(), ..Call::default() },
        Call { path: "/a b".into(), ..Call::default() },
        Call { method: "GE T".into(), ..Call::default() },
        Call { headers: vec![("a b".into(), Vec::new())], ..Call::default() },
        Call { headers: vec![("a".into(), b"\n".into())], ..Call::default() },
    ] {
        assert_eq!(call(&node, bad.clone()).err().unwrap().kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
    let error = node.start_call("g", Call::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(node.running().is_empty());
}

#[test]
fn a_call_is_admitted_as_requests_are_and_can_be_stopped_while_it_waits() {
    let node = node_with(config(), &[("f", Guest::never())], |spec| {
        spec.limits.concurrency = 1;
        spec.limits.queue = 1;
    });
    let mut client = node.client();
    client.send_get("/function/f");
    eventually("it runs", || node.stats().functions["f"].running == 1);
    let waiting = node.start_call("f", Call::default()).unwrap();
    let id = waiting.control.id();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| runtime().block_on(waiting.future).err().unwrap());
        eventually("it waits", || {
            node.running().iter().any(|running| running.id == id && running.client.is_none())
        });
        assert!(node.stop(id));
        assert_eq!(call.join().unwrap().kind(), ErrorKind::Stopped);
    });
    assert_eq!(node.running().len(), 1);
}

#[test]
fn a_call_keeps_to_the_shorter_of_both_timeouts() {
    let node = node(Guest::never());
    let timeout = Some(Duration::from_millis(50));
    let error = call(&node, Call { timeout, ..Call::default() }).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(node.running().is_empty());
}

#[test]
fn a_call_that_is_dropped_is_over() {
    let node = node(Guest::never());
    let unpolled = node.start_call("f", Call::default()).unwrap();
    assert_eq!(node.running().len(), 1);
    let control = unpolled.control.clone();
    drop(unpolled);
    assert!(node.running().is_empty());
    assert_eq!(control.stop_reason(), Some(StopReason::Requested));

    let mut started = node.start_call("f", Call::default()).unwrap();
    runtime().block_on(async {
        tokio::select! {
            biased;
            _ = &mut started.future => panic!("it never answers"),
            () = tokio::task::yield_now() => {}
        }
    });
    drop(started.future);
    eventually("it is over", || node.running().is_empty());
    assert_eq!(node.outcomes("f"), [("stopped", 2)].into());
}

#[test]
fn a_call_past_http_needs_no_server_thread() {
    let node = node(Guest::http(|_| async { Ok(response("fine")) }));
    node.drain(Duration::ZERO);
    let error = node.start_call("f", Call::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_stop_reaches_a_guest_that_goes_on_after_its_head() {
    let (waits, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let inside = (waits.clone(), stopped.clone());
    let mut guest = Guest::new(Contract::Http02, move |Invocation { control, .. }| {
        let (waits, stopped) = inside.clone();
        async move {
            let (sender, body) = channel();
            tokio::spawn(async move {
                let _ = sender.send(Ok("first".into())).await;
                poll_fn(|cx| {
                    control.register(cx.waker());
                    waits.store(true, Ordering::Relaxed);
                    if control.stop_reason().is_some() { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                control.finish(Err(&Error::new(ErrorKind::Stopped, "invoke", "stopped")));
                stopped.notify_one();
            });
            Ok(Output::Http(http::Response::new(body)))
        }
    });
    guest.wild = true;
    let node = node(guest);
    let started = node.start_call("f", Call::default()).unwrap();
    let id = started.control.id();
    let call = std::thread::spawn(move || {
        runtime().block_on(async {
            let error = started.future.await.err().unwrap();
            tokio::time::timeout(PATIENCE, stopped.notified()).await.expect("the guest goes on");
            error.kind()
        })
    });
    eventually("the guest waits", || waits.load(Ordering::Relaxed));
    assert!(node.stop(id));
    assert_eq!(call.join().unwrap(), ErrorKind::Stopped);
}
