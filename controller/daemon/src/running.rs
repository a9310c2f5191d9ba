//! The composition: build, run, stop.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kube::Client;
use portcullis_pki::{CertificateRequest, PkiError, Usage, self_signed};
use portcullis_route::spec::{CertificateSpec, PrivateKey, Specs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin, Counters},
    config::Config,
    leader::{self, Leadership},
    link::{self, LinkTls},
    proxies,
    publish::{Outbox, Outlets, Publisher},
    recorder, status, watch as watches,
};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot make the default certificate")]
    DefaultCertificate(#[source] PkiError),
}

/// A controller at work. Dropping it ends it at once, without the farewell of [`Running::stop`].
pub struct Running {
    specs: watch::Receiver<Arc<Specs>>,
    outbox: watch::Receiver<Arc<Outbox>>,
    counters: Arc<Counters>,
    client: Client,
    config: Config,
    /// Ends the watches, and with them the publisher.
    watches: JoinSet<()>,
    writers: JoinSet<()>,
    campaign: JoinSet<()>,
    servers: TaskTracker,
    /// This process, as proxies know it.
    instance: Arc<str>,
    writing: CancellationToken,
    campaigning: CancellationToken,
    leading: watch::Receiver<Leadership>,
    /// By the Secret that is configured.
    link: Option<LinkTls>,
    /// Without an election nobody else holds it, and the writers end when it goes.
    _always_leading: Option<watch::Sender<Leadership>>,
}

/// Starts watching. It returns at once; until the API server has answered every list nothing is published.
///
/// # Errors
/// [`StartError`] when the default certificate cannot be made.
pub async fn start(mut config: Config, client: Client) -> Result<Running, StartError> {
    if config.settings.fallback_certificate.is_none() {
        let certificate = default_certificate().map_err(StartError::DefaultCertificate)?;
        config.settings.fallback_certificate = Some(Arc::new(certificate));
    }
    let (report, reports) = mpsc::channel(QUEUED_REPORTS);
    let (specs_sender, specs) = watch::channel(Arc::new(Specs::default()));
    let (outbox_sender, outbox) = watch::channel(Arc::new(Outbox::default()));
    let begin = match config.election {
        Some(_) => Leadership::Follows,
        None => Leadership::Leads,
    };
    let (leading_sender, leading) = watch::channel(begin);
    let mut watching = JoinSet::new();
    let count = watches::spawn_all(&mut watching, &client, &config, &report);
    let counters = Arc::new(Counters::default());
    let outlets = Outlets {
        specs: specs_sender,
        outbox: outbox_sender,
        counters: counters.clone(),
    };
    let publisher = Publisher::new(
        config.settings.clone(),
        config.pace,
        count,
        reports,
        outlets,
    );
    watching.spawn(publisher.run());

    let campaigning = CancellationToken::new();
    let mut campaign = JoinSet::new();
    let always_leading = match config.election.clone() {
        Some(election) => {
            let candidate =
                leader::Campaign::new(client.clone(), election, leading_sender, &campaigning);
            campaign.spawn(candidate.run());
            None
        }
        None => Some(leading_sender),
    };
    let mut running = Running {
        specs,
        outbox,
        counters,
        client,
        config,
        watches: watching,
        writers: JoinSet::new(),
        campaign,
        servers: TaskTracker::new(),
        instance: uuid::Uuid::new_v4().to_string().into(),
        writing: CancellationToken::new(),
        campaigning,
        leading,
        link: None,
        _always_leading: always_leading,
    };
    running.spawn_writers();
    running.keep_link();
    Ok(running)
}

impl Running {
    /// What is to be served. Empty (without listeners) until the first publication; every later value is whole.
    pub fn specs(&self) -> watch::Receiver<Arc<Specs>> {
        self.specs.clone()
    }

    /// Serves proxies in other processes from now on, until [`Running::stop`]. `tls` offers `h2` and asks for client
    /// certificates; a peer without one is turned away in any case. With a Secret configured ([`Config::link`]) that is
    /// used instead, from the moment at which it is there.
    pub fn serve_proxies(&self, listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) {
        let tls = self.link.clone().unwrap_or_else(|| watch::channel(tls).1);
        let (sender, units) = watch::channel(None);
        let encoding = proxies::encode(self.specs.clone(), self.outbox.clone(), sender);
        self.servers.spawn(encoding);
        let (instance, counters) = (self.instance.clone(), self.counters.clone());
        let stopping = self.writing.clone();
        let serving = proxies::serve(listener, tls, instance, units, counters, stopping);
        self.servers.spawn(serving);
    }

