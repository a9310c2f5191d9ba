//! Answers load balancers that ask whether this node has endpoints of a Service (`spec.healthCheckNodePort`), as kube-proxy
//! does: any path, 200 or 503, and the figures as JSON.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use portcullis_nft::HealthCheck;
use portcullis_serve::{BindOptions, Drain, Limits, Peer, listen, serve};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use tokio::sync::watch;

/// One server per port, kept equal to what the Services say.
pub(crate) struct HealthChecks {
    drain: Drain,
    servers: BTreeMap<u16, Server>,
    /// Ports that somebody else has.
    refused: BTreeMap<u16, String>,
}

struct Server {
    /// Of this port alone.
    drain: Drain,
    answer: watch::Sender<Answer>,
}

/// What the next request is told.
#[derive(Clone)]
struct Answer {
    check: HealthCheck,
    /// The rules stand as they should.
    proxy_is_healthy: bool,
}

impl HealthChecks {
    pub(crate) fn new(drain: Drain) -> Self {
        HealthChecks {
            drain,
            servers: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Opens, closes and corrects servers.
    pub(crate) fn set(&mut self, checks: Vec<HealthCheck>, proxy_is_healthy: bool) {
        let answers = checks.into_iter().map(|check| Answer {
            check,
            proxy_is_healthy,
        });
        let mut answers: BTreeMap<u16, Answer> =
            answers.map(|answer| (answer.check.port, answer)).collect();
        self.servers.retain(|port, server| {
            let answer = answers.remove(port);
            match answer {
                Some(answer) => drop(server.answer.send_replace(answer)),
                None => server.drain.begin(),
            }
            !server.drain.has_begun()
        });
        self.refused.retain(|port, _| answers.contains_key(port));
        for (port, answer) in answers {
            match self.open(port, answer) {
                Ok(server) => {
                    self.refused.remove(&port);
                    self.servers.insert(port, server);
                }
                Err((of, message)) => {
                    if self.refused.insert(port, message.clone()).is_none() {
                        tracing::warn!("the health check of the Service {of}: {message}");
                    }
                }
            }
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.refused.is_empty()
    }

    fn open(&self, port: u16, answer: Answer) -> Result<Server, (String, String)> {
        let of = format!("{}/{}", answer.check.namespace, answer.check.name);
        let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener =
            listen(address, BindOptions::default()).map_err(|error| (of, error.to_string()))?;
        let (answer, answers) = watch::channel(answer);
        let drain = self.drain.child();
        let connection = move |_: &Peer| {
            let answers = answers.clone();
            hyper::service::service_fn(move |_: Request<Incoming>| {
                let answer = respond(&answers.borrow());
                async move { Ok::<_, Infallible>(answer) }
            })
        };
        let limits = Limits {
            max_connections: MOST_CONNECTIONS,
            ..Limits::default()
        };
        tokio::spawn(serve(listener, None, limits, drain.clone(), connection));
        Ok(Server { drain, answer })
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        self.servers
            .values()
            .for_each(|server| server.drain.begin());
    }
}

fn respond(answer: &Answer) -> Response<Full<Bytes>> {
    let HealthCheck {
        namespace,
        name,
        local_endpoints,
        ..
    } = &answer.check;
    let body = json!({
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": answer.proxy_is_healthy,
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = match *local_endpoints > 0 && answer.proxy_is_healthy {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(WEIGHT, HeaderValue::from(*local_endpoints));
    response
}

/// Load balancers that weigh nodes read this one.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";
/// Of one port: a handful of load balancers ask now and then; beyond it they wait.
const MOST_CONNECTIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::time::Duration;
    use tokio::net::TcpStream;

    fn check(port: u16, local_endpoints: usize) -> HealthCheck {
        HealthCheck {
            port,
            namespace: "shop".into(),
            name: "web".into(),
            local_endpoints,
        }
    }

    async fn ask(port: u16) -> String {
        let work = move || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let request = "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        tokio::task::spawn_blocking(work).await.unwrap()
    }

    #[tokio::test]
    async fn a_load_balancer_is_told_what_is_here() {
        let free = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let mut checks = HealthChecks::new(Drain::new());
        checks.set(vec![check(port, 1)], true);
        assert!(checks.is_waiting(), "somebody has the port");
        drop(free);
        checks.set(vec![check(port, 2)], true);
        assert!(!checks.is_waiting());
        let answer = ask(port).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let body = r#"{"localEndpoints":2,"service":{"name":"web","namespace":"shop"},"serviceProxyHealthy":true}"#;
        assert!(answer.ends_with(body), "{answer}");
        assert!(
            answer.contains("x-load-balancing-endpoint-weight: 2"),
            "{answer}"
        );
        checks.set(vec![check(port, 0)], true);
        assert!(ask(port).await.starts_with("HTTP/1.1 503 "));
        checks.set(vec![check(port, 1)], false);
        assert!(ask(port).await.starts_with("HTTP/1.1 503 "));
        checks.set(Vec::new(), true);
        let gone = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .unwrap();
    }
}
