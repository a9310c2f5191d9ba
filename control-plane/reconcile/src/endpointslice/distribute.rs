//! Placing endpoints in slices: keep what is right, fill what changes anyway, and only then touch or make another.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoints::{Family, Group};
use super::{CAPACITY, MANAGED_BY, MANAGER, SERVICE_NAME};
use crate::owner;
use crate::plan::{Action, Object, Target};

/// The creations, updates and deletions, in that order.
pub(super) fn actions(
    service: &Service,
    groups: Vec<Group>,
    existing: &[&Arc<EndpointSlice>],
) -> Vec<Action> {
    let labels = labels(service);
    let mut free: Vec<&Arc<EndpointSlice>> = existing.to_vec();
    free.sort_by_key(|slice| slice.metadata.name.clone());
    let mut drafts = Vec::new();
    for group in groups {
        let (mine, others) = free.into_iter().partition(|slice| belongs(slice, &group));
        free = others;
        drafts.extend(distribute(group, mine));
    }
    // Slices nobody needs serve those that would have to be made: one write less, and no moment with neither.
    free.extend(
        drafts
            .iter()
            .filter(|draft| draft.is_vacant())
            .filter_map(|draft| draft.observed),
    );
    drafts.retain(|draft| !draft.is_vacant());
    for draft in drafts.iter_mut().filter(|draft| draft.observed.is_none()) {
        let family = draft.family.address_type();
        if let Some(position) = free.iter().position(|slice| slice.address_type == family) {
            draft.observed = Some(free.remove(position));
        }
    }
    let (made, kept): (Vec<_>, Vec<_>) = drafts
        .into_iter()
        .partition(|draft| draft.observed.is_none());
    let created = made
        .into_iter()
        .map(|draft| Action::Create(draft.into_object(service, &labels)));
    let changed = kept.into_iter().filter(|draft| draft.differs(&labels));
    let changed = changed.map(|draft| Action::Replace(draft.into_object(service, &labels)));
    created
        .chain(changed)
        .chain(
            free.iter()
                .map(|slice| Action::delete(Target::of(&***slice))),
        )
        .collect()
}

fn belongs(slice: &EndpointSlice, group: &Group) -> bool {
    slice.address_type == group.family.address_type()
        && slice.ports.as_deref().unwrap_or_default() == group.ports
}

/// A slice as it should be.
struct Draft<'a> {
    observed: Option<&'a Arc<EndpointSlice>>,
    family: Family,
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
    /// Stays even when empty: it says that there is nothing.
    placeholder: bool,
}

impl Draft<'_> {
    fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.endpoints.len())
    }

    fn is_vacant(&self) -> bool {
        self.endpoints.is_empty() && !self.placeholder
    }

    fn is_changed(&self) -> bool {
        self.observed
            .is_none_or(|slice| slice.endpoints.as_deref().unwrap_or_default() != self.endpoints)
    }

    fn differs(&self, labels: &BTreeMap<String, String>) -> bool {
        let ports = self
            .observed
            .and_then(|slice| slice.ports.as_deref())
            .unwrap_or_default();
        let current = self
            .observed
            .and_then(|slice| slice.metadata.labels.as_ref());
        self.is_changed() || ports != self.ports || current != Some(labels)
    }

    fn into_object(self, service: &Service, labels: &BTreeMap<String, String>) -> Object {
        let metadata = match self.observed {
            Some(slice) => ObjectMeta {
                labels: Some(labels.clone()),
                ..slice.metadata.clone()
            },
            None => ObjectMeta {
                generate_name: Some(format!(
                    "{}-",
                    service.metadata.name.as_deref().unwrap_or_default()
                )),
                namespace: service.metadata.namespace.clone(),
                labels: Some(labels.clone()),
                owner_references: Some(vec![owner::reference_to(service)]),
                ..ObjectMeta::default()
            },
        };
        Object::EndpointSlice(Box::new(EndpointSlice {
            metadata,
            address_type: self.family.address_type().to_owned(),
            endpoints: Some(self.endpoints),
            ports: Some(self.ports),
        }))
    }
}

fn distribute<'a>(group: Group, existing: Vec<&'a Arc<EndpointSlice>>) -> Vec<Draft<'a>> {
    let Group {
        family,
        ports,
        mut endpoints,
    } = group;
    let empty = endpoints.is_empty();
    let mut drafts: Vec<Draft<'a>> = existing
        .into_iter()
        .map(|slice| {
            let present = slice.endpoints.iter().flatten();
            let kept = present.filter_map(|endpoint| {
                endpoints.remove(endpoint.target_ref.as_ref()?.uid.as_deref()?)
            });
            let kept = kept.collect();
            Draft {
                observed: Some(slice),
                family,
                ports: ports.clone(),
                endpoints: kept,
                placeholder: false,
            }
        })
        .collect();
    let mut homeless: VecDeque<Endpoint> = endpoints.into_values().collect();
    for draft in drafts.iter_mut().filter(|draft| draft.is_changed()) {
        let moved = homeless.len().min(draft.room());
        draft.endpoints.extend(homeless.drain(..moved));
    }
    // One more write is unavoidable: the fullest slice that takes all the rest keeps the number of slices down.
    if !homeless.is_empty() {
        let fitting = drafts
            .iter_mut()
            .filter(|draft| draft.room() >= homeless.len());
        if let Some(draft) = fitting.min_by_key(|draft| draft.room()) {
            draft.endpoints.extend(homeless.drain(..));
        }
    }
    while !homeless.is_empty() {
        let chunk = homeless.drain(..homeless.len().min(CAPACITY)).collect();
        drafts.push(Draft {
            observed: None,
            family,
            ports: ports.clone(),
            endpoints: chunk,
            placeholder: false,
        });
    }
    if empty {
        match drafts.first_mut() {
            Some(first) => first.placeholder = true,
            None => drafts.push(Draft {
                observed: None,
                family,
                ports,
                endpoints: Vec::new(),
                placeholder: true,
            }),
        }
    }
    drafts
}

/// The Service's labels, and those by which consumers find its slices.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(
        SERVICE_NAME.to_owned(),
        service.metadata.name.clone().unwrap_or_default(),
    );
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let headless = service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None");
    labels.remove(HEADLESS);
    if headless {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

const HEADLESS: &str = "service.kubernetes.io/headless";
