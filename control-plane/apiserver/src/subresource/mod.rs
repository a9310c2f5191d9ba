//! Subresources that are not the object itself in another light.

mod binding;
mod eviction;
mod kubelet;
mod log;
mod scale;
mod token;

use http::Response;
use portcullis_resource::error::ApiError;
use portcullis_resource::kind::Subresource;
use serde_json::{Value, json};

use crate::body::Body;
use crate::call::Call;

pub(crate) use kubelet::Kubelets;

/// Those with a handler of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Special {
    Scale,
    Binding,
    Eviction,
    Log,
    Token,
}

/// `None` for status and finalize, which the verbs serve.
pub(crate) fn special(sub: Subresource) -> Option<Special> {
    match sub {
        Subresource::Status | Subresource::Finalize => None,
        Subresource::Scale => Some(Special::Scale),
        Subresource::Binding => Some(Special::Binding),
        Subresource::Eviction => Some(Special::Eviction),
        Subresource::Log => Some(Special::Log),
        Subresource::Token => Some(Special::Token),
    }
}

/// Whether the answer may go on for as long as the client likes.
pub(crate) fn is_streaming(sub: Subresource) -> bool {
    sub == Subresource::Log
}

pub(crate) async fn answer(special: Special, call: Call) -> Result<Response<Body>, ApiError> {
    match special {
        Special::Scale => scale::answer(call).await,
        Special::Binding => binding::answer(call).await,
        Special::Eviction => eviction::answer(call).await,
        Special::Log => log::answer(call).await,
        Special::Token => token::answer(call).await,
    }
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}
