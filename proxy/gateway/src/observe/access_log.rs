//! The access log: ingress-nginx's default format, written by a thread of its own.

use std::{
    cell::RefCell,
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderValue, Version};
use time::{OffsetDateTime, macros::format_description};

use crate::{
    config::AccessLogTarget, core::Shared, exchange::Exchange, upstream::socket::seconds_since,
};

/// One core's lines on their way to the writer.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    inner: RefCell<Inner>,
    writer: Sender,
    shared: Arc<Shared>,
}

/// The way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    buffers: SyncSender<Buffer>,
    /// Lines that are queued or being written.
    unwritten: Arc<AtomicU64>,
}

/// The thread that writes; it ends when every [`Sender`] is gone.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: thread::JoinHandle<()>,
    /// Closed when the thread is done. In a mutex because a gateway is shared, though only its end looks.
    done: Mutex<Receiver<()>>,
    unwritten: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    lines: u64,
    clock: LogClock,
}

/// `$time_local`, formatted once per second.
#[derive(Debug)]
pub(crate) struct LogClock {
    second: i64,
    text: String,
}

impl LogBuffer {
    pub fn new(writer: Sender, shared: Arc<Shared>) -> Self {
        Self {
            inner: RefCell::new(Inner {
                bytes: Vec::new(),
                lines: 0,
                clock: LogClock {
                    second: 0,
                    text: String::new(),
                },
            }),
            writer,
            shared,
        }
    }

    pub fn write(&self, format: impl FnOnce(&mut Vec<u8>, &str)) {
        let mut inner = self.inner.borrow_mut();
        let Inner {
            bytes,
            lines,
            clock,
        } = &mut *inner;
        format(bytes, clock.now());
        *lines += 1;
        if bytes.len() >= FLUSH_BYTES {
            drop(inner);
            self.flush();
        }
    }

    /// Hands the buffer over; when the writer is behind, its lines are dropped and counted.
    pub fn flush(&self) {
        let mut inner = self.inner.borrow_mut();
        if inner.bytes.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut inner.lines);
        let capacity = inner.bytes.len();
        let bytes = std::mem::replace(&mut inner.bytes, Vec::with_capacity(capacity));
        self.writer.unwritten.fetch_add(lines, Relaxed);
        let buffer = Buffer { bytes, lines };
        if self.writer.buffers.try_send(buffer).is_err() {
            self.writer.unwritten.fetch_sub(lines, Relaxed);
            self.shared.counters.log_lines_dropped.add(lines);
        }
    }
}

impl Drop for LogBuffer {
    /// Requests that the end of the process cuts are logged too.
    fn drop(&mut self) {
        self.flush();
    }
}

impl Writer {
    /// Waits for what is queued, if every [`Sender`] is gone, but no longer than a reader that lives would take. Returns
    /// the lines that are lost.
    pub fn finish(self) -> u64 {
        let done = self
            .done
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match done.recv_timeout(FINISH_TIMEOUT) {
            Err(RecvTimeoutError::Timeout) => self.unwritten.load(Acquire),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // It has nothing left to do.
                let _ = self.thread.join();
                0
            }
        }
    }
}

/// Starts the writer.
///
/// # Errors
/// The log file cannot be opened, or the system refuses a thread.
pub(crate) fn start(target: &AccessLogTarget) -> io::Result<(Sender, Writer)> {
    let (buffers, inbox) = sync_channel(QUEUED_BUFFERS);
    let unwritten = Arc::new(AtomicU64::new(0));
    let target: Box<dyn Write + Send> = match target {
        AccessLogTarget::Stdout => Box::new(io::stdout()),
        AccessLogTarget::File(path) => {
            Box::new(OpenOptions::new().create(true).append(true).open(path)?)
        }
    };
    let (ended, done) = channel();
    let pending = unwritten.clone();
    let thread = thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || {
            write_all(&inbox, target, &pending);
            drop(ended);
        })?;
    let writer = Writer {
        thread,
        done: Mutex::new(done),
        unwritten: unwritten.clone(),
    };
    Ok((Sender { buffers, unwritten }, writer))
}

fn write_all(inbox: &Receiver<Buffer>, mut target: Box<dyn Write + Send>, pending: &AtomicU64) {
    while let Ok(Buffer { bytes, lines }) = inbox.recv() {
        let written = target.write_all(&bytes).and_then(|()| target.flush());
        pending.fetch_sub(lines, AcqRel);
        if let Err(error) = written {
            tracing::warn!(%error, lines, "access log cannot be written");
        }
    }
}

/// `log-format-upstream` of ingress-nginx, byte for byte.
pub(crate) fn format(line: &mut Vec<u8>, exchange: &Exchange, now: Instant, time_local: &str) {
    let mut text = Line(line);
    match exchange.client == exchange.connection.peer.ip() {
        true => text.raw(exchange.connection.remote_text()),
        false => text.args(format_args!("{}", exchange.client)),
    }
    text.raw(" - ");
    text.escaped(remote_user(exchange).as_deref().unwrap_or("-").as_bytes());
    text.raw(" [");
    text.raw(time_local);
    text.raw("] \"");
    request_line(&mut text, exchange);
    text.args(format_args!(
        "\" {} {} \"",
        exchange.status, exchange.sent_bytes
    ));
    text.value(exchange.referer.as_ref());
    text.raw("\" \"");
    text.value(exchange.user_agent.as_ref());
    text.args(format_args!(
        "\" {} {:.3} [",
        exchange.request_bytes(),
        seconds_since(exchange.started, now)
    ));
    upstream_name(&mut text, exchange);
    text.raw("] [] ");
    upstreams(&mut text, exchange);
    text.raw(" ");
    text.value(exchange.request_id.as_ref());
    text.raw("\n");
}

