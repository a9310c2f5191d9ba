//! One file per verb.

mod create;
mod delete;
mod delete_collection;
mod get;
mod list;
mod patch;
mod update;
mod watch;

pub(crate) use create::{create, create_object};
pub(crate) use delete::{delete, delete_object};
pub(crate) use delete_collection::delete_collection;
pub(crate) use get::get;
pub(crate) use list::list;
pub(crate) use patch::{patch, patch_of};
pub(crate) use update::{service_change, update};
pub(crate) use watch::watch;
