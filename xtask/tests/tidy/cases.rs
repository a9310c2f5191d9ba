//! Golden cases come in pairs and fit on a screen or two.

use crate::house::{Fault, House};

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (path, text) in &house.files {
        let Some((_, name)) = path.rsplit_once('/').filter(|_| path.contains("/cases/")) else {
            continue;
        };
        let lines = text.lines().count();
        if lines > CASE_LINES {
            let what = format!("{lines} lines, at most {CASE_LINES}");
            faults.push(Fault::new(path, what, "a case shows one thing: split it"));
        }
        let other = match (
            path.strip_suffix(".in.yaml"),
            path.strip_suffix(".out.yaml"),
        ) {
            (Some(stem), _) => format!("{stem}.out.yaml"),
            (_, Some(stem)) => format!("{stem}.in.yaml"),
            _ => continue,
        };
        if !house.files.contains_key(&other) {
            faults.push(Fault::new(
                path,
                "it has no counterpart",
                "write the input, or UPDATE=1 cargo test for the output",
            ));
        }
        if name.starts_with(|one: char| one.is_ascii_digit()) {
            faults.push(Fault::new(
                path,
                "its name is a number",
                "name it with the sentence it proves",
            ));
        }
    }
    faults
}

const CASE_LINES: usize = 100;
