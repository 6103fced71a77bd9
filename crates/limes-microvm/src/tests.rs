//! Calls against guests that say whatever a test has them say.

use crate::budget::Budget;
use crate::channel::{Channel, Link};
use crate::driver::process::Folder;
use crate::driver::{Boot, Configured, Driver, Monitor, Phases, Purpose, Snapshot, Template};
use crate::function::MicroVmFunction;
use crate::pool::{Loading, Parts, Pool};
use limes_channel::{
    Answer, Ask, Decode, FORWARDED, Failure, Head, MAX_CHUNK, Outcome, Output as Written, POLL_WINDOW,
    ToGuest, ToHost, Trap, VERSION, WINDOW, frame,
};
use limes_core::{
    Body, BoxFuture, Contract, Control, Error, ErrorKind, Function, Input, Invocation, Limits, LogStream,
    MicroVm, Mode, Observer, Output, Result, Vmm,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The guest's side of a channel.
struct Guest {
    socket: UnixStream,
    reader: frame::Reader,
    /// Milliseconds that its machine has computed.
    computed: Arc<AtomicU64>,
}

impl Guest {
    async fn say(&mut self, message: ToHost<'_>) {
        let mut out = Vec::new();
        frame::write(&message, &mut out);
        // The host may have ended the call: then nobody listens.
        let _ = self.socket.write_all(&out).await;
    }

    async fn hear(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(payload) = self.reader.next_frame().unwrap() {
                return Some(payload.to_vec());
            }
            let mut bytes = vec![0; 64 << 10];
            match self.socket.read(&mut bytes).await {
                Ok(count) if count > 0 => self.reader.push(&bytes[..count]),
                _ => return None,
            }
        }
    }

    async fn returned(&mut self) {
        self.say(ToHost::Done(Outcome::Returned)).await;
    }
}

type Script = Arc<dyn Fn(Guest) -> BoxFuture<'static, ()> + Send + Sync>;

/// A monitor whose machines are tasks that follow a script once they are called.
struct Scripted(Script);

impl Driver for Scripted {
    fn vmm(&self) -> Vmm {
        Vmm::Builtin
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::EndToEnd]
    }

    fn template(&self, _: Boot) -> Result<Arc<dyn Template>> {
        Ok(Arc::new(Self(self.0.clone())))
    }
}

impl Template for Scripted {
    fn configure(&self, _: Purpose, _: Phases) -> BoxFuture<'_, Result<Box<dyn Configured>>> {
        Box::pin(async { Ok(Box::new(Self(self.0.clone())) as Box<dyn Configured>) })
    }
}

impl Configured for Scripted {
    fn start(self: Box<Self>) -> BoxFuture<'static, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async move {
            let (host, guest) = UnixStream::pair().unwrap();
            let monitor = NoMonitor(Arc::default());
            let mut guest =
                Guest { socket: guest, reader: frame::Reader::new(), computed: monitor.0.clone() };
            tokio::spawn(async move {
                let load = guest.hear().await.unwrap();
                assert!(matches!(ToGuest::decode(&load), Ok(ToGuest::Load { .. })));
                guest.say(ToHost::Ready { version: VERSION, instantiate: 1 }).await;
                (self.0)(guest).await;
            });
            Ok((Channel::new(Link::Socket(host)), Box::new(monitor) as Box<dyn Monitor>))
        })
    }
}

struct NoMonitor(Arc<AtomicU64>);

impl Monitor for NoMonitor {
    fn computed(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }

    fn why(&mut self) -> String {
        String::new()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async { Err(Error::new(ErrorKind::Internal, "test", "no snapshots")) })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::new(ErrorKind::Internal, "test", "no resets")) })
    }
}

struct Quiet;

impl Observer for Quiet {
    fn log(&self, _: &Control, _: LogStream, _: &[u8]) {}
    fn finished(&self, _: &Control, _: Result<(), &Error>) {}
}

fn limits() -> Limits {
    Limits { output: 1000, response: 1 << 20, handles: 20, timeout: 5000, ..Limits::default() }
}

