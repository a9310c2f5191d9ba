//! Names that are not the cluster's: other resolvers are asked, once per question however many ask it.

use super::metrics::Metrics;
use super::upstream::exchange;
use super::upstreams::Upstreams;
use super::wire::Response;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use portcullis_dns::{Cache, Capacity, Kept};
use portcullis_serve::Drain;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// What is asked of others; answers are kept under it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// Lower case.
    pub name: Name,
    pub kind: RecordType,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

/// What others said, as old as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    said: Arc<Said>,
    age: Duration,
}

#[derive(Debug)]
struct Said {
    code: ResponseCode,
    authentic: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

type Flight = watch::Receiver<Option<Arc<Said>>>;

pub(crate) struct Forwarder {
    upstreams: Upstreams,
    cache: Mutex<Cache<Asked, Arc<Said>>>,
    /// Questions that are out. A question that comes back to us (a resolver that asks us) finds itself here, and waits
    /// for itself until the time is up: a loop costs one question.
    flights: Mutex<HashMap<Asked, Flight>>,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    drain: Drain,
    started: Instant,
}

impl Forwarder {
    pub(crate) fn new(upstreams: Upstreams, metrics: Arc<Metrics>, drain: Drain) -> Arc<Self> {
        Arc::new(Forwarder {
            upstreams,
            cache: Mutex::new(Cache::new(CAPACITY)),
            flights: Mutex::default(),
            slots: Arc::new(Semaphore::new(MOST_FLIGHTS)),
            metrics,
            drain,
            started: Instant::now(),
        })
    }

    /// `None` when nobody could be asked: too many questions are out, or we are about to end.
    pub(crate) async fn ask(self: &Arc<Self>, asked: Asked) -> Option<Reply> {
        if let Some(Kept { value, age }) = self.cache().get(&asked, self.started.elapsed()) {
            self.metrics.cache_hit();
            return Some(Reply { said: value, age });
        }
        let mut flight = self.flight(asked)?;
        let said = flight.wait_for(Option::is_some).await.ok()?.clone()?;
        Some(Reply {
            said,
            age: Duration::ZERO,
        })
    }

    /// Entries of the cache.
    pub(crate) fn kept(&self) -> usize {
        self.cache().len()
    }

    /// Joins the question that is out already, or sends it.
    fn flight(self: &Arc<Self>, asked: Asked) -> Option<Flight> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&asked) {
            return Some(flight.clone());
        }
        let Ok(slot) = self.slots.clone().try_acquire_owned() else {
            self.metrics.overloaded();
            return None;
        };
        let (landed, flight) = watch::channel(None);
        flights.insert(asked.clone(), flight.clone());
        let landing = Landing {
            forwarder: self.clone(),
            asked,
        };
        self.drain.track(async move {
            let said = Arc::new(landing.forwarder.fetch(&landing.asked).await);
            landing.forwarder.keep(&landing.asked, &said);
            landed.send_replace(Some(said));
            drop((landing, slot));
        });
        Some(flight)
    }

    /// Asks one resolver after the other, those that failed lately last.
    async fn fetch(&self, asked: &Asked) -> Said {
        let deadline = Instant::now() + PATIENCE;
        let mut refusal = None;
        for _ in 0..ROUNDS {
            for server in self.upstreams.in_order(Instant::now()).await {
                let until = deadline.min(Instant::now() + ATTEMPT);
                self.metrics.forwarded();
                match timeout_at(until, exchange(server, asked)).await {
                    Ok(Ok(message)) => {
                        self.upstreams.answers(server);
                        let said = Said::of(message);
                        if said.is_answer() {
                            return said;
                        }
                        refusal = Some(said);
                    }
                    Ok(Err(error)) => self.failed(server, &error.to_string()),
                    Err(_) => self.failed(server, "no answer in time"),
                }
                if Instant::now() >= deadline {
                    return refusal.unwrap_or_else(Said::failure);
                }
            }
            if refusal.is_some() {
                break;
            }
        }
        refusal.unwrap_or_else(Said::failure)
    }

    fn failed(&self, server: std::net::SocketAddr, reason: &str) {
        self.metrics.forward_failed();
        self.upstreams.fails(server, Instant::now());
        tracing::debug!(%server, reason, "a resolver did not answer");
    }

    fn keep(&self, asked: &Asked, said: &Arc<Said>) {
        let (bytes, time) = (said.weight(), said.lifetime());
        let now = self.started.elapsed();
        let mut cache = self.cache();
        cache.put(asked.clone(), said.clone(), bytes, time, now);
    }

    fn cache(&self) -> MutexGuard<'_, Cache<Asked, Arc<Said>>> {
        self.cache.lock().expect("no holder of this lock panics")
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<Asked, Flight>> {
        self.flights.lock().expect("no holder of this lock panics")
    }
}

