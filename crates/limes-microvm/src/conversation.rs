//! One call: what the host and a guest say to each other, from `Call` to `Done`.

use crate::answer::Answer;
use crate::channel::Broken;
use crate::driver::Machine;
use crate::outcome::{broken, garbage, translate};
use crate::services::Services;
use crate::timer::{Lookout, Timer};
use crate::watch::Watch;
use limes_channel::{Decode, MAX_CHUNK, Output as Written, ToGuest, ToHost, WINDOW};
use limes_core::{Contract, Error, ErrorKind, Limits, LogStream, Phase, Result};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

/// What a guest wrote, where that is part of the answer.
#[derive(Default)]
pub(crate) struct Kept {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// One call on its way.
pub(crate) struct Conversation {
    pub machine: Machine,
    pub services: Services,
    pub watch: Arc<Watch>,
    pub answer: Arc<Answer>,
    pub kept: Arc<Mutex<Kept>>,
    pub limits: Arc<Limits>,
    pub contract: Contract,
    pub timer: Timer,
    /// The response head has come and does not stand yet: the guest may still fail a moment later, and then it is no answer.
    pub held: Option<Lookout>,
    pub written: [u64; 2],
    /// The guest said that its response body will not be complete.
    pub broken: Option<Error>,
}

/// Bytes of body with which a response head stands: a guest waits for credit, without a word, when there are twice as many.
const HELD: u64 = WINDOW / 2;

/// What there was while a message was waited for.
enum Heard {
    Message(Vec<u8>),
    /// Bytes of answer were passed on.
    Room,
    /// The guest has computed for a while.
    Nothing,
}

/// What a message means for the call.
enum Step {
    On,
    Over(Result<i32>),
}

impl Conversation {
    /// Sends what is in line, and listens until the guest has ended; gives its exit code, and the machine for further use.
    ///
    /// # Errors
    /// The guest failed, passed a limit, was stopped or timed out: the machine is then gone.
    pub async fn hold(mut self) -> Result<(i32, Machine)> {
        let begun = Instant::now();
        let outcome = self.listen(begun).await;
        self.watch.control.record(Phase::Execute, begun.elapsed());
        match outcome {
            Ok(code) => {
                self.machine.holds = self.services.are_held();
                Ok((code, self.machine))
            }
            Err(error) => {
                let ended = Instant::now();
                drop(self.machine);
                self.watch.control.record(Phase::Teardown, ended.elapsed());
                Err(error)
            }
        }
    }

    async fn listen(&mut self, begun: Instant) -> Result<i32> {
        self.flush().await?;
        loop {
            let payload = self.next().await?;
            let message = ToHost::decode(&payload).map_err(|bad| garbage(&bad.to_string()))?;
            match self.step(message, begun).await? {
                Step::On => {}
                Step::Over(outcome) => return outcome,
            }
        }
    }

