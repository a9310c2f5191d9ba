//! From a request to an answer.

use std::collections::BTreeMap;
use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::{Value, json};

use super::Fake;
use super::address::{Address, discovery};

pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl Fake {
    pub(super) async fn answer(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.replace("%3D", "=")))
            .collect();
        let path = head.uri.path().to_owned();
        if head.method != Method::GET {
            self.lock().writes.push(format!("{} {path}", head.method));
        }
        if let Some(discovery) = discovery(&path) {
            return reply(StatusCode::OK, &discovery);
        }
        let Some(address) = Address::parse(&path) else {
            return failure(404, "NotFound", "no such path");
        };
        let answer = self.serve(&head.method, &address, &query, body);
        if head.method != Method::GET {
            self.changed.notify_waiters();
        }
        answer
    }

    pub(super) fn serve(
        &self,
        method: &Method,
        address: &Address,
        query: &BTreeMap<String, String>,
        body: Value,
    ) -> Answer {
        let place = address.place();
        match (
            method.as_str(),
            address.name.is_some(),
            address.subresource.as_deref(),
        ) {
            ("GET", false, None) if query.contains_key("watch") => self.watch(address, query),
            ("GET", false, None) => self.listing(address, query),
            ("GET", true, None) => match self.lock().objects.get(&place) {
                Some(object) => reply(StatusCode::OK, object),
                None => failure(404, "NotFound", "not found"),
            },
            ("POST", false, None) => {
                match self.insert(
                    &address.root,
                    &address.plural,
                    &address.namespace.clone().unwrap_or_default(),
                    body,
                ) {
                    Ok(created) => reply(StatusCode::CREATED, &created),
                    Err(refusal) => *refusal,
                }
            }
            ("POST", true, Some("binding")) => self.change(&place, Some("status"), |pod| {
                pod["spec"]["nodeName"] = body["target"]["name"].clone();
            }),
            ("PUT", true, subresource) => self.put(&place, subresource, &body),
            ("PATCH", true, subresource) => self.patch(&place, subresource, &body),
            ("DELETE", true, None) => self.remove_one(place, &body),
            ("DELETE", false, None) => self.remove_all(address, &body),
            _ => failure(405, "MethodNotAllowed", "not served"),
        }
    }
}

pub(super) fn reply(status: StatusCode, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder()
        .status(status)
        .body(BodyExt::boxed_unsync(body))
        .expect("a plain response")
}

pub(super) fn failure(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    });
    reply(StatusCode::from_u16(code).expect("a valid code"), &body)
}
