//! The floor of the benchmark: the node's own server without functions, answering `hello`.
//!
//! Usage: `floor HOST:PORT`. Prints `listening on ADDRESS`, and serves until it is killed.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use limes_node::ServerConfig;
use limes_node::server::{Connection, Serve, Server};
use std::sync::Arc;

struct Hello;

impl Serve for Hello {
    type Body = Full<Bytes>;

    async fn call(self: Arc<Self>, _: Arc<Connection>, _: Request<Incoming>) -> Response<Full<Bytes>> {
        Response::new(Full::new(Bytes::from_static(b"hello")))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).ok_or("usage: floor HOST:PORT")?.parse()?;
    let server = Server::start(ServerConfig::new(listen), |_| Hello)?;
    println!("listening on {}", server.local_addr());
    loop {
        std::thread::park();
    }
}
