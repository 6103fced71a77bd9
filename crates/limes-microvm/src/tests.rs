//! Calls against guests that say whatever a test has them say.

use crate::budget::Budget;
use crate::channel::{Channel, Link};
use crate::driver::process::Folder;
use crate::driver::{Boot, Configured, Driver, Monitor, Phases, Purpose, Snapshot, Template};
use crate::function::MicroVmFunction;
use crate::pool::{Loading, Parts, Pool};
use limes_channel::{
    Answer, Ask, Decode, FORWARDED, Failure, Head, MAX_CHUNK, Outcome, Output as Written, POLL_WINDOW,
    ToGuest, ToHost, Trap, VERSION, WINDOW, forwarded, frame,
};
use limes_core::{
    Body, BoxFuture, Contract, Control, Error, ErrorKind, Function, Input, Invocation, Isolation, Limits,
    LogStream, MicroVm, Mode, Observer, Output, Result, StopReason, Vmm,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

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

    /// Begins to answer, and sends all of its body that it may before it is told more.
    async fn fill_window(&mut self) {
        self.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
        let chunk = vec![b'x'; MAX_CHUNK];
        for _ in 0..WINDOW / MAX_CHUNK as u64 {
            self.say(ToHost::Chunk(&chunk)).await;
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
        &[Mode::EndToEnd, Mode::Reset]
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
            Ok(self.machine(|mut guest, script| async move {
                let load = guest.hear().await.unwrap();
                assert!(matches!(ToGuest::decode(&load), Ok(ToGuest::Load { .. })));
                guest.say(ToHost::Ready { version: VERSION, instantiate: 1 }).await;
                script(guest).await;
            }))
        })
    }
}

impl Snapshot for Scripted {
    fn restore(&self, _: Phases) -> BoxFuture<'_, Result<(Channel, Box<dyn Monitor>)>> {
        Box::pin(async { Ok(self.machine(|guest, script| script(guest))) })
    }
}

impl Scripted {
    fn machine<F>(&self, life: impl FnOnce(Guest, Script) -> F) -> (Channel, Box<dyn Monitor>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (host, guest) = UnixStream::pair().unwrap();
        let computed = Arc::<AtomicU64>::default();
        let guest = Guest { socket: guest, reader: frame::Reader::new(), computed: computed.clone() };
        tokio::spawn(life(guest, self.0.clone()));
        let monitor = NoMonitor { computed, script: self.0.clone() };
        (Channel::new(Link::Socket(host)), Box::new(monitor))
    }
}

struct NoMonitor {
    computed: Arc<AtomicU64>,
    script: Script,
}

impl Monitor for NoMonitor {
    fn computed(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.computed.load(Ordering::Relaxed)))
    }

    fn why(&mut self) -> String {
        String::new()
    }

    fn snapshot<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<Arc<dyn Snapshot>>> {
        Box::pin(async { Ok(Arc::new(Scripted(self.script.clone())) as Arc<dyn Snapshot>) })
    }

    fn reset<'a>(&'a mut self, _: &'a mut Channel) -> BoxFuture<'a, Result<()>> {
        // Its script goes on.
        Box::pin(async { Ok(()) })
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

/// Bytes of one machine.
const MEMORY: u64 = 1 << 20;

async fn function<F>(
    contract: Contract,
    limits: Limits,
    script: impl Fn(Guest) -> F + Send + Sync + 'static,
) -> MicroVmFunction
where
    F: Future<Output = ()> + Send + 'static,
{
    function_in(MicroVm::default(), 100 * MEMORY, contract, limits, script).await
}

/// A `run` function whose machines are kept for the next call, with room for one.
async fn kept_function<F>(
    isolation: Isolation,
    script: impl Fn(Guest) -> F + Send + Sync + 'static,
) -> MicroVmFunction
where
    F: Future<Output = ()> + Send + 'static,
{
    let settings = MicroVm { mode: Mode::Reset, isolation, ..MicroVm::default() };
    function_in(settings, MEMORY, Contract::Run, limits(), script).await
}

async fn function_in<F>(
    settings: MicroVm,
    budget: u64,
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
    let boot = Boot { kernel: "".into(), initrd: None, memory: MEMORY, extras: None };
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
        settings,
        memory: MEMORY,
        budget: Budget::new(budget),
        all: Arc::default(),
        background: tokio::runtime::Handle::current(),
        place: Arc::new(place),
    });
    MicroVmFunction { name: "f".into(), contract, limits, grants: Arc::default(), pool: pool.await.unwrap() }
}

