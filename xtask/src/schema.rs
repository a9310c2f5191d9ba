//! `xtask schema`: the API machine's table of facts, from upstream's published packages.
//!
//! Three sources say three different things: `generated.proto` the wire (numbers, wire types), the Go struct
//! tags what an absent value means (pointer, omitempty), the JSON schema what OpenAPI publishes
//! (required, list types, merge keys, enums). All are fetched by their registries' own clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::schema_go::GoPackage;
use crate::schema_json::JsonSchemas;
use crate::schema_proto::{self, Message};
use crate::schema_table;

/// The release of the Go modules; the JSON schema of the same minor release is used.
const GO_VERSION: &str = "v0.37.2";
const KUBERNETES_VALIDATE: &str = "1.37.0";
const JSON_SCHEMA: &str =
    "kubernetes_validate/kubernetes-json-schema/v1.37.0-local/_definitions.json";

/// Go module, folder in it, name in OpenAPI, short name in the table.
const PACKAGES: &[(&str, &str, &str, &str)] = &[
    (
        "k8s.io/apimachinery",
        "pkg/api/resource",
        "io.k8s.apimachinery.pkg.api.resource",
        "quantity",
    ),
    (
        "k8s.io/apimachinery",
        "pkg/apis/meta/v1",
        "io.k8s.apimachinery.pkg.apis.meta.v1",
        "meta.v1",
    ),
    (
        "k8s.io/apimachinery",
        "pkg/runtime",
        "io.k8s.apimachinery.pkg.runtime",
        "runtime",
    ),
    (
        "k8s.io/apimachinery",
        "pkg/util/intstr",
        "io.k8s.apimachinery.pkg.util.intstr",
        "intstr",
    ),
    (
        "k8s.io/api",
        "admissionregistration/v1",
        "io.k8s.api.admissionregistration.v1",
        "admissionregistration.v1",
    ),
    ("k8s.io/api", "apps/v1", "io.k8s.api.apps.v1", "apps.v1"),
    (
        "k8s.io/api",
        "authentication/v1",
        "io.k8s.api.authentication.v1",
        "authentication.v1",
    ),
    (
        "k8s.io/api",
        "authorization/v1",
        "io.k8s.api.authorization.v1",
        "authorization.v1",
    ),
    (
        "k8s.io/api",
        "autoscaling/v1",
        "io.k8s.api.autoscaling.v1",
        "autoscaling.v1",
    ),
    (
        "k8s.io/api",
        "autoscaling/v2",
        "io.k8s.api.autoscaling.v2",
        "autoscaling.v2",
    ),
    ("k8s.io/api", "batch/v1", "io.k8s.api.batch.v1", "batch.v1"),
    (
        "k8s.io/api",
        "certificates/v1",
        "io.k8s.api.certificates.v1",
        "certificates.v1",
    ),
    (
        "k8s.io/api",
        "coordination/v1",
        "io.k8s.api.coordination.v1",
        "coordination.v1",
    ),
    ("k8s.io/api", "core/v1", "io.k8s.api.core.v1", "core.v1"),
    (
        "k8s.io/api",
        "discovery/v1",
        "io.k8s.api.discovery.v1",
        "discovery.v1",
    ),
    (
        "k8s.io/api",
        "events/v1",
        "io.k8s.api.events.v1",
        "events.v1",
    ),
    (
        "k8s.io/api",
        "flowcontrol/v1",
        "io.k8s.api.flowcontrol.v1",
        "flowcontrol.v1",
    ),
    (
        "k8s.io/api",
        "networking/v1",
        "io.k8s.api.networking.v1",
        "networking.v1",
    ),
    ("k8s.io/api", "node/v1", "io.k8s.api.node.v1", "node.v1"),
    (
        "k8s.io/api",
        "policy/v1",
        "io.k8s.api.policy.v1",
        "policy.v1",
    ),
    ("k8s.io/api", "rbac/v1", "io.k8s.api.rbac.v1", "rbac.v1"),
    (
        "k8s.io/api",
        "resource/v1",
        "io.k8s.api.resource.v1",
        "resource.v1",
    ),
    (
        "k8s.io/api",
        "scheduling/v1",
        "io.k8s.api.scheduling.v1",
        "scheduling.v1",
    ),
    // Reached from batch.v1.
    (
        "k8s.io/api",
        "scheduling/v1alpha3",
        "io.k8s.api.scheduling.v1alpha3",
        "scheduling.v1alpha3",
    ),
    (
        "k8s.io/api",
        "storage/v1",
        "io.k8s.api.storage.v1",
        "storage.v1",
    ),
    (
        "k8s.io/api",
        "storagemigration/v1",
        "io.k8s.api.storagemigration.v1",
        "storagemigration.v1",
    ),
    (
        "k8s.io/apiextensions-apiserver",
        "pkg/apis/apiextensions/v1",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        "apiextensions.v1",
    ),
    (
        "k8s.io/kube-aggregator",
        "pkg/apis/apiregistration/v1",
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
        "apiregistration.v1",
    ),
];

