//! Golden cases: a write as a client sends it, and what the machine makes of it.
//!
//! `cases/<sentence>.in.yaml` has `does` (create, update, status, strategic, merge, json or delete), `kind`
//! (`GROUP/VERSION/KIND`), `body` and, but for create, `stored`. `UPDATE=1` writes the `.out.yaml` files anew.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portcullis_resource::codec::{FieldValidation, MediaType, decode, decode_value};
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::{self, KindSpec, Subresource};
use portcullis_resource::patch::{self, PatchKind};
use portcullis_resource::prepare::{
    self, Allocated, DeleteDecision, DeleteOptions, Updated, WriteContext,
};
use serde_json::{Value, json};

#[test]
fn every_case_comes_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut inputs: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| check(input));
}

fn check(input: &Path) {
    let case: Value = serde_saphyr::from_str(&fs::read_to_string(input).unwrap()).unwrap();
    let found = match outcome(&case) {
        Ok(object) => object,
        Err(error) => json!({"refused": error.status()}),
    };
    let output = PathBuf::from(input.to_string_lossy().replace(".in.yaml", ".out.yaml"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&output, serde_saphyr::to_string(&found).unwrap()).unwrap();
    }
    let expected = fs::read_to_string(&output).unwrap_or_default();
    let expected: Value = serde_saphyr::from_str(&expected).unwrap_or(Value::Null);
    assert_eq!(found, expected, "{}", input.display());
}

fn outcome(case: &Value) -> Result<Value, ApiError> {
    let spec = kind_of(case["kind"].as_str().unwrap());
    let body = &case["body"];
    let does = case["does"].as_str().unwrap();
    if does == "create" {
        let object = decoded(spec, body)?;
        let namespace = spec.namespaced.then_some("default");
        return Ok(json!({"created": prepare::create(spec, namespace, object, &context())?}));
    }
    let mut stored = prepare::create(
        spec,
        spec.namespaced.then_some("default"),
        decoded(spec, &case["stored"])?,
        &context(),
    )?;
    stored["metadata"]["resourceVersion"] = "7".into();
    if does == "delete" {
        let options = DeleteOptions::parse(body)?;
        return Ok(
            match prepare::delete(spec, &stored, &options, &context())? {
                DeleteDecision::Remove(_) => json!("removed"),
                DeleteDecision::MarkDeleting(object) => json!({"marked": object["metadata"]}),
                DeleteDecision::Unchanged(_) => json!("unchanged"),
            },
        );
    }
    let new = match does {
        "strategic" => patch::apply(spec, PatchKind::Strategic, &stored, body)?,
        "merge" => patch::apply(spec, PatchKind::Merge, &stored, body)?,
        "json" => patch::apply(spec, PatchKind::Json, &stored, body)?,
        _ => body.clone(),
    };
    let new = decode_value(spec.root_type, &new, FieldValidation::Strict)?.object;
    let subresource = (does == "status").then_some(Subresource::Status);
    Ok(
        match prepare::update(spec, subresource, &stored, new, &context())? {
            Updated::Unchanged(_) => json!("unchanged"),
            Updated::Write(object) => json!({"written": object}),
            Updated::Remove(_) => json!("removed"),
        },
    )
}

fn decoded(spec: &KindSpec, body: &Value) -> Result<Value, ApiError> {
    let bytes = body.to_string();
    let strict = FieldValidation::Strict;
    decode(spec.root_type, MediaType::Json, bytes.as_bytes(), strict).map(|decoded| decoded.object)
}

fn kind_of(name: &str) -> &'static KindSpec {
    let mut parts = name.rsplitn(3, '/');
    let (kind, version) = (parts.next().unwrap(), parts.next().unwrap());
    kind::by_kind(parts.next().unwrap_or_default(), version, kind).unwrap()
}

fn context() -> WriteContext<'static> {
    WriteContext {
        now: Timestamp::from_second(1_800_000_000).unwrap(),
        uid: "00000000-0000-4000-8000-000000000001",
        name_suffix: "x7k2b",
        name: "",
        user: "admin",
        default_ingress_class: Some("portcullis"),
        allocated: Allocated {
            cluster_ips: vec!["10.43.0.9".parse().unwrap()],
            node_ports: vec![30_080],
        },
    }
}
