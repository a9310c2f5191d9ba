//! The client's socket as hyper sees it: framing-checked, with deadlines, counting bytes.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    framing::{Framing, Position},
    heads::Heads,
};
use crate::clock::{Clock, Deadline};

/// What the adapter and the requests of one connection tell each other.
#[derive(Debug)]
pub(crate) struct Wire {
    pub deadline: Arc<Deadline>,
    pub clock: Arc<Clock>,
    /// From the first byte of a head to its last, in milliseconds.
    pub header_timeout_ms: AtomicU64,
    /// How long one write may wait, in milliseconds.
    pub send_timeout_ms: u64,
    /// Set once the upstream has agreed to an upgrade.
    pub is_tunnel: AtomicBool,
    /// Sizes of the heads whose requests have not begun.
    pub heads: Heads,
    /// Requests being answered.
    pub active: AtomicU32,
    /// The request line, as far as it is known, of a head that was refused on its bytes.
    pub refused: OnceLock<Box<[u8]>>,
}

impl Wire {
    /// Nothing is being answered and nothing has begun to arrive.
    fn is_idle(&self, framing: &Framing) -> bool {
        framing.position() == Position::BetweenMessages
            && self.active.load(Relaxed) == 0
            && !self.is_tunnel.load(Relaxed)
    }
}

/// A byte stream from a client.
pub(crate) struct ClientIo<S> {
    stream: S,
    wire: Arc<Wire>,
    /// None for HTTP/2, which frames itself.
    framing: Option<Framing>,
}

impl<S> ClientIo<S> {
    pub fn http1(stream: S, wire: Arc<Wire>) -> Self {
        Self {
            stream,
            wire,
            framing: Some(Framing::new()),
        }
    }

    pub fn http2(stream: S, wire: Arc<Wire>) -> Self {
        Self {
            stream,
            wire,
            framing: None,
        }
    }

    /// Checks what was read and hands it on; what is refused reaches hyper as one byte that it answers with 400.
    fn deliver(&mut self, bytes: &[u8], cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let Some(framing) = &mut self.framing else {
            cursor.put_slice(bytes);
            return Ok(());
        };
        if self.wire.is_tunnel.load(Relaxed) {
            framing.enter_tunnel();
        }
        let before = framing.position();
        let followed = framing.feed(bytes);
        let heads = framing.take_heads();
        heads.for_each(|size| self.wire.heads.push(size as u64));
        match followed {
            Ok(()) => cursor.put_slice(bytes),
            Err(refusal) if refusal.in_head => {
                tracing::debug!(reason = refusal.reason, "request head refused");
                let is_continued = before == Position::InHead && refusal.safe == 0;
                let head = match is_continued {
                    true => &[],
                    false => &bytes[refusal.safe..],
                };
                self.wire.refused.get_or_init(|| first_line(head).into());
                cursor.put_slice(&bytes[..refusal.safe]);
                cursor.put_slice(POISON);
                return Ok(());
            }
            Err(refusal) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, refusal.reason));
            }
        }
        let deadline = &self.wire.deadline;
        match (before, framing.position()) {
            (Position::InHead, Position::InHead)
            | (Position::BetweenMessages, Position::BetweenMessages) => {}
            (_, Position::InHead) => {
                let timeout_ms = self.wire.header_timeout_ms.load(Relaxed);
                deadline.arm_read(self.wire.clock.now_ms() + timeout_ms);
            }
            // Without a request being served the deadline stands: serving the next one disarms it.
            _ if self.wire.active.load(Relaxed) == 0 => {}
            _ => deadline.disarm_read(),
        }
        Ok(())
    }
}

impl<S> ClientIo<S> {
    /// Nothing to read now: wait, unless this peer has waited long enough or should go.
    fn wait(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let deadline = &self.wire.deadline;
        let now_ms = self.wire.clock.now_ms();
        if deadline.is_write_armed() && !deadline.write_expired(now_ms) {
            // It still takes the last response.
            deadline.register(cx.waker());
            return Poll::Pending;
        }
        if deadline.read_expired(now_ms) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        // HTTP/2 says GOAWAY instead.
        if let Some(framing) = &self.framing
            && deadline.is_let_go(now_ms)
            && self.wire.is_idle(framing)
        {
            return Poll::Ready(Ok(()));
        }
        deadline.register(cx.waker());
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> hyper::rt::Read for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.framing.as_ref().is_some_and(Framing::is_refused) {
            // hyper is about to answer 400 and close; an error now would keep it from saying so.
            return self.wait(cx);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let limit = scratch.len().min(cursor.remaining());
            let mut read = ReadBuf::new(&mut scratch[..limit]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => {
                    let bytes = read.filled();
                    if bytes.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(self.deliver(bytes, &mut cursor))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => self.wait(cx),
            }
        })
    }
}

