//! The Portcullis row: the real gateway, given the specs that the controller would translate from 1,000 Ingresses.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use portcullis_gateway::{AccessLogTarget, Config, Gateway, Identity};
use portcullis_route::spec::{
    BackendProtocol, BackendSpec, EndpointSpec, EndpointState, Forward, ForwardTimeouts,
    GlobalSpec, HostMatch, HostRoutes, ListenerProtocol, ListenerSpec, PathMatch, RouteAction,
    RouteLabels, RouteMatch, RouteSpec, Specs, StepSpec,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::input::{BACKEND, HOSTS, host_name};

/// Serves with one worker until SIGTERM, or until standard input ends, so that it never outlives the bench.
///
/// # Errors
/// The gateway cannot start or refuses a spec.
pub async fn serve(
    listen: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    access_log: Option<PathBuf>,
) -> Result<()> {
    let is_logging = access_log.is_some();
    let gateway = Gateway::start(Config {
        workers: 1,
        admin: Some(admin),
        access_log: access_log.map_or(AccessLogTarget::Stdout, AccessLogTarget::File),
        identity: Identity::default(),
        ..Config::default()
    })?;
    let report = gateway.apply(Arc::new(specs(listen, origin, is_logging)?));
    ensure!(report.refusals.is_empty(), "refused: {:?}", report.refusals);

    let parent = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink()));
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = parent => {}
    }
    gateway.drain(DRAIN_TIMEOUT).await;
    Ok(())
}

fn specs(listen: SocketAddr, origin: SocketAddr, access_log: bool) -> Result<Specs> {
    let hosts = (0..HOSTS).map(|index| host(index).map(Arc::new));
    Ok(Specs {
        listeners: vec![Arc::new(ListenerSpec {
            name: "http".to_owned(),
            address: listen.ip(),
            port: listen.port(),
            public_port: None,
            protocol: ListenerProtocol::Http,
            table: TABLE.to_owned(),
            tls_policy: None,
        })],
        hosts: hosts.collect::<Result<_>>()?,
        backends: vec![Arc::new(BackendSpec {
            name: BACKEND.to_owned(),
            protocol: BackendProtocol::Http,
            endpoints: vec![EndpointSpec {
                address: origin,
                state: EndpointState::Ready,
            }],
        })],
        certificates: Vec::new(),
        tls_policies: Vec::new(),
        global: Arc::new(GlobalSpec {
            access_log,
            ..GlobalSpec::default()
        }),
    })
}

/// What `kubectl create ingress --rule=HOST/*=bench-origin:80` comes to.
fn host(index: usize) -> Result<HostRoutes> {
    let name = host_name(index);
    let host = HostMatch::parse(&name).context("a host name of the bench")?;
    let forward = Forward {
        backend: BACKEND.to_owned(),
        affinity: None,
        timeouts: ForwardTimeouts::default(),
        max_request_body_bytes: MAX_BODY_BYTES,
    };
    let route = RouteSpec {
        id: format!("bench/ingress-{index}//"),
        labels: RouteLabels {
            namespace: "bench".to_owned(),
            ingress: format!("ingress-{index}"),
            service: "bench-origin".to_owned(),
            service_port: "80".to_owned(),
            path: "/".to_owned(),
        },
        matches: RouteMatch {
            path: PathMatch::Prefix("/".to_owned()),
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        rank: 0,
        action: RouteAction::Serve(vec![StepSpec::Forward(forward)]),
    };
    Ok(HostRoutes {
        table: TABLE.to_owned(),
        host,
        routes: vec![route],
    })
}

/// The load has ended by then; what is left are idle connections.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const TABLE: &str = "ingress";
/// ingress-nginx's `proxy-body-size`, as the peers have it.
const MAX_BODY_BYTES: u64 = 1024 * 1024;
