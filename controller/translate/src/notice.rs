//! What the owner of an Ingress is told about it.

use std::fmt;

use serde::Serialize;

use crate::object::ObjectKey;

/// One thing to say about one Ingress: the content of an Event and of a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Notice {
    pub ingress: ObjectKey,
    /// Of the Ingress, so that an Event does not reach its successor of the same name.
    pub uid: String,
    pub severity: Severity,
    pub reason: Reason,
    pub message: String,
    /// Generation of the Ingress: a new one is told again.
    pub generation: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Severity {
    Normal,
    Warning,
}

/// The `reason` of an Event: one word for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// ingress-nginx's: the Ingress was taken up.
    Sync,
    /// Nothing of the Ingress is served.
    Rejected,
    /// One value was not understood; its default is used.
    AnnotationParsingFailed,
    /// An annotation is known but not acted upon.
    UnsupportedAnnotation,
    /// An older Ingress has the same host and path.
    Conflict,
    IngressClassNotFound,
    ServiceNotFound,
    PortNotFound,
    UnsupportedBackend,
    /// The default certificate is served instead.
    CertificateUnusable,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
