use std::convert::Infallible;
use std::time::SystemTime;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, server_config};
use portcullis_serve::{Drain, Limits, Peer};
use serde_json::json;

use crate::server::{Server, create, get, patch};

/// A kubelet that answers with the path it was asked for.
async fn kubelet(server: &Server) -> u16 {
    let addresses = ["127.0.0.1".parse().expect("an address")];
    let identity = server
        .pki
        .issue_server("system:node:a", &[], &addresses, SystemTime::now())
        .expect("issues");
    let slot = CertificateSlot::new(&identity.certificate_pem, &identity.key_pem).expect("fits");
    let tls = server_config(slot, ClientAuth::Required(server.pki.ca_pem()), Alpn::Http1)
        .expect("a config");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let factory = |peer: &Peer| {
        let shown = peer
            .tls
            .as_ref()
            .map_or(0, |tls| tls.client_certificates.len());
        service_fn(move |request: Request<Incoming>| async move {
            let text = format!("{} certificates={shown}\n", request.uri());
            Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from(text))))
        })
    };
    tokio::spawn(portcullis_serve::serve(
        listener,
        Some(tls),
        Limits::default(),
        Drain::new(),
        factory,
    ));
    port
}

#[tokio::test]
async fn logs_come_from_the_kubelet_of_the_pods_node() {
    let server = Server::start().await;
    let client = server.client().await;
    let port = kubelet(&server).await;
    create(
        &client,
        "/api/v1/nodes",
        &json!({"metadata": {"name": "a"}}),
    )
    .await;
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    assert_eq!(
        patch(&client, "/api/v1/nodes/a/status", &status).await.code,
        200
    );
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    create(&client, accounts, &json!({"metadata": {"name": "default"}})).await;
    let containers = json!([{"name": "web", "image": "echo:1"}]);
    let pod =
        json!({"metadata": {"name": "web"}, "spec": {"nodeName": "a", "containers": containers}});
    create(&client, "/api/v1/namespaces/default/pods", &pod).await;
    let logs = get(
        &client,
        "/api/v1/namespaces/default/pods/web/log?tailLines=5&evil=%26x",
    )
    .await;
    assert_eq!(
        logs.text,
        "/containerLogs/default/web/web?tailLines=5 certificates=1\n"
    );
    let unknown = get(
        &client,
        "/api/v1/namespaces/default/pods/web/log?container=no",
    )
    .await;
    assert_eq!(unknown.code, 400);
}