/// Takes a question off the list however it ended.
struct Landing {
    forwarder: Arc<Forwarder>,
    asked: Asked,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.forwarder.flights().remove(&self.asked);
    }
}

impl Reply {
    /// The answer for a client that spelled the name in its own way.
    pub(crate) fn response(&self, name: &Name) -> Response {
        let age = u32::try_from(self.age.as_secs()).unwrap_or(u32::MAX);
        let aged = |records: &[Record]| {
            let records = records.iter().cloned();
            let records = records.map(|mut record| {
                record.ttl = record.ttl.saturating_sub(age);
                if record.name == *name {
                    record.name = name.clone();
                }
                record
            });
            records.collect()
        };
        Response {
            code: self.said.code,
            authoritative: false,
            authentic: self.said.authentic,
            answers: aged(&self.said.answers),
            authorities: aged(&self.said.authorities),
            additionals: aged(&self.said.additionals),
        }
    }
}

impl Said {
    fn of(message: Message) -> Self {
        Said {
            code: message.metadata.response_code,
            authentic: message.metadata.authentic_data,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }

    fn failure() -> Self {
        Said::of(Message::error_msg(
            0,
            hickory_proto::op::OpCode::Query,
            ResponseCode::ServFail,
        ))
    }

    /// Anything else is this resolver's trouble, and another may know better.
    fn is_answer(&self) -> bool {
        matches!(self.code, ResponseCode::NoError | ResponseCode::NXDomain)
    }

    /// How long it may be kept: as its records say, or the authority's for what is not there (RFC 2308 section 5); a
    /// failure for the shortest time (RFC 9520 section 3.2).
    fn lifetime(&self) -> Duration {
        if !self.is_answer() {
            return FAILURE_KEPT;
        }
        let says_something = self.code == ResponseCode::NoError && !self.answers.is_empty();
        let ends_in_nothing = self.authorities.iter().any(is_soa);
        let answers = self.answers.iter().map(|record| record.ttl).min();
        let denial = self
            .authorities
            .iter()
            .find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            });
        let seconds = match (says_something, ends_in_nothing) {
            (true, false) => answers,
            // An alias that leads to nothing: both have to hold.
            (true, true) => answers.min(denial),
            (false, _) => denial.map(|denial| denial.min(answers.unwrap_or(u32::MAX))),
        };
        Duration::from_secs(seconds.unwrap_or(0).into()).min(LONGEST_KEPT)
    }

    /// About what it takes in memory.
    fn weight(&self) -> usize {
        let records = self
            .answers
            .iter()
            .chain(&self.authorities)
            .chain(&self.additionals);
        let records = records.map(|record| size_of::<Record>() + record.name.len() + RDATA_BYTES);
        records.sum::<usize>() + size_of::<Self>()
    }
}

fn is_soa(record: &Record) -> bool {
    record.record_type() == RecordType::SOA
}

/// Questions that are out at once; beyond it the answer is SERVFAIL. Each has a socket.
const MOST_FLIGHTS: usize = 512;
/// Glibc and musl give up after five seconds: the answer that there is none comes before.
const PATIENCE: Duration = Duration::from_millis(4500);
/// For one resolver, UDP and TCP together.
const ATTEMPT: Duration = Duration::from_millis(1400);
/// A datagram may get lost.
const ROUNDS: usize = 2;
/// What changes elsewhere is seen after half a minute, whatever its records say, as with upstream's default settings.
const LONGEST_KEPT: Duration = Duration::from_secs(30);
const FAILURE_KEPT: Duration = Duration::from_secs(1);
const CAPACITY: Capacity = Capacity {
    entries: 10_000,
    bytes: 16 << 20,
};
/// Of a record's content, on the average.
const RDATA_BYTES: usize = 64;
