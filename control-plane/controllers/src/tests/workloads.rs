//! From a Deployment to endpoints and back.

use serde_json::json;

use super::*;

async fn serving(replicas: i32) -> World {
    let world = World::start();
    world.fake.create(service());
    world.fake.create(deployment(replicas));
    settle(
        &world.fake,
        usize::try_from(replicas).expect("not negative"),
    )
    .await;
    world
}

async fn settle(fake: &Fake, replicas: usize) {
    fake.until("the wanted pods run and serve", |fake| {
        run_bound_pods(fake);
        stop_going_pods(fake);
        let deployment = &fake.list("deployments")[0];
        let status = &deployment["status"];
        fake.list("pods").len() == replicas
            && ready_endpoints(fake) == replicas
            && endpoints(fake).len() == replicas
            && status["availableReplicas"].as_u64().unwrap_or(0) == replicas as u64
            && status["updatedReplicas"].as_u64().unwrap_or(0) == replicas as u64
            && status["observedGeneration"] == deployment["metadata"]["generation"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_becomes_scheduled_pods_behind_its_service() {
    let world = serving(2).await;
    let sets = world.fake.list("replicasets");
    assert_eq!(sets.len(), 1);
    assert_eq!(
        sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "1"
    );
    let deployment = &world.fake.list("deployments")[0];
    assert_eq!(
        deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "1"
    );
    let slice = &world.fake.list("endpointslices")[0];
    assert_eq!(slice["ports"][0]["port"], 8080);
    assert_eq!(slice["endpoints"][0]["nodeName"], "one");
    world
        .fake
        .until("the rollout is over", |fake| {
            let conditions = fake.list("deployments")[0]["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition["reason"] == "NewReplicaSetAvailable")
        })
        .await;
    world
        .fake
        .until("people are told", |fake| {
            let events = fake.list("events");
            ["ScalingReplicaSet", "SuccessfulCreate", "Scheduled"]
                .iter()
                .all(|reason| events.iter().any(|event| event["reason"] == *reason))
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_down_takes_pods_out_of_service_before_they_stop() {
    let world = serving(2).await;
    let fake = &world.fake;
    let scale = |replicas: i32| {
        fake.edit("deployments", "shop", "web", |deployment| {
            deployment["spec"]["replicas"] = json!(replicas);
            let generation = deployment["metadata"]["generation"].as_i64().unwrap_or(0);
            deployment["metadata"]["generation"] = json!(generation + 1);
        });
    };
    scale(5);
    settle(fake, 5).await;
    scale(1);
    fake.until(
        "four pods are terminating and not ready, while they still run",
        |fake| {
            let going = fake.list("pods").iter().filter(|pod| is_going(pod)).count();
            let flagged = endpoints(fake)
                .iter()
                .filter(|endpoint| {
                    endpoint["conditions"]
                        == json!({"ready": false, "serving": true, "terminating": true})
                })
                .count();
            going == 4 && flagged == 4 && ready_endpoints(fake) == 1
        },
    )
    .await;
    settle(fake, 1).await;
    let created = fake
        .writes()
        .iter()
        .filter(|write| *write == "POST /api/v1/namespaces/shop/pods")
        .count();
    assert_eq!(created, 5, "no pod was made twice");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_template_rolls_out_and_keeps_the_old_revision() {
    let world = serving(3).await;
    let fake = &world.fake;
    fake.edit("deployments", "shop", "web", |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("web:2");
        deployment["metadata"]["generation"] = json!(7);
    });
    settle(fake, 3).await;
    assert!(
        fake.list("pods")
            .iter()
            .all(|pod| pod["spec"]["containers"][0]["image"] == "web:2")
    );
    let mut revisions: Vec<_> = fake
        .list("replicasets")
        .iter()
        .map(|set| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone())
        .collect();
    revisions.sort_by_key(|revision| revision.to_string());
    assert_eq!(revisions, [json!("1"), json!("2")]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_pod_shows_in_status_and_events() {
    let world = World::start();
    world.fake.refuse("pods", "quota is used up");
    world.fake.create(deployment(2));
    world
        .fake
        .until("the failure is told", |fake| {
            let condition = |kind: &str| {
                let objects = fake.list(kind);
                let conditions = objects
                    .first()
                    .and_then(|object| object["status"]["conditions"].as_array().cloned());
                conditions
                    .unwrap_or_default()
                    .iter()
                    .any(|condition| condition["type"] == "ReplicaFailure")
            };
            let told = fake
                .list("events")
                .iter()
                .any(|event| event["reason"] == "FailedCreate");
            condition("replicasets") && condition("deployments") && told
        })
        .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes() {
    let world = World::start();
    let fake = &world.fake;
    fake.create(json!({
        "kind": "Pod",
        "metadata": {"name": "big", "namespace": "shop"},
        "spec": {"containers": [{"name": "big", "resources": {"requests": {"cpu": "16"}}}]},
    }));
    fake.until("the reason is told", |fake| {
        let pod = &fake.list("pods")[0];
        let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
                       1 Preemption is not helpful for scheduling.";
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["reason"] == "Unschedulable" && condition["message"] == message)
    })
    .await;
    fake.create(node("two", "32"));
    fake.until("it is bound to the new node", |fake| {
        fake.list("pods")[0]["spec"]["nodeName"] == "two"
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_taken_from_its_service_is_made_again() {
    let world = serving(2).await;
    let slices = world.fake.list("endpointslices");
    let taken = name(&slices[0]);
    world.fake.edit("endpointslices", "shop", &taken, |slice| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("other");
    });
    world
        .fake
        .until("the service has endpoints again", |fake| {
            let slices = fake.list("endpointslices");
            let own = slices
                .iter()
                .find(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web");
            own.is_some_and(|slice| slice["endpoints"].as_array().map(Vec::len) == Some(2))
        })
        .await;
    world.stop().await;
}
