//! Steady load that counts what is lost.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

/// Workers that ask one host again and again: half over kept connections, half over a new one for each request.
pub struct Load {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<LoadReport>>,
}

/// What happened to the requests.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests that were answered with 200.
    pub answered: usize,
    /// Answered requests by answering pod.
    pub pods: BTreeMap<String, usize>,
    /// All others, each with what came instead.
    pub lost: Vec<String>,
}

impl Load {
    /// Starts asking for `path` of `host` at `address`. A `delay` in the path sets the pace.
    #[must_use]
    pub fn start(address: SocketAddr, host: &str, path: &str, workers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let workers = (0..workers)
            .map(|index| {
                let keep = index % 2 == 0;
                let connection = if keep { "keep-alive" } else { "close" };
                let head = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n"
                );
                let stop = stop.clone();
                thread::spawn(move || ask(address, &head, keep, &stop))
            })
            .collect();
        Self { stop, workers }
    }

    /// Ends the load and sums up.
    ///
    /// # Panics
    /// When a worker did.
    #[must_use]
    pub fn stop(self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = LoadReport::default();
        for worker in self.workers {
            let report = worker.join().expect("a worker ends");
            sum.answered += report.answered;
            sum.lost.extend(report.lost);
            for (pod, count) in report.pods {
                *sum.pods.entry(pod).or_default() += count;
            }
        }
        sum
    }
}

fn ask(address: SocketAddr, head: &str, keep: bool, stop: &AtomicBool) -> LoadReport {
    let mut report = LoadReport::default();
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        match once(address, head, kept.take()) {
            Ok((stream, pod)) => {
                report.answered += 1;
                *report.pods.entry(pod).or_default() += 1;
                kept = keep.then_some(stream);
            }
            Err(reason) => report.lost.push(reason),
        }
    }
    report
}

type Stream = BufReader<TcpStream>;

fn once(address: SocketAddr, head: &str, kept: Option<Stream>) -> Result<(Stream, String), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = match kept {
        Some(stream) => stream,
        None => connect(address).map_err(failed)?,
    };
    stream
        .get_mut()
        .write_all(head.as_bytes())
        .map_err(failed)?;
    let mut line = String::new();
    stream.read_line(&mut line).map_err(failed)?;
    if line.is_empty() {
        return Err("closed without an answer".to_owned());
    }
    let length = content_length(&mut stream).map_err(failed)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(failed)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(format!(
            "{} {}",
            line.trim(),
            String::from_utf8_lossy(&body)
        ));
    }
    let json: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok((stream, json["pod"].as_str().unwrap_or_default().to_owned()))
}

fn connect(address: SocketAddr) -> std::io::Result<Stream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn content_length(stream: &mut Stream) -> std::io::Result<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(length);
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
}

/// No answer for this long is a lost request.
const TIMEOUT: Duration = Duration::from_secs(10);
