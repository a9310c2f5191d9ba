//! The controller between an API server and proxies, all in one process.

mod fake_api;
mod fake_controller;
mod objects;
mod proxies;
mod publishing;