async fn invoke(function: &MicroVmFunction, input: Input) -> Result<Output> {
    invoke_under(function, input, Quiet).await
}

async fn invoke_under(
    function: &MicroVmFunction,
    input: Input,
    observer: impl Observer + 'static,
) -> Result<Output> {
    let timeout = Duration::from_millis(function.limits.timeout);
    let control = Control::new(1, Arc::new(observer));
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

/// Tells how an invocation has ended, when its machine is put back or gone.
struct Ended(UnboundedSender<Option<ErrorKind>>);

impl Observer for Ended {
    fn log(&self, _: &Control, _: LogStream, _: &[u8]) {}

    fn finished(&self, _: &Control, outcome: Result<(), &Error>) {
        let _ = self.0.send(outcome.err().map(Error::kind));
    }
}

/// What a `run` function answers, once its machine is put back or gone.
async fn run_to_its_end(function: &MicroVmFunction, question: &str) -> Result<String> {
    let (ended, mut end) = unbounded_channel();
    let answer = invoke_under(function, Input::Run(question.into()), Ended(ended)).await;
    end.recv().await.unwrap();
    match answer? {
        Output::Run(text) => Ok(text),
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
    let (ended, mut end) = unbounded_channel();
    let function = function(Contract::Http02, limits(), move |mut guest| {
        let ended = ended.clone();
        async move {
            if guest.hear().await.is_none() {
                return;
            }
            guest.fill_window().await;
            guest.say(ToHost::Chunk(&[b'x'; MAX_CHUNK])).await;
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
        guest.fill_window().await;
        guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: None })).await;
        let mut credit = 0;
        loop {
            match ToGuest::decode(&guest.hear().await.unwrap()) {
                Ok(ToGuest::Credit(bytes)) => credit += bytes,
                Ok(ToGuest::Reply(Answer::Ready(ready))) if credit > 0 => break assert_eq!(ready, [0]),
                other => panic!("after a credit of {credit}: {other:?}"),
            }
        }
        guest.say(ToHost::Finished(Vec::new())).await;
        guest.returned().await;
    });
    assert_eq!(answer.await.unwrap().1.len() as u64, WINDOW);
}

#[tokio::test]
async fn a_poll_for_the_window_that_crosses_the_credit_is_answered() {
    let answer = handle(|mut guest| async move {
        guest.hear().await;
        guest.fill_window().await;
        let mut credit = 0;
        while credit < WINDOW {
            let Ok(ToGuest::Credit(bytes)) = ToGuest::decode(&guest.hear().await.unwrap()) else { panic!() };
            credit += bytes;
        }
        // As one asks that has not heard of it yet.
        guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: None })).await;
        let ready = guest.hear().await.unwrap();
        assert_eq!(ToGuest::decode(&ready), Ok(ToGuest::Reply(Answer::Ready(vec![0]))));
        guest.say(ToHost::Finished(Vec::new())).await;
        guest.returned().await;
    });
    assert_eq!(answer.await.unwrap().1.len() as u64, WINDOW);
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
async fn more_fields_than_there_can_be_are_none() {
    for in_head in [true, false] {
        let answer = handle(move |mut guest| async move {
            guest.hear().await;
            let fields: Vec<(&str, &[u8])> = vec![("a", b""); 40_000];
            let (headers, trailers) = if in_head { (fields, Vec::new()) } else { (Vec::new(), fields) };
            guest.say(ToHost::Head(Ok(Head { status: 200, headers }))).await;
            guest.say(ToHost::Finished(trailers)).await;
            guest.returned().await;
        });
        assert_eq!(kind(answer.await), ErrorKind::GuestFailure, "in the head: {in_head}");
    }
}

