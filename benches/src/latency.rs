//! From the API's 2xx to the first right answer: new Ingresses and changed endpoints beside many unchanged Ingresses.

mod objects;

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    client::Connection,
    input::{host_name, request},
    origin,
    table::percentile,
};

pub struct Plan {
    pub kubeconfig: PathBuf,
    /// Where the ingress answers plain HTTP.
    pub http: SocketAddr,
    pub ingress_class: String,
    /// Ingresses that are there all the time.
    pub loaded: usize,
    /// Changes of each kind, one after the other.
    pub changes: usize,
}

pub struct Report {
    pub loading: Duration,
    /// From the last 2xx of the load to the first right answer of its last host to come.
    pub settling: Duration,
    pub ingress: Percentiles,
    pub endpoints: Percentiles,
}

pub struct Percentiles {
    pub p50: Duration,
    pub p99: Duration,
    pub worst: Duration,
}

struct Cluster {
    client: Client,
    plan: Plan,
    /// Two origins that answer differently.
    origins: [SocketAddr; 2],
}

/// Creates a namespace of its own in the cluster and deletes it at the end.
///
/// # Errors
/// The API refuses something, or an answer is not right within [`PATIENCE`].
pub async fn run(plan: Plan) -> Result<Report> {
    let kubeconfig = Kubeconfig::read_from(&plan.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let address = own_address()?;
    let cluster = Cluster {
        client: Client::try_from(config)?,
        plan,
        origins: [
            origin(address, FIRST).await?,
            origin(address, SECOND).await?,
        ],
    };
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = objects::namespace()?;
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .context("creating the bench's namespace")?;
    let report = cluster.measure().await;
    clean_up(&namespaces)
        .await
        .context("deleting the bench's namespace")?;
    report
}

/// Returns when everything is gone, so that another run may follow.
async fn clean_up(namespaces: &Api<Namespace>) -> Result<()> {
    namespaces
        .delete(objects::NAMESPACE, &DeleteParams::default())
        .await?;
    let deadline = Instant::now() + CLEAN_UP_TIMEOUT;
    while namespaces.get_opt(objects::NAMESPACE).await?.is_some() {
        ensure!(
            Instant::now() < deadline,
            "it is still there after {} s",
            CLEAN_UP_TIMEOUT.as_secs()
        );
        sleep(CLEAN_UP_PAUSE).await;
    }
    Ok(())
}

impl Report {
    pub fn render(&self, plan_loaded: usize, plan_changes: usize) -> String {
        let line = |name: &str, figures: &Percentiles, bar_ms: u128| {
            let Percentiles { p50, p99, worst } = figures;
            format!(
                "{name:<16} {:>8} {:>8} {:>8} {bar_ms:>8}\n",
                p50.as_millis(),
                p99.as_millis(),
                worst.as_millis()
            )
        };
        format!(
            "{:<16} {:>8} {:>8} {:>8} {:>8}\n{}{}\
             Milliseconds from the API's 2xx to the first right answer; {plan_changes} changes each, beside {plan_loaded} Ingresses,\n\
             which the API accepted in {:.1} s and which were all served {:.1} s later.\n",
            "change",
            "p50",
            "p99",
            "worst",
            "p99 bar",
            line("new Ingress", &self.ingress, INGRESS_BAR_MS),
            line("other endpoint", &self.endpoints, ENDPOINT_BAR_MS),
            self.loading.as_secs_f64(),
            self.settling.as_secs_f64(),
        )
    }
}

impl Cluster {
    async fn measure(&self) -> Result<Report> {
        let started = Instant::now();
        self.load().await.context("loading Ingresses")?;
        let loading = started.elapsed();
        let settled = Instant::now();
        for index in 0..self.plan.loaded {
            self.await_answer(&host_name(index), FIRST).await?;
        }
        let settling = settled.elapsed();
        Ok(Report {
            loading,
            settling,
            ingress: self
                .create_ingresses()
                .await
                .context("creating Ingresses")?,
            endpoints: self
                .change_endpoints()
                .await
                .context("changing endpoints")?,
        })
    }

    async fn load(&self) -> Result<()> {
        let post = PostParams::default();
        self.api()
            .create(&post, &objects::service(SERVICE)?)
            .await?;
        self.api()
            .create(&post, &objects::slice(SERVICE, self.origins[0])?)
            .await?;
        let mut creations = JoinSet::new();
        for index in 0..self.plan.loaded {
            if creations.len() == PARALLEL_CREATIONS {
                creations
                    .join_next()
                    .await
                    .context("a creation under way")???;
            }
            let ingress = objects::ingress(
                &format!("load-{index}"),
                &host_name(index),
                SERVICE,
                &self.plan.ingress_class,
            )?;
            let api = self.api();
            creations
                .spawn(async move { api.create(&PostParams::default(), &ingress).await.map(drop) });
        }
        while let Some(created) = creations.join_next().await {
            created??;
        }
        Ok(())
    }

    async fn create_ingresses(&self) -> Result<Percentiles> {
        let mut times = Vec::new();
        for index in 0..self.plan.changes {
            let host = format!("new-{index}.bench.example");
            let ingress = objects::ingress(
                &format!("new-{index}"),
                &host,
                SERVICE,
                &self.plan.ingress_class,
            )?;
            self.api().create(&PostParams::default(), &ingress).await?;
            times.push(self.await_answer(&host, FIRST).await?);
        }
        Ok(Percentiles::of(times))
    }

    async fn change_endpoints(&self) -> Result<Percentiles> {
        let mut times = Vec::new();
        let slices = self.api::<k8s_openapi::api::discovery::v1::EndpointSlice>();
        for index in 0..self.plan.changes {
            let (origin, body) = match index % 2 {
                0 => (self.origins[1], SECOND),
                _ => (self.origins[0], FIRST),
            };
            let mut slice = objects::slice(SERVICE, origin)?;
            slice.metadata.resource_version = slices.get(SERVICE).await?.metadata.resource_version;
            slices
                .replace(SERVICE, &PostParams::default(), &slice)
                .await?;
            times.push(
                self.await_answer(&host_name(index % self.plan.loaded), body)
                    .await?,
            );
        }
        Ok(Percentiles::of(times))
    }

    /// Asks until the answer is `body`; the time that took.
    async fn await_answer(&self, host: &str, body: &[u8]) -> Result<Duration> {
        let started = Instant::now();
        let asked = request(host, "/", "");
        let mut connection = Connection::open(self.plan.http).await?;
        loop {
            let reply = connection.exchange(&asked).await?;
            if reply.status == 200 && reply.body == body {
                return Ok(started.elapsed());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "{host} is still answered {} after {} s",
                    reply.status,
                    PATIENCE.as_secs()
                );
            }
            if reply.close {
                connection = Connection::open(self.plan.http).await?;
            }
            sleep(PAUSE).await;
        }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), objects::NAMESPACE)
    }
}

