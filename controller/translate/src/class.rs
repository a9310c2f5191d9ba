//! Which Ingresses are ours: ingress-nginx's order of questions.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};

use crate::{object::ObjectKey, settings::Settings, snapshot::Snapshot};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Ours,
    NotOurs,
    /// It names an IngressClass that does not exist: nobody will serve it.
    ClassMissing(String),
}

/// `spec.ingressClassName` decides alone where it is set, then the legacy annotation, then the default class and
/// `--watch-ingress-without-class`. Where IngressClasses may not be read, the name alone has to say whose it is.
pub(crate) fn claim(ingress: &Ingress, snapshot: &Snapshot, settings: &Settings) -> Claim {
    let named = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    if let Some(name) = named {
        return match snapshot.classes.get(&ObjectKey::new("", name)) {
            None if snapshot.classes_hidden => Claim::when(name == settings.ingress_class),
            None => Claim::ClassMissing(name.to_owned()),
            Some(class) => Claim::when(is_ours(class, settings)),
        };
    }
    let annotations = ingress.metadata.annotations.as_ref();
    if let Some(value) = annotations.and_then(|all| all.get(LEGACY_ANNOTATION)) {
        return Claim::when(*value == settings.ingress_class);
    }
    let default_is_ours = || {
        snapshot
            .classes
            .values()
            .any(|class| is_default(class) && is_ours(class, settings))
    };
    Claim::when(settings.watch_without_class || default_is_ours())
}

impl Claim {
    fn when(ours: bool) -> Self {
        if ours { Self::Ours } else { Self::NotOurs }
    }
}

fn is_ours(class: &IngressClass, settings: &Settings) -> bool {
    let controller = class
        .spec
        .as_ref()
        .and_then(|spec| spec.controller.as_deref());
    let by_name = settings.ingress_class_by_name
        && class.metadata.name.as_deref() == Some(settings.ingress_class.as_str());
    by_name || controller == Some(settings.controller_class.as_str())
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DEFAULT_CLASS))
        .is_some_and(|value| value == "true")
}

const LEGACY_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
