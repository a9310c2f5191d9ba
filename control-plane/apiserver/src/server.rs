//! Building and running the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::service::service_fn;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind;
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, TlsError, server_config};
use portcullis_serve::{Drain, Limits, Peer};
use portcullis_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::authn::certificate_user;
use crate::authz::{AuthorizationMode, Authorizer, View, keep_roles};
use crate::bootstrap::{bootstrap, guard};
use crate::config::Config;
use crate::inflight::InFlight;
use crate::metrics::Metrics;
use crate::path::OpenApiDocuments;
use crate::pki::Pki;
use crate::pools::Pools;
use crate::service;
use crate::subresource::Kubelets;
use crate::tokens::{TokenKeyError, Tokens};

/// A server that answers.
pub struct Running {
    /// Where it listens: the port, where 0 was asked for.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the listener's address cannot be read")]
    Listener(#[source] io::Error),
    #[error("the server's certificates cannot be used")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// The store refused what the server needs to begin with.
    #[error("the server's own objects cannot be made: {0}")]
    Bootstrap(ApiError),
}

impl Running {
    /// Resolves when nothing more is accepted: after the drain has begun. `Drain::finish` waits for the connections.
    pub async fn stopped(self) {
        if self.accepting.await.is_err() {
            tracing::error!("the API server's accept loop panicked");
        }
    }
}

/// Makes the server's own objects in `store`, then serves on `listener` until `drain` begins. When it returns, the server
/// answers.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub async fn start(
    config: Config,
    pki: &Pki,
    store: Arc<dyn Store>,
    listener: TcpListener,
    drain: Drain,
) -> Result<Running, StartError> {
    let address = listener.local_addr().map_err(StartError::Listener)?;
    let serving = pki.serving();
    let slot = CertificateSlot::new(&serving.certificate_pem, &serving.key_pem)?;
    let tls = server_config(
        slot,
        ClientAuth::Optional(pki.ca_pem()),
        Alpn::Http2AndHttp1,
    )?;
    let api = Arc::new(Api {
        address: reached_at(&config, address),
        tokens: Tokens::new(pki.token_key(), &config.issuer, Arc::clone(&store))?,
        pools: Pools::new(config.service_cidr, config.node_ports.clone()),
        authorizer: Authorizer::new(config.authorization),
        in_flight: InFlight::new(config.max_reads, config.max_writes),
        metrics: Metrics::new(),
        kubelets: Kubelets::new(pki)?,
        openapi: OpenApiDocuments::default(),
        drain: drain.clone(),
        config,
        store,
    });
    let services = kind::by_resource("", "v1", "services").expect("services have a row");
    let held = api.all(services, "").await.map_err(StartError::Bootstrap)?;
    api.pools.adopt(&held);
    bootstrap(&api, address.port())
        .await
        .map_err(StartError::Bootstrap)?;
    drain.track(guard(Arc::clone(&api), address.port()));
    if api.config.authorization == AuthorizationMode::Rbac {
        keep_roles(&api).await.map_err(StartError::Bootstrap)?;
        let view = View::open(&api).await.map_err(StartError::Bootstrap)?;
        drain.track(view.follow(Arc::clone(&api)));
    }
    let factory = move |peer: &Peer| {
        let api = Arc::clone(&api);
        let user = certificate_user(peer).map(Arc::new);
        service_fn(move |request| {
            let (api, user) = (Arc::clone(&api), user.clone());
            async move { Ok::<_, std::convert::Infallible>(service::answer(api, user, request).await) }
        })
    };
    let accepting = tokio::spawn(portcullis_serve::serve(
        listener,
        Some(tls),
        Limits::default(),
        drain,
        factory,
    ));
    Ok(Running { address, accepting })
}

fn reached_at(config: &Config, address: SocketAddr) -> String {
    let ip = config.advertise_address.unwrap_or(address.ip());
    SocketAddr::new(ip, address.port()).to_string()
}
