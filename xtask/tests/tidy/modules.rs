//! Every Rust file is reached from a crate's root by `mod` or `include!`.

use std::collections::BTreeSet;

use crate::house::{Fault, House};
use crate::source::Source;

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let mut alive = BTreeSet::new();
    let packages = house.metadata.workspace_packages();
    let roots = packages.iter().flat_map(|package| &package.targets);
    for target in roots {
        let path = target.src_path.as_std_path().strip_prefix(&house.root);
        visit(
            house,
            &path
                .expect("targets lie below the root")
                .display()
                .to_string(),
            true,
            &mut alive,
        );
    }
    let rust = house
        .files
        .keys()
        .filter(|path| path.ends_with(".rs") && !path.starts_with(OUTSIDE));
    let dead = rust.filter(|path| !alive.contains(*path));
    dead.map(|path| Fault::new(path, "no crate contains it", "add its `mod`, or delete it"))
        .collect()
}

fn visit(house: &House, path: &str, root: bool, alive: &mut BTreeSet<String>) {
    let Some(text) = house.files.get(path) else {
        return;
    };
    if !alive.insert(path.to_owned()) {
        return;
    }
    let source = Source::new(path, text);
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let below = match file {
        _ if root => directory.to_owned(),
        "mod.rs" => directory.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    for name in declared(&source.code) {
        visit(house, &format!("{below}/{name}.rs"), false, alive);
        visit(house, &format!("{below}/{name}/mod.rs"), false, alive);
    }
    for given in named_paths(text) {
        let resolved = resolve(directory, &given);
        visit(house, &resolved, false, alive);
        // `include!(concat!(env!("CARGO_MANIFEST_DIR"), "/generated/x.rs"))`
        let package = directory.split("/src").next().unwrap_or_default();
        visit(
            house,
            &format!("{package}/{}", given.trim_start_matches('/')),
            false,
            alive,
        );
    }
}

/// Names of `mod name;` declarations in blanked code.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("mod ").filter_map(|(at, _)| {
        let begins = !code[..at].ends_with(|one: char| one.is_alphanumeric() || one == '_');
        let (name, _) = code[at + 4..].split_once(';')?;
        let plain = name
            .trim()
            .chars()
            .all(|one| one.is_alphanumeric() || one == '_');
        (begins && plain).then_some(name.trim())
    })
}

/// Rust files named in string literals, as `#[path = "x.rs"]` and `include!("x.rs")` do.
fn named_paths(text: &str) -> impl Iterator<Item = String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .filter(|literal| literal.ends_with(".rs"))
        .map(str::to_owned)
}

fn resolve(directory: &str, relative: &str) -> String {
    let mut parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in relative.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// A workspace of its own.
const OUTSIDE: &str = "benches/pingora-peer/";
