//! Requests that came together go on together: all are read, then all guests run, then all are answered.
//!
//! A request goes through much code: the kernel's network stack, the HTTP server, the engine, the host's functions. Done to its end before the
//! next is looked at, each step finds its code gone from the processor's caches, and takes up to twice the time. So a request lets the others on
//! its thread have their turn between two steps, and steps of one kind follow one another. A request that is alone goes on at once.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Ends when every other task of this thread that has something to do has had its turn.
pub(crate) fn turn() -> Turn {
    Turn { taken: false }
}

pub(crate) struct Turn {
    taken: bool,
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.taken, true) {
            return Poll::Ready(());
        }
        // Not tokio's `yield_now`: that asks the kernel for more to do first.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::turn;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local};

    #[tokio::test(flavor = "current_thread")]
    async fn what_came_together_goes_on_step_by_step() {
        let steps = Rc::new(RefCell::new(Vec::new()));
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                let requests = ["a", "b", "c"].map(|request| {
                    let steps = steps.clone();
                    spawn_local(async move {
                        for step in ["read", "run", "answer"] {
                            steps.borrow_mut().push((step, request));
                            turn().await;
                        }
                    })
                });
                for request in requests {
                    request.await.expect("it does not panic");
                }
            })
            .await;
        let expected: Vec<_> =
            ["read", "run", "answer"].iter().flat_map(|step| ["a", "b", "c"].map(|it| (*step, it))).collect();
        assert_eq!(*steps.borrow(), expected);
    }
}
