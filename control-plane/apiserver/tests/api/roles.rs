//! What roles allow, and how they are kept.

use http::Method;
use serde_json::{Value, json};

use crate::server::{DEADLINE, Server, ask, create, delete, get, patch, post};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn role(name: &str, rules: &Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn pod_reader() -> Value {
    json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}])
}

fn binding(name: &str, (kind, role): (&str, &str), (subject, of): (&str, &str)) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"apiGroup": group, "kind": subject, "name": of}],
    })
}

/// Roles are read from memory, which follows the store at a small distance.
async fn becomes(client: &kube::Client, path: &str, code: u16) {
    let mut last = None;
    let reached = async {
        loop {
            let answer = get(client, path).await;
            if answer.code == code {
                return;
            }
            last = Some(answer);
            tokio::task::yield_now().await;
        }
    };
    let reached = tokio::time::timeout(DEADLINE, reached).await.is_ok();
    assert!(reached, "{path} is not {code}: {last:?}");
}

#[tokio::test]
async fn a_binding_grants_until_it_is_gone() {
    let server = Server::start().await;
    let admin = server.client().await;
    let jane = server.client_of("jane", &["devs"]).await;
    let refused = get(&jane, PODS).await;
    assert_eq!(
        refused.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
            "reason": "Forbidden", "details": {"kind": "pods"}, "code": 403,
        })
    );
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    create(&admin, &roles, &role("reader", &pod_reader())).await;
    let readers = binding("readers", ("Role", "reader"), ("Group", "devs"));
    create(&admin, &bindings, &readers).await;
    becomes(&jane, PODS, 200).await;
    assert_eq!(get(&jane, "/api/v1/pods").await.code, 403);
    assert_eq!(post(&jane, PODS, &json!({})).await.code, 403);
    delete(&admin, &format!("{bindings}/readers")).await;
    becomes(&jane, PODS, 403).await;
    create(&admin, &bindings, &readers).await;
    becomes(&jane, PODS, 200).await;
    delete(&admin, &format!("{roles}/reader")).await;
    becomes(&jane, PODS, 403).await;
    assert!(
        get(&jane, PODS)
            .await
            .text
            .contains(r#": RBAC: role.rbac.authorization.k8s.io \"reader\" not found"#)
    );
}

