//! Pure API machine: schema arena, kinds, codecs, preparation, patches, tables, selectors, discovery, access control.
//!
//! Owns what Kubernetes objects mean: which kinds exist, how bodies are decoded, defaulted, checked, patched and shown,
//! and what roles allow.
//! Does not own storage, sockets, time or identity: those are arguments. Entry points: [`kind::by_resource`] for a
//! kind's row, [`request::RequestInfo`] for what a path asks, [`rbac::decide`] for whether it may, [`error::ApiError`]
//! for every failure.

pub mod codec;
pub mod default;
pub mod discovery;
pub mod error;
pub mod kind;
pub mod openapi;
pub mod patch;
pub mod prepare;
pub mod rbac;
pub mod request;
pub mod review;
pub mod schema;
pub mod selector;
pub mod table;
pub mod validate;
