//! The origin behind every peer: answers each request with 100 bytes, or with the head it received.
//!
//! It is not hyper: whatever the origin and the load take away from their core is taken from the proxy's saturation.

use std::{
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::input::{BODY, ECHO_PATH};

/// Serves until standard input ends, so that it never outlives the bench. The address goes to standard output.
pub async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let parent = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    tokio::select! {
        outcome = accept(listener, BODY) => Ok(outcome?),
        _ = parent => Ok(()),
    }
}

/// Answers every request on `listener` with `body`.
pub async fn accept(listener: TcpListener, body: &'static [u8]) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(converse(stream, body));
    }
}

/// Starts the origin as a process of its own; it ends when the child's standard input is dropped.
///
/// # Errors
/// The process cannot start or says no address.
pub fn start() -> Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("origin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the origin")?;
    let stdout = child
        .stdout
        .take()
        .context("the origin's standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim().parse().context("the origin's address")?;
    Ok((child, address))
}

async fn converse(mut stream: TcpStream, body: &[u8]) -> io::Result<()> {
    let answer = answer(body);
    let mut received = Vec::with_capacity(4 * 1024);
    loop {
        while let Some(head_bytes) = head_end(&received) {
            let head = &received[..head_bytes];
            if asks_for_echo(head) {
                stream.write_all(&self::answer(head)).await?;
            } else {
                stream.write_all(&answer).await?;
            }
            if head_bytes == received.len() {
                received.clear();
            } else {
                received.drain(..head_bytes);
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Requests of the bench have no bodies: a head is all of one.
fn head_end(received: &[u8]) -> Option<usize> {
    let at = received
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

fn asks_for_echo(head: &[u8]) -> bool {
    let path = head.split(|byte| *byte == b' ').nth(1);
    path == Some(ECHO_PATH.as_bytes())
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::request;

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(head_end(b"GET / HTTP/1.1\r\n\r\nGET"), Some(18));
    }

    #[test]
    fn only_the_echo_path_is_echoed() {
        assert!(asks_for_echo(&request("a", ECHO_PATH, "")));
        assert!(!asks_for_echo(&request("a", "/", "")));
    }
}
