//! Strict HTTP/1 framing (RFC 9112), checked on the raw bytes before any parser may be lenient about them.
//!
//! Pure and incremental: bytes in, verdict out. It knows where each message begins and ends, so that what a lenient reader
//! could see differently (bare LF, two lengths, a length beside chunks, folded lines) never reaches one.

use smallvec::SmallVec;

/// Follows the bytes of one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// A line that began in an earlier read.
    partial: Vec<u8>,
    head: HeadFacts,
    /// Bytes of the head so far.
    head_bytes: usize,
    /// Bytes of each head that has become complete, until somebody takes them.
    heads: SmallVec<[usize; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between messages.
    Start,
    Headers,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkDataEnd,
    Trailers,
    /// After an upgrade: not HTTP any more.
    Tunnel,
    Refused,
}

#[derive(Clone, Copy, Debug, Default)]
struct HeadFacts {
    is_http10: bool,
    content_length: Option<u64>,
    is_chunked: bool,
}

/// Where a connection stands between two reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    BetweenMessages,
    InHead,
    InBody,
    Tunnel,
}

/// The bytes are not a message that every reader would read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many of the given bytes precede the offending message head.
    pub safe: usize,
    /// The offence is in a head, so that a 400 can still be answered in its place.
    pub in_head: bool,
    pub reason: &'static str,
}

impl Framing {
    pub fn new() -> Self {
        Self {
            state: State::Start,
            partial: Vec::new(),
            head: HeadFacts::default(),
            head_bytes: 0,
            heads: SmallVec::new(),
        }
    }

    pub fn position(&self) -> Position {
        match self.state {
            State::Start if self.partial.is_empty() => Position::BetweenMessages,
            State::Start | State::Headers => Position::InHead,
            State::Tunnel => Position::Tunnel,
            _ => Position::InBody,
        }
    }

