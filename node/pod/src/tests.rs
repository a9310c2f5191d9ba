//! Golden cases of planning and status, and the arithmetic around them.

use crate::environment::expand;
use crate::probe::{ProbeKind, Tally};
use crate::{
    Action, ContainerState, Failure, Observed, ProbeVerdicts, Runtime, plan, resources, status,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, Probe};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

mod life;
mod volumes;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    now: Timestamp,
    pod: Pod,
    #[serde(default)]
    runtime: Runtime,
    #[serde(default)]
    probes: BTreeMap<String, ProbeVerdicts>,
    #[serde(default)]
    failures: BTreeMap<String, Failure>,
}

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut checked = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if let Some(stem) = path.to_str().unwrap().strip_suffix(".in.yaml") {
            check(&path, Path::new(&format!("{stem}.out.yaml")));
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} cases");
}

fn check(input: &Path, output: &Path) {
    let text = std::fs::read_to_string(input).unwrap();
    let mut case: Case = serde_saphyr::from_str(&text)
        .unwrap_or_else(|error| panic!("{}: {error}", input.display()));
    case.runtime.recall(&case.pod);
    let observed = Observed {
        pod: &case.pod,
        spec: case.pod.spec.as_ref().unwrap(),
        runtime: &case.runtime,
        probes: &case.probes,
        failures: &case.failures,
        host_ips: &[IpAddr::from([192, 0, 2, 2])],
    };
    let actual =
        json!({"actions": plan(&observed, case.now), "status": status(&observed, case.now)});
    let actual = serde_saphyr::to_string(&actual).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(output, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(output).unwrap_or_default();
    assert_eq!(actual, expected, "{}", input.display());
}

#[test]
fn quantities_mean_what_upstream_says() {
    let cases = [
        ("250m", Some(250)),
        ("1", Some(1000)),
        ("1.5Gi", Some(1_610_612_736_000)),
        ("2e3", Some(2_000_000)),
        ("1k", Some(1_000_000)),
        ("100n", Some(1)),
        ("0", Some(0)),
        ("", None),
        ("Gi", None),
        ("1x", None),
        ("1e99", None),
    ];
    for (text, expected) in cases {
        assert_eq!(resources::milli(text), expected, "{text:?}");
    }
}

#[test]
fn variables_expand_once_and_only_when_known() {
    let variables: BTreeMap<_, _> = [("A".to_owned(), "x$(B)".to_owned())].into();
    for (text, expected) in [
        ("$(A)", "x$(B)"),
        ("$$(A)", "$(A)"),
        ("$(NO)$(A)", "$(NO)x$(B)"),
        ("$", "$"),
        ("$(A", "$(A"),
    ] {
        assert_eq!(expand(text, &variables), expected, "{text:?}");
    }
}

#[test]
fn a_probe_reaches_its_verdict_by_thresholds() {
    let probe = Probe {
        failure_threshold: Some(2),
        success_threshold: Some(2),
        ..Probe::default()
    };
    let mut tally = Tally::default();
    let mut record = |success| {
        (
            tally.record(&probe, success, Timestamp::UNIX_EPOCH),
            tally.verdict,
        )
    };
    assert_eq!(record(true), (false, None));
    assert_eq!(record(false), (false, None));
    assert_eq!(record(true), (false, None));
    assert_eq!(record(true), (true, Some(true)));
    assert_eq!(record(false), (false, Some(true)));
    assert_eq!(record(false), (true, Some(false)));
    assert_eq!(record(false), (false, Some(false)));
}

#[test]
fn readiness_is_asked_early_until_the_first_yes_and_liveness_is_not() {
    let probe = Probe {
        initial_delay_seconds: Some(1),
        period_seconds: Some(10),
        ..Probe::default()
    };
    let start = Timestamp::UNIX_EPOCH;
    for (kind, waits) in [
        (ProbeKind::Readiness, [1000, 50, 100, 200]),
        (ProbeKind::Liveness, [1000, 10_000, 10_000, 10_000]),
    ] {
        let (mut tally, mut now) = (Tally::default(), start);
        for wait in waits {
            let at = tally.next_at(kind, &probe, start);
            assert_eq!(
                at.duration_since(now),
                SignedDuration::from_millis(wait),
                "{kind:?}"
            );
            now = at;
            tally.record(&probe, false, now);
        }
    }
}

#[test]
fn an_early_no_to_readiness_is_no_event_and_a_later_one_is_one_a_period() {
    let probe = Probe {
        period_seconds: Some(10),
        ..Probe::default()
    };
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let told = |kind, told_at, now| crate::probe::is_told(kind, &probe, at(0), told_at, at(now));
    assert!(told(ProbeKind::Liveness, None, 1));
    assert!(!told(ProbeKind::Readiness, None, 9));
    assert!(told(ProbeKind::Readiness, None, 10));
    assert!(!told(ProbeKind::Readiness, Some(at(10)), 19));
    assert!(told(ProbeKind::Readiness, Some(at(10)), 20));
}
