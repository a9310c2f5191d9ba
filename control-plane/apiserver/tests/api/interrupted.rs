//! A store that is slow when told: what becomes of requests that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use portcullis_apiserver::Config;
use portcullis_store::{
    KeyValue, List, MemoryStore, Outcome, Page, Put, Revision, Store, StoreError, Watch,
};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

use crate::server::{CONFIG_MAPS, DEADLINE, Server, delete, get, post};

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// As the store on disk: what was handed over is done, whoever waits for it.
struct SlowStore {
    memory: Arc<MemoryStore>,
    open: watch::Sender<bool>,
    /// Lists that have begun.
    lists: watch::Sender<usize>,
    broken: bool,
}

impl SlowStore {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: Arc::default(),
            open: watch::Sender::new(true),
            lists: watch::Sender::new(0),
            broken: false,
        })
    }

    fn write<W>(&self, work: W) -> BoxFuture<'_, Result<Outcome, StoreError>>
    where
        W: Future<Output = Result<Outcome, StoreError>> + Send + 'static,
    {
        let mut open = self.open.subscribe();
        let (reply, answer) = oneshot::channel();
        tokio::spawn(async move {
            let _ = open.wait_for(|open| *open).await;
            let _ = reply.send(work.await);
        });
        Box::pin(async move { answer.await.unwrap_or(Err(StoreError::Closed)) })
    }
}

impl Store for SlowStore {
    fn get<'a>(
        &'a self,
        key: &'a str,
        at: Option<Revision>,
    ) -> BoxFuture<'a, Result<(Option<KeyValue>, Revision), StoreError>> {
        self.memory.get(key, at)
    }

    fn list<'a>(&'a self, list: List<'a>) -> BoxFuture<'a, Result<Page, StoreError>> {
        self.lists.send_modify(|lists| *lists += 1);
        let mut open = self.open.subscribe();
        Box::pin(async move {
            let _ = open.wait_for(|open| *open).await;
            self.memory.list(list).await
        })
    }

    fn count<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.memory.count(prefix)
    }

    fn put(&self, put: Put) -> BoxFuture<'_, Result<Outcome, StoreError>> {
        let memory = Arc::clone(&self.memory);
        self.write(async move { memory.put(put).await })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        let (memory, key) = (Arc::clone(&self.memory), key.to_owned());
        self.write(async move { memory.delete(&key, expected).await })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.memory.watch(prefix, after)
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.memory.compact(revision)
    }

    fn progress(&self) -> Revision {
        self.memory.progress()
    }

    fn healthy(&self) -> bool {
        !self.broken
    }
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": "10.43.0.77", "ports": [{"port": 80}]}})
}

async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let held = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, held).await.expect("in time");
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_keeps_the_pools_right() {
    let store = SlowStore::new();
    let config = Config {
        request_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let server = Server::on(config, store.clone()).await;
    let client = server.client().await;
    let path = format!("{SERVICES}/web");

    store.open.send_replace(false);
    assert_eq!(post(&client, SERVICES, &service("web")).await.code, 504);
    store.open.send_replace(true);
    until(async || get(&client, &path).await.code == 200).await;
    let second = post(&client, SERVICES, &service("second")).await;
    assert_eq!(second.code, 422, "{}", second.text);

    store.open.send_replace(false);
    assert_eq!(delete(&client, &path).await.code, 504);
    store.open.send_replace(true);
    until(async || post(&client, SERVICES, &service("second")).await.code == 201).await;
}

#[tokio::test]
async fn the_first_list_of_a_watch_counts_as_a_read() {
    let store = SlowStore::new();
    let config = Config {
        max_reads: 1,
        ..Config::default()
    };
    let server = Server::on(config, store.clone()).await;
    let client = server.client().await;
    let (open, before) = (store.open.clone(), *store.lists.borrow());
    open.send_replace(false);
    let watching = {
        let client = client.clone();
        let request = http::Request::get(format!("{CONFIG_MAPS}?watch=true"));
        let request = request.body(Vec::new()).expect("a request");
        tokio::spawn(async move { client.request_stream(request).await.map(drop).is_ok() })
    };
    let mut lists = store.lists.subscribe();
    let begun = lists.wait_for(|lists| *lists > before);
    drop(
        tokio::time::timeout(DEADLINE, begun)
            .await
            .expect("in time"),
    );
    let one = format!("{CONFIG_MAPS}/none");
    assert_eq!(get(&client, &one).await.code, 429);
    open.send_replace(true);
    assert!(watching.await.expect("does not panic"));
    assert_eq!(get(&client, &one).await.code, 404);
}

#[tokio::test]
async fn a_store_that_cannot_write_is_not_healthy() {
    let mut store = SlowStore::new();
    Arc::get_mut(&mut store).expect("is ours").broken = true;
    let server = Server::on(Config::default(), store).await;
    let client = server.client().await;
    for path in ["/livez", "/readyz"] {
        let answer = get(&client, path).await;
        assert_eq!(answer.code, 500, "{path}");
        assert!(answer.text.contains("[-]etcd failed"), "{}", answer.text);
    }
}
