//! A whole node against a stand-in for the API: real containerd, real pods, real connections.
//!
//! This program is also what runs in those pods: called as `pause` or `echo` it is that.

mod api;
mod echo;
mod parts;
mod scenes;
mod stage;
mod tls;
mod volumes;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("pause") => portcullis_agent::pause().expect("signals can be waited for"),
        Some("echo") => echo::serve(),
        Some("--list") => println!("node: test"),
        _ => return test(),
    }
    ExitCode::SUCCESS
}

fn test() -> ExitCode {
    if let Some(reason) = scenes::unsupported() {
        println!("node test skipped: {reason}");
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let passed = runtime.block_on(scenes::all());
    println!("node test passed: {passed} scenes");
    ExitCode::SUCCESS
}
