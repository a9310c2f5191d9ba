//! One small cluster per case, asked everything.

use crate::*;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    #[serde(default)]
    namespaces: Vec<Namespace>,
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    endpoint_slices: Vec<EndpointSlice>,
    #[serde(default)]
    pods: Vec<Pod>,
    /// Whose reverse names are ours.
    #[serde(default)]
    ranges: Vec<String>,
    /// `KIND NAME` each; `KIND@N NAME` begins with the Nth address.
    questions: Vec<String>,
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
    assert!(checked >= 3, "only {checked} cases");
}

fn check(input: &Path, output: &Path) {
    let text = std::fs::read_to_string(input).unwrap();
    let case: Case = serde_saphyr::from_str(&text).unwrap();
    let zone = zone(&case);
    let mut actual = String::new();
    for question in &case.questions {
        let (kind, name) = question.split_once(' ').unwrap();
        let (kind, rotation) = kind.split_once('@').unwrap_or((kind, "0"));
        let answer = zone.answer(&Question {
            name,
            kind: parse(kind),
            rotation: rotation.parse().unwrap(),
            most_records: usize::MAX,
        });
        writeln!(actual, "{question}:\n{}", show(&answer)).unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(output, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(output).unwrap_or_default();
    assert_eq!(actual, expected, "{}", input.display());
}

fn zone(case: &Case) -> Zone {
    let ranges = case.ranges.iter().map(|range| range.parse().unwrap());
    let mut index = Index::new(Zone::new("cluster.local", ranges.collect()));
    let objects = case.namespaces.iter().map(Object::namespace);
    let objects = objects
        .chain(case.services.iter().map(Object::service))
        .chain(case.endpoint_slices.iter().map(Object::endpoint_slice))
        .chain(case.pods.iter().map(Object::pod));
    objects.for_each(|object| index.apply(Change::Put(object), 1));
    index.zone().clone()
}

fn parse(kind: &str) -> Kind {
    match kind {
        "A" => Kind::A,
        "AAAA" => Kind::Aaaa,
        "SRV" => Kind::Srv,
        "PTR" => Kind::Ptr,
        "TXT" => Kind::Txt,
        "CNAME" => Kind::Cname,
        "SOA" => Kind::Soa,
        "NS" => Kind::Ns,
        "MX" => Kind::Other,
        other => panic!("no kind {other}"),
    }
}

fn show(answer: &Answer) -> String {
    match answer {
        Answer::Found { data, additional } => {
            let found = data.iter().map(|data| format!("- {}", show_data(data)));
            let additional = additional
                .iter()
                .map(|record| format!("- additional {} {}", record.name, show_data(&record.data)));
            found.chain(additional).collect::<Vec<_>>().join("\n")
        }
        Answer::Alias(target) => format!("- is {target}"),
        Answer::NoData(soa) => format!("- no data, says {}", soa.apex),
        Answer::NoName(soa) => format!("- no name, says {}", soa.apex),
        Answer::NotOurs => "- not ours".to_owned(),
    }
}

fn show_data(data: &Data) -> String {
    match data {
        Data::A(ip) => format!("A {ip}"),
        Data::Aaaa(ip) => format!("AAAA {ip}"),
        Data::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("SRV {priority} {weight} {port} {target}"),
        Data::Ptr(target) => format!("PTR {target}"),
        Data::Txt(text) => format!("TXT {text}"),
        Data::Cname(target) => format!("CNAME {target}"),
        Data::Ns(target) => format!("NS {target}"),
        Data::Soa(soa) => format!("SOA {} {} {}", soa.primary, soa.mailbox, soa.serial),
    }
}
