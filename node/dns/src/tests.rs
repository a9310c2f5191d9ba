//! One small cluster, asked everything.

use super::*;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proptest::prelude::*;
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    services: Vec<Service>,
    #[serde(default)]
    endpoint_slices: Vec<EndpointSlice>,
    /// `KIND NAME` each.
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
    let case: Case = serde_saphyr::from_str(&std::fs::read_to_string(input).unwrap()).unwrap();
    let records = Records::new("cluster.local", &case.services, &case.endpoint_slices);
    let mut actual = String::new();
    for question in &case.questions {
        let (kind, name) = question.split_once(' ').unwrap();
        writeln!(actual, "{question}:").unwrap();
        match records.answer(name, parse(kind)) {
            Answer::Found {
                records,
                additional,
            } => {
                records
                    .iter()
                    .for_each(|record| writeln!(actual, "- {}", show(record)).unwrap());
                additional
                    .iter()
                    .for_each(|record| writeln!(actual, "- additional {}", show(record)).unwrap());
            }
            other => writeln!(actual, "- {other:?}").unwrap(),
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(output, &actual).unwrap();
    }
    assert_eq!(
        actual,
        std::fs::read_to_string(output).unwrap_or_default(),
        "{}",
        input.display()
    );
}

fn parse(kind: &str) -> Kind {
    match kind {
        "A" => Kind::A,
        "AAAA" => Kind::Aaaa,
        "SRV" => Kind::Srv,
        "PTR" => Kind::Ptr,
        "TXT" => Kind::Txt,
        other => panic!("no kind {other}"),
    }
}

fn show(record: &Record) -> String {
    let name = &record.name;
    match &record.data {
        Data::A(ip) => format!("{name} A {ip}"),
        Data::Aaaa(ip) => format!("{name} AAAA {ip}"),
        Data::Srv {
            priority,
            weight,
            port,
            target,
        } => format!("{name} SRV {priority} {weight} {port} {target}"),
        Data::Ptr(target) => format!("{name} PTR {target}"),
        Data::Txt(text) => format!("{name} TXT {text}"),
        Data::Cname(target) => format!("{name} CNAME {target}"),
    }
}

proptest! {
    #[test]
    fn any_question_has_an_answer_and_case_and_dot_do_not_matter(name in "[a-zA-Z0-9._-]{0,40}", ours in any::<bool>()) {
        let records = Records::new("Cluster.Local.", [], []);
        let name = if ours { format!("{name}.cluster.local") } else { name };
        for kind in [Kind::A, Kind::Srv] {
            let answer = records.answer(&name, kind);
            prop_assert_eq!(&answer, &records.answer(&name.to_uppercase(), kind));
            if !name.ends_with('.') {
                prop_assert_eq!(&answer, &records.answer(&format!("{name}."), kind));
            }
        }
    }
}
