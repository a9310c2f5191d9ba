//! The Secrets of the mutual TLS with proxies: the leader makes and renews them, every replica serves with them.
//!
//! Two Secrets, so that what a proxy mounts holds no key of an authority: the one that is configured is the proxies',
//! the one beside it, with [`CONTROLLER_SUFFIX`], is the controllers'.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt};
use k8s_openapi::{
    ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use portcullis_pki::{MutualTls, PemFiles};
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, TlsError, server_config};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{config::LinkSecret, leader::Leadership, watch::Pause};

/// What handshakes with proxies are made with; none until it is known.
pub(crate) type LinkTls = watch::Receiver<Option<Arc<rustls::ServerConfig>>>;

pub(crate) struct Keeper {
    api: Api<Secret>,
    config: LinkSecret,
    leading: watch::Receiver<Leadership>,
    tls: watch::Sender<Option<Arc<rustls::ServerConfig>>>,
    controllers: Seen,
    proxies: Seen,
}

/// A Secret as it was last seen; it has no `Debug`.
struct Seen {
    name: String,
    /// Unknown before the first list, then there or not.
    secret: Option<Option<Secret>>,
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("no certificate can be made")]
    Pki(#[from] portcullis_pki::PkiError),
    #[error("Secret {name} cannot be written: {source}")]
    Write { name: String, source: kube::Error },
}

impl Keeper {
    pub(crate) fn new(
        client: Client,
        config: LinkSecret,
        leading: watch::Receiver<Leadership>,
    ) -> (Self, LinkTls) {
        let (tls, receiver) = watch::channel(None);
        let name = config.secret.name.clone();
        let keeper = Self {
            api: Api::namespaced(client, &config.secret.namespace),
            controllers: Seen::new(format!("{name}{CONTROLLER_SUFFIX}")),
            proxies: Seen::new(name),
            config,
            leading,
            tls,
        };
        (keeper, receiver)
    }

    /// Ends with the writers' channel of leadership.
    pub(crate) async fn run(mut self) {
        let mut controllers = std::pin::pin!(follow(&self.api, &self.controllers.name));
        let mut proxies = std::pin::pin!(follow(&self.api, &self.proxies.name));
        let mut look = Instant::now();
        loop {
            tokio::select! {
                Some(secret) = controllers.next() => {
                    self.controllers.secret = Some(secret);
                    self.serve();
                }
                Some(secret) = proxies.next() => self.proxies.secret = Some(secret),
                changed = self.leading.changed() => if changed.is_err() { return },
                () = sleep_until(look) => {}
            }
            let kept = self.keep().await;
            look = Instant::now() + PERIOD;
            if let Err(error) = kept {
                warn!(%error, "the certificates of proxies and controllers are not kept up to date");
                look = Instant::now() + RETRY_PAUSE;
            }
        }
    }

    /// From now on handshakes are made with what the Secret holds. One that cannot be used changes nothing.
    fn serve(&self) {
        let Some(files) = self.controllers.files() else {
            return;
        };
        match server_tls(&files) {
            Ok(config) => {
                self.tls.send_replace(Some(config));
            }
            Err(error) => {
                let name = &self.controllers.name;
                warn!(secret = %name, %error, "the Secret cannot be served with");
            }
        }
    }

    /// The leader brings both Secrets to what they should be now. The controllers' comes first: the other follows from
    /// it, should this be cut between the two.
    async fn keep(&mut self) -> Result<(), KeepError> {
        if !self.leading.borrow().leads()
            || !self.controllers.is_known()
            || !self.proxies.is_known()
        {
            return Ok(());
        }
        let controllers = self.controllers.files().unwrap_or_default();
        let proxies = self.proxies.files().unwrap_or_default();
        let request = &self.config.request;
        let wanted = MutualTls::renew(&controllers, &proxies, request, SystemTime::now())?;
        let (server, client) = (wanted.server_files(), wanted.client_files());
        if server != controllers {
            if !write(&self.api, &mut self.controllers, &server).await? {
                // Made of an authority that nobody has: the watch brings what somebody else has written.
                return Ok(());
            }
            self.serve();
        }
        if client != proxies && self.leading.borrow().leads() {
            write(&self.api, &mut self.proxies, &client).await?;
        }
        Ok(())
    }
}

impl Seen {
    fn new(name: String) -> Self {
        Self { name, secret: None }
    }

    fn is_known(&self) -> bool {
        self.secret.is_some()
    }

    fn files(&self) -> Option<PemFiles> {
        let data = self.secret.as_ref()?.as_ref()?.data.as_ref()?;
        let text = |bytes: &ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
        let files = data.iter().map(|(name, bytes)| (name.clone(), text(bytes)));
        Some(files.collect())
    }
}

/// False for a conflict, when somebody else has written: the watch will show it, and all is looked at again.
async fn write(api: &Api<Secret>, seen: &mut Seen, files: &PemFiles) -> Result<bool, KeepError> {
    let name = seen.name.clone();
    let data: BTreeMap<String, ByteString> = files
        .iter()
        .map(|(name, text)| (name.to_owned(), ByteString(text.as_bytes().to_vec())))
        .collect();
    let parameters = PostParams::default();
    let written = match seen.secret.clone().flatten() {
        // Labels, annotations and type are whoever's made it: the type of a Secret cannot be changed.
        Some(mut secret) => {
            secret.data = Some(data);
            secret.metadata.managed_fields = None;
            api.replace(&name, &parameters, &secret).await
        }
        None => {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(name.clone()),
                    labels: Some(BTreeMap::from([(
                        MANAGED_BY.to_owned(),
                        "portcullis-controller".to_owned(),
                    )])),
                    ..ObjectMeta::default()
                },
                type_: Some("kubernetes.io/tls".to_owned()),
                data: Some(data),
                ..Secret::default()
            };
            api.create(&parameters, &secret).await
        }
    };
    match written {
        Ok(secret) => {
            info!(secret = %name, "certificates written");
            seen.secret = Some(Some(secret));
            Ok(true)
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(source) => Err(KeepError::Write { name, source }),
    }
}

/// One Secret by its name, which a Role can allow without allowing any other. Errors are told and tried again.
fn follow(api: &Api<Secret>, name: &str) -> impl Stream<Item = Option<Secret>> + use<> {
    let events = watcher::watch_object(api.clone(), name).backoff(Pause::default());
    let name = name.to_owned();
    events.filter_map(move |event| {
        let seen = match event {
            Ok(seen) => Some(seen),
            Err(error) => {
                warn!(secret = %name, %error, "watch failed, trying again");
                None
            }
        };
        std::future::ready(seen)
    })
}

fn server_tls(files: &PemFiles) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let text = |name: &str| files.get(name).unwrap_or_default();
    let slot = CertificateSlot::new(text("tls.crt"), text("tls.key"))?;
    server_config(slot, ClientAuth::Required(text("ca.crt")), Alpn::Http2)
}

/// Of the Secret that only controllers read.
const CONTROLLER_SUFFIX: &str = "-controller";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// How often is looked whether something is due: short against the weeks that are left then, and against the overlap
/// of two authorities.
const PERIOD: Duration = Duration::from_secs(3600);
const RETRY_PAUSE: Duration = Duration::from_secs(2);