    /// Answers `/healthz`, `/readyz` and `/metrics` from now on, until [`Running::stop`]; port 10254 by custom.
    pub fn serve_admin(&self, listener: TcpListener) {
        let election = self.config.election.as_ref();
        let admin = Admin {
            counters: self.counters.clone(),
            specs: self.specs.clone(),
            outbox: self.outbox.clone(),
            leading: self.leading.clone(),
            election: election.map_or_else(String::new, |election| election.lease.clone()),
            link: self.link.clone(),
            stopping: self.writing.clone(),
        };
        self.servers.spawn(admin::serve(listener, admin));
    }

    /// Resolves when the first translation has been published.
    pub async fn ready(&self) {
        let mut outbox = self.outbox.clone();
        // An error means that the publisher is gone; then nothing is ever ready.
        if outbox.wait_for(|outbox| outbox.begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_ready(&self) -> bool {
        self.outbox.borrow().begun
    }

    /// Whether this controller writes statuses and Events.
    pub fn is_leading(&self) -> bool {
        self.leading.borrow().leads()
    }

    /// Ends in order: the writers stop, the last controller empties the statuses, the Lease is given back.
    pub async fn stop(mut self) {
        let was_leading = self.is_leading();
        self.watches.shutdown().await;
        self.writing.cancel();
        while self.writers.join_next().await.is_some() {}
        self.servers.close();
        self.servers.wait().await;
        let publishes = self.config.settings.publishes();
        let empties = self.config.update_status && self.config.update_status_on_shutdown;
        if was_leading && empties && publishes {
            let ours = self.outbox.borrow().ours.clone();
            status::farewell(&self.client, &self.config, &ours, &self.leading).await;
        }
        self.campaigning.cancel();
        while self.campaign.join_next().await.is_some() {}
    }

    fn keep_link(&mut self) {
        let Some(config) = self.config.link.clone() else {
            return;
        };
        let (keeper, tls) = link::Keeper::new(self.client.clone(), config, self.leading.clone());
        self.link = Some(tls);
        let writing = self.writing.clone();
        self.writers.spawn(async move {
            writing.run_until_cancelled(keeper.run()).await;
        });
    }

    fn spawn_writers(&mut self) {
        let (outbox, leading) = (&self.outbox, &self.leading);
        let recorder =
            recorder::Recorder::new(self.client.clone(), outbox.clone(), leading.clone());
        let writing = self.writing.clone();
        self.writers.spawn(async move {
            writing.run_until_cancelled(recorder.run()).await;
        });
        if self.config.update_status {
            let writer = status::Writer::new(self.client.clone(), outbox.clone(), leading.clone());
            let writing = self.writing.clone();
            self.writers.spawn(async move {
                writing.run_until_cancelled(writer.run()).await;
            });
        }
    }
}

/// What is served where no certificate of an Ingress is: clients see from its name that something is missing.
fn default_certificate() -> Result<CertificateSpec, PkiError> {
    let request = CertificateRequest {
        common_name: "Kubernetes Ingress Controller Fake Certificate".to_owned(),
        organizations: vec!["Acme Co".to_owned()],
        dns_names: vec!["ingress.local".to_owned()],
        ip_addresses: Vec::new(),
        usage: Usage::Server,
        lifetime: DEFAULT_CERTIFICATE_LIFETIME,
    };
    let issued = self_signed(&request, SystemTime::now())?;
    let unreadable = |wanted| PkiError::Pem { wanted };
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes())
        .map_err(|_| unreadable("certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(issued.key.pem().as_bytes())
        .map_err(|_| unreadable("private key"))?;
    Ok(CertificateSpec {
        name: "default".to_owned(),
        server_names: Vec::new(),
        chain: vec![certificate.to_vec()],
        key: PrivateKey(key.secret_der().to_vec()),
    })
}

/// Reports between the watches and the publisher. When full, the watches wait: nothing is lost.
const QUEUED_REPORTS: usize = 4096;
/// Longer than a process lives: nobody trusts it anyway.
const DEFAULT_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