async fn function<F>(
    contract: Contract,
    limits: Limits,
    script: impl Fn(Guest) -> F + Send + Sync + 'static,
) -> MicroVmFunction
where
    F: Future<Output = ()> + Send + 'static,
{
    let folder = tempfile::tempdir().unwrap();
    let place = Folder::make(folder.path()).unwrap().place().unwrap();
    let script: Script = Arc::new(move |guest| Box::pin(script(guest)));
    let driver = Arc::new(Scripted(script));
    let boot = Boot { kernel: "".into(), initrd: None, memory: 1 << 20, extras: None };
    let limits = Arc::new(limits);
    let pool = Pool::new(Parts {
        template: driver.template(boot).unwrap(),
        driver,
        loading: Loading {
            contract,
            export: "x".into(),
            memories_move: false,
            limits: limits.clone(),
            args: Vec::new(),
            env: Vec::new(),
            tsc_hz: 1_000_000_000,
        },
        settings: MicroVm::default(),
        memory: 1 << 20,
        budget: Budget::new(100 << 20),
        all: Arc::default(),
        background: tokio::runtime::Handle::current(),
        place: Arc::new(place),
    });
    MicroVmFunction { name: "f".into(), contract, limits, grants: Arc::default(), pool: pool.await.unwrap() }
}

async fn invoke(function: &MicroVmFunction, input: Input) -> Result<Output> {
    let timeout = Duration::from_millis(function.limits.timeout);
    let control = Control::new(1, Arc::new(Quiet));
    function.invoke(Invocation { input, control, deadline: Instant::now() + timeout, timeout }).await
}

/// What a `run` function with this guest answers.
async fn run<F>(script: impl Fn(Guest) -> F + Send + Sync + 'static) -> Result<String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let function = function(Contract::Run, limits(), script).await;
    match invoke(&function, Input::Run("question".into())).await? {
        Output::Run(text) => Ok(text),
        _ => panic!("another contract"),
    }
}

/// The whole response of a handler with this guest.
async fn handle<F>(script: impl Fn(Guest) -> F + Send + Sync + 'static) -> Result<(u16, Vec<u8>)>
where
    F: Future<Output = ()> + Send + 'static,
{
    let function = function(Contract::Http02, limits(), script).await;
    match invoke(&function, Input::Http(http::Request::new(Body::Empty))).await? {
        Output::Http(response) => {
            let status = response.status().as_u16();
            Ok((status, response.into_body().collect(u64::MAX).await?.to_vec()))
        }
        _ => panic!("another contract"),
    }
}

fn kind<T>(answer: Result<T>) -> ErrorKind {
    answer.err().expect("a failure").kind()
}

#[tokio::test]
async fn a_guest_that_keeps_to_the_protocol_is_answered_for() {
    let answer = run(|mut guest| async move {
        let call = guest.hear().await.unwrap();
        let Ok(ToGuest::Call { first, rest: None, .. }) = ToGuest::decode(&call) else { panic!() };
        guest.say(ToHost::Chunk(first)).await;
        guest.say(ToHost::Chunk(b"!")).await;
        guest.returned().await;
    });
    assert_eq!(answer.await.unwrap(), "question!");
}

#[tokio::test]
async fn garbage_ends_its_own_call_only() {
    let turn = Arc::new(AtomicUsize::new(0));
    let function = function(Contract::Run, limits(), move |mut guest| {
        // The first machine is the one that shows that the function starts.
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        async move {
            guest.hear().await;
            match turn {
                1 => drop(guest.socket.write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff]).await),
                2 => drop(guest.socket.write_all(&[0xff, 0xff, 0xff, 0xff]).await),
                3 => drop(guest.socket.write_all(&[0, 0, 0, 0]).await),
                4 => guest.say(ToHost::Ready { version: VERSION, instantiate: 0 }).await,
                5 => guest.say(ToHost::Head(Err(Failure { code: "x", detail: "" }))).await,
                6 => guest.say(ToHost::Done(Outcome::Limit { limit: "patience", asked: 1 })).await,
                _ => guest.returned().await,
            }
            guest.hear().await;
        }
    });
    let function = function.await;
    for _ in 1..=6 {
        assert_eq!(kind(invoke(&function, Input::Run(String::new())).await), ErrorKind::GuestFailure);
    }
    assert!(invoke(&function, Input::Run(String::new())).await.is_ok());
}

