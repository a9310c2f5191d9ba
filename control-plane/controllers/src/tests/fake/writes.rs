//! Create, patch, update.

use http::StatusCode;
use serde_json::{Value, json};

use super::Fake;
use super::address::{Address, KINDS};
use super::serve::{Answer, failure, reply};
use super::state::{Place, stamp};

impl Fake {
    pub(super) fn put(&self, place: &Place, subresource: Option<&str>, body: &Value) -> Answer {
        if subresource == Some("finalize") {
            self.lock().remove(place);
            return reply(StatusCode::OK, body);
        }
        let version = &body["metadata"]["resourceVersion"];
        let current = self
            .lock()
            .objects
            .get(place)
            .map(|object| object["metadata"]["resourceVersion"].clone());
        if !version.is_null() && current.as_ref() != Some(version) {
            return failure(409, "Conflict", "the object has been modified");
        }
        self.change(place, subresource, |object| match subresource {
            Some(part) => object[part] = body[part].clone(),
            None => *object = body.clone(),
        })
    }

    pub(super) fn remove_one(&self, place: Place, options: &Value) -> Answer {
        let mut state = self.lock();
        match state.objects.get(&place) {
            None => failure(404, "NotFound", "not found"),
            Some(object) if !preconditions_hold(object, options) => {
                failure(409, "Conflict", "precondition")
            }
            Some(_) => {
                state.delete(place, options);
                reply(
                    StatusCode::OK,
                    &json!({"kind": "Status", "status": "Success"}),
                )
            }
        }
    }

    pub(super) fn remove_all(&self, address: &Address, options: &Value) -> Answer {
        let mut state = self.lock();
        let places: Vec<Place> = state
            .objects
            .keys()
            .filter(|place| address.covers(place))
            .cloned()
            .collect();
        places
            .into_iter()
            .for_each(|place| state.delete(place, options));
        reply(
            StatusCode::OK,
            &json!({"kind": "Status", "status": "Success"}),
        )
    }

    pub(super) fn patch(&self, place: &Place, subresource: Option<&str>, patch: &Value) -> Answer {
        let current = self.lock().objects.get(place).cloned();
        let Some(current) = current else {
            return failure(404, "NotFound", "not found");
        };
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != current["metadata"][field] {
                return failure(409, "Conflict", "the object has been modified");
            }
        }
        self.change(place, subresource, |object| merge(object, patch))
    }

    pub(super) fn change(
        &self,
        place: &Place,
        subresource: Option<&str>,
        edit: impl FnOnce(&mut Value),
    ) -> Answer {
        let mut state = self.lock();
        let Some(mut object) = state.objects.get(place).cloned() else {
            return failure(404, "NotFound", "not found");
        };
        let before = object.clone();
        edit(&mut object);
        if subresource.is_none() && object["spec"] != before["spec"] {
            object["metadata"]["generation"] =
                json!(before["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        }
        if object == before {
            return reply(StatusCode::OK, &before);
        }
        let finalizers = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
        let running = place.plural == "pods" && !object["spec"]["nodeName"].is_null();
        let pending = running || place.plural == "namespaces";
        if object["metadata"]["deletionTimestamp"].is_string() && !finalizers && !pending {
            state.remove(place);
            return reply(StatusCode::OK, &object);
        }
        let object = state.store(place.clone(), object, "MODIFIED");
        reply(StatusCode::OK, &object)
    }

    pub(super) fn insert(
        &self,
        root: &str,
        plural: &str,
        namespace: &str,
        mut object: Value,
    ) -> Result<Value, Box<Answer>> {
        let mut state = self.lock();
        if let Some(message) = state.refused.get(plural) {
            return Err(Box::new(failure(403, "Forbidden", message)));
        }
        let kind = KINDS
            .iter()
            .find(|row| row.0 == root && row.1 == plural)
            .expect("a served kind");
        object["kind"] = json!(kind.2);
        object["apiVersion"] = json!(
            root.trim_start_matches("/apis/")
                .trim_start_matches("/api/")
        );
        state.revision += 1;
        let serial = state.revision;
        let metadata = &mut object["metadata"];
        if metadata["name"].is_null() {
            metadata["name"] = json!(format!(
                "{}{serial:05}",
                metadata["generateName"].as_str().unwrap_or_default()
            ));
        }
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        metadata["uid"] = json!(format!("uid-{serial}"));
        metadata["generation"] = json!(1);
        metadata["creationTimestamp"] = json!(stamp());
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        if plural == "pods" {
            object["status"] = json!({"phase": "Pending"});
        }
        let place = Place {
            root: root.into(),
            plural: plural.into(),
            namespace: namespace.into(),
            name,
        };
        if state.objects.contains_key(&place) {
            return Err(Box::new(failure(409, "AlreadyExists", "already exists")));
        }
        Ok(state.store(place, object, "ADDED"))
    }
}

fn preconditions_hold(object: &Value, options: &Value) -> bool {
    ["uid", "resourceVersion"].into_iter().all(|field| {
        let wanted = &options["preconditions"][field];
        wanted.is_null() || *wanted == object["metadata"][field]
    })
}

/// RFC 7386.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target
                .as_object_mut()
                .expect("made an object above")
                .remove(name);
        } else {
            merge(&mut target[name.as_str()], value);
        }
    }
}
