//! The order of merged lists (`strategicpatch.normalizeElementOrder`).
//!
//! Items the patch speaks of stand in the patch's order, the server's own in the server's; the two runs are merged by
//! where both stood on the server, and an item new to the server goes before what it is compared with.

use serde_json::Value;

/// How items of one list are told apart.
#[derive(Clone, Copy)]
pub(super) enum Identity<'a> {
    /// By the item itself.
    Primitive,
    /// By the value of this key.
    Key(&'a str),
}

impl Identity<'_> {
    pub fn same(self, left: &Value, right: &Value) -> bool {
        match self {
            Identity::Primitive => left == right,
            // A list of the order holds either whole items or the keys alone.
            Identity::Key(key) => {
                let (left, right) = (left.get(key), right.get(key));
                left.is_some() && left.map(text) == right.map(text)
            }
        }
    }

    pub fn position(self, list: &[Value], item: &Value) -> Option<usize> {
        list.iter().position(|other| self.same(other, item))
    }
}

/// `merged` put in order: `patch_order` for what it names, `server_order` for the rest.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let (mut of_patch, mut of_server): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|item| identity.position(patch_order, item).is_some());
    let place = |list: &[Value], item: &Value| identity.position(list, item).unwrap_or(usize::MAX);
    of_patch.sort_by_key(|item| place(patch_order, item));
    of_server.sort_by_key(|item| place(server_order, item));
    let mut of_server = of_server.into_iter().peekable();
    let mut arranged = Vec::new();
    for item in of_patch {
        let here = identity.position(server_order, &item);
        while let Some(own) = of_server.next_if(|own| {
            let there = identity.position(server_order, own);
            matches!((there, here), (Some(there), Some(here)) if there < here)
        }) {
            arranged.push(own);
        }
        arranged.push(item);
    }
    arranged.extend(of_server);
    arranged
}

/// Keys compare by their text: `80` and `"80"` are one key, as in upstream.
fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
