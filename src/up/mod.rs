//! `portcullis up`: a whole cluster in one process.

mod control_plane;
mod dns;
mod ingress;
mod node;
mod objects;
mod ports;

use std::time::Duration;

use anyhow::Context;
use control_plane::ControlPlane;
use dns::Dns;
use ingress::Ingress;
use node::Node;
use ports::Ports;

use crate::{cli::UpArgs, data_dir::DataDir};

pub async fn run(args: UpArgs) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    tokio::pin!(termination);
    if !args.no_node {
        node::require_root()?;
    }
    let data_dir = DataDir::open(&args.data_dir)?;
    let ports = Ports::claim(&args)?;
    let control_plane = ControlPlane::start(&args, &data_dir, ports.api).await?;
    let (started, told_to_stop) = {
        let starting = Cluster::start(&args, &data_dir, &control_plane, ports.http, ports.https);
        tokio::pin!(starting);
        tokio::select! {
            started = &mut starting => (started, false),
            // Cut half-way it would leave a container runtime behind.
            () = &mut termination => (starting.await, true),
        }
    };
    let cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => {
            control_plane.stop().await;
            return if told_to_stop { Ok(()) } else { Err(error) };
        }
    };
    if told_to_stop {
        cluster.stop().await;
        control_plane.stop().await;
        return Ok(());
    }
    serve(&args, &control_plane, &cluster, termination).await;
    tracing::info!("stopping: requests in flight first, then pods, then the API");
    cluster.stop().await;
    control_plane.stop().await;
    Ok(())
}

/// Says that everything serves, applies the demo if asked, and waits to be told to stop.
async fn serve(
    args: &UpArgs,
    control_plane: &ControlPlane,
    cluster: &Cluster,
    termination: impl Future<Output = ()>,
) {
    let ports = |ingress: &Ingress| {
        let (http, https) = (ingress.http_port(), ingress.https_port());
        format!(" http=127.0.0.1:{http} https=127.0.0.1:{https}")
    };
    println!(
        "ready kubeconfig={} api={}{}",
        control_plane.server.kubeconfig.display(),
        control_plane.server.url,
        cluster.ingress.as_ref().map(ports).unwrap_or_default(),
    );
    let demo = async {
        if let (true, Some(ingress)) = (args.demo, &cluster.ingress) {
            let admin = &control_plane.admin;
            let mut shown = objects::demo(admin).await;
            if shown.is_ok() && cluster.node.is_some() {
                shown = objects::demo_available(admin).await;
            }
            report_demo(shown, ingress.http_port());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = termination => {}
        () = demo => {}
    }
}

/// What runs on the control plane.
struct Cluster {
    ingress: Option<Ingress>,
    node: Option<Node>,
    dns: Option<Dns>,
}

impl Cluster {
    async fn start(
        args: &UpArgs,
        data_dir: &DataDir,
        control_plane: &ControlPlane,
        http_port: u16,
        https_port: u16,
    ) -> anyhow::Result<Self> {
        objects::ingress_class(&control_plane.admin, !args.no_ingress)
            .await
            .context("the IngressClass cannot be made")?;
        let dns = match args.no_node {
            true => None,
            false => Dns::start(args, control_plane).await?,
        };
        let cluster_dns = dns.as_ref().map(Dns::service_ip);
        let node = async {
            match args.no_node {
                true => Ok(None),
                false => Node::start(
                    args,
                    data_dir.path(),
                    control_plane,
                    [http_port, https_port],
                    cluster_dns,
                )
                .await
                .map(Some),
            }
        };
        let ingress = async {
            match args.no_ingress {
                true => Ok(None),
                false => Ingress::start(args, control_plane, http_port, https_port)
                    .await
                    .map(Some),
            }
        };
        let (node, ingress) = tokio::join!(node, ingress);
        match (node, ingress) {
            (Ok(node), Ok(ingress)) => Ok(Self { ingress, node, dns }),
            (Ok(node), Err(error)) => {
                if let Some(node) = node {
                    node.stop().await;
                }
                Err(error)
            }
            (Err(error), Ok(ingress)) => {
                if let Some(ingress) = ingress {
                    ingress.stop(Duration::ZERO).await;
                }
                Err(error)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    async fn stop(self) {
        if let Some(ingress) = self.ingress {
            ingress.stop(INGRESS_DRAIN).await;
        }
        if let Some(node) = self.node {
            node.stop().await;
        }
        if let Some(dns) = self.dns {
            dns.stop().await;
        }
    }
}

fn report_demo(applied: anyhow::Result<()>, http_port: u16) {
    match applied {
        Ok(()) => eprintln!("try it:  curl {}", objects::demo_url(http_port)),
        Err(error) => eprintln!("the demo does not answer: {error:#}"),
    }
}

/// Requests in flight get this long when the cluster stops.
const INGRESS_DRAIN: Duration = Duration::from_secs(10);
