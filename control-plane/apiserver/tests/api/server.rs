//! A server of its own for each test.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use portcullis_apiserver::{Config, Pki, kubeconfig, start};
use portcullis_serve::Drain;
use portcullis_store::{MemoryStore, Store};
use serde_json::{Value, json};

pub struct Server {
    pub store: Arc<dyn Store>,
    pub pki: Pki,
    pub url: String,
    pub drain: Drain,
    _folder: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub code: StatusCode,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::on(config, Arc::new(MemoryStore::new())).await
    }

    pub async fn on(config: Config, store: Arc<dyn Store>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pki = Pki::load_or_create(folder.path(), &[], &[], SystemTime::now()).expect("a PKI");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let drain = Drain::new();
        let running = start(config, &pki, Arc::clone(&store), listener, drain.clone());
        let running = running.await.expect("starts");
        Self {
            url: format!("https://{}", running.address),
            store,
            pki,
            drain,
            _folder: folder,
        }
    }

    /// The administrator.
    pub async fn client(&self) -> kube::Client {
        self.client_of("kubernetes-admin", &["system:masters"])
            .await
    }

    pub async fn client_of(&self, user: &str, groups: &[&str]) -> kube::Client {
        let identity = self
            .pki
            .issue_client(user, groups, SystemTime::now())
            .expect("issues");
        let text = kubeconfig(&self.url, self.pki.ca_pem(), user, &identity);
        let config = Kubeconfig::from_yaml(&text).expect("parses");
        client(config).await
    }

    pub async fn client_with_token(&self, token: Option<&str>) -> kube::Client {
        let identity = self
            .pki
            .issue_client("unused", &[], SystemTime::now())
            .expect("issues");
        let text = kubeconfig(&self.url, self.pki.ca_pem(), "user", &identity);
        let mut config: Value = serde_json::from_str(&text).expect("is JSON");
        config["users"][0]["user"] = match token {
            Some(token) => json!({"token": token}),
            None => json!({}),
        };
        client(Kubeconfig::from_yaml(&config.to_string()).expect("parses")).await
    }
}

async fn client(config: Kubeconfig) -> kube::Client {
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
    let mut config = config.expect("is complete");
    // Refusals are what some tests ask for.
    config.default_retry = false;
    kube::Client::try_from(config).expect("a client")
}

/// A request with headers and a body, answered whole.
pub async fn ask(
    client: &kube::Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).expect("a request");
    let response = client.send(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    Answer {
        code: head.status,
        headers: head.headers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

pub async fn get(client: &kube::Client, path: &str) -> Answer {
    ask(client, Method::GET, path, &[], Vec::new()).await
}

pub async fn post(client: &kube::Client, path: &str, object: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    ask(client, Method::POST, path, &json, object.to_string()).await
}

pub async fn create(client: &kube::Client, path: &str, object: &Value) -> Value {
    let answer = post(client, path, object).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    answer.json()
}

pub async fn delete(client: &kube::Client, path: &str) -> Answer {
    ask(client, Method::DELETE, path, &[], Vec::new()).await
}

pub async fn patch(client: &kube::Client, path: &str, object: &Value) -> Answer {
    let merge = [("content-type", "application/merge-patch+json")];
    ask(client, Method::PATCH, path, &merge, object.to_string()).await
}

pub fn config_map(name: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": data}})
}

pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// For what must happen, on a slow machine too.
pub const DEADLINE: Duration = Duration::from_secs(20);
