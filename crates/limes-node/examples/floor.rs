//! The floor of the benchmark: the node's own server without functions, answering `hello`.
//!
//! Usage: `floor HOST:PORT [MICROSECONDS]`, of which the second is for how long a thread polls before it sleeps (`busy_poll`; by default
//! what a node does). Prints `listening on ADDRESS`, and serves until it is killed.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use limes_node::ServerConfig;
use limes_node::server::{Connection, Serve, Server};
use std::sync::Arc;
use std::time::Duration;

struct Hello;

impl Serve for Hello {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, _: Arc<Connection>, _: Request<Incoming>) -> Response<Full<Bytes>> {
        Response::new(Full::new(Bytes::from_static(b"hello")))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().ok_or("usage: floor HOST:PORT [MICROSECONDS]")?.parse()?;
    let mut config = ServerConfig::new(listen);
    if let Some(busy_poll) = arguments.next() {
        config.busy_poll = Duration::from_micros(busy_poll.parse()?);
    }
    let server = Server::start(config, |_| Hello)?;
    println!("listening on {}", server.local_addr());
    loop {
        std::thread::park();
    }
}
