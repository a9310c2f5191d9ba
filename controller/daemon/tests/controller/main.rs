//! The controller between an API server and proxies, all in one process.

mod fake_api;
mod fake_controller;
mod fake_proxy;
mod link;
mod objects;
mod proxies;
mod publishing;