    /// The next message, while credit is passed on, and the head of a guest that computes.
    async fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            let Self { machine, watch, timer, answer, held, .. } = self;
            let Machine { channel, monitor, .. } = machine;
            let settled = async {
                match held {
                    Some(lookout) => lookout.settled(&**monitor).await,
                    None => std::future::pending().await,
                }
            };
            let heard = guard(timer, watch, &**monitor, async {
                tokio::select! {
                    biased;
                    payload = channel.next() => payload.map(Heard::Message),
                    () = answer.window.opened_wide() => Ok(Heard::Room),
                    () = settled => Ok(Heard::Nothing),
                }
            });
            match heard.await? {
                Ok(Heard::Message(payload)) => return Ok(payload),
                Ok(Heard::Nothing) => self.stand(),
                Ok(Heard::Room) => {
                    self.credit();
                    let Self { machine, watch, timer, .. } = self;
                    let Machine { channel, monitor, .. } = machine;
                    // A guest that has said all and gone needs no credit; what it said is still to be read.
                    let _ = guard(timer, watch, &**monitor, channel.flush()).await?;
                }
                Err(failure) => return Err(self.lost(&failure)),
            }
        }
    }

    async fn flush(&mut self) -> Result<()> {
        let Self { machine, watch, timer, .. } = self;
        let Machine { channel, monitor, .. } = machine;
        let flushed = guard(timer, watch, &**monitor, channel.flush()).await?;
        flushed.map_err(|failure| self.lost(&failure))
    }

    fn lost(&mut self, failure: &Broken) -> Error {
        let why = self.machine.monitor.why();
        self.watch.blame_denial(broken(failure, &why))
    }

    /// Tells the guest of bytes that were passed on.
    fn credit(&mut self) {
        let passed = self.answer.window.take();
        if passed > 0 {
            self.machine.channel.send(&ToGuest::Credit(passed));
        }
    }

    /// What came of the answer goes out: the guest waits for something, or has not failed for a while.
    fn stand(&mut self) {
        if self.held.take().is_some() {
            self.answer.stand();
        }
    }

    async fn step(&mut self, message: ToHost<'_>, begun: Instant) -> Result<Step> {
        match message {
            ToHost::Output(stream, bytes) => self.output(stream, bytes)?,
            ToHost::Ask(ask) => {
                self.stand();
                let Self { machine, watch, timer, answer, services, .. } = self;
                let Machine { channel, monitor, .. } = machine;
                let asked = async {
                    tokio::select! {
                        biased;
                        reply = services.answer(ask, &answer.window) => Ok(reply),
                        // A guest that waits for an answer says nothing; a machine that dies meanwhile is not waited for.
                        heard = channel.next() => Err(heard),
                    }
                };
                let reply = match guard(timer, watch, &**monitor, asked).await? {
                    Ok(reply) => reply?,
                    Err(Ok(_)) => return Err(garbage("a message while a question of its own was open")),
                    Err(Err(failure)) => return Err(self.lost(&failure)),
                };
                if let Some(error) = self.watch.interruption() {
                    return Err(error);
                }
                self.credit();
                reply.write(self.machine.channel.line());
                self.flush().await?;
            }
            ToHost::Head(head) if self.contract.is_http() => {
                self.watch.control.record(Phase::FirstByte, begun.elapsed());
                self.answer.head(head);
                if self.machine.channel.is_prompt() {
                    self.held = Some(Lookout::default());
                } else {
                    self.answer.stand();
                }
            }
            ToHost::Chunk(bytes) if bytes.len() <= MAX_CHUNK => {
                let sent = self.answer.window.fill(bytes.len() as u64);
                if sent >= HELD {
                    self.stand();
                }
                if sent > WINDOW {
                    return Err(garbage("more of its answer than it was asked for"));
                }
                self.answer.chunk(bytes)?;
            }
            ToHost::Finished(trailers) => self.answer.finished(&trailers)?,
            ToHost::Broken(text) => {
                // Why it broke comes with the end.
                let message =
                    format!("the function did not finish its response body as it announced: {text}");
                let error = Error::new(ErrorKind::GuestFailure, "run guest", message);
                self.broken.get_or_insert(error);
            }
            ToHost::Done(outcome) => {
                let outcome = translate(&outcome, self.contract, &self.limits, &self.watch);
                return Ok(Step::Over(match self.broken.take() {
                    Some(broken) => outcome.and_then(|_| Err(self.watch.blame_denial(broken))),
                    None => outcome,
                }));
            }
            ToHost::Ready { .. } | ToHost::Head(_) | ToHost::Chunk(_) => {
                return Err(garbage("a message that does not belong in a call"));
            }
        }
        Ok(Step::On)
    }

    fn output(&mut self, stream: Written, bytes: &[u8]) -> Result<()> {
        let (total, stream) = match stream {
            Written::Stdout => (&mut self.written[0], LogStream::Stdout),
            Written::Stderr => (&mut self.written[1], LogStream::Stderr),
            // Bounded together with stderr: a hostile guest could flood it.
            Written::Console => (&mut self.written[1], LogStream::System),
        };
        *total += bytes.len() as u64;
        if *total > self.limits.output {
            return Err(Error::limit("run guest", "output", self.limits.output, format!("{total} bytes")));
        }
        if self.contract.is_command() {
            let mut kept = self.kept.lock();
            match stream {
                LogStream::Stdout => kept.stdout.extend_from_slice(bytes),
                LogStream::Stderr => kept.stderr.extend_from_slice(bytes),
                LogStream::System => {}
            }
        }
        self.watch.control.log(stream, bytes);
        Ok(())
    }
}

/// Waits for `what`, unless the call has to end first.
pub(crate) async fn guard<T>(
    timer: &mut Timer,
    watch: &Watch,
    monitor: &dyn crate::driver::Monitor,
    what: impl Future<Output = T>,
) -> Result<T> {
    let mut what = std::pin::pin!(what);
    poll_fn(|cx| {
        if let Poll::Ready(done) = what.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        watch.control.register(cx.waker());
        if let Some(error) = watch.interruption() {
            return Poll::Ready(Err(error));
        }
        timer.poll(cx, monitor).map(Err)
    })
    .await
}
