//! From a packet to its answer: our zone first, other resolvers for the rest.

use super::forward::{Asked, Forwarder};
use super::metrics::Metrics;
use super::wire::{self, Received, Request, Response, Transport};
use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, Record};
use portcullis_dns::{Answer, Data, Question, Soa, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The zone as it is served.
#[derive(Debug)]
pub(crate) struct Published {
    pub zone: Zone,
    /// Every kind has been listed once. Before that nothing can be denied.
    pub is_complete: bool,
}

pub(crate) struct Server {
    pub zone: Arc<ArcSwap<Published>>,
    pub forwarder: Arc<Forwarder>,
    pub metrics: Arc<Metrics>,
    rotation: AtomicUsize,
}

/// How far a packet came without waiting.
pub(crate) enum Step {
    Done(Vec<u8>),
    /// Somebody else has to be asked.
    Forward(Box<Pending>),
    Nothing,
}

/// A question that others have to answer, or the rest of it.
pub(crate) struct Pending {
    request: Request,
    /// Aliases of ours that led there.
    so_far: Response,
    name: Name,
}

impl Server {
    pub(crate) fn new(
        zone: Arc<ArcSwap<Published>>,
        forwarder: Arc<Forwarder>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Server {
            zone,
            forwarder,
            metrics,
            rotation: AtomicUsize::new(0),
        }
    }

    /// Answers at once what can be answered at once.
    pub(crate) fn begin(&self, packet: &[u8], transport: Transport) -> Step {
        self.metrics.asked(transport);
        let request = match wire::read(packet, transport) {
            Received::Request(request) => request,
            Received::Refused(bytes, code) => {
                self.metrics.answered(code);
                return Step::Done(bytes);
            }
            Received::Nothing => return Step::Nothing,
        };
        let mut response = Response::of(ResponseCode::NoError);
        match self.of_zone(&request, &mut response) {
            Found::Here => Step::Done(self.finished(&request, response)),
            Found::Failure(code) => Step::Done(self.finished(&request, Response::of(code))),
            Found::Elsewhere(name) => Step::Forward(Box::new(Pending {
                request,
                so_far: response,
                name,
            })),
        }
    }

    /// Asks others.
    pub(crate) async fn finish(&self, pending: Pending) -> Vec<u8> {
        let Pending {
            request,
            so_far,
            name,
        } = pending;
        let asked = Asked {
            name: name.to_lowercase(),
            kind: request.query.query_type(),
            dnssec_ok: request.dnssec_ok(),
            checking_disabled: request.checking_disabled,
        };
        let Some(reply) = self.forwarder.ask(asked).await else {
            return self.finished(&request, Response::of(ResponseCode::ServFail));
        };
        let mut response = reply.response(&name);
        response.authoritative = so_far.authoritative;
        response.answers.splice(..0, so_far.answers);
        self.finished(&request, response)
    }

    /// Both of them.
    pub(crate) async fn answer(&self, packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
        match self.begin(packet, transport) {
            Step::Done(bytes) => Some(bytes),
            Step::Forward(pending) => Some(self.finish(*pending).await),
            Step::Nothing => None,
        }
    }

    /// What a peer hears when too many wait already.
    pub(crate) fn overloaded(&self, pending: &Pending) -> Vec<u8> {
        self.metrics.overloaded();
        self.finished(&pending.request, Response::of(ResponseCode::ServFail))
    }

    fn finished(&self, request: &Request, response: Response) -> Vec<u8> {
        self.metrics.answered(response.code);
        response.write(request)
    }

    /// Follows the name through our zone, alias by alias.
    fn of_zone(&self, request: &Request, response: &mut Response) -> Found {
        let published = self.zone.load();
        let kind = wire::kind(request.query.query_type());
        let mut name = request.query.name().clone();
        for _ in 0..MOST_ALIASES {
            let text = name.to_ascii();
            let answer = published.zone.answer(&Question {
                name: &text,
                kind,
                rotation: self.rotation.fetch_add(1, Relaxed),
                most_records: request.most_records(),
            });
            let elsewhere = matches!(answer, Answer::NotOurs);
            // An address may turn out to be a Service's.
            if !published.is_complete && (!elsewhere || is_reverse(&text)) {
                return Found::Failure(ResponseCode::ServFail);
            }
            response.authoritative |= !elsewhere;
            match answer {
                Answer::Found { data, additional } => {
                    let of_name = data.into_iter();
                    let of_name = of_name.filter_map(|data| wire::record(name.clone(), data));
                    response.answers.extend(of_name);
                    let others = additional.into_iter().filter_map(|record| {
                        wire::record(wire::absolute(&record.name)?, record.data)
                    });
                    response.additionals.extend(others);
                    return Found::Here;
                }
                Answer::NoData(soa) => {
                    response.authorities.extend(authority(soa));
                    return Found::Here;
                }
                Answer::NoName(soa) => {
                    response.code = ResponseCode::NXDomain;
                    response.authorities.extend(authority(soa));
                    return Found::Here;
                }
                Answer::Alias(target) => {
                    let Some(next) = wire::absolute(&target) else {
                        return Found::Failure(ResponseCode::ServFail);
                    };
                    let alias = wire::record(name, Data::Cname(target));
                    response.answers.extend(alias);
                    name = next;
                }
                Answer::NotOurs if request.recursion_desired => return Found::Elsewhere(name),
                Answer::NotOurs if response.answers.is_empty() => {
                    return Found::Failure(ResponseCode::Refused);
                }
                Answer::NotOurs => return Found::Here,
            }
        }
        Found::Failure(ResponseCode::ServFail)
    }
}

/// Where an answer is.
enum Found {
    Here,
    Elsewhere(Name),
    Failure(ResponseCode),
}

fn authority(soa: Soa) -> Option<Record> {
    wire::record(wire::absolute(&soa.apex)?, Data::Soa(soa))
}

fn is_reverse(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name.ends_with(".in-addr.arpa") || name.ends_with(".ip6.arpa")
}

/// Aliases that lead to aliases; beyond it they go in a circle.
const MOST_ALIASES: usize = 8;
