//! Renders the committed table: one line per type, one indented line per field, all in a fixed order.
//!
//! `package SHORT OPENAPI-NAME`, then `type NAME [meta] [words…]`, then
//! `  JSON-NAME NUMBER TYPE [flags…]` where TYPE is a scalar or `SHORT.Name`, with `[]` or `map:` before it.
//! Flags: `!` required, `*` pointer, `keep` no omitempty, `omitzero`, `inline`, and the words of the JSON schema.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};

use crate::schema::Package;
use crate::schema_json::JsonSchemas;
use crate::schema_proto::{Cardinality, Message, ProtoField};

pub fn render(head: &str, packages: &[Package], schemas: &JsonSchemas) -> Result<String> {
    let short_names: BTreeMap<String, &str> = packages
        .iter()
        .map(|p| (proto_name(p.openapi_name), p.short_name))
        .collect();
    let mut table = head.to_owned();
    for package in packages {
        writeln!(
            table,
            "package {} {}",
            package.short_name, package.openapi_name
        )?;
        for message in &package.messages {
            render_message(&mut table, package, message, schemas, &short_names)
                .with_context(|| format!("{}.{}", package.openapi_name, message.name))?;
        }
    }
    Ok(table)
}

fn render_message(
    table: &mut String,
    package: &Package,
    message: &Message,
    schemas: &JsonSchemas,
    short_names: &BTreeMap<String, &str>,
) -> Result<()> {
    let definition = format!("{}.{}", package.openapi_name, message.name);
    let mut words = schemas.type_words(&definition);
    if package.go.has_type_meta(&message.name) {
        words.insert(0, "meta".to_owned());
    }
    writeln!(
        table,
        "{}",
        join_words(format!("type {}", message.name), &words)
    )?;
    for field in &message.fields {
        let go = package.go.field(&message.name, &field.name);
        let inline = go.is_some_and(|g| g.inline);
        let json_name = go
            .filter(|g| !g.inline)
            .map_or(field.name.as_str(), |g| g.json_name.as_str());
        let mut words = Vec::new();
        if schemas.is_required(&definition, json_name) {
            words.push("!".to_owned());
        }
        if let Some(go) = go {
            let flags = [
                (go.pointer, "*"),
                (!go.omitempty && !go.omitzero && !inline, "keep"),
                (go.omitzero, "omitzero"),
                (inline, "inline"),
            ];
            words.extend(
                flags
                    .iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, word)| (*word).to_owned()),
            );
        }
        words.extend(schemas.words(&definition, json_name));
        let value = value_name(field, package.short_name, short_names)?;
        writeln!(
            table,
            "{}",
            join_words(format!("  {json_name} {} {value}", field.number), &words)
        )?;
    }
    Ok(())
}

fn value_name(
    field: &ProtoField,
    own_package: &str,
    short_names: &BTreeMap<String, &str>,
) -> Result<String> {
    let prefix = match field.cardinality {
        Cardinality::One => "",
        Cardinality::List => "[]",
        Cardinality::Map => "map:",
    };
    let value = match field.value.as_str() {
        scalar @ ("string" | "bool" | "int32" | "int64" | "double" | "bytes") => scalar.to_owned(),
        foreign if foreign.starts_with('.') => {
            let (package, name) = foreign[1..].rsplit_once('.').context("no package")?;
            let short = short_names
                .get(package)
                .with_context(|| format!("package {package} is not in the list"))?;
            format!("{short}.{name}")
        }
        own => format!("{own_package}.{own}"),
    };
    Ok(format!("{prefix}{value}"))
}

/// `io.k8s.api.core.v1` is `k8s.io.api.core.v1` in protobuf, with underscores for dashes.
fn proto_name(openapi_name: &str) -> String {
    openapi_name
        .replacen("io.k8s.", "k8s.io.", 1)
        .replace('-', "_")
}

fn join_words(start: String, words: &[String]) -> String {
    words.iter().fold(start, |line, word| line + " " + word)
}
