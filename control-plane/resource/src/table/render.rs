//! Objects as Tables and as metadata only.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::cell::at;
use crate::kind::KindSpec;

/// `?includeObject=`: what each row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// How to make a Table.
#[derive(Debug, Clone, Copy)]
pub struct Render<'a> {
    pub kind: &'a KindSpec,
    /// `v1` or `v1beta1` of `meta.k8s.io`.
    pub version: &'a str,
    pub include: IncludeObject,
    pub now: Timestamp,
    /// Off after the first event of a watch: clients keep the columns.
    pub with_columns: bool,
}

impl Render<'_> {
    /// The Table of some objects. `metadata` is the list's, or holds the one object's resourceVersion.
    pub fn table(&self, metadata: Value, objects: &[Value]) -> Value {
        let rows: Vec<Value> = objects.iter().map(|object| self.row(object)).collect();
        let mut table = Map::new();
        table.insert("kind".into(), json!("Table"));
        table.insert("apiVersion".into(), json!(self.api_version()));
        table.insert("metadata".into(), metadata);
        table.insert("columnDefinitions".into(), self.columns());
        table.insert("rows".into(), Value::Array(rows));
        Value::Object(table)
    }

    fn columns(&self) -> Value {
        if !self.with_columns {
            return Value::Null;
        }
        let column = |c: &super::Column| {
            json!({
                "name": c.name,
                "type": c.value_type,
                "format": c.format,
                "description": c.description,
                "priority": c.priority,
            })
        };
        Value::Array(self.kind.columns.iter().map(column).collect())
    }

    fn row(&self, object: &Value) -> Value {
        let cells: Vec<Value> = self
            .kind
            .columns
            .iter()
            .map(|c| (c.cell)(object, self.now))
            .collect();
        let mut row = Map::new();
        row.insert("cells".into(), Value::Array(cells));
        if let Some(condition) = row_condition(self.kind, object) {
            row.insert("conditions".into(), json!([condition]));
        }
        let shown = match self.include {
            IncludeObject::None => None,
            IncludeObject::Metadata => Some(partial(object, &self.api_version())),
            IncludeObject::Object => Some(object.clone()),
        };
        if let Some(shown) = shown {
            row.insert("object".into(), shown);
        }
        Value::Object(row)
    }

    fn api_version(&self) -> String {
        format!("meta.k8s.io/{}", self.version)
    }
}

/// `meta.k8s.io/v1 PartialObjectMetadata` of an object.
pub fn partial_metadata(object: &Value, version: &str) -> Value {
    partial(object, &format!("meta.k8s.io/{version}"))
}

/// `meta.k8s.io/v1 PartialObjectMetadataList`.
pub fn partial_metadata_list(metadata: Value, objects: &[Value], version: &str) -> Value {
    let items: Vec<Value> = objects
        .iter()
        .map(|o| partial_metadata(o, version))
        .collect();
    json!({
        "kind": "PartialObjectMetadataList",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "items": items,
    })
}

fn partial(object: &Value, api_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Finished pods are marked, so that clients can grey them out.
fn row_condition(kind: &KindSpec, object: &Value) -> Option<Value> {
    if kind.kind != "Pod" {
        return None;
    }
    let (reason, message) = match at(object, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}
