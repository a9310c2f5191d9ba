//! Which worker serves an accepted socket.
//!
//! The kernel spreads connections over the workers' sockets by hash, blind to how long they live: one worker may end up
//! with most of them, or full while others idle. Such a worker hands what it accepts to the one with the fewest.

use std::{net::SocketAddr, rc::Rc, sync::Arc, sync::atomic::Ordering::Relaxed};

use tokio::{
    net::TcpStream,
    sync::mpsc::{Receiver, Sender, channel},
    task::spawn_local,
};
use tokio_util::sync::CancellationToken;

use super::connection::{self, Listening, OpenConnection};
use crate::{core::Core, publish::ids::Id};

/// A socket on its way to another worker, counted there already.
#[derive(Debug)]
pub(crate) struct Handed {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    listener: Arc<Id>,
    stop: CancellationToken,
}

/// Where an accepted socket is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    /// At this worker.
    At(usize),
    /// Everybody is full.
    Nowhere,
}

/// A mailbox per worker.
pub(crate) fn mailboxes(workers: usize) -> (Vec<Sender<Handed>>, Vec<Receiver<Handed>>) {
    (0..workers).map(|_| channel(QUEUED_SOCKETS)).unzip()
}

/// Decides for worker `own`, given every worker's connections and what each takes on.
pub(crate) fn place(own: usize, loads: &[i64], limit: i64) -> Place {
    let mine = loads[own];
    let others = loads.iter().enumerate().filter(|(at, _)| *at != own);
    let least = others.min_by_key(|(_, load)| **load);
    match least {
        Some((at, &load)) if load < limit && (mine >= limit || is_unfair(mine, loads)) => {
            Place::At(at)
        }
        _ if mine < limit => Place::Here,
        _ => Place::Nowhere,
    }
}

/// More connections than that on one worker are handed over: half as many again as the mean.
pub(crate) fn fair_share(loads: impl Iterator<Item = i64>, workers: usize) -> i64 {
    let total: i64 = loads.sum();
    (3 * total / (2 * workers.max(1) as i64)).max(MIN_UNFAIR)
}

fn is_unfair(mine: i64, loads: &[i64]) -> bool {
    mine >= fair_share(loads.iter().copied(), loads.len())
}

/// Hands a socket to another worker; gives it back if that one's mailbox is full.
pub(crate) fn hand_over(
    core: &Core,
    worker: usize,
    listening: &Listening,
    stream: TcpStream,
    peer: SocketAddr,
) -> Result<(), TcpStream> {
    let shared = &core.shared;
    let Ok(permit) = shared.mailboxes[worker].try_reserve() else {
        return Err(stream);
    };
    match stream.into_std() {
        Ok(stream) => {
            shared.loads[worker].connections.fetch_add(1, Relaxed);
            shared.counters.connections_accepted.add(1);
            shared.counters.handed_over.add(1);
            permit.send(Handed {
                stream,
                peer,
                listener: listening.id.clone(),
                stop: listening.stop.clone(),
            });
        }
        Err(error) => tracing::debug!(%error, %peer, "accepted socket is of no use"),
    }
    Ok(())
}

/// Serves a socket that another worker has accepted.
pub(crate) fn adopt(core: &Rc<Core>, handed: Handed) {
    let open = OpenConnection::adopt(core);
    let listening = Rc::new(Listening {
        id: handed.listener,
        stop: handed.stop,
    });
    match TcpStream::from_std(handed.stream) {
        Ok(stream) => {
            let task = connection::serve(core.clone(), open, listening, stream, handed.peer);
            spawn_local(task);
        }
        Err(error) => tracing::warn!(%error, "handed socket cannot be watched"),
    }
}

/// Sockets on their way to one worker; beyond it they stay where they are.
const QUEUED_SOCKETS: usize = 256;

/// Connections below which no worker is unfairly loaded: moving them costs more than they do.
pub(crate) const MIN_UNFAIR: i64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_keeps_what_is_fair_and_fits() {
        assert_eq!(place(0, &[0], 10), Place::Here);
        assert_eq!(place(0, &[10], 10), Place::Nowhere);
        assert_eq!(place(0, &[63, 0], 1000), Place::Here, "too few to matter");
        assert_eq!(place(0, &[64, 0], 1000), Place::At(1));
        assert_eq!(place(0, &[100, 40], 1000), Place::Here);
        assert_eq!(place(0, &[300, 90, 80], 1000), Place::At(2));
        assert_eq!(place(1, &[300, 90, 80], 1000), Place::Here);
    }

    #[test]
    fn a_full_worker_hands_over_while_anybody_has_room() {
        assert_eq!(place(0, &[10, 9], 10), Place::At(1));
        assert_eq!(place(0, &[10, 12], 10), Place::Nowhere);
    }

    #[test]
    fn whoever_accepts_no_worker_exceeds_one_and_a_half_times_the_mean() {
        for workers in [2, 3, 8] {
            // Everything arrives at one worker.
            let mut loads = vec![0; workers];
            for _ in 0..100 * MIN_UNFAIR {
                match place(0, &loads, i64::MAX) {
                    Place::Here => loads[0] += 1,
                    Place::At(worker) => loads[worker] += 1,
                    Place::Nowhere => unreachable!("there is room"),
                }
                let total: i64 = loads.iter().sum();
                let most = loads.iter().max().copied().unwrap_or(0);
                let bound = (3 * total / (2 * workers as i64)).max(MIN_UNFAIR);
                assert!(most <= bound + 1, "{loads:?}");
            }
        }
    }
}
