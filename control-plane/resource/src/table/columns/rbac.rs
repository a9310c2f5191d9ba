//! Roles and bindings.

use serde_json::{Value, json};

use crate::table::cell::{array, at};
use crate::table::{AGE, CREATED_AT, Column, NAME, text, wide};

pub(crate) const ROLE: &[Column] = &[NAME, CREATED_AT];

pub(crate) const BINDING: &[Column] = &[
    NAME,
    text("Role", "The role it grants.", |o, _| {
        json!(format!(
            "{}/{}",
            at(o, "/roleRef/kind"),
            at(o, "/roleRef/name")
        ))
    }),
    AGE,
    wide("Users", "Users it grants to.", |o, _| {
        json!(subjects(o, "User"))
    }),
    wide("Groups", "Groups it grants to.", |o, _| {
        json!(subjects(o, "Group"))
    }),
    wide(
        "ServiceAccounts",
        "ServiceAccounts it grants to.",
        |o, _| json!(subjects(o, "ServiceAccount")),
    ),
];

fn subjects(binding: &Value, kind: &str) -> String {
    let names = array(binding, "/subjects")
        .iter()
        .filter(|subject| at(subject, "/kind") == kind)
        .map(|subject| match at(subject, "/namespace") {
            "" => at(subject, "/name").to_owned(),
            namespace => format!("{namespace}/{}", at(subject, "/name")),
        });
    names.collect::<Vec<_>>().join(", ")
}