impl<S: AsyncWrite + Unpin> ClientIo<S> {
    fn after_write<T>(
        &self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let deadline = &self.wire.deadline;
        let now_ms = self.wire.clock.now_ms();
        if result.is_ready() {
            deadline.disarm_write();
            return result;
        }
        if deadline.write_expired(now_ms) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !deadline.is_write_armed() {
            deadline.arm_write(now_ms + self.wire.send_timeout_ms);
        }
        deadline.register(cx.waker());
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for ClientIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.after_write(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.after_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.after_write(cx, result)
    }
}

fn first_line(head: &[u8]) -> &[u8] {
    let line = head.split(|&b| matches!(b, b'\r' | b'\n')).next();
    let line = line.unwrap_or_default();
    &line[..line.len().min(MAX_LOGGED_LINE_BYTES)]
}

thread_local! {
    /// One read buffer per core, so that an idle connection holds none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// One read from a client, in bytes.
const SCRATCH_BYTES: usize = 64 << 10;

/// Request head in bytes, as nginx's `large_client_header_buffers 4 8k`; beyond it 431. Also bounds what one connection
/// buffers in each direction.
pub(crate) const MAX_HEAD_BYTES: usize = 32 << 10;

/// Bytes of a refused request line that reach the log; the rest is left out.
const MAX_LOGGED_LINE_BYTES: usize = 2 << 10;

/// No HTTP head may hold it, wherever in the head it lands.
const POISON: &[u8] = b"\0";

#[cfg(test)]
mod tests {
    use futures::task::noop_waker_ref;
    use hyper::rt::{Read, Write};
    use tokio::io::AsyncReadExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::Deadlines;

    fn wire(deadlines: &Deadlines) -> Arc<Wire> {
        Arc::new(Wire {
            deadline: deadlines.watch(CancellationToken::new()),
            clock: Arc::new(Clock::new(std::time::Instant::now())),
            header_timeout_ms: AtomicU64::new(0),
            send_timeout_ms: 60_000,
            is_tunnel: AtomicBool::new(false),
            heads: Heads::default(),
            active: AtomicU32::new(0),
            refused: OnceLock::new(),
        })
    }

    fn read<S: AsyncRead + Unpin>(io: &mut ClientIo<S>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 16];
        let mut buffer = hyper::rt::ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(noop_waker_ref());
        Pin::new(io).poll_read(&mut cx, buffer.unfilled())
    }

    #[tokio::test]
    async fn a_connection_lives_until_its_last_response_is_written() {
        let deadlines = Deadlines::default();
        let (stream, mut client) = tokio::io::duplex(4);
        let mut io = ClientIo::http1(stream, wire(&deadlines));
        // The last exchange of a drain is over, but its bytes are still here.
        io.wire.deadline.arm_read(0);
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"body").is_ready());
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"rest").is_pending());
        assert!(read(&mut io).is_pending());
        let mut taken = [0; 4];
        client.read_exact(&mut taken).await.unwrap();
        assert!(Pin::new(&mut io).poll_write(&mut cx, b"rest").is_ready());
        assert!(matches!(read(&mut io), Poll::Ready(Err(_))));
    }

    #[tokio::test]
    async fn an_unflushed_response_counts_as_unwritten() {
        let deadlines = Deadlines::default();
        let (stream, mut client) = tokio::io::duplex(4);
        // Like TLS, it takes bytes that the socket does not.
        let stream = tokio::io::BufWriter::new(stream);
        let mut io = ClientIo::http1(stream, wire(&deadlines));
        io.wire.deadline.arm_read(0);
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(
            Pin::new(&mut io)
                .poll_write(&mut cx, b"bodyrest")
                .is_ready()
        );
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_pending());
        assert!(read(&mut io).is_pending());
        let mut taken = [0; 4];
        client.read_exact(&mut taken).await.unwrap();
        assert!(Pin::new(&mut io).poll_flush(&mut cx).is_ready());
        assert!(matches!(read(&mut io), Poll::Ready(Err(_))));
    }
}
