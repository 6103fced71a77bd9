//! A node under test, and a client that sends exactly the bytes it is given.

use crate::fake::{Fake, Guest};
use limes_core::{FunctionSpec, Limits, Sandbox};
use limes_node::{Node, NodeConfig};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than anything here takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestNode {
    pub node: Arc<Node>,
    pub fake: Arc<Fake>,
}

impl Deref for TestNode {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

pub fn config() -> NodeConfig {
    NodeConfig { threads: 2, ..NodeConfig::new("127.0.0.1:0".parse().unwrap()) }
}

/// A node with one function, `f`.
pub fn node(guest: Guest) -> TestNode {
    node_with(config(), &[("f", guest)], |_| {})
}

/// A node with these functions, their specs changed by `change`.
pub fn node_with(
    config: NodeConfig,
    functions: &[(&str, Guest)],
    change: impl Fn(&mut FunctionSpec),
) -> TestNode {
    let fake = Arc::new(Fake::default());
    let node = Node::start(config, vec![fake.clone() as Arc<dyn Sandbox>]).unwrap();
    let specs = functions.iter().map(|(name, guest)| {
        fake.set(name, guest.clone());
        let mut spec = spec(name, 1);
        change(&mut spec);
        spec
    });
    node.restore(specs.collect()).unwrap();
    TestNode { node: Arc::new(node), fake }
}

/// A spec whose component is named as the function.
pub fn spec(name: &str, revision: u64) -> FunctionSpec {
    FunctionSpec {
        name: name.into(),
        revision,
        component: name.into(),
        digest: String::new(),
        compile: limes_core::CompileMode::default(),
        sandbox: Default::default(),
        hosts: Vec::new(),
        limits: Limits::default(),
        grants: Default::default(),
        microvm: limes_core::MicroVm::default(),
    }
}

impl TestNode {
    pub fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.local_addr()).unwrap())
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.client().get(path)
    }

    pub fn outcomes(&self, name: &str) -> HashMap<&'static str, u64> {
        self.stats().functions[name].requests.clone().into_iter().collect()
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        std::thread::yield_now();
    }
}

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn error(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice::<serde_json::Value>(&self.body).unwrap()["error"].clone()
    }
}

impl Client {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    pub fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send_get(path);
        self.response().unwrap()
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.send(format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len()));
        self.send(body);
        self.response().unwrap()
    }

    /// The next response, or `None` when the connection was closed before it.
    pub fn response(&mut self) -> Option<Response> {
        let (status, headers) = self.head()?;
        let mut body = Vec::new();
        if let Some(length) = headers.get("content-length") {
            body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut body).unwrap();
        } else if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        }
        Some(Response { status, headers, body })
    }

    pub fn head(&mut self) -> Option<(u16, HashMap<String, String>)> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = self.line().expect("a whole head");
            let Some((name, value)) = line.split_once(": ") else { return Some((status, headers)) };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }

    /// The next chunk of a body, `None` at its proper end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line().expect("a chunk"), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("cannot read a response: {error}"),
        }
    }

    /// Reads until the node closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("the connection stays open: {error}"),
        }
    }
}
