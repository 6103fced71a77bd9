//! The HTTP server under the node: a thread a core, each with its own runtime and its own listener.
//!
//! It knows nothing of functions; a [`Serve`] answers the requests. Every connection stays on one thread, so the request path shares nothing
//! between threads that the service does not share. The kernel spreads connections over the listeners by chance, of a few dozen often twice
//! as many to one as to another; the thread that accepts one leaves it to the thread that has the fewest.

use crate::busy_poll;
use crate::config::ServerConfig;
use crate::connection::{Lane, http_settings, serve};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use limes_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc, watch};

pub use crate::connection::Connection;

const BACKLOG: i32 = 4096;
/// Between two looks of a blocked [`Server::wait_idle`].
const LOOK: Duration = Duration::from_millis(2);

/// Answers requests; every server thread has one of its own.
pub trait Serve: Send + Sync + 'static {
    /// What it answers with.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request. The future is dropped when the client goes away.
    fn call(
        self: Arc<Self>,
        connection: Arc<Connection>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// What all threads and connections of a server share.
pub(crate) struct Gate {
    draining: AtomicBool,
    drain: Notify,
    threads: Box<[Thread]>,
    accepting: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// One server thread, as the others see it.
struct Thread {
    open: AtomicUsize,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

/// A connection that another thread has accepted for this one.
struct Arrival {
    stream: StdStream,
    peer: SocketAddr,
    open: Open,
}

impl Gate {
    /// Connections open on all threads, or on their way to one.
    fn open(&self) -> usize {
        self.threads.iter().map(|thread| thread.open.load(Ordering::SeqCst)).sum()
    }

    /// The thread with the fewest connections: `own`, unless another has fewer.
    fn least_loaded(&self, own: usize) -> usize {
        let load = |&number: &usize| (self.threads[number].open.load(Ordering::Relaxed), number != own);
        (0..self.threads.len()).min_by_key(load).unwrap_or(own)
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn drain_begins(&self) -> Notified<'_> {
        self.drain.notified()
    }
}

/// Connections of a server since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: usize,
    /// Accepted and served.
    pub accepted: u64,
    /// Closed at once, because `max_connections` were open.
    pub refused: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Accept,
    Drain,
    Stop,
}

/// A running HTTP server. Dropping it closes every connection at once.
pub struct Server {
    address: SocketAddr,
    gate: Arc<Gate>,
    phase: watch::Sender<Phase>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    /// Binds, and starts the threads. `service` is called once for each of them, with its number.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the address cannot be bound or a thread not be started.
    pub fn start<S: Serve>(config: ServerConfig, service: impl Fn(usize) -> S) -> Result<Self> {
        let count = thread_count(config.threads);
        let listeners = bind_all(config.listen, count).map_err(|error| {
            let message = format!("cannot listen on {}; choose a free address", config.listen);
            Error::new(ErrorKind::Io, "listen", message).from_source(error)
        })?;
        let failed = |what: &str, error: io::Error| {
            Error::new(ErrorKind::Io, "listen", format!("cannot start a server thread ({what})"))
                .from_source(error)
        };
        let address = listeners[0].local_addr().map_err(|e| failed("local address", e))?;
        let (threads, inboxes): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (arrivals, inbox) = mpsc::unbounded_channel();
                (Thread { open: AtomicUsize::new(0), arrivals }, inbox)
            })
            .unzip();
        let gate = Arc::new(Gate {
            draining: AtomicBool::new(false),
            drain: Notify::new(),
            threads: threads.into(),
            accepting: AtomicUsize::new(count),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let (phase, _) = watch::channel(Phase::Accept);
        let server = Self { address, gate, phase, threads: Mutex::default() };
        for (number, (listener, inbox)) in listeners.into_iter().zip(inboxes).enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .on_thread_park(busy_poll::before_park)
                .build()
                .map_err(|e| failed("runtime", e))?;
            let lane = Arc::new(Lane {
                service: Arc::new(service(number)),
                http: http_settings(config.body_timeout),
                config: config.clone(),
                gate: server.gate.clone(),
            });
            let phase = server.phase.subscribe();
            let thread = std::thread::Builder::new()
                .name(format!("limes-http-{number}"))
                .spawn(move || {
                    LANE.set(number);
                    runtime.block_on(run(listener, inbox, lane, phase));
                })
                .map_err(|e| failed("thread", e))?;
            server.threads.lock().push(thread);
        }
        Ok(server)
    }

    /// Where it listens, the port filled in.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Connections since the start.
    pub fn connections(&self) -> ConnectionCounts {
        ConnectionCounts {
            open: self.gate.open(),
            accepted: self.gate.accepted.load(Ordering::Relaxed),
            refused: self.gate.refused.load(Ordering::Relaxed),
        }
    }

    /// Whether [`begin_drain`](Self::begin_drain) was called.
    pub fn draining(&self) -> bool {
        self.gate.draining()
    }

    /// Stops listening once the backlog is accepted, and lets every connection end after what it was sent:
    /// HTTP/1 answers what is in flight or pipelined, the last one with `Connection: close`; HTTP/2 sends GOAWAY.
    /// Idle connections are closed a quarter of a second later, so that a request on its way still arrives.
    pub fn begin_drain(&self) {
        self.gate.draining.store(true, Ordering::SeqCst);
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Accept;
            if first {
                *phase = Phase::Drain;
            }
            first
        });
        self.gate.drain.notify_waiters();
    }

    /// Blocks until, after [`begin_drain`](Self::begin_drain), every connection is closed and `also` holds, or until
    /// `deadline`. Says whether all ended.
    pub fn wait_idle(&self, deadline: Instant, also: impl Fn() -> bool) -> bool {
        loop {
            let listening = self.gate.accepting.load(Ordering::SeqCst) > 0;
            if !listening && self.gate.open() == 0 && also() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(LOOK);
        }
    }

    /// Closes every connection now, dropping what is in flight, and joins the threads.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stop);
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a server thread had panicked");
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

