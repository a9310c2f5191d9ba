//! A worker: one thread, one single-threaded runtime, its own sockets.

use std::{
    net::TcpListener,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::spawn_local,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use crate::{
    client::{
        accept,
        connection::Listening,
        handover::{self, Handed},
    },
    clock::TICK,
    core::{Core, Shared},
    observe::access_log::LogBuffer,
    publish::ids::Id,
};

/// What the publisher tells a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept from a socket until `stop` is cancelled, then drain its queue.
    Listen {
        listener: Arc<Id>,
        socket: TcpListener,
        stop: CancellationToken,
        /// Held until the queue is drained, or nobody will any more.
        accepting: TaskTrackerToken,
    },
    /// End the thread, whatever is still open.
    Stop,
}

/// The publisher's end of a worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub commands: UnboundedSender<Command>,
    pub thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// # Errors
    /// The system refuses a thread or an event queue.
    pub fn start(
        id: usize,
        shared: Arc<Shared>,
        handed: Receiver<Handed>,
        log: LogBuffer,
    ) -> std::io::Result<Self> {
        let (commands, inbox) = unbounded_channel();
        let runtime = || {
            Builder::new_current_thread()
                .enable_all()
                .event_interval(EVENT_INTERVAL)
                .build_local(LocalOptions::default())
        };
        let (started, outcome) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("gateway-{id}"))
            .spawn(move || match runtime() {
                Ok(runtime) => {
                    let _ = started.send(Ok(()));
                    let core = Rc::new(Core::new(id, shared, log));
                    runtime.block_on(run(core, inbox, handed));
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            })?;
        outcome
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("worker thread died at its start")))?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }
}

async fn run(core: Rc<Core>, mut inbox: UnboundedReceiver<Command>, mut handed: Receiver<Handed>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Listen { listener, socket, stop, accepting }) => {
                    let accept = accept::run(core.clone(), Listening { id: listener, stop }, socket);
                    spawn_local(async move {
                        accept.await;
                        drop(accepting);
                    });
                }
                Some(Command::Stop) | None => break,
            },
            Some(handed) = handed.recv() => handover::adopt(&core, handed),
            _ = ticks.tick() => core.tick(),
        }
    }
    core.log.flush();
}

/// Tasks polled between two looks at the sockets: tokio's default; fewer looks mean fewer system calls under load.
const EVENT_INTERVAL: u32 = 61;
