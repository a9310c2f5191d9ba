//! Load balancers: the address follows the port.

use serde_json::json;

use super::*;

fn balanced(name: &str) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]},
        "status": {"loadBalancer": {}},
    })
}

/// What the node says of port 80.
fn report(fake: &Fake, holder: &str) {
    fake.edit("nodes", "", "one", |node| {
        let ports = json!({"80/TCP": holder}).to_string();
        node["metadata"]["annotations"]["portcullis.dev/host-ports"] = ports.into();
        node["status"]["addresses"] = json!([{"type": "InternalIP", "address": "192.0.2.2"}]);
    });
}

fn address(fake: &Fake, service: &str) -> Value {
    let services = fake.list("services");
    let found = services.iter().find(|found| name(found) == service);
    let status = found.map(|found| &found["status"]["loadBalancer"]["ingress"][0]["ip"]);
    status.cloned().unwrap_or_default()
}

fn told(fake: &Fake, service: &str, message: &str) -> bool {
    let events = fake.list("events");
    events.iter().any(|event| {
        event["involvedObject"]["name"] == service
            && event["message"]
                .as_str()
                .is_some_and(|said| said.contains(message))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_balancers_address_comes_and_goes_with_its_port() {
    let world = World::start();
    let fake = &world.fake;
    report(fake, "");
    fake.create(balanced("first"));
    fake.until("the first has the node's address", |fake| {
        address(fake, "first") == "192.0.2.2"
    })
    .await;
    fake.create(balanced("second"));
    fake.until("the second is told who has its port", |fake| {
        told(fake, "second", "already served for the Service shop/first")
    })
    .await;
    assert_eq!(address(fake, "second"), Value::Null);
    fake.vanish("services", "shop", "first");
    fake.until("the second has the address", |fake| {
        address(fake, "second") == "192.0.2.2"
    })
    .await;
    report(fake, "nginx (pid 4711)");
    fake.until("the address is withdrawn", |fake| {
        address(fake, "second").is_null() && told(fake, "second", "by nginx (pid 4711)")
    })
    .await;
    report(fake, "");
    fake.until("and comes back", |fake| {
        address(fake, "second") == "192.0.2.2"
    })
    .await;
    world.stop().await;
}
