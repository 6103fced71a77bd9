//! Connections, spread over the server threads.

use crate::client::eventually;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use limes_node::ServerConfig;
use limes_node::server::{Connection, Serve, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Answers with the number of its thread.
struct Number(usize);

impl Serve for Number {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, _: Arc<Connection>, _: Request<Incoming>) -> Response<Full<Bytes>> {
        Response::new(Full::new(Bytes::from(self.0.to_string())))
    }
}

/// How many of `connections` each of `threads` serves.
fn served(connections: &mut [TcpStream], threads: usize) -> Vec<usize> {
    let mut counts = vec![0; threads];
    for connection in connections {
        connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 1 << 10];
        let length = connection.read(&mut answer).unwrap();
        let thread = std::str::from_utf8(&answer[length - 1..length]).unwrap();
        counts[thread.parse::<usize>().unwrap()] += 1;
    }
    counts
}

#[test]
fn every_thread_has_as_many_connections_as_the_others() {
    const THREADS: usize = 4;
    let mut config = ServerConfig::new("127.0.0.1:0".parse().unwrap());
    config.threads = THREADS;
    let server = Server::start(config, Number).unwrap();
    let connect = |count: usize| -> Vec<_> {
        (0..count)
            .map(|number| {
                let connection = TcpStream::connect(server.local_addr()).unwrap();
                eventually("it is accepted", || server.connections().accepted > number as u64);
                connection
            })
            .collect()
    };
    let mut connections = connect(8 * THREADS);
    assert_eq!(served(&mut connections, THREADS), [8; THREADS]);
    // Each still answers, on the thread it was on.
    assert_eq!(served(&mut connections, THREADS), [8; THREADS]);
    assert_eq!(server.connections().open, 8 * THREADS);
    drop(connections);
    eventually("all have ended", || server.connections().open == 0);
}
