//! A compiled route: what happens to a request, in phase order.

use std::net::IpAddr;

use crate::spec::{
    Denial, FixedResponse, Forward, LimitKey, RateLimit, RedirectToHttps, RouteAction, RouteLabels,
    RouteSpec, StepSpec,
};

/// One route, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub id: String,
    pub labels: RouteLabels,
    /// In phase order; the last one always ends the request.
    pub steps: Box<[Step]>,
}

/// What the gateway runs. A closed set: the loop over steps is one `match`.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    RedirectToHttps(RedirectToHttps),
    LimitRate(Limit),
    Respond(FixedResponse),
    Forward(Forward),
    Deny(Denial),
}

/// A rate limit with its exemptions parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub spec: RateLimit,
    pub exempt: Box<[Cidr]>,
}

/// A network, as `10.0.0.0/8` or a bare address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: u128,
    mask: u128,
    is_ipv6: bool,
}

impl Route {
    /// Compiles a route. One that cannot be compiled as declared denies every request and says why.
    pub(crate) fn compile(spec: &RouteSpec) -> (Self, Option<String>) {
        let (steps, fault) = match &spec.action {
            RouteAction::Deny(denial) => (Ok(vec![Step::Deny(denial.clone())]), None),
            RouteAction::Serve(steps) => match compile_steps(steps) {
                Ok(steps) => (Ok(steps), None),
                Err(reason) => (Err(reason.clone()), Some(reason)),
            },
        };
        let steps = steps.unwrap_or_else(|reason| vec![Step::Deny(denial(reason))]);
        let route = Self {
            id: spec.id.clone(),
            labels: spec.labels.clone(),
            steps: steps.into(),
        };
        (route, fault)
    }

    /// The same route, denying every request.
    pub(crate) fn denied(spec: &RouteSpec, reason: String) -> Self {
        Self {
            id: spec.id.clone(),
            labels: spec.labels.clone(),
            steps: Box::new([Step::Deny(denial(reason))]),
        }
    }

    /// The backend that the route forwards to, if it forwards.
    pub fn forward(&self) -> Option<&Forward> {
        self.steps.iter().find_map(|step| match step {
            Step::Forward(forward) => Some(forward),
            _ => None,
        })
    }
}

impl Cidr {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().ok()?;
        let width = if address.is_ipv6() { 128 } else { 32 };
        let length = length.unwrap_or(width);
        if length > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or(0);
        Some(Self {
            network: bits(address) & mask,
            mask,
            is_ipv6: address.is_ipv6(),
        })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6 && bits(address) & self.mask == self.network
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn compile_steps(specs: &[StepSpec]) -> Result<Vec<Step>, String> {
    let content = specs
        .iter()
        .filter(|s| matches!(s, StepSpec::Respond(_) | StepSpec::Forward(_)))
        .count();
    if content != 1 {
        return Err(format!(
            "a route needs exactly one content step, not {content}"
        ));
    }
    let mut ordered: Vec<&StepSpec> = specs.iter().collect();
    ordered.sort_by_key(|step| step.phase());
    ordered.into_iter().map(compile_step).collect()
}

fn compile_step(spec: &StepSpec) -> Result<Step, String> {
    Ok(match spec {
        StepSpec::RedirectToHttps(redirect) => Step::RedirectToHttps(redirect.clone()),
        StepSpec::LimitRate(limit) => Step::LimitRate(compile_limit(limit)?),
        StepSpec::Respond(response) => Step::Respond(response.clone()),
        StepSpec::Forward(forward) => Step::Forward(forward.clone()),
    })
}

fn compile_limit(spec: &RateLimit) -> Result<Limit, String> {
    let LimitKey::ClientIp = spec.key;
    if spec.requests == 0 || spec.interval_seconds == 0 {
        return Err(format!("rate limit {} allows no requests", spec.name));
    }
    let exempt = spec
        .exempt
        .iter()
        .map(|text| {
            Cidr::parse(text).ok_or_else(|| format!("rate limit {}: {text} is no CIDR", spec.name))
        })
        .collect::<Result<Box<[Cidr]>, String>>()?;
    Ok(Limit {
        spec: spec.clone(),
        exempt,
    })
}

fn denial(reason: String) -> Denial {
    Denial {
        status: DENIED_STATUS,
        reason,
    }
}

/// Where ingress-nginx denies a location.
const DENIED_STATUS: u16 = 503;