impl Percentiles {
    fn of(times: Vec<Duration>) -> Self {
        let mut times_us: Vec<u32> = times
            .iter()
            .map(|time| u32::try_from(time.as_micros()).unwrap_or(u32::MAX))
            .collect();
        times_us.sort_unstable();
        Self {
            p50: percentile(&times_us, 50),
            p99: percentile(&times_us, 99),
            worst: percentile(&times_us, 100),
        }
    }
}

async fn origin(address: IpAddr, body: &'static [u8]) -> Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0)).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(origin::accept(listener, body));
    Ok(bound)
}

/// The address that this machine would send from: EndpointSlices may not hold loopback addresses. Nothing is sent.
fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket
        .connect(DOCUMENTATION_ADDRESS)
        .context("this machine has no address but loopback's")?;
    Ok(socket.local_addr()?.ip())
}

/// TEST-NET-1 (RFC 5737), the discard port.
const DOCUMENTATION_ADDRESS: &str = "192.0.2.1:9";
const SERVICE: &str = "origin";
const FIRST: &[u8] = b"the first origin";
const SECOND: &[u8] = b"the second origin";
/// Far above both bars, below anybody's patience.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions: the resolution of the figures.
const PAUSE: Duration = Duration::from_millis(1);
/// More than a thousand objects go one by one.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(120);
const CLEAN_UP_PAUSE: Duration = Duration::from_millis(100);
const PARALLEL_CREATIONS: usize = 16;
const INGRESS_BAR_MS: u128 = 500;
const ENDPOINT_BAR_MS: u128 = 200;
