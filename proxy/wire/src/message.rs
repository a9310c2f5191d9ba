//! Publications as messages and messages as publications.

use std::sync::Arc;

use prost::Message as _;

use crate::{
    MAX_SET_BYTES, MAX_UNITS, PART_BYTES, ProtocolError, proto,
    set::Delta,
    unit::{Hash, Unit, UnitKey, UnitKind},
};

/// A message of a publication, as it is sent.
pub type Part = proto::Part;

/// A whole publication, as it is applied.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    pub instance: String,
    pub version: u64,
    /// The version that this changes; none replaces everything.
    pub base: Option<u64>,
    pub put: Vec<Unit>,
    pub delete: Vec<UnitKey>,
}

/// Cuts a change into messages of about [`PART_BYTES`]; the last one is marked. There is always at least one.
pub fn parts(instance: &str, version: u64, base: Option<u64>, delta: &Delta) -> Vec<Part> {
    let empty = || Part {
        instance: instance.to_owned(),
        version,
        base: base.unwrap_or(0),
        ..Part::default()
    };
    let mut parts = vec![empty()];
    let mut bytes = 0;
    for unit in &delta.put {
        let unit = to_proto(unit);
        let size = unit.encoded_len();
        next_part(&mut parts, &mut bytes, size, empty)
            .put
            .push(unit);
    }
    for key in &delta.delete {
        let name = proto::UnitName {
            kind: key.kind.number(),
            name: key.name.clone(),
        };
        let size = name.encoded_len();
        next_part(&mut parts, &mut bytes, size, empty)
            .delete
            .push(name);
    }
    if let Some(last) = parts.last_mut() {
        last.last = true;
    }
    parts
}

fn next_part<'p>(
    parts: &'p mut Vec<Part>,
    bytes: &mut usize,
    size: usize,
    empty: impl Fn() -> Part,
) -> &'p mut Part {
    if *bytes >= PART_BYTES {
        parts.push(empty());
        *bytes = 0;
    }
    *bytes += size;
    parts.last_mut().expect("there is always a part")
}

/// Collects the parts of one publication.
#[derive(Default)]
pub struct Assembler {
    open: Option<Publication>,
    bytes: usize,
}

impl Assembler {
    /// The publication, when its last part is there.
    ///
    /// # Errors
    /// [`ProtocolError`] for parts that do not belong together and for what is too large.
    pub fn push(&mut self, part: Part) -> Result<Option<Publication>, ProtocolError> {
        let open = self.open.get_or_insert_with(|| Publication {
            instance: part.instance.clone(),
            version: part.version,
            base: (part.base != 0).then_some(part.base),
            put: Vec::new(),
            delete: Vec::new(),
        });
        if open.version != part.version || open.instance != part.instance {
            return Err(ProtocolError::MixedParts {
                expected: open.version,
                got: part.version,
            });
        }
        for unit in part.put {
            self.bytes += unit.body.len();
            open.put.push(from_proto(unit));
        }
        let deleted = part.delete.into_iter();
        open.delete
            .extend(deleted.map(|name| UnitKey::new(UnitKind::from_number(name.kind), name.name)));
        if self.bytes > MAX_SET_BYTES {
            return Err(ProtocolError::SetTooLarge);
        }
        if open.put.len().max(open.delete.len()) > MAX_UNITS {
            return Err(ProtocolError::TooManyUnits);
        }
        if !part.last {
            return Ok(None);
        }
        self.bytes = 0;
        Ok(self.open.take())
    }
}

pub(crate) fn to_proto(unit: &Arc<Unit>) -> proto::Unit {
    proto::Unit {
        kind: unit.key.kind.number(),
        name: unit.key.name.clone(),
        hash: unit.hash.to_vec().into(),
        required_feature: unit.required_feature,
        body: unit.body.clone(),
    }
}

/// A hash of another length is kept as zeros, which no content has: the unit is refused by name.
pub(crate) fn from_proto(unit: proto::Unit) -> Unit {
    Unit {
        key: UnitKey::new(UnitKind::from_number(unit.kind), unit.name),
        required_feature: unit.required_feature,
        hash: Hash::try_from(&unit.hash[..]).unwrap_or_default(),
        body: unit.body,
    }
}

impl std::fmt::Debug for proto::Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let length = self.body.len();
        write!(f, "Unit({} {}, {length} bytes)", self.kind, self.name)
    }
}
