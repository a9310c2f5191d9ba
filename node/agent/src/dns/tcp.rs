//! Questions over TCP (RFC 7766): several per connection, several at once, answered in any order.

use super::server::Server;
use super::wire::{LONGEST_QUERY_BYTES, Transport};
use futures::{StreamExt, stream};
use portcullis_serve::Drain;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Accepts until dropped; connections go on inside `drain`.
pub(crate) async fn serve(listener: TcpListener, server: Arc<Server>, drain: Drain) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let clients = Arc::new(Clients::default());
    loop {
        let slot = slots.clone().acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot accept connections, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = clients.clone().enter(peer.ip()) else {
            continue;
        };
        let (server, ending) = (server.clone(), drain.clone());
        drain.track(async move {
            if let Err(error) = converse(stream, &server, &ending).await {
                tracing::debug!(%peer, %error, "connection ended early");
            }
            drop((place, slot));
        });
    }
}

/// Until the peer ends, is silent for too long, or has asked enough.
async fn converse(stream: TcpStream, server: &Server, ending: &Drain) -> io::Result<()> {
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let questions = stream::unfold(reader, next_question).take(MOST_QUESTIONS);
    let questions = questions.take_until(ending.signalled());
    let answers = questions
        .map(|question| async move { server.answer(&question, Transport::Tcp).await })
        .buffer_unordered(MOST_AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    while let Some(answer) = answers.next().await {
        let Some(answer) = answer else {
            continue;
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let frame = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(WRITE_LIMIT, writer.write_all(&frame)).await??;
    }
    timeout(WRITE_LIMIT, writer.shutdown()).await?
}

/// `None` ends the conversation.
async fn next_question(mut reader: OwnedReadHalf) -> Option<(Vec<u8>, OwnedReadHalf)> {
    let read = async {
        let length = usize::from(reader.read_u16().await?);
        if length > LONGEST_QUERY_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut question = vec![0; length];
        reader.read_exact(&mut question).await?;
        Ok::<_, io::Error>(question)
    };
    let question = timeout(IDLE_LIMIT, read).await.ok()?.ok()?;
    Some((question, reader))
}

/// Connections by client: one that opens many must not take them all.
#[derive(Default)]
struct Clients(Mutex<HashMap<IpAddr, usize>>);

struct Place {
    clients: Arc<Clients>,
    ip: IpAddr,
}

impl Clients {
    fn enter(self: Arc<Self>, ip: IpAddr) -> Option<Place> {
        {
            let mut all = self.0.lock().expect("no holder of this lock panics");
            let count = all.entry(ip).or_default();
            if *count >= MOST_CONNECTIONS_PER_CLIENT {
                return None;
            }
            *count += 1;
        }
        Some(Place { clients: self, ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self
            .clients
            .0
            .lock()
            .expect("no holder of this lock panics");
        if let Some(count) = all.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.ip);
            }
        }
    }
}

/// Beyond it connections wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 512;
/// Beyond it they are closed at once.
const MOST_CONNECTIONS_PER_CLIENT: usize = 64;
/// On one connection; a client with more opens another.
const MOST_QUESTIONS: usize = 10_000;
/// Questions of one connection that are being answered; further ones are not read.
const MOST_AT_ONCE: usize = 32;
/// For the next question to come whole; upstream's number.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// A peer that takes nothing for so long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// After an error of the listener, such as too few descriptors.
const PAUSE: Duration = Duration::from_millis(20);
