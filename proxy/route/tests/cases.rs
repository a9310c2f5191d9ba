//! Golden cases: specs and requests in, the route of each request and the refusals out.
//!
//! `UPDATE=1 cargo test -p portcullis-route` rewrites the answers.

use std::{fs, path::Path};

use http::{HeaderMap, HeaderName, Method};
use portcullis_route::{Head, Refusal, Step, compile, path::normalise, spec::Specs};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    specs: Specs,
    /// `METHOD host target`, then `name: value` for each header.
    requests: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Answer {
    refusals: Vec<String>,
    routes: Vec<String>,
}

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut checked = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap();
        if let Some(stem) = name.strip_suffix(".in.yaml") {
            check(name, &format!("{stem}.out.yaml"));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

fn check(input: &str, output: &str) {
    let case: Case = serde_saphyr::from_str(&fs::read_to_string(input).unwrap())
        .unwrap_or_else(|error| panic!("{input}: {error}"));
    let table = compile(None, &case.specs);
    let answer = Answer {
        refusals: table
            .refusals()
            .map(|Refusal { unit, reason }| format!("{unit}: {}", reason.lines().next().unwrap()))
            .collect(),
        routes: case.requests.iter().map(|r| ask(&table, r)).collect(),
    };
    let text = serde_saphyr::to_string(&answer).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(output, &text).unwrap();
    }
    assert_eq!(
        text,
        fs::read_to_string(output).unwrap_or_default(),
        "{input}"
    );
}

fn ask(table: &portcullis_route::Table, request: &[String]) -> String {
    let words: Vec<&str> = request[0].split(' ').collect();
    let [method, host, target] = words[..] else {
        panic!("{request:?}");
    };
    let mut headers = HeaderMap::new();
    for field in &request[1..] {
        let (name, value) = field.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = match normalise(path) {
        Ok(path) => path,
        Err(error) => return format!("{}: 400 {error}", request[0]),
    };
    let head = Head {
        host,
        path: &path,
        query,
        method: &method.parse::<Method>().unwrap(),
        headers: &headers,
    };
    let Some(found) = table.find(0, &head) else {
        return format!("{}: 404", request[0]);
    };
    let steps: Vec<String> = found.route.steps.iter().map(name_of).collect();
    format!("{}: {} [{}]", request[0], found.route.id, steps.join(", "))
}

fn name_of(step: &Step) -> String {
    match step {
        Step::RedirectToHttps(_) => "redirect".into(),
        Step::LimitRate(_) => "limit".into(),
        Step::Respond(r) => format!("respond {}", r.status),
        Step::Forward(f) => format!("forward {}", f.backend),
        Step::Deny(d) => format!("deny {}", d.status),
    }
}
