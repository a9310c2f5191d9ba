//! The bench's command: the table by default; the other subcommands are the processes it starts.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use portcullis_benches::{
    gateway, latency, origin,
    peer::Peer,
    rounds::{self, Plan},
    table,
};

/// CPU per request beside HAProxy, nginx, Envoy and pingora-proxy.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    bench: BenchArguments,
}

#[derive(clap::Args)]
struct BenchArguments {
    /// How often every peer has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured per turn.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// Only these peers, for example `portcullis,haproxy`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Peer>,
    /// With the access log on, off, or one after the other.
    #[arg(long, default_value = "both")]
    access_log: AccessLog,
    /// Configurations and logs of the runs.
    #[arg(long, default_value = "target/bench")]
    directory: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccessLog {
    On,
    Off,
    Both,
}

#[derive(Subcommand)]
enum Part {
    /// The origin behind every peer.
    #[command(hide = true)]
    Origin,
    /// The Portcullis row.
    #[command(hide = true)]
    Gateway {
        listen: SocketAddr,
        admin: SocketAddr,
        origin: SocketAddr,
        access_log: Option<PathBuf>,
    },
    /// Milliseconds from the API's 2xx to the first right answer, in a running `portcullis up`.
    Latency(LatencyArguments),
}

#[derive(clap::Args)]
struct LatencyArguments {
    /// Of the cluster, as the ready line names it.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Where its ingress answers plain HTTP, for example 127.0.0.1:80.
    #[arg(long)]
    http: SocketAddr,
    #[arg(long, default_value = "portcullis")]
    ingress_class: String,
    /// Ingresses that are there all the time.
    #[arg(long, default_value_t = 1_000)]
    loaded: usize,
    /// Changes of each kind.
    #[arg(long, default_value_t = 100)]
    changes: usize,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(part(arguments));
    // A thread that waits for the end of standard input must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn part(arguments: Arguments) -> Result<()> {
    match arguments.part {
        None => {
            let samples = rounds::run(arguments.bench.plan()).await?;
            print!("{}", table::render(&samples));
        }
        Some(Part::Origin) => origin::serve().await?,
        Some(Part::Gateway {
            listen,
            admin,
            origin,
            access_log,
        }) => gateway::serve(listen, admin, origin, access_log).await?,
        Some(Part::Latency(arguments)) => {
            let (loaded, changes) = (arguments.loaded, arguments.changes);
            let report = latency::run(arguments.plan()).await?;
            print!("{}", report.render(loaded, changes));
        }
    }
    Ok(())
}

impl LatencyArguments {
    fn plan(self) -> latency::Plan {
        latency::Plan {
            kubeconfig: self.kubeconfig,
            http: self.http,
            ingress_class: self.ingress_class,
            loaded: self.loaded,
            changes: self.changes,
        }
    }
}

impl BenchArguments {
    fn plan(self) -> Plan {
        Plan {
            peers: match self.only.is_empty() {
                true => Peer::ALL.to_vec(),
                false => self.only,
            },
            access_log: match self.access_log {
                AccessLog::On => vec![true],
                AccessLog::Off => vec![false],
                AccessLog::Both => vec![false, true],
            },
            rounds: self.rounds,
            window: Duration::from_secs_f64(self.seconds),
            warm_up: Duration::from_secs_f64(self.warm_up),
            directory: self.directory,
        }
    }
}
