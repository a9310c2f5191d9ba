//! Objects from values.

use std::fs;
use std::path::{Path, PathBuf};

use portcullis_conformance::{Helm, chart};

/// `ci/NAME-values.yaml` becomes `golden/NAME.yaml`; `UPDATE=1` accepts what is rendered now.
pub(crate) fn every_file_of_values_becomes_its_golden_objects() {
    let helm = Helm::alone();
    let mut differences = Vec::new();
    for (name, values) in files_of_values() {
        let rendered = render(&helm, &["--values", path(&values)]);
        let golden = chart().join("golden").join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &rendered).expect("the chart's directory");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if let Some(difference) = first_difference(&expected, &rendered) {
            differences.push(format!("{name}: {difference}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{}\nUPDATE=1 accepts the changes",
        differences.join("\n")
    );
}

/// The Pod Security Standard `restricted`, as far as a rendered text can show it.
pub(crate) fn pods_meet_the_restricted_standard() {
    let helm = Helm::alone();
    for (name, values) in files_of_values() {
        // A host's own low ports are for root: that the standard forbids both is said where they are set.
        if name == "daemon-set" {
            continue;
        }
        let rendered = render(&helm, &["--values", path(&values)]);
        let with_pods = rendered
            .split("\n---\n")
            .filter(|object| object.contains("\n      containers:\n"));
        let mut pods = 0;
        for object in with_pods {
            pods += 1;
            let words = object.split_whitespace().collect::<Vec<_>>().join(" ");
            for wanted in [
                "runAsNonRoot: true",
                "readOnlyRootFilesystem: true",
                "allowPrivilegeEscalation: false",
                "drop: [ALL]",
                "type: RuntimeDefault",
            ] {
                let found = words.contains(wanted) || words.contains(&spelt_out(wanted));
                assert!(found, "{name} lacks {wanted} in\n{object}");
            }
            for unwanted in ["privileged:", "hostPID", "hostPath", "runAsUser: 0"] {
                assert!(
                    !object.contains(unwanted),
                    "{name}: {unwanted} in\n{object}"
                );
            }
        }
        assert_eq!(pods, 2, "{name}");
    }
}

/// Verbs beyond reading: statuses, Events, the Lease, the link's Secrets by name. Nothing for the proxies.
pub(crate) fn the_controller_may_write_little() {
    let helm = Helm::alone();
    let allowed = [
        "ingresses/status: update",
        "events: create",
        "events: patch",
        "leases: update",
        "leases: create",
        "secrets: update",
    ];
    for (name, values) in files_of_values() {
        let rendered = render(&helm, &["--values", path(&values)]);
        let mut resources = String::new();
        let mut named = false;
        for line in rendered.lines().map(str::trim) {
            if line.starts_with("- apiGroups:") {
                named = false;
            } else if let Some(list) = line.strip_prefix("resources: [") {
                resources = list.trim_end_matches(']').to_owned();
            } else if line.starts_with("resourceNames:") {
                named = true;
            } else if let Some(verbs) = line.strip_prefix("verbs: [") {
                for verb in verbs.trim_end_matches(']').split(", ") {
                    let right = format!("{resources}: {verb}");
                    let reads = ["get", "list", "watch"].contains(&verb);
                    assert!(
                        reads || allowed.contains(&right.as_str()),
                        "{name}: {right}"
                    );
                    let by_name = right == "secrets: update" || right == "leases: update";
                    assert!(!by_name || named, "{name}: {right} of any name");
                }
            }
        }
        let bindings = rendered
            .split("\n---\n")
            .filter(|object| object.contains("Binding\nmetadata:"));
        for binding in bindings {
            assert!(
                !binding.contains("-proxy"),
                "{name}: a right for the proxies in\n{binding}"
            );
        }
    }
}

fn files_of_values() -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(chart().join("ci")).expect("ci/ of the chart");
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let name = path.file_name()?.to_str()?.strip_suffix("-values.yaml")?;
            Some((name.to_owned(), path.clone()))
        })
        .collect();
    found.sort();
    assert!(found.len() > 3, "{found:?}");
    found
}

#[track_caller]
fn render(helm: &Helm, more: &[&str]) -> String {
    let chart = chart();
    let mut arguments = vec!["template", "front", path(&chart), "--namespace=ingress"];
    arguments.push("--kube-version=1.37.0");
    arguments.extend_from_slice(more);
    helm.run(&arguments).ok()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("the repository's path is UTF-8")
}

/// `drop: [ALL]` as programs write it, line breaks taken for blanks.
fn spelt_out(text: &str) -> String {
    text.replace(": [", ": - ").replace(']', "")
}

fn first_difference(expected: &str, found: &str) -> Option<String> {
    let mut object = "";
    let (mut expected, mut found) = (expected.lines(), found.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (one, other) if one != other => {
                let (one, other) = (one.unwrap_or("the end"), other.unwrap_or("the end"));
                return Some(format!(
                    "after {object}\n  expected {one}\n  found    {other}"
                ));
            }
            (line, _) => object = line.filter(|line| line.starts_with('#')).unwrap_or(object),
        }
    }
}
