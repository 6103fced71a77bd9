use std::net::SocketAddr;
use std::time::Duration;

/// How a [`Server`](crate::server::Server) listens, and how long it waits for its clients.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Server threads, each with its own listener and runtime. 0 (the default): one a core.
    pub threads: usize,
    /// Connections open at once; one more is accepted and closed at once. Default 10,000.
    pub max_connections: usize,
    /// From the first byte of a request head (or the connection's opening) to its last. Default 10 s.
    pub header_timeout: Duration,
    /// How long a kept-alive connection may stay without a request. Default 60 s.
    pub idle_timeout: Duration,
    /// Between two reads of a request body; and how long a client that does not keep up with its answer may take for
    /// 64 KiB of it, or for the rest. Default 30 s.
    pub body_timeout: Duration,
    /// How long a server thread polls for its next request before it sleeps, where the last one came as quickly; zero: never.
    /// Default 100 us.
    pub busy_poll: Duration,
}

impl ServerConfig {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            threads: 0,
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            busy_poll: Duration::from_micros(100),
        }
    }
}

/// How a [`Node`](crate::Node) listens and what it keeps.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Server threads; see [`ServerConfig::threads`].
    pub threads: usize,
    /// Connections open at once; see [`ServerConfig::max_connections`].
    pub max_connections: usize,
    /// How long a request head may take; see [`ServerConfig::header_timeout`].
    pub header_timeout: Duration,
    /// How long a connection may idle; see [`ServerConfig::idle_timeout`].
    pub idle_timeout: Duration,
    /// How long a body may stall, or creep, either way; see [`ServerConfig::body_timeout`].
    pub body_timeout: Duration,
    /// How long a server thread polls before it sleeps; see [`ServerConfig::busy_poll`].
    pub busy_poll: Duration,
    /// Functions kept loaded; the least recently used beyond it is unloaded. Default 4,096.
    pub max_loaded: usize,
}

impl NodeConfig {
    /// The defaults, listening on `listen`.
    pub fn new(listen: SocketAddr) -> Self {
        let ServerConfig {
            listen,
            threads,
            max_connections,
            header_timeout,
            idle_timeout,
            body_timeout,
            busy_poll,
        } = ServerConfig::new(listen);
        Self {
            listen,
            threads,
            max_connections,
            header_timeout,
            idle_timeout,
            body_timeout,
            busy_poll,
            max_loaded: 4096,
        }
    }

    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            listen: self.listen,
            threads: self.threads,
            max_connections: self.max_connections,
            header_timeout: self.header_timeout,
            idle_timeout: self.idle_timeout,
            body_timeout: self.body_timeout,
            busy_poll: self.busy_poll,
        }
    }
}

impl Default for NodeConfig {
    /// Listens on 127.0.0.1:8080.
    fn default() -> Self {
        Self::new(SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 8080)))
    }
}
