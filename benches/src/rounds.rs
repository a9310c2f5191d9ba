//! Interleaved rounds: every peer once per round and access-log setting, so that a noisy minute hurts all alike.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{task::LocalSet, time::sleep};

use crate::{
    check, client,
    input::{host_name, request},
    load, origin,
    peer::{Peer, Site},
    pinning::{self, Cores},
    process::PeerProcess,
};

pub struct Plan {
    pub peers: Vec<Peer>,
    pub access_log: Vec<bool>,
    pub rounds: usize,
    pub window: Duration,
    pub warm_up: Duration,
    /// Configurations and logs; emptied first.
    pub directory: PathBuf,
}

/// One peer's figures in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub peer: Peer,
    pub access_log: bool,
    pub cpu_us_per_request: f64,
    pub requests_per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub resident_bytes: u64,
    /// Lines in the access log per request; less than 1 when a peer dropped some.
    pub logged: f64,
}

struct Bench {
    plan: Plan,
    cores: Option<Cores>,
    origin: SocketAddr,
}

/// Checks every peer, then measures them in turn. Progress goes to standard error.
///
/// # Errors
/// A peer that is missing, does not start, does not do its work, or answers wrongly under load.
pub async fn run(plan: Plan) -> Result<Vec<Sample>> {
    let cores = Cores::choose()?;
    match cores {
        Some(cores) => eprintln!(
            "proxy on core {}, origin on {}, load on {}",
            cores.proxy, cores.origin, cores.load
        ),
        None => eprintln!("one core: nothing is bound"),
    }
    let (_origin_process, origin) =
        pinning::pinned(cores.map(|cores| cores.origin), origin::start)??;
    if let Some(cores) = cores {
        pinning::pin(cores.load)?;
    }
    let bench = Bench {
        plan,
        cores,
        origin,
    };
    bench.check_all().await?;
    let mut samples = Vec::new();
    for round in 1..=bench.plan.rounds {
        for access_log in bench.plan.access_log.iter().copied() {
            for peer in bench.plan.peers.iter().copied() {
                let sample = bench.measure(peer, access_log).await;
                let sample = sample.with_context(|| format!("measuring {peer}"))?;
                eprintln!(
                    "round {round}/{}: {peer:<13} log {:<3} {:>6.1} µs/request {:>7.0} requests/s",
                    bench.plan.rounds,
                    on_or_off(access_log),
                    sample.cpu_us_per_request,
                    sample.requests_per_second,
                );
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

impl Bench {
    async fn check_all(&self) -> Result<()> {
        for access_log in self.plan.access_log.iter().copied() {
            for peer in self.plan.peers.iter().copied() {
                let checked = self.check(peer, access_log).await;
                checked.with_context(|| format!("{peer} does not do what the bench measures"))?;
                eprintln!("checked {peer}, log {}", on_or_off(access_log));
            }
        }
        Ok(())
    }

    async fn check(&self, peer: Peer, access_log: bool) -> Result<()> {
        let site = self.site(peer, access_log)?;
        let process = self.start(peer, &site).await?;
        check::behaviour(peer, &site).await?;
        process.stop()?;
        check::access_log(&site)
    }

    async fn measure(&self, peer: Peer, access_log: bool) -> Result<Sample> {
        let site = self.site(peer, access_log)?;
        let process = self.start(peer, &site).await?;
        let load = load::measure(site.listen, self.plan.warm_up, self.plan.window, || {
            process.usage()
        });
        let (outcome, before, after) = LocalSet::new().run_until(load).await?;
        process.stop()?;
        let cpu = after.cpu - before.cpu;
        let logged = check::access_log_lines(&site)? as f64 / outcome.total as f64;
        Ok(Sample {
            peer,
            access_log,
            cpu_us_per_request: cpu.as_secs_f64() * 1e6 / outcome.completed as f64,
            requests_per_second: outcome.completed as f64 / outcome.window.as_secs_f64(),
            p50: outcome.p50,
            p99: outcome.p99,
            resident_bytes: after.resident_bytes,
            logged,
        })
    }

    fn site(&self, peer: Peer, access_log: bool) -> Result<Site> {
        let directory = self.plan.directory.join(peer.to_string());
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("emptying {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)?;
        Ok(Site {
            listen: free_address()?,
            admin: free_address()?,
            origin: self.origin,
            directory: fs::canonicalize(directory)?,
            access_log,
        })
    }

    /// Returns when the peer serves.
    async fn start(&self, peer: Peer, site: &Site) -> Result<PeerProcess> {
        let command = peer.prepare(site)?;
        let core = self.cores.map(|cores| cores.proxy);
        let mut process = PeerProcess::start(command, core, &peer.standard_output(site))?;
        let deadline = Instant::now() + START_TIMEOUT;
        let asked = request(&host_name(0), "/", "Connection: close\r\n");
        loop {
            process.still_runs()?;
            match client::status(site.listen, &asked).await {
                Ok(200) => return Ok(process),
                Ok(status) if Instant::now() > deadline => {
                    anyhow::bail!("it still answers {status} after its start")
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("it does not serve after its start"));
                }
                _ => sleep(POLL).await,
            }
        }
    }
}

pub fn on_or_off(access_log: bool) -> &'static str {
    if access_log { "on" } else { "off" }
}

/// A port that was free a moment ago; not every peer can be asked to choose one and say which. Below the range from which
/// the kernel takes the load's own ports, or one of them might have it before the peer binds.
fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let ports = OWN_PORTS.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    // Never the same twice: whoever is to have it has not bound it yet.
    let step = NEXT.fetch_add(1, Ordering::Relaxed);
    let offset = (std::process::id() as usize * 101 + step) % OWN_PORTS.len();
    let mut ports = ports.cycle().skip(offset).take(OWN_PORTS.len());
    ports
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no free port below the ephemeral range")
}

const OWN_PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Envoy needs a second or two for 1,000 virtual hosts on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
