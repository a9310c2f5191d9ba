//! Initial objects, events, bookmarks, and the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_resource::request::WatchOptions;
use portcullis_store::{Event, Revision, StoreError, Watch, WatchEnd};
use rand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame::{Decoded, line, shaped};
use crate::api::{Api, store_error};
use crate::body::{Body, BoxError, full};
use crate::call::Call;
use crate::encode::{Negotiated, Shape};

/// Where a watch begins.
pub(crate) struct Start {
    /// Objects to be shown as added first.
    pub initial: Vec<Value>,
    /// Events come after this revision.
    pub after: Revision,
}

/// The response of a watch.
pub(crate) fn stream(
    call: Call,
    negotiated: Negotiated,
    options: WatchOptions,
    start: Start,
    watch: Watch,
) -> Response<Body> {
    let now = Instant::now();
    let lifetime = options
        .timeout_s
        .map_or_else(random_lifetime, Duration::from_secs)
        .min(MAX_WATCH);
    let watching = Watching {
        kind: call.kind,
        shape: negotiated.shape,
        next_bookmark: now + call.api.config.bookmark_interval,
        deadline: now + lifetime,
        closing_bookmark: options.initial_events_end.then_some(start.after),
        initial: start.initial.into_iter(),
        pending_bookmark: None,
        columns_sent: false,
        last_bookmark_sent: false,
        ended: false,
        api: call.api,
        options,
        watch,
    };
    let frames = futures::stream::unfold(watching, |mut watching| async move {
        let bytes = watching.next().await?;
        Some((Ok::<_, BoxError>(Frame::data(bytes)), watching))
    });
    respond(StreamBody::new(frames).boxed_unsync())
}

/// The response of a watch that cannot begin.
pub(crate) fn failed(error: &ApiError) -> Response<Body> {
    respond(full(line("ERROR", &error.status())))
}

fn respond(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

struct Watching {
    api: Arc<Api>,
    kind: &'static KindSpec,
    shape: Shape,
    options: WatchOptions,
    initial: std::vec::IntoIter<Value>,
    /// The bookmark behind the initial objects, still to be sent.
    closing_bookmark: Option<Revision>,
    /// A bookmark to be sent once all events up to it are.
    pending_bookmark: Option<Revision>,
    watch: Watch,
    next_bookmark: Instant,
    deadline: Instant,
    columns_sent: bool,
    /// The time is over; what is still queued may go out.
    last_bookmark_sent: bool,
    ended: bool,
}

enum Turn {
    Event(Result<Arc<Event>, WatchEnd>),
    Bookmark,
    TimeOut,
    Stop,
}

impl Watching {
    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(object) = self.initial.next() {
            return Some(self.render("ADDED", object));
        }
        if let Some(revision) = self.closing_bookmark.take() {
            return Some(self.bookmark(revision, true));
        }
        loop {
            if let Some(revision) = self.pending_bookmark {
                // A bookmark must not overtake events: those up to it are queued, and go first.
                match self.watch.try_next() {
                    Ok(None) => {
                        self.pending_bookmark = None;
                        return Some(self.bookmark(revision, false));
                    }
                    Ok(Some(event)) => match self.event(Ok(event)) {
                        Some(bytes) => return Some(bytes),
                        None => continue,
                    },
                    Err(end) => return self.event(Err(end)),
                }
            }
            if self.last_bookmark_sent {
                return None;
            }
            match self.turn().await {
                Turn::Stop => return None,
                Turn::Bookmark => {
                    self.next_bookmark = Instant::now() + self.api.config.bookmark_interval;
                    self.pending_bookmark = Some(self.api.store.progress());
                }
                // The client goes on from a last bookmark, without a list.
                Turn::TimeOut => {
                    self.last_bookmark_sent = true;
                    self.pending_bookmark =
                        self.options.bookmarks.then(|| self.api.store.progress());
                }
                Turn::Event(event) => {
                    if let Some(bytes) = self.event(event) {
                        return Some(bytes);
                    }
                }
            }
        }
    }

    async fn turn(&mut self) -> Turn {
        tokio::select! {
            biased;
            () = self.api.drain.signalled() => Turn::Stop,
            event = self.watch.next() => Turn::Event(event),
            () = tokio::time::sleep_until(self.next_bookmark), if self.options.bookmarks => Turn::Bookmark,
            () = tokio::time::sleep_until(self.deadline) => Turn::TimeOut,
        }
    }

    fn event(&mut self, event: Result<Arc<Event>, WatchEnd>) -> Option<Bytes> {
        let event = match event {
            Ok(event) => event,
            Err(end) => {
                self.ended = true;
                return Some(line("ERROR", &end_error(end).status()));
            }
        };
        match self.event_bytes(&event) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.ended = true;
                Some(line("ERROR", &error.status()))
            }
        }
    }

    fn event_bytes(&mut self, event: &Event) -> Result<Option<Bytes>, ApiError> {
        let decoded = event.derive(Decoded::new);
        let Some(change) = decoded.change(event, self.kind, &self.options)? else {
            return Ok(None);
        };
        if let Shape::Table(..) = self.shape {
            let object = decoded.object(event, self.kind, change)?;
            return Ok(Some(self.render(change.name(), object)));
        }
        decoded
            .frame(event, self.kind, &self.shape, change)
            .map(Some)
    }

    fn render(&mut self, event_type: &str, object: Value) -> Bytes {
        let shown = shaped(self.kind, &self.shape, object, !self.columns_sent);
        self.columns_sent = true;
        line(event_type, &shown)
    }

    fn bookmark(&mut self, revision: Revision, ends_initial: bool) -> Bytes {
        let mut metadata =
            json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version(),
            "metadata": metadata,
        });
        self.render("BOOKMARK", object)
    }
}

fn end_error(end: WatchEnd) -> ApiError {
    match end {
        WatchEnd::History(error) => store_error(error),
        WatchEnd::Closed => store_error(StoreError::Closed),
        // Clients list again, which is what a watcher that fell behind has to do.
        WatchEnd::TooSlow => ApiError::Expired {
            message: "too old resource version: the watch did not keep up".to_owned(),
            continue_token: None,
        },
    }
}

/// Between half an hour and an hour, so that clients do not all come back at once (`MinRequestTimeout`).
fn random_lifetime() -> Duration {
    Duration::from_secs(rand::rng().random_range(1_800..3_600))
}

/// However long a client asks for: a day, after which it goes on with a new watch. Far longer times overflow the clock.
const MAX_WATCH: Duration = Duration::from_secs(86_400);
