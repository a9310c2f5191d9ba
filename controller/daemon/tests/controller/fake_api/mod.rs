//! An API server of a few hundred lines: list, watch, get, create, replace, merge-patch and delete of any kind, in
//! memory, without validation.

mod serve;
mod store;

use std::{net::SocketAddr, sync::Arc};

use kube::Client;
use serde_json::Value;
use tokio::net::TcpListener;

pub use store::{Path, Store};

pub struct FakeApi {
    pub address: SocketAddr,
    pub store: Arc<Store>,
}

impl FakeApi {
    pub async fn start() -> Self {
        let store = Arc::new(Store::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve::accept(listener, store.clone()));
        Self { address, store }
    }

    pub fn client(&self) -> Client {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let uri = format!("http://{}", self.address);
        let config = kube::Config::new(uri.parse().expect("an address"));
        Client::try_from(config).expect("a client")
    }

    /// Creates or replaces, as an owner would with kubectl.
    pub fn apply(&self, object: Value) {
        let path = Path::of(&object);
        self.store.put(path, object, true);
    }

    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        self.store.delete(&Path::new(resource, namespace, name));
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.get(&Path::new(resource, namespace, name))
    }

    /// Events as `reason: message`.
    pub fn events(&self) -> Vec<String> {
        let events = self.store.list("events", None).into_iter();
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or("").to_owned();
        events
            .map(|event| format!("{}: {}", text(&event, "reason"), text(&event, "message")))
            .collect()
    }
}
