//! One client connection: what is known about it, and the task that serves it.

use crate::busy_poll;
use crate::config::ServerConfig;
use crate::guarded::{Streams, Tracked};
use crate::server::{Gate, Serve};
use crate::stall::{PORTION, StallClock, Waiting, Watched};
use futures_util::task::AtomicWaker;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a draining server waits on an idle connection for a request that is on its way.
const DRAIN_LINGER: Duration = Duration::from_millis(250);
/// How long a closing connection waits for its client to have read the answer.
const CLOSE_LINGER: Duration = Duration::from_secs(1);

/// What is known about one client connection. It is served by one thread; the fields are atomics only because
/// tasks must be `Send`.
pub struct Connection {
    peer: SocketAddr,
    gate: Arc<Gate>,
    requests: AtomicU64,
    in_flight: AtomicU32,
    http2: AtomicBool,
    head_begun: AtomicBool,
    read_dry: AtomicBool,
    write_blocked: AtomicBool,
    written: AtomicU64,
    linger: AtomicBool,
    closing: AtomicBool,
    task: AtomicWaker,
}

impl Connection {
    fn new(peer: SocketAddr, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            peer,
            gate,
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            http2: AtomicBool::new(false),
            head_begun: AtomicBool::new(false),
            read_dry: AtomicBool::new(false),
            write_blocked: AtomicBool::new(false),
            written: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            task: AtomicWaker::new(),
        })
    }

    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Asks for a lingering close, because a request body is left unread: without it the client may see a
    /// reset instead of the answer.
    pub fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }

    pub(crate) fn on_read(&self, ready: bool) {
        if !ready {
            self.read_dry.store(true, Relaxed);
            return;
        }
        busy_poll::received();
        if self.in_flight.load(Relaxed) == 0 {
            self.head_begun.store(true, Relaxed);
        }
    }

    /// The socket took so many bytes, or has no room.
    pub(crate) fn on_write(&self, taken: Poll<usize>) {
        self.write_blocked.store(taken.is_pending(), Relaxed);
        if let Poll::Ready(bytes) = taken {
            self.written.store(self.written.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        }
    }

    pub(crate) fn on_closing(&self) {
        self.closing.store(true, Relaxed);
    }

    fn waiting(&self) -> (Waiting, u64) {
        let requests = self.requests.load(Relaxed);
        if self.closing.load(Relaxed) {
            (Waiting::Close, 0)
        } else if self.write_blocked.load(Relaxed) {
            (Waiting::Write, self.written.load(Relaxed) / PORTION)
        } else if self.in_flight.load(Relaxed) > 0 {
            (Waiting::Nothing, 0)
        } else if self.http2.load(Relaxed) {
            let kind = if self.gate.draining() { Waiting::Drain } else { Waiting::Idle };
            (kind, requests)
        } else if self.head_begun.load(Relaxed) {
            (Waiting::Head, requests)
        } else if self.gate.draining() {
            (Waiting::Drain, requests)
        } else if requests == 0 {
            (Waiting::Head, requests)
        } else {
            (Waiting::Idle, requests)
        }
    }

    /// Whether nothing more of a pipeline lies in hyper's buffer or in the socket.
    ///
    /// hyper reads ahead while a request is answered, but only when its buffer is empty; yielding lets the
    /// driver look at the socket and hyper read.
    async fn pipeline_is_empty(&self) -> bool {
        self.read_dry.store(false, Relaxed);
        tokio::task::yield_now().await;
        self.read_dry.load(Relaxed)
    }
}

/// A request that is being answered, to its last body frame.
pub(crate) struct InFlight(Arc<Connection>);

impl InFlight {
    fn begin(connection: Arc<Connection>, http2: bool) -> Self {
        connection.requests.store(connection.requests.load(Relaxed).wrapping_add(1), Relaxed);
        connection.in_flight.fetch_add(1, Relaxed);
        connection.head_begun.store(false, Relaxed);
        if http2 {
            connection.http2.store(true, Relaxed);
        }
        Self(connection)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.0.in_flight.fetch_sub(1, Relaxed) - 1;
        // An HTTP/2 stream ends in a task of its own; the connection's must start to count its idle time.
        if left == 0 && self.0.http2.load(Relaxed) {
            self.0.task.wake();
        }
    }
}

/// What every connection of one server thread shares.
pub(crate) struct Lane<S> {
    pub(crate) service: Arc<S>,
    pub(crate) http: auto::Builder<Streams>,
    pub(crate) config: ServerConfig,
    pub(crate) gate: Arc<Gate>,
}

impl<S> Lane<S> {
    fn timeout(&self, waiting: Waiting) -> Duration {
        match waiting {
            Waiting::Nothing => Duration::ZERO,
            Waiting::Head => self.config.header_timeout,
            Waiting::Idle => self.config.idle_timeout,
            Waiting::Write => self.config.body_timeout,
            Waiting::Drain => DRAIN_LINGER,
            Waiting::Close => CLOSE_LINGER,
        }
    }
}

/// The HTTP settings of every server thread.
pub(crate) fn http_settings(body_timeout: Duration) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(Streams { body_timeout });
    // Timeouts are the connection task's own: hyper's would set and clear a timer for every request.
    http.http1().header_read_timeout(None).max_buf_size(64 << 10).half_close(false).keep_alive(true);
    http.http2()
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .max_send_buf_size(64 << 10)
        .keep_alive_interval(None);
    http
}

/// Serves one connection to its end.
pub(crate) async fn serve<S: Serve>(stream: TcpStream, peer: SocketAddr, lane: Arc<Lane<S>>) {
    let connection = Connection::new(peer, lane.gate.clone());
    let io = Watched::new(stream, connection.clone());
    let mut drain = pin!(lane.gate.drain_begins());
    let mut http = pin!(lane.http.serve_connection(
        io,
        service_fn(|request| answer(lane.service.clone(), connection.clone(), request)),
    ));
    let mut clock = StallClock::new();
    let mut registered = false;
    let mut shutting_down = false;
    poll_fn(|cx| {
        if !registered {
            registered = true;
            connection.task.register(cx.waker());
            let _ = drain.as_mut().poll(cx);
        }
        loop {
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let http2 = connection.http2.load(Relaxed);
            if http2 && !shutting_down && lane.gate.draining() {
                shutting_down = true;
                http.as_mut().graceful_shutdown();
                continue;
            }
            let key = connection.waiting();
            match clock.poll(cx, key, lane.timeout(key.0)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if key.0 == Waiting::Drain && !shutting_down => {
                    shutting_down = true;
                    http.as_mut().graceful_shutdown();
                }
                Poll::Ready(()) => {
                    tracing::debug!(%peer, waiting = ?key.0, "connection cut off: its client stalled");
                    return Poll::Ready(());
                }
            }
        }
    })
    .await;
}

async fn answer<S: Serve>(
    service: Arc<S>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Tracked<S::Body>>, Infallible> {
    let http2 = request.version() == Version::HTTP_2;
    let in_flight = InFlight::begin(connection.clone(), http2);
    let mut response = service.call(connection.clone(), request).await;
    if !http2 && connection.gate.draining() && connection.pipeline_is_empty().await {
        connection.linger();
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Tracked::new(body, in_flight, http2)))
}