#[tokio::test]
async fn an_answer_has_no_empty_piece_and_nothing_after_its_end() {
    for turn in 0..3 {
        let answer = handle(move |mut guest| async move {
            guest.hear().await;
            guest.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
            if turn > 0 {
                guest.say(ToHost::Finished(Vec::new())).await;
            }
            match turn {
                0 => guest.say(ToHost::Chunk(b"")).await,
                1 => guest.say(ToHost::Chunk(b"more")).await,
                _ => guest.say(ToHost::Finished(vec![("a", b"b")])).await,
            }
            guest.say(ToHost::Finished(Vec::new())).await;
            guest.returned().await;
        });
        assert_eq!(kind(answer.await), ErrorKind::GuestFailure, "{turn}");
    }
}

/// Stops the invocation at its guest's first word.
struct Stopping;

impl Observer for Stopping {
    fn log(&self, control: &Control, _: LogStream, _: &[u8]) {
        control.stop(StopReason::Requested);
    }

    fn finished(&self, _: &Control, _: Result<(), &Error>) {}
}

/// A word, messages that cost nothing, and the end: what a host that goes on reading finds in one piece.
fn flood(free: &ToHost<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    frame::write(&ToHost::Output(Written::Stdout, b"x"), &mut said);
    for _ in 0..5000 {
        frame::write(free, &mut said);
    }
    frame::write(&ToHost::Done(Outcome::Returned), &mut said);
    said
}

#[tokio::test]
async fn a_stop_is_seen_among_messages_that_cost_nothing() {
    for free in [ToHost::Output(Written::Stdout, b""), ToHost::Broken("")] {
        let said = flood(&free);
        let function = function(Contract::Run, limits(), move |mut guest| {
            let said = said.clone();
            async move {
                guest.hear().await;
                // All of it is there when the host looks.
                let _ = guest.socket.write_all(&said).await;
                guest.hear().await;
            }
        });
        let answer = invoke_under(&function.await, Input::Run(String::new()), Stopping).await;
        assert_eq!(kind(answer), ErrorKind::Stopped);
    }
}

#[tokio::test]
async fn computing_is_counted_while_messages_that_cost_nothing_flood() {
    let limits = Limits { cpu: 1, ..limits() };
    let function = function(Contract::Run, limits, |mut guest| async move {
        guest.hear().await;
        guest.computed.store(1000, Ordering::Relaxed);
        // The host is on this thread, and looks when more has passed than may be computed.
        std::thread::sleep(Duration::from_millis(5));
        let _ = guest.socket.write_all(&flood(&ToHost::Broken(""))).await;
        guest.hear().await;
    });
    let answer = invoke(&function.await, Input::Run(String::new())).await;
    assert_eq!(kind(answer), ErrorKind::LimitExceeded);
}

/// Fails at its guest's first word.
struct Failing;

impl Observer for Failing {
    fn log(&self, _: &Control, _: LogStream, _: &[u8]) {
        panic!("it was told to");
    }

    fn finished(&self, _: &Control, _: Result<(), &Error>) {}
}

#[tokio::test]
async fn a_body_ends_with_the_task_of_its_guest() {
    let function = function(Contract::Http02, limits(), |mut guest| async move {
        guest.hear().await;
        guest.say(ToHost::Head(Ok(Head { status: 200, headers: Vec::new() }))).await;
        guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: Some(0) })).await;
        guest.hear().await;
        // The head has gone out; the body is another task's.
        guest.say(ToHost::Output(Written::Stdout, b"x")).await;
        guest.hear().await;
    });
    let request = Input::Http(http::Request::new(Body::Empty));
    let answer = invoke_under(&function.await, request, Failing).await;
    let Ok(Output::Http(response)) = answer else { panic!("no response") };
    assert_eq!(kind(response.into_body().collect(u64::MAX).await), ErrorKind::Internal);
}

#[tokio::test]
async fn an_error_that_is_answered_early_is_how_the_call_ended() {
    let function = function(Contract::Http02, limits(), |mut guest| async move {
        guest.hear().await;
        guest.say(ToHost::Head(Err(Failure { code: "DNS-timeout", detail: "" }))).await;
        guest.say(ToHost::Ask(Ask::Poll { pollables: vec![POLL_WINDOW], timeout: Some(0) })).await;
        while guest.hear().await.is_some() {}
    });
    let (ended, mut end) = unbounded_channel();
    let request = Input::Http(http::Request::new(Body::Empty));
    let answer = invoke_under(&function.await, request, Ended(ended)).await;
    assert_eq!(kind(answer), ErrorKind::GuestFailure);
    assert_eq!(end.recv().await, Some(Some(ErrorKind::GuestFailure)));
}

