//! Small files, small functions, test modules beside the code when they grow.

use crate::functions::functions;
use crate::house::{Fault, House};
use crate::source::{Source, item_end, line_of};

pub(crate) fn check(house: &House) -> Vec<Fault> {
    house.sources().flat_map(|source| faults(&source)).collect()
}

fn faults(source: &Source<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES {
        let fix = "split it by verb, kind or stage; tables of facts belong into generated/";
        faults.push(Fault::new(
            source.path,
            format!("{lines} lines, at most {FILE_LINES}"),
            fix,
        ));
    }
    for function in functions(&source.code) {
        if function.lines > FUNCTION_LINES {
            let what = format!(
                "fn {} has {} lines, at most {FUNCTION_LINES}",
                function.name, function.lines
            );
            faults.push(Fault::new(
                source.path,
                what,
                "take its steps out into named functions",
            ));
        }
    }
    for (start, _) in source.code.match_indices("#[cfg(test)]") {
        let end = item_end(&source.code, start);
        let lines = line_of(&source.code, end) - line_of(&source.code, start);
        if lines > TEST_MODULE_LINES {
            let what = format!("its test module has {lines} lines, at most {TEST_MODULE_LINES}");
            faults.push(Fault::new(
                source.path,
                what,
                "move it to tests.rs beside it",
            ));
        }
    }
    faults
}

/// The hard limit; 400 is the aim.
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
const TEST_MODULE_LINES: usize = 101;
