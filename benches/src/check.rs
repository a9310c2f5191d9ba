//! Proof that a peer does the work it is measured at: every host routed, every header set, unknown hosts refused.

use std::{collections::HashSet, fs, net::SocketAddr};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    client::{self, Connection, Reply},
    input::{BODY, ECHO_PATH, HOSTS, UNKNOWN_HOST, host_name, request},
    peer::{Peer, Site},
};

/// # Errors
/// The first thing that differs from what every peer must do.
pub async fn behaviour(peer: Peer, site: &Site) -> Result<()> {
    let mut connection = Connection::open(site.listen).await?;
    let mut request_ids = HashSet::new();
    for index in 0..HOSTS {
        let host = host_name(index);
        let reply = connection
            .exchange(&request(&host, ECHO_PATH, SPOOFED))
            .await;
        let reply = reply.with_context(|| format!("host {host}"))?;
        ensure!(
            reply.status == 200,
            "host {host} is answered {}",
            reply.status
        );
        let request_id = forwarded_head(&reply, &host).with_context(|| format!("host {host}"))?;
        ensure!(
            request_ids.insert(request_id),
            "two requests have the same X-Request-ID"
        );
        if reply.close {
            connection = Connection::open(site.listen).await?;
        }
    }
    fixed_replies(site.listen).await?;
    metrics(peer, site.admin).await
}

/// Call it when the peer has ended, and has therefore written what it buffered.
///
/// # Errors
/// A request of [`behaviour`] without its line.
pub fn access_log(site: &Site) -> Result<()> {
    let lines = access_log_lines(site)?;
    match site.access_log {
        true => ensure!(
            lines >= HOSTS as u64,
            "{lines} lines in the access log after more than {HOSTS} requests"
        ),
        false => ensure!(
            lines < HOSTS as u64,
            "{lines} lines in an access log that is off"
        ),
    }
    Ok(())
}

pub fn access_log_lines(site: &Site) -> Result<u64> {
    let path = site.access_log_file();
    if !path.exists() {
        return Ok(0);
    }
    let log = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(log.iter().filter(|byte| **byte == b'\n').count() as u64)
}

/// Returns the request's id.
fn forwarded_head(reply: &Reply, host: &str) -> Result<String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    ensure!(
        request.parse(&reply.body)?.is_complete(),
        "the origin's echo is no request head"
    );
    let header = |name: &str| -> Result<String> {
        let mut values = request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        let Some(value) = values.next() else {
            bail!("{name} does not arrive at the origin");
        };
        ensure!(values.next().is_none(), "{name} arrives twice");
        Ok(std::str::from_utf8(value.value)?.to_owned())
    };
    for (name, expected) in [
        ("Host", host),
        ("X-Real-IP", CLIENT),
        ("X-Forwarded-For", CLIENT),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Scheme", "http"),
        ("X-Scheme", "http"),
    ] {
        let value = header(name)?;
        ensure!(value == expected, "{name} is {value:?}, not {expected:?}");
    }
    header("X-Forwarded-Port")?
        .parse::<u16>()
        .context("X-Forwarded-Port is no port")?;
    let request_id = header("X-Request-ID")?;
    ensure!(request_id.len() >= 32, "X-Request-ID is {request_id:?}");
    Ok(request_id)
}

async fn fixed_replies(listen: SocketAddr) -> Result<()> {
    let host = host_name(0);
    let ask = async |bytes: Vec<u8>| Connection::open(listen).await?.exchange(&bytes).await;

    let reply = ask(request(&host, "/", "")).await?;
    ensure!(reply.body == BODY, "the origin's 100 bytes do not arrive");

    let reply = ask(request(&host.to_ascii_uppercase(), "/", "")).await?;
    ensure!(
        reply.status == 200,
        "a host in capitals is answered {}",
        reply.status
    );

    let reply = ask(request(UNKNOWN_HOST, "/", "")).await?;
    ensure!(
        reply.status == 404,
        "an unknown host is answered {}",
        reply.status
    );

    let reply = ask(request(&host, ECHO_PATH, KEPT)).await?;
    let head = String::from_utf8(reply.body)?.to_ascii_lowercase();
    ensure!(
        head.contains(&KEPT.to_ascii_lowercase()),
        "the client's X-Request-ID is not kept"
    );
    Ok(())
}

async fn metrics(peer: Peer, admin: SocketAddr) -> Result<()> {
    let asked = request("localhost", peer.metrics_path(), "Connection: close\r\n");
    let status = client::status(admin, &asked)
        .await
        .context("asking for metrics")?;
    ensure!(
        status == 200,
        "{} is answered {status}",
        peer.metrics_path()
    );
    Ok(())
}

/// What a client that lies about itself sends; no peer may pass it on.
const SPOOFED: &str =
    "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n";
/// A client's own request id, which every peer passes on.
const KEPT: &str = "X-Request-ID: 0123456789abcdef0123456789abcdef\r\n";
/// The load's address as the origin must see it.
const CLIENT: &str = "127.0.0.1";
