//! The schema arena: every type of the served API with its fields, numbers, list types and merge keys.
//!
//! Loaded once, on first use, from the committed table of facts in `generated/schema.txt`; nothing in it is
//! hand-written, `cargo run -p portcullis-xtask -- schema` makes it from upstream's packages.

mod parse;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::LazyLock;

static ARENA: LazyLock<Arena> = LazyLock::new(|| {
    parse::table(include_str!("../../generated/schema.txt"))
        .expect("the committed table was written by our generator")
});

/// The arena of the built-in kinds.
pub fn arena() -> &'static Arena {
    &ARENA
}

#[derive(Debug, Default)]
pub struct Arena {
    types: Vec<Type>,
    by_name: HashMap<String, TypeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeId(u32);

#[derive(Debug)]
pub struct Type {
    /// Upstream's definition name: `io.k8s.api.core.v1.Pod`.
    pub name: String,
    pub form: Form,
    /// In protobuf's order. Inlined structs are one field here.
    pub fields: Vec<Field>,
    /// Carries apiVersion and kind.
    pub with_type_meta: bool,
    /// Group, version, kind, where the type is a kind.
    pub kind: Option<[&'static str; 3]>,
    /// Server-side apply owns it as a whole.
    pub atomic: bool,
    /// JSON names, sorted, inlined structs flattened: owner and index.
    members: Vec<(&'static str, TypeId, usize)>,
}

/// How a type looks in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Struct,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// Go's duration text.
    Duration,
    Quantity,
    IntOrString,
    /// Any JSON, kept as it is.
    Raw,
    /// A list of strings that protobuf wraps in a message.
    Strings,
    /// `JSONSchemaPropsOr…`: the schema of field 1 or 2, or the other thing.
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub number: u32,
    pub shape: Shape,
    pub value: Value,
    pub required: bool,
    /// Absent and zero differ.
    pub pointer: bool,
    /// Written even when zero: no `omitempty`.
    pub keep: bool,
    /// An empty struct is not written.
    pub omitzero: bool,
    /// Its members stand in the parent's JSON.
    pub inline: bool,
    pub list: ListType,
    pub patch: PatchStrategy,
    pub merge_key: Option<&'static str>,
    pub atomic: bool,
    pub allowed: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    One,
    List,
    /// Keys are strings.
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    Message(TypeId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListType {
    Unsaid,
    Atomic,
    Set,
    Map(Vec<&'static str>),
}

/// `x-kubernetes-patch-strategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
    pub replace: bool,
}

impl Arena {
    pub fn find(&self, name: &str) -> Option<&Type> {
        self.by_name.get(name).map(|id| self.get(*id))
    }

    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// The field that JSON calls `name`, inlined structs included.
    pub fn member(&self, of: &Type, name: &str) -> Option<&Field> {
        let at = of
            .members
            .binary_search_by(|(member, ..)| (*member).cmp(name))
            .ok()?;
        let (_, owner, index) = of.members[at];
        self.get(owner).fields.get(index)
    }

    /// Every JSON member of a type, by name.
    pub fn members<'a>(&'a self, of: &'a Type) -> impl Iterator<Item = &'a Field> {
        of.members
            .iter()
            .map(|(_, owner, index)| &self.get(*owner).fields[*index])
    }
}

impl Type {
    /// Go's name: `Pod`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// Go's name with its package: `v1.Pod`.
    pub fn go_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.');
        dots.next();
        dots.next()
            .map_or(self.name.as_str(), |(at, _)| &self.name[at + 1..])
    }
}
