//! What `up` and `proxy` share: specs into a gateway, and where its access log goes.

use std::{path::PathBuf, sync::Arc};

use portcullis_gateway::{
    AccessLogTarget, Gateway, Refusal, StartError,
    spec::{GlobalSpec, Specs},
};
use tokio::sync::watch;

/// Names the flag that helps, where one does.
pub fn with_flag(error: StartError) -> anyhow::Error {
    let flag = match &error {
        StartError::Admin { .. } => "choose another port with --admin-port",
        StartError::AccessLog(_) => "the file cannot be written; choose another with --access-log",
        _ => return error.into(),
    };
    anyhow::Error::from(error).context(flag)
}

/// Applies every publication, the newest only where several came at once.
pub async fn follow(gateway: Arc<Gateway>, mut specs: watch::Receiver<Arc<Specs>>) {
    while specs.changed().await.is_ok() {
        let newest = specs.borrow_and_update().clone();
        apply(&gateway, newest);
    }
}

/// Refused units are logged and returned: everything else is served.
pub fn apply(gateway: &Gateway, specs: Arc<Specs>) -> Vec<Refusal> {
    let report = gateway.apply(specs);
    for refusal in &report.refusals {
        tracing::warn!(
            unit = refusal.unit,
            reason = refusal.reason,
            "not served as asked"
        );
    }
    report.refusals
}

/// A data plane holds a descriptor per connection, so the limit of the shell that started it is not for it. Containers
/// get theirs back: the node starts its runtime with the limit that this process was given.
pub fn raise_descriptor_limit() {
    match portcullis_serve::raise_descriptor_limit() {
        Ok(limit) => tracing::debug!(was = limit.was, is = limit.is, "open files"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}

/// The same without an access log, whatever the controller asks for.
pub fn without_log(specs: &Specs) -> Arc<Specs> {
    let global = GlobalSpec {
        access_log: false,
        ..(*specs.global).clone()
    };
    Arc::new(Specs {
        global: Arc::new(global),
        ..specs.clone()
    })
}

/// `off`, `-` or a file: the target, and whether lines are wanted at all.
pub fn access_log(text: &str) -> (AccessLogTarget, bool) {
    match text {
        "off" => (AccessLogTarget::Stdout, false),
        "-" => (AccessLogTarget::Stdout, true),
        path => (AccessLogTarget::File(PathBuf::from(path)), true),
    }
}
