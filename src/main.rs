//! The `portcullis` command: reads the command line, starts one component or all of them.
//!
//! This is the only place that knows every product. Each subcommand is one file: config, build, run, drain.

mod apiserver;
mod ask;
mod cli;
mod client;
mod controller;
mod controllers;
mod data_dir;
mod data_plane;
mod dns;
mod echo;
mod files;
mod image;
mod link;
mod proxy;
mod up;
mod version;

use std::{io::IsTerminal, process::ExitCode};

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    if matches!(command, Command::Up(_) | Command::Proxy(_)) {
        data_plane::raise_descriptor_limit();
    }
    match command {
        Command::Up(args) => on_threads(up::run(args)),
        Command::Controller(args) => on_threads(controller::run(*args)),
        Command::Proxy(args) => on_one_thread(proxy::run(args)),
        Command::Apiserver(args) => on_threads(apiserver::run(args)),
        Command::ControllerManager(args) => on_one_thread(controllers::controller_manager(args)),
        Command::Scheduler(args) => on_one_thread(controllers::scheduler(args)),
        Command::Dns(args) => on_threads(dns::run(args)),
        Command::Echo(args) => on_one_thread(echo::run(args)),
        Command::Pause => Ok(portcullis_agent::pause()?),
        Command::Image(command) => on_one_thread(image::run(command)),
        Command::Ask(args) => on_one_thread(ask::run(args)),
        Command::Version(args) => version::run(&args),
        Command::Completion { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "portcullis",
                &mut std::io::stdout(),
            );
            Ok(())
        }
    }
}

fn on_one_thread(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The proxy's workers are its own threads: these are for everything else.
fn on_threads(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?
        .block_on(work)
}

/// `RUST_LOG` narrows or widens it, in the syntax of tracing's `EnvFilter`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Two keep a slow task from holding up the others; more only cost memory.
const THREADS: usize = 2;
