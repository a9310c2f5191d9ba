use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Decoded, FieldValidation, MediaType, decode, encode_protobuf};
use crate::error::ApiError;
use crate::schema::arena;

const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn json(root: &str, body: &str, validation: FieldValidation) -> Result<Decoded, ApiError> {
    decode(root, MediaType::Json, body.as_bytes(), validation)
}

#[test]
fn strict_names_unknown_and_duplicate_fields_in_document_order() {
    let body = r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"foo":1,"paused":true,"paused":false,
        "template":{"spec":{"containers":[{"name":"a","imagePullPolicy":"Always","imagePullPolicy":"Never","bar":1}]}}}}"#;
    let error = json(DEPLOYMENT, body, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
         unknown field \"spec.foo\", duplicate field \"spec.paused\", \
         duplicate field \"spec.template.spec.containers[0].imagePullPolicy\", \
         unknown field \"spec.template.spec.containers[0].bar\""
    );
    assert_eq!(error.code(), 400);
    let warned = json(DEPLOYMENT, body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 4);
    assert_eq!(
        warned.object["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "Never"
    );
    assert!(
        json(DEPLOYMENT, body, FieldValidation::Ignore)
            .unwrap()
            .warnings
            .is_empty()
    );
}

#[test]
fn a_wrong_type_names_the_field_as_go_does() {
    let body = r#"{"spec":{"replicas":"two"}}"#;
    let error = json(DEPLOYMENT, body, FieldValidation::Ignore).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into \
         Go struct field DeploymentSpec.spec.replicas of type int32"
    );
}

#[test]
fn other_kinds_and_versions_are_refused() {
    let kind = json(
        DEPLOYMENT,
        r#"{"apiVersion":"v1","kind":"Pod"}"#,
        FieldValidation::Ignore,
    );
    assert!(
        kind.unwrap_err()
            .to_string()
            .starts_with("Pod in version \"v1\" cannot be handled as a Deployment")
    );
    let version = json(
        DEPLOYMENT,
        r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#,
        FieldValidation::Ignore,
    );
    assert_eq!(
        version.unwrap_err().to_string(),
        "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)"
    );
}

#[test]
fn normal_form_drops_nulls_and_empty_optionals_and_keeps_explicit_zero() {
    let body = r#"{"metadata":{"name":"a","labels":{},"namespace":""},"spec":{"replicas":0,"paused":false,"selector":null,
        "template":{"spec":{"nodeName":"","containers":[],"volumes":[{"name":"v","emptyDir":{}}]}}}}"#;
    let object = json(DEPLOYMENT, body, FieldValidation::Strict)
        .unwrap()
        .object;
    assert_eq!(
        object,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"replicas": 0, "strategy": {}, "template": {"metadata": {},
                "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}}},
            "status": {}})
    );
}

#[test]
fn yaml_and_json_say_the_same() {
    let yaml = "kind: Secret\nmetadata: {name: s}\ndata: {a: YWJj}\nstringData: {b: text}\n";
    let secret = "io.k8s.api.core.v1.Secret";
    let from_yaml = decode(
        secret,
        MediaType::Yaml,
        yaml.as_bytes(),
        FieldValidation::Strict,
    )
    .unwrap();
    let body = r#"{"metadata":{"name":"s"},"data":{"a":"YWJj"},"stringData":{"b":"text"}}"#;
    assert_eq!(
        from_yaml,
        json(secret, body, FieldValidation::Strict).unwrap()
    );
}

#[test]
fn broken_bodies_are_bad_requests() {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let deep_yaml = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{} x",
        deep.as_str(),
        r#"{"data":{"a":"%%%"}}"#,
    ] {
        let error = json("io.k8s.api.core.v1.Secret", body, FieldValidation::Ignore).unwrap_err();
        assert_eq!(error.code(), 400, "{error}");
    }
    let secret = "io.k8s.api.core.v1.Secret";
    assert!(
        decode(
            secret,
            MediaType::Yaml,
            deep_yaml.as_bytes(),
            FieldValidation::Ignore
        )
        .is_err()
    );
    for bytes in [
        &b""[..],
        b"k8s",
        b"k8s\0\xff",
        b"k8s\0\x12\xff\x01",
        b"k8s\0\x12\x02\x0a\x7f",
    ] {
        assert!(decode(secret, MediaType::Protobuf, bytes, FieldValidation::Ignore).is_err());
    }
}

fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Any object of a type, a few levels deep, with the fields that `seed` chooses.
fn arbitrary(of: &crate::schema::Type, seed: &mut u64, depth: usize) -> Value {
    use crate::schema::{Form, Shape, Value as FieldType};
    let roll = next(seed);
    match of.form {
        Form::Struct => {}
        Form::Time => return json!(format!("20{:02}-01-02T03:04:05Z", roll % 90 + 10)),
        Form::MicroTime => {
            return json!(format!(
                "20{:02}-01-02T03:04:05.{:06}Z",
                roll % 90 + 10,
                roll % 1_000_000
            ));
        }
        Form::Duration => return json!(format!("{}s", roll % 50)),
        Form::Quantity => return json!(format!("{}m", roll % 999 + 1)),
        Form::IntOrString if roll.is_multiple_of(2) => return json!(roll % 1000),
        Form::IntOrString => return json!(format!("{roll}%")),
        Form::Raw => return json!({"any": [roll, {"thing": true}]}),
        Form::Strings => return json!(["x", roll.to_string()]),
        Form::SchemaOrBool => return json!(true),
        Form::SchemaOrArray => return json!([{"type": "string"}]),
        Form::SchemaOrStrings => return json!(["p"]),
    }
    let mut object = serde_json::Map::new();
    for field in arena().members(of) {
        let roll = next(seed);
        if depth == 0 || roll.is_multiple_of(3) {
            continue;
        }
        let mut one = || match field.value {
            FieldType::String => json!(format!("t{roll}")),
            FieldType::Bool => json!(roll.is_multiple_of(2)),
            FieldType::Int32 => json!(roll as i32),
            FieldType::Int64 => json!((roll as i64) << 20),
            FieldType::Double => json!(roll as f64 / 4.0),
            FieldType::Bytes => json!("YWJj"),
            FieldType::Message(id) => arbitrary(arena().get(id), seed, depth - 1),
        };
        let value = match field.shape {
            Shape::One => one(),
            Shape::List => json!([one(), one()]),
            Shape::Map => json!({"a": one(), "b/c": one()}),
        };
        object.insert(field.name.to_owned(), value);
    }
    Value::Object(object)
}

/// Where two trees part, so that a failure can be read.
fn difference(left: &Value, right: &Value) -> String {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys());
            let key = keys.into_iter().find(|key| a.get(*key) != b.get(*key));
            key.map_or_else(String::new, |key| {
                format!(".{key}{}", difference(&left[key], &right[key]))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let at = (0..a.len()).find(|at| a[*at] != b[*at]).unwrap_or(0);
            format!("[{at}]{}", difference(&a[at], &b[at]))
        }
        _ => format!(": {left} or {right}"),
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, cases: 64, ..Default::default() })]
    #[test]
    fn any_object_survives_protobuf_and_decoding_twice_changes_nothing(start: u64) {
        let mut seed = start;
        for spec in crate::kind::all() {
            let of = arena().find(spec.root_type).unwrap();
            let object = arbitrary(of, &mut seed, 5);
            let once = super::decode_value(spec.root_type, &object, FieldValidation::Strict).unwrap().object;
            let again = super::decode_value(spec.root_type, &once, FieldValidation::Strict).unwrap().object;
            proptest::prop_assert!(again == once, "decoding {} twice", spec.kind);
            let bytes = encode_protobuf(spec.root_type, &once).unwrap();
            let back = decode(spec.root_type, MediaType::Protobuf, &bytes, FieldValidation::Strict).unwrap().object;
            proptest::prop_assert!(back == once, "protobuf of {}: {}", spec.kind, difference(&back, &once));
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let wire = [b"k8s\0\x12\x7f".to_vec(), bytes.clone()].concat();
        for media in [MediaType::Json, MediaType::Yaml, MediaType::Protobuf] {
            let _ = decode(DEPLOYMENT, media, &bytes, FieldValidation::Strict);
            let _ = decode(DEPLOYMENT, media, &wire, FieldValidation::Strict);
        }
    }
}

/// Upstream's own objects with every field filled: JSON and protobuf mean the same, and ours encode to their bytes.
#[test]
fn upstreams_fixtures_round_trip() {
    let Some(folder) = fixtures() else {
        eprintln!(
            "skipped: k8s.io/api is not in the Go module cache (go mod download k8s.io/api@v0.37.2)"
        );
        return;
    };
    let mut checked = 0;
    let mut failures = Vec::new();
    for of in arena().types() {
        let Some([group, version, kind]) = of.kind else {
            continue;
        };
        let group = if group.is_empty() { "core" } else { group };
        let stem = folder.join(format!("{group}.{version}.{kind}"));
        let Ok(text) = std::fs::read(stem.with_extension(format!("{kind}.json"))) else {
            continue;
        };
        let bytes = std::fs::read(stem.with_extension(format!("{kind}.pb"))).unwrap();
        let yaml = std::fs::read(stem.with_extension(format!("{kind}.yaml"))).unwrap();
        let original: Value = serde_json::from_slice(&text).unwrap();
        let from_json = decode(&of.name, MediaType::Json, &text, FieldValidation::Strict)
            .unwrap()
            .object;
        let from_yaml = decode(&of.name, MediaType::Yaml, &yaml, FieldValidation::Strict)
            .unwrap()
            .object;
        let from_wire = decode(
            &of.name,
            MediaType::Protobuf,
            &bytes,
            FieldValidation::Strict,
        )
        .unwrap()
        .object;
        let encoded = encode_protobuf(&of.name, &from_json).unwrap();
        if from_json != original {
            failures.push(format!(
                "{}: the normal form differs from upstream's JSON",
                of.name
            ));
        }
        if from_json != from_yaml || from_json != from_wire {
            failures.push(format!("{}: encodings differ", of.name));
        }
        if encoded != bytes {
            failures.push(format!("{}: bytes differ", of.name));
        }
        checked += 1;
    }
    assert!(
        failures.is_empty(),
        "{} of {checked}:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(checked > 70, "only {checked} fixtures");
}

fn fixtures() -> Option<PathBuf> {
    let cache = std::env::var_os("GOMODCACHE").map(PathBuf::from);
    let cache =
        cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join("go/pkg/mod")))?;
    let folder = cache.join("k8s.io/api@v0.37.2/testdata/HEAD");
    folder.is_dir().then_some(folder)
}