#[tokio::test]
async fn a_machine_that_dies_may_be_tried_again() {
    let error = run(|mut guest| async move {
        guest.hear().await;
    });
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retryable());
}

#[tokio::test]
async fn a_guest_that_fails_a_moment_after_its_answer_has_not_answered() {
    for delay in [0, 1, 20] {
        let answer = handle(move |mut guest| async move {
            guest.hear().await;
            // It waited before: that says nothing of what comes after.
            guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: Some(0) })).await;
            guest.hear().await;
            guest.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
            guest.say(ToHost::Chunk(b"all")).await;
            guest.say(ToHost::Finished(Vec::new())).await;
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let trapped = Outcome::Trapped { trap: Trap::Wasm, message: "twice", backtrace: "" };
            guest.say(ToHost::Done(trapped)).await;
        });
        assert_eq!(kind(answer.await), ErrorKind::GuestTrap, "after {delay} ms");
    }
}

#[tokio::test]
async fn the_head_of_a_guest_that_computes_goes_out() {
    let function = function(Contract::Http02, limits(), |mut guest| async move {
        guest.hear().await;
        guest.say(ToHost::Head(Ok(Head { status: 203, headers: Vec::new() }))).await;
        loop {
            guest.computed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let answer = invoke(&function.await, Input::Http(http::Request::new(Body::Empty))).await;
    let Ok(Output::Http(response)) = answer else { panic!("no response") };
    assert_eq!(response.status(), 203);
}

#[tokio::test]
async fn bytes_past_the_window_are_not_kept() {
    let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
    let function = function(Contract::Http02, limits(), move |mut guest| {
        let ended = ended.clone();
        async move {
            if guest.hear().await.is_none() {
                return;
            }
            guest.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
            let chunk = vec![b'x'; MAX_CHUNK];
            for _ in 0..=WINDOW / MAX_CHUNK as u64 {
                guest.say(ToHost::Chunk(&chunk)).await;
            }
            assert!(guest.hear().await.is_none());
            let _ = ended.send(());
        }
    });
    let answer = invoke(&function.await, Input::Http(http::Request::new(Body::Empty))).await;
    // Nobody has read the body when its guest is ended for it.
    let body = match answer {
        Ok(Output::Http(response)) => {
            end.recv().await.unwrap();
            response.into_body().collect(u64::MAX).await.map(drop)
        }
        Ok(_) => panic!("another contract"),
        Err(error) => Err(error),
    };
    assert_eq!(kind(body), ErrorKind::GuestFailure);
}

#[tokio::test]
async fn credit_lets_a_body_of_any_length_through() {
    let answer = handle(|mut guest| async move {
        guest.hear().await;
        guest.say(ToHost::Head(Ok(Head { status: 201, headers: Vec::new() }))).await;
        let chunk = vec![b'x'; MAX_CHUNK];
        let mut window = WINDOW;
        for _ in 0..15 {
            while window < MAX_CHUNK as u64 {
                let credit = guest.hear().await.unwrap();
                let Ok(ToGuest::Credit(bytes)) = ToGuest::decode(&credit) else { panic!() };
                window += bytes;
            }
            window -= MAX_CHUNK as u64;
            guest.say(ToHost::Chunk(&chunk)).await;
        }
        guest.say(ToHost::Finished(Vec::new())).await;
        guest.returned().await;
    });
    let (status, body) = answer.await.unwrap();
    assert_eq!((status, body.len()), (201, 15 * MAX_CHUNK));
}

#[tokio::test]
async fn a_poll_for_the_window_is_answered_after_the_credit() {
    let answer = handle(|mut guest| async move {
        guest.hear().await;
        guest.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
        guest.say(ToHost::Chunk(&[b'x'; MAX_CHUNK])).await;
        guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: None })).await;
        let credit = guest.hear().await.unwrap();
        assert_eq!(ToGuest::decode(&credit), Ok(ToGuest::Credit(MAX_CHUNK as u64)));
        let ready = guest.hear().await.unwrap();
        assert_eq!(ToGuest::decode(&ready), Ok(ToGuest::Reply(Answer::Ready(vec![0]))));
        guest.say(ToHost::Finished(Vec::new())).await;
        guest.returned().await;
    });
    assert_eq!(answer.await.unwrap().1.len(), MAX_CHUNK);
}

