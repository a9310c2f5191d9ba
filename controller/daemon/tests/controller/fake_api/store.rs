//! Objects by resource, namespace and name, and the log of their changes.

use std::{collections::BTreeMap, sync::Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Default)]
pub struct Store {
    state: Mutex<State>,
    /// Length of the log, for those who wait.
    length: watch::Sender<usize>,
    /// The resource whose lists and reads are not answered.
    hold: watch::Sender<Option<String>>,
    /// The resource that nobody may see.
    forbidden: Mutex<Option<String>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Path, Value>,
    log: Vec<Entry>,
}

/// The resource version of a change is its place in the log, counted from one.
#[derive(Clone)]
pub struct Entry {
    pub path: Path,
    pub kind: &'static str,
    pub object: Value,
}

impl Path {
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn of(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let resource = match object["kind"].as_str().expect("a kind") {
            "Ingress" => "ingresses".to_owned(),
            "IngressClass" => "ingressclasses".to_owned(),
            other => format!("{}s", other.to_lowercase()),
        };
        Self::new(&resource, text("namespace"), text("name"))
    }
}

impl Store {
    /// None when `expected` names another version than the stored one.
    pub fn put_expecting(&self, path: Path, object: Value) -> Option<Value> {
        let expected = object["metadata"]["resourceVersion"].as_str();
        let stored = self.get(&path);
        let current = stored
            .as_ref()
            .and_then(|old| old["metadata"]["resourceVersion"].as_str());
        if expected.is_some() && expected != current {
            return None;
        }
        Some(self.put(path, object, false))
    }

    pub fn put(&self, path: Path, mut object: Value, keep_status: bool) -> Value {
        let mut state = self.state.lock().expect("lock");
        let old = state.objects.get(&path).cloned();
        let version = state.log.len() + 1;
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(version.to_string());
        let kept = |field: &str, fresh: Value| match &old {
            Some(old) => old["metadata"][field].clone(),
            None => fresh,
        };
        if metadata["uid"].is_null() {
            metadata["uid"] = kept("uid", json!(format!("uid-{version}")));
        }
        if metadata["creationTimestamp"].is_null() {
            metadata["creationTimestamp"] =
                kept("creationTimestamp", json!("2026-01-01T00:00:00Z"));
        }
        if let (true, Some(old)) = (keep_status, &old) {
            object["status"] = old["status"].clone();
        }
        state.objects.insert(path.clone(), object.clone());
        let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
        self.log(&mut state, path, kind, object.clone());
        object
    }

    pub fn delete(&self, path: &Path) -> Option<Value> {
        let mut state = self.state.lock().expect("lock");
        let mut object = state.objects.remove(path)?;
        let version = state.log.len() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        self.log(&mut state, path.clone(), "DELETED", object.clone());
        Some(object)
    }

    pub fn get(&self, path: &Path) -> Option<Value> {
        self.state.lock().expect("lock").objects.get(path).cloned()
    }

    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let state = self.state.lock().expect("lock");
        let wanted = state.objects.iter().filter(|(path, _)| {
            path.resource == resource && namespace.is_none_or(|n| path.namespace == n)
        });
        wanted.map(|(_, object)| object.clone()).collect()
    }

    pub fn version(&self) -> usize {
        self.state.lock().expect("lock").log.len()
    }

    pub fn since(&self, version: usize) -> Vec<Entry> {
        let state = self.state.lock().expect("lock");
        state.log.get(version..).unwrap_or_default().to_vec()
    }

    pub fn length(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    /// Answers 403 to every request for a resource.
    pub fn forbid(&self, resource: &str) {
        *self.forbidden.lock().expect("lock") = Some(resource.to_owned());
    }

    pub fn is_forbidden(&self, resource: &str) -> bool {
        self.forbidden.lock().expect("lock").as_deref() == Some(resource)
    }

    /// Answers no list and no read of a resource until called with none.
    pub fn hold(&self, resource: Option<&str>) {
        self.hold.send_replace(resource.map(str::to_owned));
    }

    pub async fn held(&self, resource: &str) {
        let mut hold = self.hold.subscribe();
        let free = hold.wait_for(|held| held.as_deref() != Some(resource));
        free.await.expect("the store outlives its requests");
    }

    fn log(&self, state: &mut State, path: Path, kind: &'static str, object: Value) {
        state.log.push(Entry { path, kind, object });
        self.length.send_replace(state.log.len());
    }
}
