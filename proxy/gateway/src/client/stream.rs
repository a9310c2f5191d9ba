//! HTTP/2 streams as tasks, each with its own send timeout.
//!
//! A client that opens no window takes nothing of a response, and hyper asks the body for nothing more: no deadline of a
//! socket ever sees that. The task of a stream notices when a frame that it was given does not leave.

use std::{future::poll_fn, pin::pin, rc::Rc, sync::Arc, task::Poll};

use hyper::rt::Executor;
use tokio::task::spawn_local;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use crate::{clock::Deadline, core::Core};

/// Runs the streams of one connection as tasks of their own, so that a panic costs one stream.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    pub core: Rc<Core>,
    pub connection: Rc<Connection>,
}

/// What a response body did when it was last polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastFrame {
    /// It gave a frame away. Being polled again says that this one has left.
    Given,
    /// It has nothing yet: the upstream is awaited, not the client.
    Awaited,
}

/// A frame that waits for the client to open its window.
#[derive(Default)]
struct Stall {
    is_waiting: bool,
    /// Made when a stream waits for the first time.
    deadline: Option<Arc<Deadline>>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        let Self { core, connection } = self.clone();
        spawn_local(async move {
            let mut stream = pin!(future);
            let mut stall = Stall::default();
            poll_fn(|cx| {
                connection.last_frame.set(None);
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                stall.note(&core, connection.last_frame.take());
                if stall.is_over(&core) {
                    core.shared.counters.send_timeouts.add(1);
                    tracing::debug!(peer = %connection.peer, "client takes nothing of its response");
                    // Dropping the stream resets it.
                    return Poll::Ready(());
                }
                if let Some(deadline) = stall.deadline.as_ref().filter(|_| stall.is_waiting) {
                    deadline.register(cx.waker());
                }
                Poll::Pending
            })
            .await;
        });
    }
}

impl Stall {
    fn note(&mut self, core: &Core, last: Option<LastFrame>) {
        match last {
            Some(LastFrame::Given) => {
                let deadline = self
                    .deadline
                    .get_or_insert_with(|| core.deadlines.watch(CancellationToken::new()));
                deadline.arm_write(core.clock.now_ms() + core.shared.limits.send_timeout_ms);
                self.is_waiting = true;
            }
            Some(LastFrame::Awaited) => {
                if let Some(deadline) = &self.deadline {
                    deadline.disarm_write();
                }
                self.is_waiting = false;
            }
            None => {}
        }
    }

    fn is_over(&self, core: &Core) -> bool {
        let deadline = self.deadline.as_ref();
        deadline.is_some_and(|deadline| deadline.write_expired(core.clock.now_ms()))
    }
}
