//! Events as bytes: made once for all watchers that want them in the same form.

use std::sync::{Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::KindSpec;
use portcullis_resource::request::WatchOptions;
use portcullis_resource::table::{Render, partial_metadata};
use portcullis_store::{Event, EventKind};
use serde_json::{Value, json};

use crate::encode::Shape;
use crate::object;

/// What watchers share of one event.
pub(crate) struct Decoded {
    current: OnceLock<Result<Value, ApiError>>,
    previous: OnceLock<Result<Value, ApiError>>,
    frames: Mutex<Vec<(FrameKey, Bytes)>>,
}

/// Which of an event's forms: the kind (one key may be served under two groups), the shape, and what it means to the
/// watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FrameKey {
    group: &'static str,
    partial: Option<&'static str>,
    change: Change,
}

/// What an event means to one watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    /// Gone from the store.
    Deleted,
    /// Still there, no longer selected: shown as it last was selected.
    Left,
}

impl Change {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted | Self::Left => "DELETED",
        }
    }
}

impl Decoded {
    pub(crate) fn new(_event: &Event) -> Self {
        Self {
            current: OnceLock::new(),
            previous: OnceLock::new(),
            frames: Mutex::new(Vec::new()),
        }
    }

    /// The state written, or last before a deletion, with the event's revision. As stored.
    fn current(&self, event: &Event) -> Result<&Value, ApiError> {
        let decoded = self
            .current
            .get_or_init(|| object::decode_stored(&event.current, event.revision));
        decoded.as_ref().map_err(Clone::clone)
    }

    /// The state before, also with the event's revision: clients go on from there.
    fn previous(&self, event: &Event) -> Result<&Value, ApiError> {
        let decoded = self.previous.get_or_init(|| {
            let before = event.previous.as_ref().unwrap_or(&event.current);
            object::decode_stored(before, event.revision)
        });
        decoded.as_ref().map_err(Clone::clone)
    }

    /// The event for a watcher with these selectors, `None` when it does not concern it.
    pub(crate) fn change(
        &self,
        event: &Event,
        kind: &KindSpec,
        options: &WatchOptions,
    ) -> Result<Option<Change>, ApiError> {
        let unselective = options.labels.is_empty() && options.fields.is_empty();
        if unselective {
            return Ok(Some(match event.kind {
                EventKind::Created => Change::Added,
                EventKind::Updated => Change::Modified,
                EventKind::Deleted => Change::Deleted,
            }));
        }
        let selected = |stored: &Value| {
            let matches =
                |shown: &Value| options.labels.matches(shown) && options.fields.matches(shown);
            if kind.renamed_in_storage.is_empty() {
                matches(stored)
            } else {
                matches(&object::shown_as(kind, stored.clone()))
            }
        };
        let now = selected(self.current(event)?);
        if event.kind == EventKind::Deleted {
            return Ok(now.then_some(Change::Deleted));
        }
        let before = event.previous.is_some() && selected(self.previous(event)?);
        Ok(match (before, now) {
            (false, true) => Some(Change::Added),
            (true, true) => Some(Change::Modified),
            (true, false) => Some(Change::Left),
            (false, false) => None,
        })
    }

    pub(crate) fn object(
        &self,
        event: &Event,
        kind: &KindSpec,
        change: Change,
    ) -> Result<Value, ApiError> {
        let stored = match change {
            Change::Left => self.previous(event)?,
            _ => self.current(event)?,
        };
        Ok(object::shown_as(kind, stored.clone()))
    }

    /// The bytes of the event where they are the same for everybody; Tables are not.
    pub(crate) fn frame(
        &self,
        event: &Event,
        kind: &'static KindSpec,
        shape: &Shape,
        change: Change,
    ) -> Result<Bytes, ApiError> {
        let key = FrameKey {
            group: kind.group,
            partial: match shape {
                Shape::Partial(version) => Some(version),
                _ => None,
            },
            change,
        };
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = frames.iter().find(|(known, _)| *known == key) {
            return Ok(bytes.clone());
        }
        let object = self.object(event, kind, change)?;
        let shown = match key.partial {
            Some(version) => partial_metadata(&object, version),
            None => object,
        };
        let bytes = line(change.name(), &shown);
        frames.push((key, bytes.clone()));
        Ok(bytes)
    }
}

/// One event of the stream.
pub(crate) fn line(event_type: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": event_type, "object": object}).to_string();
    text.push('\n');
    Bytes::from(text)
}

/// One object in the form of a stream.
pub(crate) fn shaped(kind: &KindSpec, shape: &Shape, object: Value, with_columns: bool) -> Value {
    match shape {
        Shape::Object => object,
        Shape::Partial(version) => partial_metadata(&object, version),
        Shape::Table(version, include) => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let render = Render {
                kind,
                version,
                include: *include,
                now: Timestamp::now(),
                with_columns,
            };
            render.table(metadata, &[object::stored_as(kind, object)])
        }
    }
}
