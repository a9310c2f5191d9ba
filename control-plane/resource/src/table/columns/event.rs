//! Events. The cells read the stored form, which is core/v1's.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::table::cell::{at, integer_at, or, since, string};
use crate::table::{Column, NAME, integer, text, wide};

pub(crate) const COLUMNS: &[Column] = &[
    text("Last Seen", "Time since it happened last.", |o, now| {
        json!(last_seen(o, now))
    }),
    text("Type", "Normal or Warning.", |o, _| string(o, "/type")),
    text("Reason", "Why, for machines.", |o, _| string(o, "/reason")),
    text("Object", "What it is about.", |o, _| json!(target(o))),
    wide(
        "Subobject",
        "The part of the object it is about.",
        |o, _| string(o, "/involvedObject/fieldPath"),
    ),
    wide("Source", "Who reports it.", |o, _| json!(source(o))),
    text("Message", "Why, for people.", |o, _| {
        json!(at(o, "/message").trim())
    }),
    wide("First Seen", "Time since it happened first.", |o, now| {
        json!(first_seen(o, now))
    }),
    Column {
        priority: 1,
        ..integer("Count", "How often it happened.", |o, _| json!(count(o)))
    },
    Column {
        priority: 1,
        ..NAME
    },
];

fn first_seen(event: &Value, now: Timestamp) -> String {
    since(
        or(at(event, "/firstTimestamp"), at(event, "/eventTime")),
        now,
    )
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    let series = at(event, "/series/lastObservedTime");
    match or(series, at(event, "/lastTimestamp")) {
        "" => first_seen(event, now),
        time => since(time, now),
    }
}

fn count(event: &Value) -> i64 {
    let series = integer_at(event, "/series/count");
    if series > 0 {
        series
    } else {
        integer_at(event, "/count").max(1)
    }
}

fn target(event: &Value) -> String {
    let kind = at(event, "/involvedObject/kind").to_lowercase();
    match at(event, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(event: &Value) -> String {
    let component = or(
        at(event, "/source/component"),
        at(event, "/reportingComponent"),
    );
    match or(at(event, "/source/host"), at(event, "/reportingInstance")) {
        "" => component.to_owned(),
        instance => format!("{component}, {instance}"),
    }
}
