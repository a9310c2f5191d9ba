use std::path::Path;
use std::sync::Arc;

use portcullis_apiserver::Config;
use portcullis_store::{RedbConfig, RedbStore};
use serde_json::json;

use crate::server::{CONFIG_MAPS, DEADLINE, Server, config_map, create, get, post};

fn store(folder: &Path) -> Arc<RedbStore> {
    Arc::new(RedbStore::open(&folder.join("state.redb"), RedbConfig::default()).expect("opens"))
}

#[tokio::test]
async fn a_restart_keeps_objects_versions_and_pools() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}});
    let (made, web) = {
        let server = Server::on(Config::default(), store(folder.path())).await;
        let client = server.client().await;
        let made = create(&client, CONFIG_MAPS, &config_map("a", "1")).await;
        let web = create(&client, services, &service).await;
        drop(client);
        server.drain.finish(DEADLINE).await;
        (made, web)
    };
    let server = Server::on(Config::default(), reopened(folder.path()).await).await;
    let client = server.client().await;
    let found = get(&client, &format!("{CONFIG_MAPS}/a")).await.json();
    assert_eq!(found, made);
    let version = |object: &serde_json::Value| -> u64 {
        let text = object["metadata"]["resourceVersion"].as_str();
        text.and_then(|v| v.parse().ok()).expect("a version")
    };
    let later = create(&client, CONFIG_MAPS, &config_map("b", "1")).await;
    assert!(version(&later) > version(&web));
    let taken = json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}], "clusterIP": web["spec"]["clusterIP"]}});
    assert_eq!(post(&client, services, &taken).await.code, 422);
}

/// The first server lets go of the file when its last connection task is gone.
async fn reopened(folder: &Path) -> Arc<RedbStore> {
    let path = folder.join("state.redb");
    let opened = async {
        loop {
            match RedbStore::open(&path, RedbConfig::default()) {
                Ok(store) => return Arc::new(store),
                Err(portcullis_store::StoreError::InUse { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, opened)
        .await
        .expect("in time")
}
