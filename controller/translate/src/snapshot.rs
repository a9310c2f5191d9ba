//! The watched objects as they were last seen.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, Pod, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{Ingress, IngressClass},
};

use crate::object::{Change, Kind, Object, ObjectKey, ObjectRef, SERVICE_NAME_LABEL};

/// It has no `Debug`: it holds Secrets.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(crate) ingresses: BTreeMap<ObjectKey, Arc<Ingress>>,
    pub(crate) classes: BTreeMap<ObjectKey, Arc<IngressClass>>,
    /// IngressClasses may not be read: they belong to the cluster, which a controller with Roles alone does not see.
    pub(crate) classes_hidden: bool,
    pub(crate) services: HashMap<ObjectKey, Arc<Service>>,
    pub(crate) slices: HashMap<ObjectKey, Arc<EndpointSlice>>,
    pub(crate) secrets: HashMap<ObjectKey, Arc<Secret>>,
    /// The proxies'.
    pub(crate) pods: BTreeMap<ObjectKey, Arc<Pod>>,
    pub(crate) nodes: BTreeMap<ObjectKey, Arc<Node>>,
    /// Slices of each Service.
    slices_of: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Snapshot {
    /// Takes a change and returns the objects whose content is now different. A touched slice is named by its
    /// Service.
    pub fn apply(&mut self, change: Change) -> Vec<ObjectRef> {
        let mut touched = Vec::new();
        match change {
            Change::Put(object) => self.put(object.strip(), &mut touched),
            Change::Delete(reference) => self.delete(&reference, &mut touched),
            Change::Relist {
                kind,
                namespace,
                objects,
            } => {
                self.hide(kind, false, &mut touched);
                self.relist(kind, namespace.as_deref(), objects, &mut touched);
            }
            Change::Hidden(kind) => self.hide(kind, true, &mut touched),
        }
        touched
    }

    pub(crate) fn slices_of(&self, service: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        self.slices_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|key| self.slices.get(key).map(Arc::as_ref))
    }

    pub(crate) fn all(&self) -> Vec<ObjectRef> {
        let references = |kind, keys: Vec<&ObjectKey>| {
            keys.into_iter()
                .map(move |key| ObjectRef {
                    kind,
                    key: key.clone(),
                })
                .collect::<Vec<_>>()
        };
        let mut all = references(Kind::Ingress, self.ingresses.keys().collect());
        all.extend(references(Kind::Service, self.services.keys().collect()));
        all.extend(references(Kind::Secret, self.secrets.keys().collect()));
        all
    }

    /// Only of classes does it matter: every other kind is needed to serve at all.
    fn hide(&mut self, kind: Kind, hidden: bool, touched: &mut Vec<ObjectRef>) {
        if kind == Kind::IngressClass && self.classes_hidden != hidden {
            self.classes_hidden = hidden;
            let key = ObjectKey::new("", "");
            touched.push(ObjectRef { kind, key });
        }
    }

    fn put(&mut self, object: Object, touched: &mut Vec<ObjectRef>) {
        let key = object.key();
        let kind = object.kind();
        let changed = match object {
            Object::Ingress(new) => put(&mut self.ingresses, &key, *new),
            Object::IngressClass(new) => put(&mut self.classes, &key, *new),
            Object::Service(new) => put_hashed(&mut self.services, &key, *new),
            Object::Secret(new) => put_hashed(&mut self.secrets, &key, *new),
            Object::Pod(new) => put(&mut self.pods, &key, *new),
            Object::Node(new) => put(&mut self.nodes, &key, *new),
            Object::EndpointSlice(new) => return self.put_slice(key, *new, touched),
        };
        if changed {
            touched.push(ObjectRef { kind, key });
        }
    }

    fn put_slice(&mut self, key: ObjectKey, new: EndpointSlice, touched: &mut Vec<ObjectRef>) {
        if self.slices.get(&key).is_some_and(|old| **old == new) {
            return;
        }
        self.delete_slice(&key, touched);
        if let Some(service) = service_of(&new) {
            self.slices_of
                .entry(service.clone())
                .or_default()
                .insert(key.clone());
            touched.push(slice_of(service));
        }
        self.slices.insert(key, Arc::new(new));
    }

    fn delete_slice(&mut self, key: &ObjectKey, touched: &mut Vec<ObjectRef>) {
        let Some(service) = self.slices.remove(key).and_then(|old| service_of(&old)) else {
            return;
        };
        if let Some(keys) = self.slices_of.get_mut(&service) {
            keys.remove(key);
            if keys.is_empty() {
                self.slices_of.remove(&service);
            }
        }
        touched.push(slice_of(service));
    }

    fn delete(&mut self, reference: &ObjectRef, touched: &mut Vec<ObjectRef>) {
        let key = &reference.key;
        let deleted = match reference.kind {
            Kind::Ingress => self.ingresses.remove(key).is_some(),
            Kind::IngressClass => self.classes.remove(key).is_some(),
            Kind::Service => self.services.remove(key).is_some(),
            Kind::Secret => self.secrets.remove(key).is_some(),
            Kind::Pod => self.pods.remove(key).is_some(),
            Kind::Node => self.nodes.remove(key).is_some(),
            Kind::EndpointSlice => return self.delete_slice(key, touched),
        };
        if deleted {
            touched.push(reference.clone());
        }
    }

    fn relist(
        &mut self,
        kind: Kind,
        namespace: Option<&str>,
        objects: Vec<Object>,
        touched: &mut Vec<ObjectRef>,
    ) {
        let listed: BTreeSet<ObjectKey> = objects.iter().map(Object::key).collect();
        let in_scope = |key: &&ObjectKey| namespace.is_none_or(|scope| key.namespace == scope);
        let known: Vec<ObjectKey> = match kind {
            Kind::Ingress => self.ingresses.keys().filter(in_scope).cloned().collect(),
            Kind::IngressClass => self.classes.keys().filter(in_scope).cloned().collect(),
            Kind::Service => self.services.keys().filter(in_scope).cloned().collect(),
            Kind::EndpointSlice => self.slices.keys().filter(in_scope).cloned().collect(),
            Kind::Secret => self.secrets.keys().filter(in_scope).cloned().collect(),
            Kind::Pod => self.pods.keys().filter(in_scope).cloned().collect(),
            Kind::Node => self.nodes.keys().filter(in_scope).cloned().collect(),
        };
        for key in known.into_iter().filter(|key| !listed.contains(key)) {
            self.delete(&ObjectRef { kind, key }, touched);
        }
        for object in objects.into_iter().filter(|object| object.kind() == kind) {
            self.put(object.strip(), touched);
        }
    }
}

fn put<T: PartialEq>(map: &mut BTreeMap<ObjectKey, Arc<T>>, key: &ObjectKey, new: T) -> bool {
    if map.get(key).is_some_and(|old| **old == new) {
        return false;
    }
    map.insert(key.clone(), Arc::new(new));
    true
}

fn put_hashed<T: PartialEq>(map: &mut HashMap<ObjectKey, Arc<T>>, key: &ObjectKey, new: T) -> bool {
    if map.get(key).is_some_and(|old| **old == new) {
        return false;
    }
    map.insert(key.clone(), Arc::new(new));
    true
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    let name = labels.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::new(
        slice.metadata.namespace.clone().unwrap_or_default(),
        name,
    ))
}

fn slice_of(service: ObjectKey) -> ObjectRef {
    ObjectRef {
        kind: Kind::EndpointSlice,
        key: service,
    }
}
