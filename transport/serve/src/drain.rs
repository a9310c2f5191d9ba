//! Ending a server in order.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ends accept loops and connections in order: signal, finish what is in progress, cut the rest at a deadline.
///
/// Clones are handles to the same drain. A child ends with its parent, and alone without it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections still busy at the deadline, which were cut.
    pub cut: usize,
}

impl Drain {
    /// A drain that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A drain of its own that also begins when this one does: for one listener among several.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            begun: self.begun.child_token(),
            cut: self.cut.child_token(),
            connections: TaskTracker::new(),
        }
    }

    /// Begins without waiting: nothing more is accepted, idle connections close, busy ones finish their requests.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Resolves when the drain begins; endless responses (watches, log followers) end on it.
    pub async fn signalled(&self) {
        self.begun.cancelled().await;
    }

    /// Begins if nobody did, waits up to `deadline` for what is in progress, cuts the rest and waits for that.
    pub async fn finish(&self, deadline: Duration) -> Drained {
        self.begin();
        self.connections.close();
        if tokio::time::timeout(deadline, self.connections.wait())
            .await
            .is_ok()
        {
            return Drained { cut: 0 };
        }
        let cut = self.connections.len();
        self.cut.cancel();
        self.connections.wait().await;
        Drained { cut }
    }

    /// Connections (and other tracked work) in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.connections.len()
    }

    /// Lets [`Drain::finish`] wait for `work` as for a connection, cutting it at the deadline: for upgraded connections
    /// and other work that outlives its request.
    pub fn track<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            let _ = cut.run_until_cancelled_owned(work).await;
        });
    }
}

/// Resolves at the first SIGTERM or SIGINT that the process receives from now on.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn termination() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
