//! The accept loop: survives a lack of descriptors, drains its queue when it closes.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
};

use super::{
    connection::{self, Listening, OpenConnection},
    handover::{Place, hand_over},
};
use crate::core::Core;

pub(crate) async fn run(core: Rc<Core>, listening: Listening, socket: std::net::TcpListener) {
    let listening = Rc::new(listening);
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "listener cannot be watched");
            return;
        }
    };
    loop {
        tokio::select! {
            biased;
            () = listening.stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(&core, &listening, stream, peer).await,
                Err(error) => pause_after(&error).await,
            }
        }
    }
    drain(&core, &listening, listener);
}

/// Finds a worker for an accepted socket. While nobody has room it waits with that one, and accepts no other.
async fn admit(
    core: &Rc<Core>,
    listening: &Rc<Listening>,
    mut stream: TcpStream,
    peer: SocketAddr,
) {
    let mut has_waited = false;
    loop {
        match core.place() {
            Place::Here => return serve(core, listening, stream, peer),
            Place::At(worker) => match hand_over(core, worker, listening, stream, peer) {
                Ok(()) => return,
                Err(back) if core.has_room() => return serve(core, listening, back, peer),
                Err(back) => stream = back,
            },
            Place::Nowhere => core.make_room(),
        }
        if !has_waited {
            core.shared.counters.accept_pauses.add(1);
            tracing::warn!(
                core = core.id,
                "as many connections as the limit allows, pausing"
            );
        }
        has_waited = true;
        tokio::select! {
            // It has connected in time.
            () = listening.stop.cancelled() => return serve(core, listening, stream, peer),
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
        }
    }
}

/// Whoever has connected before the socket closes is served.
fn drain(core: &Rc<Core>, listening: &Rc<Listening>, listener: TcpListener) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            serve(core, listening, stream, peer);
        }
    }
}

fn serve(core: &Rc<Core>, listening: &Rc<Listening>, stream: TcpStream, peer: SocketAddr) {
    let open = OpenConnection::new(core);
    let task = connection::serve(core.clone(), open, listening.clone(), stream, peer);
    spawn_local(task);
}

/// A connection that went away before it was accepted costs nothing; a lack of descriptors or memory costs a pause.
async fn pause_after(error: &io::Error) {
    let is_peers = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !is_peers {
        tracing::warn!(%error, "accept failed, pausing");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Client connections that each core may hold: half of the descriptors, the other half is for upstreams.
pub(crate) fn connections_per_core(cores: usize) -> i64 {
    let limit = getrlimit(Resource::Nofile).current;
    share(limit.unwrap_or(u64::MAX), cores)
}

fn share(descriptors: u64, cores: usize) -> i64 {
    let share = descriptors / 2 / cores.max(1) as u64;
    i64::try_from(share)
        .unwrap_or(i64::MAX)
        .max(MIN_CONNECTIONS)
}

/// Connections per core below which a gateway would not be of use.
const MIN_CONNECTIONS: i64 = 16;

/// Long enough for a connection to close, short enough that nobody times out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering::Relaxed};

    use super::*;
    use crate::{
        client::handover,
        config::{AccessLogTarget, Limits},
        core::{CoreLimits, Shared},
        observe::access_log::{self, LogBuffer},
        publish::ids::Ids,
    };
    use tokio_util::sync::CancellationToken;

    #[test]
    fn half_of_the_descriptors_are_shared_by_the_cores() {
        assert_eq!(share(1024, 2), 256);
        assert_eq!(share(8, 64), MIN_CONNECTIONS);
        assert!(share(u64::MAX, 1) > 1 << 32);
    }

    #[test]
    fn a_full_core_accepts_again_when_there_is_room() {
        let (mailboxes, _inboxes) = handover::mailboxes(1);
        let limits = CoreLimits::new(&Limits::default(), 2);
        let shared = Arc::new(Shared::new(mailboxes, limits));
        let (writer, _log) = access_log::start(&AccessLogTarget::Stdout).unwrap();
        let log = LogBuffer::new(writer, shared.clone());
        let core = Rc::new(Core::new(0, shared.clone(), log));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(tokio::runtime::LocalOptions::default())
            .unwrap();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let _client = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        core.load().connections.store(2, Relaxed);
        runtime.block_on(async {
            let listening = Listening {
                id: Ids::default().id("a"),
                stop: CancellationToken::new(),
            };
            spawn_local(run(core.clone(), listening, socket));
            while shared.counters.accept_pauses.value() == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(shared.counters.connections_accepted.value(), 0);
            core.load().connections.store(1, Relaxed);
            while shared.counters.connections_accepted.value() == 0 {
                tokio::task::yield_now().await;
            }
        });
    }
}
