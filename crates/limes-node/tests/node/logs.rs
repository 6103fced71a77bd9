use crate::client::node;
use crate::fake::{Guest, response};
use limes_core::{Contract, LogStream, Output};

#[test]
fn what_a_guest_writes_is_split_into_lines_by_stream() {
    let node = node(Guest::new(Contract::Http02, |invocation| async move {
        let control = &invocation.control;
        control.log(LogStream::Stdout, b"one\ntw");
        control.log(LogStream::Stderr, b"oops\n");
        control.log(LogStream::System, b"denied: env");
        control.log(LogStream::Stdout, b"o\nunfinished");
        Ok(Output::Http(response("")))
    }));
    node.get("/function/f");
    let lines = node.logs("f", 0, 100).unwrap();
    let seen: Vec<_> = lines.iter().map(|line| (line.stream, &*line.text)).collect();
    assert_eq!(
        seen,
        [
            (LogStream::Stdout, "one"),
            (LogStream::Stderr, "oops"),
            (LogStream::System, "denied: env"),
            (LogStream::Stdout, "two"),
            (LogStream::Stdout, "unfinished"),
        ]
    );
    assert!(lines.iter().all(|line| line.invocation == lines[0].invocation && line.time_ms > 0));
    assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(node.logs("f", 3, 1).unwrap(), lines[3..4]);
    let json = serde_json::to_value(&lines[2]).unwrap();
    assert_eq!((&json["stream"], &json["text"]), (&"system".into(), &"denied: env".into()));
}

#[test]
fn the_log_of_a_function_is_bounded() {
    let node = node(Guest::new(Contract::Http02, |invocation| async move {
        for n in 0..10_000 {
            invocation.control.log(LogStream::Stdout, format!("{n}\n").as_bytes());
        }
        Ok(Output::Http(response("")))
    }));
    node.get("/function/f");
    let lines = node.logs("f", 0, usize::MAX).unwrap();
    assert_eq!((lines.len(), &*lines.last().unwrap().text), (4096, "9999"));
}