#[tokio::test]
async fn a_call_that_waits_for_memory_gets_the_machine_of_the_one_before() {
    let machines = Arc::new(AtomicUsize::new(0));
    let made = machines.clone();
    let function = kept_function(Isolation::FreshState, move |mut guest| {
        made.fetch_add(1, Ordering::Relaxed);
        async move {
            while guest.hear().await.is_some() {
                guest.returned().await;
            }
        }
    });
    let function = function.await;
    machines.store(0, Ordering::Relaxed);
    let call = || invoke(&function, Input::Run(String::new()));
    let (first, second) = tokio::join!(call(), call());
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(machines.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_machine_that_has_died_while_it_waited_is_not_called() {
    let (dead, mut death) = unbounded_channel();
    let die = Arc::new(Notify::new());
    let told = die.clone();
    let function = kept_function(Isolation::FreshState, move |mut guest| {
        let (told, dead) = (told.clone(), dead.clone());
        async move {
            loop {
                tokio::select! {
                    called = guest.hear() => if called.is_none() { return },
                    () = told.notified() => break,
                }
                guest.returned().await;
            }
            drop(guest);
            let _ = dead.send(());
        }
    });
    let function = function.await;
    run_to_its_end(&function, "").await.unwrap();
    die.notify_waiters();
    death.recv().await.unwrap();
    run_to_its_end(&function, "").await.unwrap();
}

#[tokio::test]
async fn a_machine_goes_on_to_the_next_call_unless_its_guest_holds_something_of_the_hosts() {
    let machines = Arc::new(AtomicUsize::new(0));
    let function = kept_function(Isolation::Reuse, move |mut guest| {
        let number = machines.fetch_add(1, Ordering::Relaxed);
        async move {
            while let Some(call) = guest.hear().await {
                let Ok(ToGuest::Call { first, .. }) = ToGuest::decode(&call) else { panic!() };
                if first == b"keep" || first == b"give back" {
                    let function = forwarded("wasi:sockets/instance-network", "instance-network").unwrap();
                    guest.say(ToHost::Ask(Ask::Forward { function, arguments: &[] })).await;
                    let reply = guest.hear().await.unwrap();
                    let Ok(ToGuest::Reply(Answer::Values([network]))) = ToGuest::decode(&reply) else {
                        panic!()
                    };
                    if first == b"give back" {
                        guest.say(ToHost::Ask(Ask::Drop(u32::from(*network)))).await;
                        guest.hear().await;
                    }
                }
                guest.say(ToHost::Chunk(number.to_string().as_bytes())).await;
                guest.returned().await;
            }
        }
    });
    let function = function.await;
    let mut answers = Vec::new();
    // What of its input a guest has not read is no use to it later.
    let long = "x".repeat(2 * MAX_CHUNK);
    for question in ["nothing", "give back", &long, "keep", "nothing", "nothing"] {
        answers.push(run_to_its_end(&function, question).await.unwrap());
    }
    assert!(answers[..4].iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert!(answers[4..].iter().all(|answer| *answer == answers[4]), "{answers:?}");
    assert_ne!(answers[0], answers[4]);
}

#[tokio::test]
async fn nothing_is_read_where_nothing_is_asked_for() {
    let function = function(Contract::Run, limits(), |mut guest| async move {
        let Some(call) = guest.hear().await else { return };
        let Ok(ToGuest::Call { rest: Some(stream), .. }) = ToGuest::decode(&call) else { panic!() };
        for (max, is_empty) in [(0, true), (3, false)] {
            guest.say(ToHost::Ask(Ask::Read { stream, max, block: max > 0 })).await;
            let reply = guest.hear().await.unwrap();
            let Ok(ToGuest::Reply(Answer::Bytes(bytes))) = ToGuest::decode(&reply) else { panic!() };
            assert_eq!(bytes.is_empty(), is_empty);
        }
        guest.returned().await;
    });
    let question = Input::Run("x".repeat(2 * MAX_CHUNK));
    assert!(invoke(&function.await, question).await.is_ok());
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
