//! The house rules as tests. Each failure names a file and what to do about it.

mod arrows;
mod cases;
mod functions;
mod house;
mod layout;
mod modules;
mod purity;
mod sizes;
mod source;
mod words;

use std::sync::LazyLock;

use house::{Fault, House};

#[test]
fn arrows_point_downwards() {
    pass(arrows::check);
}

#[test]
fn pure_crates_do_nothing_but_compute() {
    pass(purity::check);
}

#[test]
fn files_and_functions_stay_small() {
    pass(sizes::check);
}

#[test]
fn names_manifests_and_heads_are_in_order() {
    pass(layout::check);
}

#[test]
fn every_file_is_part_of_a_crate() {
    pass(modules::check);
}

#[test]
fn golden_cases_are_whole_and_short() {
    pass(cases::check);
}

#[test]
fn words_that_do_not_belong_are_absent() {
    pass(words::check);
}

#[track_caller]
fn pass(rule: fn(&House) -> Vec<Fault>) {
    let faults = rule(&HOUSE);
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "\n{}\n", told.join("\n"));
}

/// Read once for all rules.
static HOUSE: LazyLock<House> = LazyLock::new(House::read);
