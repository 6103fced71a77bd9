//! A sandbox whose functions are written in Rust.

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use limes_core::{
    Body, BoxBody, BoxFuture, Contract, Control, Error, ErrorKind, Function, FunctionSpec, Input, Invocation,
    Output, Prepared, Result, Sandbox, SandboxKind, Timing,
};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

type Run = dyn Fn(Invocation) -> BoxFuture<'static, Result<Output>> + Send + Sync;
type Prepare = dyn Fn() -> Result<Guest> + Send + Sync;

/// What a function does when it is invoked.
#[derive(Clone)]
pub struct Guest {
    contract: Contract,
    run: Arc<Run>,
    /// The guest tells its end itself, and is not stopped: for those that outlive their response, or misbehave.
    pub wild: bool,
}

impl Guest {
    pub fn new<F>(contract: Contract, run: impl Fn(Invocation) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Output>> + Send + 'static,
    {
        Self { contract, run: Arc::new(move |invocation| Box::pin(run(invocation))), wild: false }
    }

    /// An HTTP function from its request to its response.
    pub fn http<F>(run: impl Fn(http::Request<Body>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<http::Response<Body>>> + Send + 'static,
    {
        Self::new(Contract::Http02, move |invocation| {
            let Input::Http(request) = invocation.input else { panic!("not an HTTP input") };
            let response = run(request);
            async move { response.await.map(Output::Http) }
        })
    }

    /// Answers every request with `text`.
    pub fn says(text: &'static str) -> Self {
        Self::http(move |_| async move { Ok(response(text)) })
    }

    /// Never answers.
    pub fn never() -> Self {
        Self::http(|_| std::future::pending())
    }

    /// Fails with `kind` at once.
    pub fn fails(kind: ErrorKind) -> Self {
        Self::http(move |_| async move {
            Err(Error::new(kind, "invoke", "it failed")
                .with("limit", "memory")
                .with("backtrace", "0: secret!frame"))
        })
    }
}

pub fn response(body: impl Into<Bytes>) -> http::Response<Body> {
    http::Response::new(Body::from(body.into()))
}

#[derive(Default)]
pub struct Fake {
    guests: Mutex<HashMap<String, Arc<Prepare>>>,
    prepared: Mutex<Vec<String>>,
}

impl Fake {
    /// From now on, the component `name` is `guest`.
    pub fn set(&self, name: &str, guest: Guest) {
        self.set_prepare(name, move || Ok(guest.clone()));
    }

    pub fn set_prepare(&self, name: &str, prepare: impl Fn() -> Result<Guest> + Send + Sync + 'static) {
        self.guests.lock().insert(name.into(), Arc::new(prepare));
    }

    /// How often the component `name` was prepared.
    pub fn prepared(&self, name: &str) -> usize {
        self.prepared.lock().iter().filter(|prepared| *prepared == name).count()
    }
}

impl Sandbox for Fake {
    fn kind(&self) -> SandboxKind {
        SandboxKind::Wasm
    }

    fn prepare(&self, spec: &FunctionSpec) -> Result<Prepared> {
        let name = spec.component.to_string_lossy().into_owned();
        self.prepared.lock().push(name.clone());
        let prepare = self.guests.lock().get(&name).cloned();
        let prepare = prepare
            .ok_or_else(|| Error::new(ErrorKind::BadComponent, "load", format!("{name} is no component")))?;
        Ok(Prepared { function: Arc::new(prepare()?), timing: Timing { load: 7, ..Timing::default() } })
    }
}

impl Function for Guest {
    fn contract(&self) -> Contract {
        self.contract
    }

    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Output>> {
        let control = invocation.control.clone();
        let deadline = invocation.deadline;
        let finish = (!self.wild).then(|| Finish(control.clone()));
        let run = (self.run)(invocation);
        if self.wild {
            return run;
        }
        Box::pin(async move {
            let result = while_allowed(&control, deadline, run).await.and_then(|result| result);
            match result {
                Ok(Output::Http(response)) => Ok(Output::Http(response.map(|body| match body {
                    Body::Stream(body) => Body::stream(Finishing { body, finish, deadline }),
                    whole => {
                        control.finish(Ok(()));
                        whole
                    }
                }))),
                other => {
                    control.finish(other.as_ref().map(|_| ()));
                    other
                }
            }
        })
    }
}

/// `future`, unless it is stopped or its time is over.
async fn while_allowed<F: Future>(control: &Control, deadline: Instant, future: F) -> Result<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(tokio::time::sleep_until(deadline.into()));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        control.register(cx.waker());
        if let Some(error) = stop_error(control) {
            return Poll::Ready(Err(error));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Error::new(ErrorKind::Timeout, "invoke", "too slow")))
    })
    .await
}

fn stop_error(control: &Control) -> Option<Error> {
    control.stop_reason().map(|reason| Error::new(ErrorKind::Stopped, "invoke", reason.describe()))
}

/// Tells the end of a guest that is dropped.
struct Finish(Arc<Control>);

impl Drop for Finish {
    fn drop(&mut self) {
        let error = stop_error(&self.0);
        let error =
            error.unwrap_or_else(|| Error::new(ErrorKind::Internal, "invoke", "dropped without a reason"));
        self.0.finish(Err(&error));
    }
}

/// A streaming body that tells the end of its guest.
struct Finishing {
    body: BoxBody,
    finish: Option<Finish>,
    deadline: Instant,
}

impl HttpBody for Finishing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(control) = self.finish.as_ref().map(|finish| finish.0.clone()) else {
            return Poll::Ready(None);
        };
        control.register(cx.waker());
        let frame = match stop_error(&control) {
            Some(error) => Poll::Ready(Some(Err(error))),
            None if Instant::now() >= self.deadline => {
                Poll::Ready(Some(Err(Error::new(ErrorKind::Timeout, "invoke", "too slow"))))
            }
            None => self.body.as_mut().poll_frame(cx),
        };
        match &frame {
            Poll::Ready(None) => control.finish(Ok(())),
            Poll::Ready(Some(Err(error))) => control.finish(Err(error)),
            _ => return frame,
        }
        self.finish = None;
        frame
    }
}

/// A body of what is sent to it.
pub fn channel() -> (tokio::sync::mpsc::Sender<Result<Bytes>>, Body) {
    struct Channel(tokio::sync::mpsc::Receiver<Result<Bytes>>);
    impl HttpBody for Channel {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            self.0.poll_recv(cx).map(|item| item.map(|result| result.map(Frame::data)))
        }
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    (sender, Body::stream(Channel(receiver)))
}

/// A body that never ends.
pub fn endless() -> Body {
    struct Endless(Bytes);
    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
            Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
        }
    }
    Body::stream(Endless(Bytes::from(vec![b'x'; 64 << 10])))
}
