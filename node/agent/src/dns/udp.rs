//! Questions by datagram.

use super::server::{Server, Step};
use super::wire::{LONGEST_QUERY_BYTES, Transport};
use portcullis_serve::Drain;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

/// Serves until dropped. What the zone knows is answered in turn; only questions to others go on beside.
pub(crate) async fn serve(socket: UdpSocket, server: Arc<Server>, drain: Drain) {
    let socket = Arc::new(socket);
    let waiting = Arc::new(Semaphore::new(MOST_WAITING));
    let mut buffer = vec![0; LONGEST_QUERY_BYTES];
    loop {
        let (length, peer) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "cannot receive questions, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let answer = match server.begin(&buffer[..length], Transport::Udp) {
            Step::Nothing => continue,
            Step::Done(answer) => answer,
            Step::Forward(pending) => match waiting.clone().try_acquire_owned() {
                Err(_) => server.overloaded(&pending),
                Ok(place) => {
                    let (socket, server) = (socket.clone(), server.clone());
                    drain.track(async move {
                        let answer = server.finish(*pending).await;
                        // A peer that cannot be reached asks again, or does not care.
                        let _ = socket.send_to(&answer, peer).await;
                        drop(place);
                    });
                    continue;
                }
            },
        };
        let _ = socket.send_to(&answer, peer).await;
    }
}

/// Peers whose questions others have to answer; beyond it the answer is SERVFAIL.
const MOST_WAITING: usize = 4096;
/// After an error of the socket, such as too little memory.
const PAUSE: Duration = Duration::from_millis(20);
