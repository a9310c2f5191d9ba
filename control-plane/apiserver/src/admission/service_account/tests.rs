use super::*;

fn completed(spec: Value, account: &Value) -> Value {
    let mut pod = json!({"spec": spec});
    complete(&mut pod, account, "abcde");
    pod["spec"].take()
}

fn mount(name: &str) -> Value {
    json!({"name": name, "mountPath": MOUNT_PATH, "readOnly": true})
}

#[test]
fn every_container_gets_the_volume_unless_it_has_its_own_there() {
    let own = json!({"name": "mine", "mountPath": MOUNT_PATH});
    let spec = completed(
        json!({
            "initContainers": [{"name": "first"}],
            "containers": [{"name": "a", "volumeMounts": [own]}, {"name": "b", "volumeMounts": []}],
            "volumes": [{"name": "mine", "emptyDir": {}}],
        }),
        &json!({}),
    );
    let made = "kube-api-access-abcde";
    assert_eq!(
        spec["initContainers"][0]["volumeMounts"],
        json!([mount(made)])
    );
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([own]));
    assert_eq!(spec["containers"][1]["volumeMounts"], json!([mount(made)]));
    assert_eq!(spec["volumes"][1], token_volume(made));
}

#[test]
fn a_volume_that_nobody_mounts_is_not_added() {
    let own = json!([{"name": "mine", "mountPath": MOUNT_PATH}]);
    let containers = json!({"containers": [{"name": "a", "volumeMounts": own}]});
    assert_eq!(completed(containers.clone(), &json!({})), containers);
}

#[test]
fn a_pod_that_brings_the_volume_keeps_it() {
    let brought = json!([{"name": "kube-api-access-mine", "emptyDir": {}}]);
    let spec = completed(
        json!({"containers": [{"name": "a"}], "volumes": brought}),
        &json!({}),
    );
    assert_eq!(spec["volumes"], brought);
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([mount("kube-api-access-mine")])
    );
}

#[test]
fn the_pods_word_on_the_token_counts_before_the_accounts() {
    let flags = [Value::Null, json!(false), json!(true)];
    for own in &flags {
        for accounts in &flags {
            let mut account = json!({"automountServiceAccountToken": accounts});
            if accounts.is_null() {
                account = json!({});
            }
            let spec = json!({"automountServiceAccountToken": own, "containers": [{"name": "a"}]});
            let mounted = completed(spec, &account).get("volumes").is_some();
            let wanted = own.as_bool().or(accounts.as_bool()).unwrap_or(true);
            assert_eq!(mounted, wanted, "{own} {accounts}");
        }
    }
}

#[test]
fn pull_secrets_are_the_accounts_where_the_pod_has_none() {
    let account = json!({"imagePullSecrets": [{"name": "theirs"}]});
    for (own, expected) in [
        (Value::Null, "theirs"),
        (json!([]), "theirs"),
        (json!([{"name": "mine"}]), "mine"),
    ] {
        let spec = completed(json!({"containers": [], "imagePullSecrets": own}), &account);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": expected}]));
    }
}

#[test]
fn the_former_name_of_the_field_is_understood() {
    for (spec, name) in [
        (json!({}), "default"),
        (json!({"serviceAccount": "old"}), "old"),
        (
            json!({"serviceAccount": "old", "serviceAccountName": ""}),
            "old",
        ),
        (
            json!({"serviceAccount": "old", "serviceAccountName": "new"}),
            "new",
        ),
    ] {
        assert_eq!(account_name(&json!({"spec": spec})), name);
    }
}
