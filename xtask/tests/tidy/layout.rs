//! Names, manifests, and the heads of crates.

use crate::house::{Fault, House, is_generated};

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let mut faults = names(house);
    for directory in house.members().values() {
        let within = |file: &str| {
            if directory.is_empty() {
                file.to_owned()
            } else {
                format!("{directory}/{file}")
            }
        };
        let manifest = within("Cargo.toml");
        let text = house
            .files
            .get(&manifest)
            .map(String::as_str)
            .unwrap_or_default();
        faults.extend(manifest_faults(&manifest, text));
        let library = within("src/lib.rs");
        if let Some(text) = house.files.get(&library) {
            faults.extend(head_faults(&library, text));
        }
    }
    faults
}

fn names(house: &House) -> Vec<Fault> {
    let fix = "name it for what it holds";
    let rust = house
        .files
        .keys()
        .filter(|path| path.ends_with(".rs") && !is_generated(path));
    rust.filter_map(|path| {
        let mut parts = path.trim_end_matches(".rs").split('/');
        let banned = parts.find(|part| NAMELESS.contains(part))?;
        Some(Fault::new(path, format!("{banned} says nothing"), fix))
    })
    .collect()
}

fn manifest_faults(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let compact = text.replace(' ', "");
    if !compact.contains("[lints]\nworkspace=true") {
        faults.push(Fault::new(
            path,
            "its lints are not the workspace's",
            "[lints] workspace = true",
        ));
    }
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let dependency = section.ends_with("dependencies]") && !section.contains("workspace");
        let says = !line.is_empty() && !line.starts_with(['[', '#']);
        if dependency && says && !line.replace(' ', "").contains("workspace=true") {
            let fix = "versions stand in the root's [workspace.dependencies]";
            faults.push(Fault::new(path, format!("{line:?}"), fix));
        }
    }
    faults
}

fn head_faults(path: &str, text: &str) -> Vec<Fault> {
    let head: String = text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect();
    let head = head.to_lowercase();
    let missing = ["owns", "does not own", "entry point"]
        .into_iter()
        .filter(|part| !head.contains(part));
    missing
        .map(|part| {
            Fault::new(
                path,
                format!("its head lacks {part:?}"),
                "say what the crate owns, what not, and where to begin",
            )
        })
        .collect()
}

const NAMELESS: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "type", "types", "manager", "misc", "shared",
    "stuff",
];
