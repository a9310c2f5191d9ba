//! `meta.k8s.io/v1` Tables: what `kubectl get` prints.

mod age;
pub(crate) mod cell;
pub(crate) mod columns;
mod render;

#[cfg(test)]
mod tests;

pub use age::human_duration;
pub use render::{IncludeObject, Render, partial_metadata, partial_metadata_list};

use jiff::Timestamp;
use serde_json::Value;

/// One printer column of a kind (`pkg/printers/internalversion/printers.go`).
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub value_type: &'static str,
    /// `name` marks the column that identifies the row.
    pub format: &'static str,
    pub description: &'static str,
    /// 0: always shown; 1: only with `-o wide`.
    pub priority: u8,
    /// The cell of one object at a given time.
    pub cell: fn(&Value, Timestamp) -> Value,
}

pub(crate) type Cell = fn(&Value, Timestamp) -> Value;

pub(crate) const fn text(name: &'static str, description: &'static str, cell: Cell) -> Column {
    Column {
        name,
        value_type: "string",
        format: "",
        description,
        priority: 0,
        cell,
    }
}

pub(crate) const fn integer(name: &'static str, description: &'static str, cell: Cell) -> Column {
    Column {
        value_type: "integer",
        ..text(name, description, cell)
    }
}

pub(crate) const fn wide(name: &'static str, description: &'static str, cell: Cell) -> Column {
    Column {
        priority: 1,
        ..text(name, description, cell)
    }
}

pub(crate) const NAME: Column = Column {
    format: "name",
    ..text("Name", "Name must be unique within a namespace.", |o, _| {
        cell::string(o, "/metadata/name")
    })
};

pub(crate) const AGE: Column = text("Age", "Time since the object was created.", cell::age);

/// Kinds that print a creation time instead of an age.
pub(crate) const CREATED_AT: Column = Column {
    value_type: "date",
    ..text("Created At", "When the object was created.", |o, _| {
        cell::string(o, "/metadata/creationTimestamp")
    })
};
