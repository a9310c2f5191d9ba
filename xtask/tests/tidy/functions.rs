//! Finding functions and their lengths.

use crate::source::{item_end, line_of};

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) code: &'a str,
    pub(crate) lines: usize,
}

/// All functions with bodies in blanked code.
pub(crate) fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("fn ") {
        let begins = !code[..start].ends_with(|one: char| one.is_alphanumeric() || one == '_');
        let rest = &code[start + 3..];
        let name_end = rest
            .find(|one: char| !one.is_alphanumeric() && one != '_')
            .unwrap_or(0);
        if !begins || name_end == 0 {
            continue; // A function pointer type has no name.
        }
        let end = item_end(code, start);
        if code[..end].ends_with('}') {
            found.push(Function {
                name: &rest[..name_end],
                code: &code[start..end],
                lines: line_of(code, end) - line_of(code, start) + 1,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_run_from_the_head_to_the_closing_brace() {
        let code = "impl A {\n    fn one(&self) -> fn (u8) {\n        if x {\n        }\n    }\n    fn two();\n}\nfn three() {}\n";
        let found: Vec<_> = functions(code)
            .iter()
            .map(|one| (one.name, one.lines))
            .collect();
        assert_eq!(found, [("one", 4), ("three", 1)]);
    }
}
