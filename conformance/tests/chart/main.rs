//! The chart without a cluster: what its values become, and which are refused.

mod refusals;
mod rendering;

use std::process::ExitCode;

use portcullis_conformance::{Alone, Suite, scenarios};

fn main() -> ExitCode {
    Suite::alone("chart", SCENARIOS)
}

const SCENARIOS: &[Alone] = scenarios![
    rendering::every_file_of_values_becomes_its_golden_objects,
    rendering::pods_meet_the_restricted_standard,
    rendering::the_controller_may_write_little,
    refusals::a_value_of_the_wrong_type_is_named,
    refusals::ingress_nginx_is_not_installed_by_mistake,
    refusals::what_would_let_more_in_is_refused,
    refusals::the_chart_has_no_faults_for_lint,
];
