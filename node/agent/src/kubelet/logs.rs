//! Container logs: files in the CRI's format, read whole lines at a time, followed by watching the file grow.

use crate::kubelet::query::LogOptions;
use crate::kubelet::{Body, text};
use crate::node::Node;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use portcullis_serve::Drain;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;

/// Streams the log of one container of a pod of ours.
pub(crate) fn answer(
    node: &Arc<Node>,
    pod: &Arc<Pod>,
    container: &str,
    options: LogOptions,
    drain: Drain,
) -> Response<Body> {
    let spec = pod.spec.as_ref();
    let known = spec.is_some_and(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .any(|one| one.name == container)
    });
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if !known {
        return text(
            StatusCode::NOT_FOUND,
            &format!("container {container} not found in pod {name}"),
        );
    }
    let directory = node.layout.pod_logs(pod).join(container);
    let Some((path, attempt)) = file(&directory, options.previous) else {
        let what = if options.previous {
            "previous terminated container"
        } else {
            "container"
        };
        return text(
            StatusCode::BAD_REQUEST,
            &format!("{what} \"{container}\" in pod \"{name}\" has no log yet"),
        );
    };
    let (sender, lines) = mpsc::channel(BUFFERED_CHUNKS);
    let follower = Follower {
        node: node.clone(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        container: container.to_owned(),
        attempt,
    };
    tokio::spawn(async move {
        let work = send(&path, &options, &follower, &sender);
        tokio::select! {
            result = work => if let Err(error) = result {
                let _ = sender.send(Err(error)).await;
            },
            () = drain.signalled() => {}
        }
    });
    let frames = tokio_stream::wrappers::ReceiverStream::new(lines);
    let frames = futures::StreamExt::map(frames, |chunk: io::Result<Bytes>| chunk.map(Frame::data));
    let mut answer = Response::new(StreamBody::new(frames).boxed());
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain"),
    );
    answer
}

/// The newest run's file, or the one before it.
fn file(directory: &Path, previous: bool) -> Option<(PathBuf, u32)> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let attempt = |entry: std::fs::DirEntry| -> Option<u32> {
        entry
            .file_name()
            .to_str()?
            .strip_suffix(".log")?
            .parse()
            .ok()
    };
    let mut attempts: Vec<_> = entries.filter_map(attempt).collect();
    attempts.sort_unstable_by(|a, b| b.cmp(a));
    let attempt = *attempts.get(usize::from(previous))?;
    Some((directory.join(format!("{attempt}.log")), attempt))
}

/// Tells whether more lines can still come.
struct Follower {
    node: Arc<Node>,
    uid: String,
    container: String,
    attempt: u32,
}

impl Follower {
    async fn is_running(&self) -> bool {
        let Ok(containers) = self.node.cri.containers(Some(&self.uid)).await else {
            return true;
        };
        containers.into_iter().any(|found| {
            let metadata = found.metadata.unwrap_or_default();
            let alive = found.state < crate::cri::generated::ContainerState::ContainerExited as i32;
            metadata.name == self.container && metadata.attempt == self.attempt && alive
        })
    }
}

async fn send(
    path: &Path,
    options: &LogOptions,
    follower: &Follower,
    out: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let start = match options.tail_lines {
        Some(count) => tail(path, count).await?,
        None => 0,
    };
    let mut file = File::open(path).await?;
    file.seek(io::SeekFrom::Start(start)).await?;
    let mut reader = BufReader::new(file);
    let mut budget = options.limit_bytes.unwrap_or(u64::MAX);
    let (mut line, mut chunk) = (Vec::new(), Vec::new());
    // Once the container has ended, or its file was rotated away, one more read to the end gets what came before.
    let (mut last_read, mut rotated) = (!options.follow, false);
    let mut checks = 0u32;
    loop {
        let more = reader.read_until(b'\n', &mut line).await? > 0;
        if line.ends_with(b"\n") || line.len() > LONGEST_LINE {
            append(&line, options, &mut budget, &mut chunk);
            line.clear();
        }
        let flush = !more || budget == 0 || chunk.len() >= CHUNK;
        if flush
            && !chunk.is_empty()
            && out
                .send(Ok(Bytes::from(std::mem::take(&mut chunk))))
                .await
                .is_err()
        {
            return Ok(());
        }
        if budget == 0 || (!more && last_read) {
            return Ok(());
        }
        if !more && rotated {
            reader = BufReader::new(File::open(path).await?);
            rotated = false;
        } else if !more {
            rotated = is_other(reader.get_ref(), path).await;
            checks += 1;
            if checks.is_multiple_of(POLLS_PER_CHECK) {
                last_read = !follower.is_running().await;
            }
            tokio::time::sleep(POLL).await;
            if out.is_closed() {
                return Ok(());
            }
        }
    }
}

/// There is another file by that name now.
async fn is_other(open: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (open.metadata().await, tokio::fs::metadata(path).await) else {
        return false;
    };
    (open.dev(), open.ino()) != (named.dev(), named.ino())
}

/// `TIME STREAM F|P TEXT` → the text, unless it is too old or the budget is spent.
fn append(line: &[u8], options: &LogOptions, budget: &mut u64, chunk: &mut Vec<u8>) {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(_), Some(tag), Some(content)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return;
    };
    if let Some(since) = options.since {
        let at = std::str::from_utf8(time)
            .ok()
            .and_then(|time| time.parse::<Timestamp>().ok());
        if at.is_some_and(|at| at < since) {
            return;
        }
    }
    let content = if tag.starts_with(b"P") {
        content.strip_suffix(b"\n").unwrap_or(content)
    } else {
        content
    };
    let prefix: &[&[u8]] = if options.timestamps {
        &[time, b" "]
    } else {
        &[]
    };
    for part in prefix.iter().copied().chain([content]) {
        let room = usize::try_from(*budget)
            .unwrap_or(usize::MAX)
            .min(part.len());
        chunk.extend_from_slice(&part[..room]);
        *budget -= room as u64;
    }
}

/// Where the last `count` lines begin, reading backwards.
async fn tail(path: &Path, count: usize) -> io::Result<u64> {
    use tokio::io::AsyncReadExt;
    let mut file = File::open(path).await?;
    let mut position = file.seek(io::SeekFrom::End(0)).await?;
    let end = position;
    let mut seen = 0;
    let mut buffer = vec![0; CHUNK];
    while position > 0 {
        let step = position.min(CHUNK as u64);
        position -= step;
        file.seek(io::SeekFrom::Start(position)).await?;
        let buffer = &mut buffer[..usize::try_from(step).unwrap_or(CHUNK)];
        file.read_exact(buffer).await?;
        for (index, _) in buffer
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            let after = position + index as u64 + 1;
            // The newline that ends the file begins no line.
            if after == end {
                continue;
            }
            seen += 1;
            if seen == count {
                return Ok(after);
            }
        }
    }
    Ok(if count == 0 { end } else { 0 })
}

/// Bytes per piece sent, pieces waiting for a slow reader, and the longest line before it is cut (the runtime itself
/// splits at 16 KiB).
const CHUNK: usize = 32 << 10;
const BUFFERED_CHUNKS: usize = 4;
const LONGEST_LINE: usize = 1 << 20;
/// A follower costs two reads a second of a file's end, and one question to the runtime every two seconds.
const POLL: Duration = Duration::from_millis(200);
const POLLS_PER_CHECK: u32 = 5;
