//! One keep-alive connection with one request in flight: as little client as counts and checks replies.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

pub struct Connection<S> {
    stream: S,
    received: Vec<u8>,
}

pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    /// The server ends the connection after this reply.
    pub close: bool,
}

struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    close: bool,
}

impl Connection<TcpStream> {
    pub async fn open(target: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(target)
            .await
            .with_context(|| format!("connecting to {target}"))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self {
            stream,
            received: Vec::with_capacity(BUFFER_BYTES),
        }
    }

    pub async fn exchange(&mut self, request: &[u8]) -> Result<Reply> {
        let head = self.send_and_wait(request).await?;
        let end = head.head_bytes + head.body_bytes;
        let body = self.received[head.head_bytes..end].to_vec();
        self.received.drain(..end);
        Ok(Reply {
            status: head.status,
            body,
            close: head.close,
        })
    }

    /// Like [`Self::exchange`] without keeping the body; true when the server ends the connection.
    ///
    /// # Errors
    /// A reply other than 200 with `body_bytes` bytes.
    pub async fn expect(&mut self, request: &[u8], body_bytes: usize) -> Result<bool> {
        let head = self.send_and_wait(request).await?;
        if head.status != 200 || head.body_bytes != body_bytes {
            bail!(
                "a reply with status {} and {} bytes under load",
                head.status,
                head.body_bytes
            );
        }
        if self.received.len() != head.head_bytes + head.body_bytes {
            bail!("bytes after the reply");
        }
        self.received.clear();
        Ok(head.close)
    }

    async fn send_and_wait(&mut self, request: &[u8]) -> Result<Head> {
        self.stream
            .write_all(request)
            .await
            .context("sending a request")?;
        loop {
            if let Some(head) = parse(&self.received)?
                && self.received.len() >= head.head_bytes + head.body_bytes
            {
                return Ok(head);
            }
            if self
                .stream
                .read_buf(&mut self.received)
                .await
                .context("reading a reply")?
                == 0
            {
                bail!("the connection ended inside a reply");
            }
        }
    }
}

/// The status of one reply on a connection of its own, whatever its framing.
pub async fn status(target: SocketAddr, request: &[u8]) -> Result<u16> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(request).await?;
    let mut line = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut line).await?;
    let digits = std::str::from_utf8(&line[b"HTTP/1.1 ".len()..])?;
    digits.parse().context("parsing a status")
}

/// `None` until the head is whole.
fn parse(received: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) =
        response.parse(received).context("parsing a reply")?
    else {
        return Ok(None);
    };
    let mut body_bytes = None;
    let mut close = false;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            body_bytes = Some(std::str::from_utf8(header.value)?.trim().parse()?);
        } else if header.name.eq_ignore_ascii_case("connection") {
            close = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(Head {
        status: response.code.unwrap_or(0),
        head_bytes,
        body_bytes: body_bytes.context("a reply without Content-Length")?,
        close,
    }))
}

/// Room for a reply with its head; grows when a head is echoed.
const BUFFER_BYTES: usize = 4 * 1024;
/// More than any peer sends.
const MAX_HEADERS: usize = 32;
