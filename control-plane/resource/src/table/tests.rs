use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{IncludeObject, Render, human_duration};
use crate::kind;

#[test]
fn durations_read_as_kubectl_prints_them() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (100_000, "27h"),
        (180_000, "2d2h"),
        (800_000, "9d"),
        (70_000_000, "2y80d"),
        (300_000_000, "9y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(human_duration(seconds), expected, "{seconds}");
    }
}

#[test]
fn a_watch_sends_columns_once_and_rows_carry_metadata() {
    let spec = kind::by_resource("", "v1", "configmaps").expect("is served");
    let render = Render {
        kind: spec,
        version: "v1",
        include: IncludeObject::Metadata,
        now: Timestamp::UNIX_EPOCH,
        with_columns: false,
    };
    let table = render.table(
        json!({}),
        &[json!({"metadata": {"name": "a"}, "data": {"k": "v"}})],
    );
    assert_eq!(table["columnDefinitions"], Value::Null);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["cells"][1], 1);
}

/// Every case: objects of one kind in, cells by column name out (wide columns in parentheses).
#[test]
fn tables_of_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/table");
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .expect("has cases")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        check(&input);
    }
}

fn check(input: &Path) {
    let text = std::fs::read_to_string(input).expect("reads");
    let case: Value =
        serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", input.display()));
    let field = |name: &str| case[name].as_str().unwrap_or_default();
    let spec = kind::by_resource(field("group"), "v1", field("resource")).expect("is served");
    let now: Timestamp = field("now").parse().expect("a time");
    let rows: Vec<BTreeMap<String, Value>> = case["objects"]
        .as_array()
        .expect("objects")
        .iter()
        .map(|object| {
            let cells = spec.columns.iter().map(|column| {
                let name = match column.priority {
                    0 => column.name.to_owned(),
                    _ => format!("({})", column.name),
                };
                (name, (column.cell)(object, now))
            });
            cells.collect()
        })
        .collect();
    let rendered = serde_saphyr::to_string(&rows).expect("writes");
    let output = input.to_string_lossy().replace(".in.yaml", ".out.yaml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&output, &rendered).expect("writes");
    }
    let expected = std::fs::read_to_string(&output).unwrap_or_default();
    assert_eq!(rendered, expected, "{output}: UPDATE=1 rewrites it");
}