#[tokio::test]
async fn a_cluster_of_ones_own_begins_with_upstreams_roles() {
    let server = Server::start().await;
    let admin = server.client().await;
    let roles = format!("{RBAC}/clusterroles");
    let found = get(&admin, &format!("{roles}/system:basic-user"))
        .await
        .json();
    let annotation =
        &found["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"];
    assert_eq!(annotation, "true");
    let rules = json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/mine"]}]});
    for name in ["system:basic-user", "system:discovery"] {
        assert_eq!(
            patch(&admin, &format!("{roles}/{name}"), &rules).await.code,
            200
        );
    }
    let off = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    patch(&admin, &format!("{roles}/system:discovery"), &off).await;
    delete(&admin, &format!("{roles}/view")).await;
    let bindings = format!("{RBAC}/clusterrolebindings");
    delete(&admin, &format!("{bindings}/cluster-admin")).await;
    create(
        &admin,
        &bindings,
        &binding("cluster-admin", ("ClusterRole", "view"), ("User", "eve")),
    )
    .await;
    server.drain.finish(DEADLINE).await;

    let again = Server::on(
        portcullis_apiserver::Config::default(),
        server.store.clone(),
    )
    .await;
    let admin = again.client().await;
    let count = async |name: &str| {
        let role = get(&admin, &format!("{roles}/{name}")).await.json();
        role["rules"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(
        count("system:basic-user").await,
        4,
        "its own, one for each that was missing, and the one that was added"
    );
    assert_eq!(
        count("system:discovery").await,
        1,
        "it is not to be updated"
    );
    assert_eq!(get(&admin, &format!("{roles}/view")).await.code, 200);
    let bound = get(&admin, &format!("{bindings}/cluster-admin"))
        .await
        .json();
    assert_eq!(bound["roleRef"]["name"], "cluster-admin");
    assert_eq!(bound["subjects"][0]["name"], "system:masters");
}

#[tokio::test]
async fn nobody_grants_more_than_they_hold() {
    let server = Server::start().await;
    let admin = server.client().await;
    let jane = server.client_of("jane", &[]).await;
    let grants = json!([
        {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    create(
        &admin,
        &format!("{RBAC}/clusterroles"),
        &role("granter", &grants),
    )
    .await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    // `*` would hold `escalate` and `bind`, too.
    let held = json!({"rules": [
        {"verbs": ["get", "list", "create", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]});
    patch(&admin, &format!("{RBAC}/clusterroles/granter"), &held).await;
    create(
        &admin,
        &bindings,
        &binding("granters", ("ClusterRole", "granter"), ("User", "jane")),
    )
    .await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    becomes(&jane, &roles, 200).await;
    let more = post(&jane, &roles, &role("more", &pod_reader())).await;
    assert_eq!(more.code, 403);
    assert_eq!(
        more.json()["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}"
    );
    let get_only = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    create(&jane, &roles, &role("same", &get_only)).await;
    let raised = patch(
        &jane,
        &format!("{roles}/same"),
        &json!({"rules": pod_reader()}),
    )
    .await;
    assert_eq!(raised.code, 403, "{}", raised.text);
    let replaced = ask(
        &jane,
        Method::PUT,
        &format!("{roles}/same"),
        &[("content-type", "application/json")],
        role("same", &pod_reader()).to_string(),
    )
    .await;
    assert_eq!(replaced.code, 403);
    let admin_binding = binding("root", ("ClusterRole", "cluster-admin"), ("User", "jane"));
    assert_eq!(post(&jane, &bindings, &admin_binding).await.code, 403);
    create(
        &jane,
        &bindings,
        &binding("again", ("ClusterRole", "granter"), ("User", "eve")),
    )
    .await;
}

#[tokio::test]
async fn a_put_that_would_create_needs_the_verb_create() {
    let server = Server::start().await;
    let admin = server.client().await;
    let jane = server.client_of("jane", &[]).await;
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let update = json!([{"verbs": ["get", "list", "update"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]);
    create(
        &admin,
        &format!("{RBAC}/clusterroles"),
        &role("leaser", &update),
    )
    .await;
    let bindings = format!("{RBAC}/clusterrolebindings");
    create(
        &admin,
        &bindings,
        &binding("leasers", ("ClusterRole", "leaser"), ("User", "jane")),
    )
    .await;
    becomes(&jane, leases, 200).await;
    let put = ask(
        &jane,
        Method::PUT,
        &format!("{leases}/mine"),
        &[("content-type", "application/json")],
        json!({"metadata": {"name": "mine"}, "spec": {}}).to_string(),
    )
    .await;
    assert_eq!(put.code, 403, "{}", put.text);
    assert!(put.text.contains("cannot create resource"), "{}", put.text);
}

#[tokio::test]
async fn whoever_may_impersonate_is_taken_for_somebody_else() {
    let server = Server::start().await;
    let admin = server.client().await;
    let headers = |user: &'static str, group: &'static str| {
        let mut headers = vec![("impersonate-user", user)];
        if !group.is_empty() {
            headers.push(("impersonate-group", group));
        }
        headers
    };
    let as_jane = ask(&admin, Method::GET, PODS, &headers("jane", ""), Vec::new()).await;
    assert_eq!(as_jane.code, 403);
    assert!(as_jane.text.contains(r#"User \"jane\" cannot list"#));
    let as_root = ask(
        &admin,
        Method::GET,
        PODS,
        &headers("jane", "system:masters"),
        Vec::new(),
    )
    .await;
    assert_eq!(as_root.code, 200);
    let jane = server.client_of("jane", &[]).await;
    let refused = ask(
        &jane,
        Method::GET,
        "/api",
        &headers("kubernetes-admin", "system:masters"),
        Vec::new(),
    )
    .await;
    assert_eq!(
        refused.json()["message"],
        "users \"kubernetes-admin\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
    // Beyond ASCII a name is a name, too, and not nobody's.
    let foreign = headers("jürgen", "");
    let foreign = ask(&admin, Method::GET, PODS, &foreign, Vec::new()).await;
    assert!(
        foreign.text.contains(r#"User \"jürgen\" cannot list"#),
        "{}",
        foreign.text
    );
    let alone = ask(
        &admin,
        Method::GET,
        "/api",
        &[("impersonate-group", "devs")],
        Vec::new(),
    )
    .await;
    assert_eq!(alone.code, 500);
}

#[tokio::test]
async fn what_is_granted_in_a_namespace_reaches_no_other_one() {
    let server = Server::start().await;
    let admin = server.client().await;
    let jane = server.client_of("jane", &[]).await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let all = binding("all", ("ClusterRole", "cluster-admin"), ("User", "jane"));
    create(&admin, &bindings, &all).await;
    becomes(&jane, PODS, 200).await;
    becomes(&jane, "/api/v1/namespaces/default", 200).await;
    let other = json!({"metadata": {"name": "prod"}});
    create(&admin, "/api/v1/namespaces", &other).await;
    let below = "/api/v1/namespaces/default/namespaces";
    for path in [
        below.to_owned(),
        format!("{below}/prod"),
        format!("{below}?fieldSelector=metadata.name%3Ddefault"),
    ] {
        assert_eq!(get(&jane, &path).await.code, 404, "{path}");
    }
    assert_eq!(delete(&jane, &format!("{below}/prod")).await.code, 404);
    assert_eq!(delete(&jane, below).await.code, 404);
    assert_eq!(post(&jane, below, &other).await.code, 404);
    assert_eq!(get(&jane, "/api/v1/namespaces/prod").await.code, 403);
    assert_eq!(get(&admin, "/api/v1/namespaces/prod").await.code, 200);
}