/// A request that ended with its head.
pub(crate) struct Refused<'a> {
    pub client: &'a str,
    pub request_line: &'a [u8],
    pub status: u16,
    pub request_id: [u64; 2],
}

/// The line of a request without route or upstream, as nginx writes it for one that it could not parse.
pub(crate) fn format_refused(line: &mut Vec<u8>, refused: &Refused<'_>, time_local: &str) {
    let mut text = Line(line);
    text.args(format_args!("{} - - [{time_local}] \"", refused.client));
    text.escaped(refused.request_line);
    let [high, low] = refused.request_id;
    text.args(format_args!(
        "\" {} 0 \"-\" \"-\" 0 0.000 [] [] - - - - {high:016x}{low:016x}\n",
        refused.status
    ));
}

fn request_line(text: &mut Line<'_>, exchange: &Exchange) {
    text.raw(exchange.method.as_str());
    text.raw(" ");
    let target = exchange.uri.path_and_query().map_or("/", |p| p.as_str());
    text.escaped(target.as_bytes());
    text.raw(match exchange.version {
        Version::HTTP_10 => " HTTP/1.0",
        Version::HTTP_2 => " HTTP/2.0",
        _ => " HTTP/1.1",
    });
}

/// Address, response length, response time and status of each endpoint asked, as nginx lists them.
fn upstreams(text: &mut Line<'_>, exchange: &Exchange) {
    let attempts = &exchange.attempts;
    if attempts.is_empty() {
        return text.raw("- - - -");
    }
    text.list(attempts, |text, a| {
        text.args(format_args!("{}", a.endpoint))
    });
    text.raw(" ");
    text.list(attempts, |text, a| {
        text.args(format_args!("{}", a.response_bytes));
    });
    text.raw(" ");
    text.list(attempts, |text, a| match a.ended {
        Some(ended) => text.args(format_args!("{:.3}", seconds_since(a.started, ended))),
        None => text.raw("-"),
    });
    text.raw(" ");
    text.list(attempts, |text, a| match a.status {
        0 => text.raw("-"),
        status => text.args(format_args!("{status}")),
    });
}

/// `namespace-service-port`, as ingress-nginx names upstreams.
fn upstream_name(text: &mut Line<'_>, exchange: &Exchange) {
    let labels = exchange
        .route
        .as_ref()
        .map(|route| &route.host.host.routes[route.index as usize].labels)
        .filter(|labels| !labels.service.is_empty());
    let Some(labels) = labels else {
        return text.raw("upstream-default-backend");
    };
    text.args(format_args!(
        "{}-{}-{}",
        labels.namespace, labels.service, labels.service_port
    ));
}

/// The user of basic authentication, whether or not anything checked it.
fn remote_user(exchange: &Exchange) -> Option<String> {
    let value = exchange.authorization.as_ref()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(token.trim()).ok()?;
    let user = decoded.split(|&b| b == b':').next()?;
    (!user.is_empty()).then(|| String::from_utf8_lossy(user).into_owned())
}

struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn args(&mut self, args: std::fmt::Arguments<'_>) {
        // Writing to memory does not fail.
        let _ = self.0.write_fmt(args);
    }

    fn value(&mut self, value: Option<&HeaderValue>) {
        match value {
            Some(value) if !value.is_empty() => self.escaped(value.as_bytes()),
            _ => self.raw("-"),
        }
    }

    /// nginx's default escaping: quote, backslash and everything outside visible ASCII as `\xXX`.
    fn escaped(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'"' | b'\\' | 0..=31 | 127..=255 => {
                    let digits = b"0123456789ABCDEF";
                    let (high, low) = (byte >> 4, byte & 15);
                    let escape = [b'\\', b'x', digits[high as usize], digits[low as usize]];
                    self.0.extend_from_slice(&escape);
                }
                _ => self.0.push(byte),
            }
        }
    }

    fn list<T>(&mut self, items: &[T], each: impl Fn(&mut Self, &T)) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.raw(", ");
            }
            each(self, item);
        }
    }
}

impl LogClock {
    fn now(&mut self) -> &str {
        let now = OffsetDateTime::now_utc();
        if now.unix_timestamp() != self.second {
            self.second = now.unix_timestamp();
            let format = format_description!(
                "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000"
            );
            self.text.clear();
            let _ = write!(self.text, "{}", now.format(format).unwrap_or_default());
        }
        &self.text
    }
}

/// A core hands its lines over at this size, in bytes, and at every tick.
const FLUSH_BYTES: usize = 32 << 10;

/// How long the end of the process waits for the log's reader; what is not written by then is lost and counted.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Buffers that may wait for the writer: about 8 MiB, then lines are dropped and counted.
const QUEUED_BUFFERS: usize = 256;
