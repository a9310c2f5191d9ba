//! A small API server in memory: enough of the protocol for controllers to live on, and nothing they could cheat with.

mod address;
mod reads;
mod serve;
mod state;
mod writes;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

use address::KINDS;
use state::State;

#[derive(Clone, Default)]
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

impl Fake {
    pub fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { Ok::<_, Infallible>(fake.answer(request).await) }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the lock")
    }

    /// Creates an object as a user would.
    pub fn create(&self, object: Value) -> Value {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        let (root, plural, _, _) = KINDS
            .iter()
            .find(|row| row.2 == kind)
            .expect("a served kind");
        let namespace = object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let created = self
            .insert(root, plural, &namespace, object)
            .expect("creation goes through");
        self.changed.notify_waiters();
        created
    }

    /// Changes an object as its status owner (a kubelet, say) would.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut state = self.lock();
        let place = state
            .find(plural, namespace, name)
            .expect("the object exists");
        let mut object = state.objects[&place].clone();
        edit(&mut object);
        state.store(place, object, "MODIFIED");
        drop(state);
        self.changed.notify_waiters();
    }

    /// Deletes as a user would; pods that run stay until [`Self::vanish`].
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let mut state = self.lock();
        let place = state
            .find(plural, namespace, name)
            .expect("the object exists");
        state.delete(place, &json!({}));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Removes at once, as a kubelet does when the containers are gone.
    pub fn vanish(&self, plural: &str, namespace: &str, name: &str) {
        let mut state = self.lock();
        let place = state
            .find(plural, namespace, name)
            .expect("the object exists");
        state.remove(&place);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Refuses every later creation of a kind.
    pub fn refuse(&self, plural: &str, message: &str) {
        self.lock()
            .refused
            .insert(plural.to_owned(), message.to_owned());
    }

    pub fn list(&self, plural: &str) -> Vec<Value> {
        let state = self.lock();
        state
            .objects
            .iter()
            .filter(|(place, _)| place.plural == plural)
            .map(|(_, object)| object.clone())
            .collect()
    }

    pub fn writes(&self) -> Vec<String> {
        self.lock().writes.clone()
    }

    /// Waits until the test holds; it is looked at again after each change.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        });
        if waited.await.is_err() {
            let pods: Vec<String> = self.list("pods").iter().map(Value::to_string).collect();
            panic!(
                "never came: {what}\nwrites: {:#?}\npods: {pods:#?}",
                self.writes()
            );
        }
    }
}
