//! Reads the regular subset of proto2 that go-to-protobuf writes.

use anyhow::{Context, Result, bail};

pub struct Message {
    pub name: String,
    pub fields: Vec<ProtoField>,
}

pub struct ProtoField {
    pub name: String,
    pub number: u32,
    pub cardinality: Cardinality,
    /// A proto scalar, a message of the same package, or `.k8s.io…` for one of another.
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    One,
    List,
    Map,
}

/// Every top-level message of one `generated.proto`.
pub fn parse(text: &str) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix("message ")
            .and_then(|rest| rest.strip_suffix('{'))
        {
            messages.push(Message {
                name: name.trim().to_owned(),
                fields: Vec::new(),
            });
            inside = true;
        } else if line == "}" {
            inside = false;
        } else if inside && !line.is_empty() && !line.starts_with("//") {
            let field = parse_field(line).with_context(|| format!("proto line {line:?}"))?;
            messages
                .last_mut()
                .context("a field outside every message")?
                .fields
                .push(field);
        }
    }
    Ok(messages)
}

fn parse_field(line: &str) -> Result<ProtoField> {
    let (left, number) = line
        .trim_end_matches(';')
        .split_once(" = ")
        .context("no number")?;
    let number = number.trim().parse()?;
    if let Some(rest) = left.strip_prefix("map<string, ") {
        let (value, name) = rest.split_once("> ").context("no map value")?;
        return Ok(ProtoField {
            name: name.to_owned(),
            number,
            cardinality: Cardinality::Map,
            value: value.to_owned(),
        });
    }
    let mut words = left.split(' ');
    let cardinality = match words.next() {
        Some("optional") => Cardinality::One,
        Some("repeated") => Cardinality::List,
        other => bail!("unknown label {other:?}"),
    };
    let value = words.next().context("no type")?.to_owned();
    let name = words.next().context("no name")?.to_owned();
    Ok(ProtoField {
        name,
        number,
        cardinality,
        value,
    })
}
