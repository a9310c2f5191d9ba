//! One claimed path as a route with its steps.

use portcullis_route::spec::{
    CookieAffinity, Denial, FixedResponse, Forward, PathMatch, RedirectToHttps, RouteAction,
    RouteLabels, RouteMatch, RouteSpec, StepSpec,
};

use super::{Build, root};
use crate::{
    backend::{self, BackendKey, Unresolved},
    fragment::{Fragment, PathRule, Target},
    notice::Reason,
    object::ObjectKey,
};

impl Build<'_> {
    pub(super) fn route(&mut self, fragment: &Fragment, path: &PathRule, rank: usize) -> RouteSpec {
        let action = match self.target(fragment, &path.target) {
            _ if fragment.policy.denied.is_some() => {
                deny(fragment.policy.denied.clone().unwrap_or_default())
            }
            Err(reason) => deny(reason),
            Ok(backend) => RouteAction::Serve(self.steps(fragment, path, &backend)),
        };
        let (service, port) = path.target.service();
        RouteSpec {
            id: format!("{} {} {}", fragment.key, self.host, identity(&path.path)),
            labels: RouteLabels {
                namespace: fragment.key.namespace.clone(),
                ingress: fragment.key.name.clone(),
                service: service.to_owned(),
                service_port: port.to_owned(),
                path: path.text.clone(),
            },
            matches: by_path(path.path.clone()),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            action,
        }
    }

    /// The route of a host for what nobody claims: the default backend of all hosts, else 404. Redirects and limits of
    /// the host's first Ingress apply, as they do in ingress-nginx's root location.
    pub(super) fn unclaimed(&mut self, first: Option<&Fragment>, rank: usize) -> RouteSpec {
        let mut steps = first.map_or_else(Vec::new, |fragment| self.gates(fragment));
        let denied = first.and_then(|fragment| fragment.policy.denied.clone());
        let mut labels = RouteLabels {
            namespace: first.map_or_else(String::new, |f| f.key.namespace.clone()),
            ingress: first.map_or_else(String::new, |f| f.key.name.clone()),
            path: "/".to_owned(),
            ..RouteLabels::default()
        };
        match self.default_backend() {
            Some(key) => {
                labels.service = key.service.name.clone();
                labels.service_port = key.port.clone();
                steps.push(StepSpec::Forward(Forward {
                    backend: key.name(),
                    affinity: None,
                    timeouts: self.settings.defaults.timeouts,
                    max_request_body_bytes: self.settings.defaults.max_request_body_bytes,
                }));
                self.backends.insert(key);
            }
            None => steps.push(respond(404, "default backend - 404")),
        }
        RouteSpec {
            id: format!("default {}", self.host),
            labels,
            matches: by_path(root()),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            action: denied.map_or(RouteAction::Serve(steps), deny),
        }
    }

    /// ingress-nginx's default server answers load balancers that ask for its health.
    pub(super) fn health_check(&mut self, rank: usize) {
        let Some(path) = &self.settings.health_check_path else {
            return;
        };
        let path = PathMatch::Exact(path.clone());
        if self.claimed.contains_key(&path) {
            return;
        }
        self.routes.push(RouteSpec {
            id: "health".to_owned(),
            labels: RouteLabels::default(),
            matches: by_path(path),
            rank: u32::try_from(rank).unwrap_or(u32::MAX),
            action: RouteAction::Serve(vec![respond(200, "")]),
        });
    }

    /// The backend of a target, or why there is none; its owner is told.
    fn target(&mut self, fragment: &Fragment, target: &Target) -> Result<BackendKey, String> {
        let (name, port) = match target {
            Target::Service { name, port } => (name, port),
            Target::Refused(sentence) => {
                self.notices
                    .push(fragment.warning(Reason::UnsupportedBackend, sentence.clone()));
                return Err(sentence.clone());
            }
        };
        let service = ObjectKey::new(&fragment.key.namespace, name);
        let found = self.snapshot.services.get(&service);
        let resolved = backend::resolve(found.map(|service| &**service), port);
        self.services.insert(service.clone());
        let (reason, sentence) = match resolved {
            Ok(_) => {
                let key = BackendKey {
                    service,
                    port: port.clone(),
                };
                self.backends.insert(key.clone());
                return Ok(key);
            }
            Err(Unresolved::NoService) => (
                Reason::ServiceNotFound,
                format!("Service {service} does not exist"),
            ),
            Err(Unresolved::NoPort) => (
                Reason::PortNotFound,
                format!("Service {service} has no port {port}"),
            ),
            Err(Unresolved::ExternalName) => (
                Reason::UnsupportedBackend,
                format!("Service {service} is of type ExternalName, which is not supported"),
            ),
        };
        self.notices
            .push(fragment.warning(reason, sentence.clone()));
        Err(sentence)
    }

    fn steps(&self, fragment: &Fragment, path: &PathRule, backend: &BackendKey) -> Vec<StepSpec> {
        let policy = &fragment.policy;
        let mut steps = self.gates(fragment);
        let affinity = policy.affinity.as_ref().map(|affinity| CookieAffinity {
            path: match affinity.path.as_str() {
                "" => path.text.clone(),
                named => named.to_owned(),
            },
            ..affinity.clone()
        });
        steps.push(StepSpec::Forward(Forward {
            backend: backend.name(),
            affinity,
            timeouts: policy.timeouts,
            max_request_body_bytes: policy.max_request_body_bytes,
        }));
        steps
    }

    /// What stands before the content of every route of an Ingress.
    fn gates(&self, fragment: &Fragment) -> Vec<StepSpec> {
        let policy = &fragment.policy;
        let mut steps = Vec::new();
        if policy.force_ssl_redirect || (policy.ssl_redirect && self.is_tls) {
            steps.push(StepSpec::RedirectToHttps(RedirectToHttps {
                status: self.settings.defaults.http_redirect_code,
                port: self.settings.https_port,
                keep_trailing_slash: policy.preserve_trailing_slash,
                except_prefixes: self.settings.defaults.no_tls_redirect_prefixes.clone(),
            }));
        }
        steps.extend(policy.limits.iter().cloned().map(StepSpec::LimitRate));
        steps
    }

    fn default_backend(&mut self) -> Option<BackendKey> {
        let service = self.settings.default_backend.as_ref()?;
        self.services.insert(service.clone());
        let port = backend::first_port(self.snapshot.services.get(service)?)?;
        Some(BackendKey {
            service: service.clone(),
            port,
        })
    }
}

fn by_path(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path,
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

fn identity(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(path) => format!("prefix {path}"),
        PathMatch::PlainPrefix(path) => format!("plain {path}"),
        PathMatch::Regex { pattern, .. } => format!("regex {pattern}"),
    }
}

fn deny(reason: String) -> RouteAction {
    RouteAction::Deny(Denial {
        status: 503,
        reason,
    })
}

fn respond(status: u16, body: &str) -> StepSpec {
    StepSpec::Respond(FixedResponse {
        status,
        content_type: "text/plain; charset=utf-8".to_owned(),
        body: body.to_owned(),
    })
}
