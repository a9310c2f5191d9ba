//! The request flow: check, find, run the steps, answer.

use std::{borrow::Cow, convert::Infallible, rc::Rc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header, request::Parts};
use hyper::body::Incoming;
use portcullis_route::{
    Head, Step, path,
    spec::{FixedResponse, RedirectToHttps},
};

use crate::{
    body::Body,
    client::{
        connection::Connection,
        head::{self, HeadError},
        io::MAX_HEAD_BYTES,
    },
    core::{Core, View},
    exchange::{Exchange, RouteRef},
    forwarded,
    publish::link::StepLink,
    reply::Failure,
    upstream::forward::{self, Forwarding},
};

/// Serves one request. Never fails: what goes wrong is a response.
pub(crate) async fn serve(
    core: Rc<Core>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let view = core.view();
    let (parts, incoming) = request.into_parts();
    let log = view.published.global.access_log;
    let mut exchange = Box::new(Exchange::begin(&core, &connection, &parts, log));
    let response = match run(&mut exchange, &view, parts, incoming).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    };
    Ok(finish(exchange, &view, response))
}

/// What the steps decided.
enum Verdict {
    /// Boxed: off the plain path, and a response is large.
    Answer(Box<Response<Body>>),
    Forward {
        step: usize,
        backend: u32,
    },
}

async fn run(
    exchange: &mut Exchange,
    view: &Rc<View>,
    mut parts: Parts,
    incoming: Incoming,
) -> Result<Response<Body>, Failure> {
    let route = find(exchange, view, &mut parts)?;
    exchange.route = Some(route.clone());
    forwarded::set_client(exchange, &view.published.global, &parts.headers);
    let verdict = steps(exchange, &route, &parts);
    if view.published.global.access_log && !matches!(verdict, Ok(Verdict::Forward { .. })) {
        exchange.request_id = Some(forwarded::request_id(exchange, &parts.headers));
    }
    match verdict? {
        Verdict::Answer(response) => Ok(*response),
        Verdict::Forward { step, backend } => {
            let steps = &route.host.host.routes[route.index as usize].steps;
            let Step::Forward(spec) = &steps[step] else {
                return Err(Failure::Upstream);
            };
            let upgrade = forwarded::wanted_upgrade(&parts);
            forwarded::edit_request(exchange, &view.published.global, &mut parts);
            let forwarding = Forwarding {
                spec,
                backend,
                upgrade,
            };
            forward::run(exchange, forwarding, parts, incoming).await
        }
    }
}

fn find(exchange: &Exchange, view: &View, parts: &mut Parts) -> Result<RouteRef, Failure> {
    // The parser may take a head that ends in the read that passes the limit.
    if exchange.head_bytes > MAX_HEAD_BYTES as u64 {
        return Err(HeadError::TooLarge.into());
    }
    let host = head::check(parts)?;
    let path = match parts.uri.path() {
        "*" => Cow::Borrowed(&b"/"[..]),
        path => path::normalise(path)?,
    };
    let published = &view.published;
    let listener = published
        .listeners
        .get(exchange.connection.listening.id.number() as usize)
        .copied()
        .flatten()
        .ok_or(Failure::NoRoute)?;
    let found = published
        .table
        .find(
            listener,
            &Head {
                host: &host,
                path: &path,
                query: parts.uri.query(),
                method: &parts.method,
                headers: &parts.headers,
            },
        )
        .ok_or(Failure::NoRoute)?;
    Ok(RouteRef {
        host: published.hosts[found.host as usize].clone(),
        index: found.route_index,
    })
}

/// Runs the steps in phase order until one decides.
fn steps(exchange: &Exchange, route: &RouteRef, parts: &Parts) -> Result<Verdict, Failure> {
    let compiled = &route.host.host.routes[route.index as usize];
    let links = &route.host.routes[route.index as usize].steps;
    for (index, (step, link)) in compiled.steps.iter().zip(links).enumerate() {
        match (step, link) {
            (Step::RedirectToHttps(redirect), _) => {
                if let Some(response) = redirect_to_https(exchange, redirect, parts) {
                    return Ok(Verdict::Answer(Box::new(response)));
                }
            }
            (Step::LimitRate(limit), StepLink::Limiter(limiter)) => {
                let client = exchange.client;
                let is_exempt = limit.exempt.iter().any(|network| network.contains(client));
                let now_ms = exchange.core.clock.now_ms();
                if !is_exempt && !limiter.allow(client, now_ms) {
                    return Err(Failure::Limited(limit.spec.status));
                }
            }
            (Step::Respond(fixed), _) => return Ok(Verdict::Answer(Box::new(respond(fixed)))),
            (Step::Forward(_), StepLink::Backend(backend)) => {
                return Ok(Verdict::Forward {
                    step: index,
                    backend: backend.number(),
                });
            }
            (Step::Deny(denial), _) => {
                tracing::debug!(route = compiled.id, reason = denial.reason, "denied");
                return Err(Failure::Denied(denial.status));
            }
            (Step::LimitRate(_) | Step::Forward(_), _) => return Err(Failure::Denied(503)),
        }
    }
    Err(Failure::Denied(503))
}

fn redirect_to_https(
    exchange: &Exchange,
    redirect: &RedirectToHttps,
    parts: &Parts,
) -> Option<Response<Body>> {
    if forwarded::scheme(exchange, &parts.headers) == "https" {
        return None;
    }
    let path = parts.uri.path();
    let is_exempt = |prefix: &String| path.starts_with(prefix.as_str());
    if redirect.except_prefixes.iter().any(is_exempt) {
        return None;
    }
    let host = head::check(parts).ok()?;
    let mut uri = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    if !redirect.keep_trailing_slash {
        uri = uri.strip_suffix('/').unwrap_or(uri);
    }
    let location = match redirect.port {
        443 => format!("https://{host}{uri}"),
        port => format!("https://{host}:{port}{uri}"),
    };
    let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    let mut response = crate::reply::error_page(status);
    let location = HeaderValue::from_str(&location).ok()?;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

fn respond(fixed: &FixedResponse) -> Response<Body> {
    let body = Bytes::copy_from_slice(fixed.body.as_bytes());
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::OK);
    if let Ok(kind) = HeaderValue::from_str(&fixed.content_type)
        && !kind.is_empty()
    {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// What every response has in common.
fn finish(exchange: Box<Exchange>, view: &View, mut response: Response<Body>) -> Response<Body> {
    let connection = &exchange.connection;
    let status = response.status();
    let headers = response.headers_mut();
    if connection.is_tls
        && let Some(hsts) = &view.published.hsts
    {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    let is_http2 = exchange.version == http::Version::HTTP_2;
    if is_http2 {
        headers.remove(header::CONNECTION);
    } else if exchange.core.is_draining() || connection.listening.stop.is_cancelled() {
        close(headers, status);
    }
    exchange.answer(response)
}

fn close(headers: &mut HeaderMap, status: StatusCode) {
    if status != StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The target as an origin server wants it: path and query only.
pub(crate) fn origin_form(uri: &mut Uri) {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return;
    }
    let target = std::mem::take(uri).into_parts().path_and_query;
    *uri = target.map(Uri::from).unwrap_or_default();
}