thread_local! {
    static LANE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The number of the server thread this runs on; 0 on any other thread.
pub(crate) fn current_lane() -> usize {
    LANE.get()
}

/// How many threads `configured` means: 0 is one a core.
pub(crate) fn thread_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        count => count,
    }
}

fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<StdListener>> {
    if address.port() != 0 {
        // SO_REUSEPORT would let a second node of the same user share the port in silence: ask without it first.
        socket(address)?.bind(&address.into())?;
    }
    let mut listeners: Vec<StdListener> = Vec::with_capacity(count);
    for _ in 0..count {
        let address = listeners.first().map_or(Ok(address), |first| first.local_addr())?;
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        listeners.push(socket.into());
    }
    Ok(listeners)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn run<S: Serve>(
    listener: StdListener,
    inbox: mpsc::UnboundedReceiver<Arrival>,
    lane: Arc<Lane<S>>,
    mut phase: watch::Receiver<Phase>,
) {
    tokio::spawn(take_in(inbox, lane.clone()));
    if !lane.config.busy_poll.is_zero() {
        tokio::spawn(busy_poll::run(lane.config.busy_poll));
    }
    match TcpListener::from_std(listener) {
        Ok(listener) => {
            accept_until_drained(&listener, &lane, &mut phase).await;
            if *phase.borrow() == Phase::Drain {
                accept_backlog(listener, &lane);
            }
        }
        Err(error) => tracing::error!(%error, "cannot accept connections on this thread"),
    }
    lane.gate.accepting.fetch_sub(1, Ordering::SeqCst);
    // An error means that the server is gone, and with it every reason to go on.
    let _ = phase.wait_for(|phase| *phase == Phase::Stop).await;
}

async fn accept_until_drained<S: Serve>(
    listener: &TcpListener,
    lane: &Arc<Lane<S>>,
    phase: &mut watch::Receiver<Phase>,
) {
    while *phase.borrow_and_update() == Phase::Accept {
        tokio::select! {
            biased;
            changed = phase.changed() => if changed.is_err() { return },
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer, lane),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    // Out of descriptors, most likely: those of closing connections come back.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
}

/// Accepts what the kernel already holds, then closes the listener.
fn accept_backlog<S: Serve>(listener: TcpListener, lane: &Arc<Lane<S>>) {
    let Ok(listener) = listener.into_std() else { return };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    admit(stream, peer, lane);
                }
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// One open connection, counted for the thread with this number.
struct Open {
    gate: Arc<Gate>,
    thread: usize,
}

impl Open {
    fn new(gate: &Arc<Gate>, thread: usize) -> Self {
        gate.threads[thread].open.fetch_add(1, Ordering::SeqCst);
        Self { gate: gate.clone(), thread }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gate.threads[self.thread].open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves what other threads accept for this one.
async fn take_in<S: Serve>(mut inbox: mpsc::UnboundedReceiver<Arrival>, lane: Arc<Lane<S>>) {
    while let Some(Arrival { stream, peer, open }) = inbox.recv().await {
        if let Ok(stream) = TcpStream::from_std(stream) {
            spawn(stream, peer, open, &lane);
        }
    }
}

fn admit<S: Serve>(stream: TcpStream, peer: SocketAddr, lane: &Arc<Lane<S>>) {
    let thread = lane.gate.least_loaded(current_lane());
    let open = Open::new(&lane.gate, thread);
    if lane.gate.open() > lane.config.max_connections {
        lane.gate.refused.fetch_add(1, Ordering::Relaxed);
        return;
    }
    lane.gate.accepted.fetch_add(1, Ordering::Relaxed);
    // Fails only when the client has gone already, which the first read tells as well.
    let _ = stream.set_nodelay(true);
    if thread == current_lane() {
        return spawn(stream, peer, open, lane);
    }
    if let Ok(stream) = stream.into_std() {
        // Its thread is gone only when the server is.
        let _ = lane.gate.threads[thread].arrivals.send(Arrival { stream, peer, open });
    }
}

fn spawn<S: Serve>(stream: TcpStream, peer: SocketAddr, open: Open, lane: &Arc<Lane<S>>) {
    let lane = lane.clone();
    tokio::spawn(async move {
        let _open = open;
        serve(stream, peer, lane).await;
    });
}