/// One upstream package with all that its sources say.
pub struct Package {
    pub openapi_name: &'static str,
    pub short_name: &'static str,
    pub messages: Vec<Message>,
    pub go: GoPackage,
}

/// Downloads the sources and rewrites the committed table.
pub fn generate() -> Result<()> {
    let work = std::env::temp_dir().join(format!("portcullis-schema-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let mut schemas = JsonSchemas::parse(&fs::read_to_string(download_json_schema(&work)?)?)?;
    let mut packages = Vec::new();
    for (module, folder, openapi_name, short_name) in PACKAGES {
        let folder = download_module(module, &work)?.join(folder);
        let proto = fs::read_to_string(folder.join("generated.proto"))
            .with_context(|| folder.display().to_string())?;
        packages.push(Package {
            openapi_name,
            short_name,
            messages: schema_proto::parse(&proto)?,
            go: GoPackage::parse(&go_sources(&folder)?),
        });
    }
    note_inlined(&packages, &mut schemas);
    let head = format!(
        "# Facts of the Kubernetes API, derived from k8s.io modules {GO_VERSION} and kubernetes-validate {KUBERNETES_VALIDATE} \
         (both Apache-2.0).\n# Regenerate with `cargo run -p portcullis-xtask -- schema`.\n"
    );
    let table = schema_table::render(&head, &packages, &schemas)?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../control-plane/resource/generated/schema.txt");
    fs::create_dir_all(target.parent().context("the table has a folder")?)?;
    fs::write(&target, table)?;
    fs::remove_dir_all(&work)?;
    println!("wrote {}", target.display());
    Ok(())
}

fn note_inlined(packages: &[Package], schemas: &mut JsonSchemas) {
    for package in packages {
        for message in &package.messages {
            for field in &message.fields {
                let inline = package
                    .go
                    .field(&message.name, &field.name)
                    .is_some_and(|go| go.inline);
                if inline && !field.value.starts_with('.') {
                    let full = |name: &str| format!("{}.{name}", package.openapi_name);
                    schemas.note_inlined(full(&field.value), full(&message.name));
                }
            }
        }
    }
}

fn go_sources(folder: &Path) -> Result<String> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    names.sort();
    let mut sources = String::new();
    for name in names {
        let file = name
            .file_name()
            .and_then(|f| f.to_str())
            .unwrap_or_default();
        let generated = file.starts_with("zz_generated")
            || file.starts_with("generated")
            || file.starts_with("types_swagger");
        if file.ends_with(".go") && !file.ends_with("_test.go") && !generated {
            sources.push_str(&fs::read_to_string(&name)?);
        }
    }
    Ok(sources)
}

fn download_module(module: &str, work: &Path) -> Result<PathBuf> {
    fs::write(work.join("go.mod"), "module schema\n")?;
    let output = Command::new("go")
        .args([
            "mod",
            "download",
            "-json",
            &format!("{module}@{GO_VERSION}"),
        ])
        .current_dir(work)
        .output()
        .context("running go")?;
    ensure!(
        output.status.success(),
        "go mod download {module}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    match answer["Dir"].as_str() {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => bail!("go mod download {module} named no folder: {answer}"),
    }
}

fn download_json_schema(work: &Path) -> Result<PathBuf> {
    let pinned = format!("kubernetes-validate=={KUBERNETES_VALIDATE}");
    run(Command::new("pip")
        .args(["download", "--quiet", "--no-deps", "--dest", "."])
        .arg(pinned)
        .current_dir(work))?;
    let wheel = fs::read_dir(work)?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .context("pip left no wheel")?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(wheel)
        .arg(work.join("wheel")))?;
    Ok(work.join("wheel").join(JSON_SCHEMA))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("running {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
