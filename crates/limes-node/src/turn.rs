//! Requests that came together are answered together: their guests run one after the other, then all answers are sent.
//!
//! Running a guest and sending an answer are much code each, the kernel's network stack among it. Where they take turns, each finds its code
//! gone from the processor's caches. So a request lets the others on its thread come to the same point before it goes on; one that is alone goes
//! on at once.

use std::future::poll_fn;
use std::task::Poll;

/// Ends when every other task of this thread that has something to do has had its turn.
pub(crate) async fn turn() {
    let mut taken = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut taken, true) {
            return Poll::Ready(());
        }
        // Not tokio's `yield_now`: that asks the kernel for more to do first.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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
                        for step in ["run", "answer"] {
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
            ["run", "answer"].iter().flat_map(|step| ["a", "b", "c"].map(|it| (*step, it))).collect();
        assert_eq!(*steps.borrow(), expected);
    }
}