    /// Bytes of each head that has become complete since the last call, in order.
    pub fn take_heads(&mut self) -> impl Iterator<Item = usize> + '_ {
        self.heads.drain(..)
    }

    /// The connection has been upgraded: nothing is checked from here on.
    pub fn enter_tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    pub fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// Follows `bytes`. After a refusal nothing more is accepted.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut at = 0;
        let mut head_start = 0;
        while at < bytes.len() {
            if self.state == State::Start && self.partial.is_empty() {
                head_start = at;
            }
            let in_head = matches!(self.state, State::Start | State::Headers);
            match self.step(&bytes[at..]) {
                Ok(used) => at += used,
                Err(reason) => {
                    self.state = State::Refused;
                    self.partial = Vec::new();
                    return Err(Refusal {
                        safe: head_start,
                        in_head,
                        reason,
                    });
                }
            }
        }
        Ok(())
    }

    /// Consumes one line, or as much of a body as there is. Returns how many bytes that took.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        match self.state {
            State::Tunnel => Ok(bytes.len()),
            State::Refused => Err("connection was refused"),
            State::Body(left) => {
                let used = left.min(bytes.len() as u64);
                self.state = match left - used {
                    0 => State::Start,
                    left => State::Body(left),
                };
                Ok(used as usize)
            }
            State::ChunkData(left) => {
                let used = left.min(bytes.len() as u64);
                self.state = match left - used {
                    0 => State::ChunkDataEnd,
                    left => State::ChunkData(left),
                };
                Ok(used as usize)
            }
            _ => self.step_line(bytes),
        }
    }

    fn step_line(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let end = bytes.iter().position(|&b| b == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        if self.partial.len() + used > self.line_limit() {
            return Err("line too long");
        }
        if end.is_none() {
            self.partial.extend_from_slice(bytes);
            return Ok(used);
        }
        if self.partial.is_empty() {
            self.line(&bytes[..used])?;
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..used]);
            self.line(&line)?;
            line.clear();
            self.partial = line;
        }
        Ok(used)
    }

    fn line(&mut self, raw: &[u8]) -> Result<(), &'static str> {
        let Some(line) = raw.strip_suffix(b"\r\n") else {
            return Err("line ends in a bare LF");
        };
        if line.iter().any(|&b| b == b'\r' || b == 0) {
            return Err("line holds a bare CR or NUL");
        }
        if matches!(self.state, State::Start | State::Headers) {
            self.head_bytes += raw.len();
        }
        match self.state {
            State::Start => self.request_line(line),
            State::Headers => self.header_line(line),
            State::ChunkSize => self.chunk_size(line),
            State::ChunkDataEnd if line.is_empty() => {
                self.state = State::ChunkSize;
                Ok(())
            }
            State::ChunkDataEnd => Err("chunk is longer than its size"),
            State::Trailers => self.trailer_line(line),
            _ => Ok(()),
        }
    }

    /// An empty line before a request is skipped (RFC 9112 2.2).
    fn request_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.is_empty() {
            self.head_bytes = 0;
            return Ok(());
        }
        let mut parts = line.split(|&b| b == b' ');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some(method), Some(target), Some(version), None] = parts else {
            return Err("request line is not three words");
        };
        if method.is_empty() || target.is_empty() {
            return Err("request line is not three words");
        }
        self.head = HeadFacts {
            is_http10: version == b"HTTP/1.0",
            ..HeadFacts::default()
        };
        if !self.head.is_http10 && version != b"HTTP/1.1" {
            return Err("not HTTP/1.0 or HTTP/1.1");
        }
        self.state = State::Headers;
        Ok(())
    }

    fn header_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.is_empty() {
            return self.end_of_head();
        }
        let (name, value) = split_field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.head.content_length.is_some() {
                return Err("more than one Content-Length");
            }
            self.head.content_length = Some(parse_length(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.head.is_chunked {
                return Err("more than one Transfer-Encoding");
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not exactly chunked");
            }
            self.head.is_chunked = true;
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), &'static str> {
        let head = self.head;
        let head_bytes = std::mem::take(&mut self.head_bytes);
        self.state = match (head.is_chunked, head.content_length) {
            (true, Some(_)) => return Err("both Content-Length and Transfer-Encoding"),
            (true, None) if head.is_http10 => return Err("Transfer-Encoding in HTTP/1.0"),
            (true, None) => State::ChunkSize,
            (false, None | Some(0)) => State::Start,
            (false, Some(length)) => State::Body(length),
        };
        self.heads.push(head_bytes);
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        if digits == 0 || digits > MAX_CHUNK_SIZE_DIGITS {
            return Err("chunk size is not a number");
        }
        if !rest.is_empty() && rest[0] != b';' {
            return Err("chunk size is followed by something else");
        }
        let size = line[..digits]
            .iter()
            .fold(0u64, |size, &digit| size << 4 | u64::from(hex(digit)));
        self.state = match size {
            0 => State::Trailers,
            size => State::ChunkData(size),
        };
        Ok(())
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.is_empty() {
            self.state = State::Start;
            return Ok(());
        }
        let (name, _) = split_field(line)?;
        let forbidden: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
        if forbidden.iter().any(|f| name.eq_ignore_ascii_case(f)) {
            return Err("framing field in a trailer");
        }
        Ok(())
    }

    fn line_limit(&self) -> usize {
        match self.state {
            State::ChunkSize | State::ChunkDataEnd => MAX_CHUNK_LINE_BYTES,
            _ => MAX_LINE_BYTES,
        }
    }
}

/// Name and trimmed value of a field line. A line that continues the previous one is refused (RFC 9112 5.2), as is space
/// before the colon (5.1).
fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let colon = line
        .iter()
        .position(|&b| b == b':')
        .ok_or("field line without a colon")?;
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|&b| is_token(b)) {
        return Err("field name is not a token");
    }
    Ok((name, line[colon + 1..].trim_ascii()))
}

fn parse_length(value: &[u8]) -> Result<u64, &'static str> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err("Content-Length is not a number");
    }
    value
        .iter()
        .try_fold(0u64, |length, &digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or("Content-Length is too large")
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A line of a head that spans reads, in bytes; beyond it the HTTP parser would answer 431 anyway.
const MAX_LINE_BYTES: usize = 64 << 10;

/// A chunk's size with its extensions, in bytes. Extensions are ignored by everybody; long ones are an attack.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Hexadecimal digits of a chunk size: what fits 60 bits.
const MAX_CHUNK_SIZE_DIGITS: usize = 15;

#[cfg(test)]
mod tests;