#[tokio::test]
async fn what_is_no_response_is_none() {
    let heads: [(u16, &str, &[u8]); 4] =
        [(99, "a", b"b"), (1000, "a", b"b"), (200, "a b", b"c"), (200, "a", b"b\r\nc: d")];
    for (status, name, value) in heads {
        let answer = handle(move |mut guest| async move {
            guest.hear().await;
            guest.say(ToHost::Head(Ok(Head { status, headers: vec![(name, value)] }))).await;
            guest.say(ToHost::Finished(Vec::new())).await;
            guest.returned().await;
        });
        assert_eq!(kind(answer.await), ErrorKind::GuestFailure, "{status} {name}");
    }
}

#[tokio::test]
async fn floods_end_at_their_limits() {
    let flood = run(|mut guest| async move {
        guest.hear().await;
        for _ in 0..11 {
            guest.say(ToHost::Output(Written::Console, &[b'x'; 100])).await;
        }
        guest.returned().await;
    });
    assert_eq!(kind(flood.await), ErrorKind::LimitExceeded);
    let answer = run(|mut guest| async move {
        guest.hear().await;
        for _ in 0..17 {
            guest.say(ToHost::Chunk(&[b'x'; MAX_CHUNK])).await;
            while let Ok(Some(credit)) = tokio::time::timeout(Duration::ZERO, guest.hear()).await {
                assert!(matches!(ToGuest::decode(&credit), Ok(ToGuest::Credit(_))));
            }
        }
        guest.returned().await;
    });
    assert_eq!(kind(answer.await), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn a_guest_that_never_reads_runs_out_of_time() {
    let limits = Limits { timeout: 200, ..limits() };
    let function = function(Contract::Run, limits, |guest| async move {
        let _socket = guest.socket;
        std::future::pending::<()>().await;
    });
    let function = function.await;
    let question = "x".repeat(8 << 20);
    assert_eq!(kind(invoke(&function, Input::Run(question)).await), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_handle_that_is_made_up_reaches_nothing() {
    for handle in [0, 1, 7, u32::MAX >> 1] {
        let answer = run(move |mut guest| async move {
            guest.hear().await;
            let asks = [
                Ask::Read { stream: handle, max: 0, block: false },
                Ask::Write { stream: handle, bytes: b"x" },
                Ask::Subscribe(handle),
                Ask::Drop(handle),
                Ask::Response(handle),
                Ask::Trailers(handle),
                Ask::Poll { pollables: vec![handle], timeout: Some(0) },
                Ask::Forward { function: 5, arguments: &[1] },
                Ask::Forward { function: u16::MAX, arguments: &[] },
                Ask::Forward { function: 18, arguments: &[0xff; 40] },
            ];
            for ask in asks {
                guest.say(ToHost::Ask(ask)).await;
                let reply = guest.hear().await.unwrap();
                assert!(matches!(ToGuest::decode(&reply), Ok(ToGuest::Reply(Answer::Trap(_)))));
            }
            guest.returned().await;
        });
        assert_eq!(answer.await.unwrap(), "");
    }
}

#[tokio::test]
async fn every_function_takes_any_arguments_without_harm() {
    let answer = run(|mut guest| async move {
        guest.hear().await;
        for function in 0..u16::try_from(FORWARDED.len()).unwrap() {
            for arguments in [&[][..], &[0; 64], &[1; 64], &[0xff; 64]] {
                guest.say(ToHost::Ask(Ask::Forward { function, arguments })).await;
                let reply = guest.hear().await.unwrap();
                assert!(
                    matches!(ToGuest::decode(&reply), Ok(ToGuest::Reply(_))),
                    "{:?}",
                    FORWARDED[usize::from(function)]
                );
            }
        }
        guest.returned().await;
    });
    // Sockets that were made by chance count as handles, which end at their limit.
    match answer.await {
        Ok(text) => assert_eq!(text, ""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::LimitExceeded),
    }
}
