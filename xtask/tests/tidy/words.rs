//! Words that do not belong: postponed work, ignored tests, waiting by sleep, places of one machine, line numbers.

use crate::functions::functions;
use crate::house::{Fault, House, is_generated};
use crate::source::Source;

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let mut faults: Vec<_> = house
        .sources()
        .flat_map(|source| in_code(&source))
        .collect();
    for (path, text) in &house.files {
        if !is_generated(path)
            && !path.starts_with(TIDY)
            && path != "Cargo.lock"
            && !path.ends_with("go.sum")
        {
            faults.extend(in_text(path, text));
        }
    }
    faults
}

fn in_code(source: &Source<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if source.code.contains("#[ignore") {
        faults.push(Fault::new(
            source.path,
            "an ignored test",
            "make it pass, or delete it",
        ));
    }
    let test_code = if source.is_test() {
        source.code.clone()
    } else {
        tests_only(source)
    };
    // With tokio's time paused a sleep takes none.
    if !source.code.contains("start_paused") {
        let sleepers = functions(&test_code)
            .into_iter()
            .filter(|function| sleeps_blindly(function.code));
        let fix = "wait for a channel, poll a condition with a deadline, or pause tokio's time";
        faults.extend(
            sleepers.map(|one| Fault::new(source.path, format!("fn {} sleeps", one.name), fix)),
        );
    }
    faults
}

/// A sleep between two looks at a condition is no waiting by sleep: such a function minds a deadline.
fn sleeps_blindly(function: &str) -> bool {
    let sleeps = ["thread::sleep(", "time::sleep(", " sleep("]
        .iter()
        .any(|call| function.contains(call));
    let minds = ["deadline", "elapsed(", "timeout(", "instant::now("]
        .iter()
        .any(|word| function.to_lowercase().contains(word));
    sleeps && !minds
}

/// What [`Source::product_code`] leaves out, with the rest blanked.
fn tests_only(source: &Source<'_>) -> String {
    let product = source.product_code();
    let pairs = source.code.lines().zip(product.lines());
    let lines = pairs.map(|(all, product)| if all == product { "" } else { all });
    lines.collect::<Vec<_>>().join("\n")
}

fn in_text(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut fault = |what: &str, fix| {
            faults.push(Fault::new(&format!("{path}:{}", number + 1), what, fix));
        };
        if POSTPONED.iter().any(|word| has_word(line, word)) {
            fault(
                "postponed work",
                "do it, or open an issue and say nothing here",
            );
        }
        if PLACES.iter().any(|place| line.contains(place)) {
            fault(
                "a path of one machine",
                "paths are arguments, or relative to the repository",
            );
        }
        if cites_line(line) {
            fault("a line number", "name the function: lines move");
        }
    }
    faults
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let apart = |one: Option<char>| one.is_none_or(|one| !one.is_alphanumeric() && one != '_');
        apart(before) && apart(after)
    })
}

/// `file.rs:12` or `#L12`, as people point at code.
fn cites_line(line: &str) -> bool {
    [".rs:", ".go:", "#L"].iter().any(|mark| {
        line.match_indices(mark)
            .any(|(at, _)| line[at + mark.len()..].starts_with(|one: char| one.is_ascii_digit()))
    })
}

/// Here the words stand because they are looked for.
const TIDY: &str = "xtask/tests/tidy";

const POSTPONED: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];
const PLACES: &[&str] = &["/home/", "/Users/", "/mnt/"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_numbers_are_found() {
        assert!(cites_line("see main.rs:12"));
        assert!(cites_line("blob/main/a.go#L3"));
        assert!(!cites_line("main.rs: the story"));
    }

    #[test]
    fn sleeping_is_told_from_polling() {
        assert!(sleeps_blindly("fn a() { std::thread::sleep(SECOND); }"));
        assert!(!sleeps_blindly(
            "fn a() { while start.elapsed() < LIMIT { thread::sleep(TICK) } }"
        ));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("// TODO: x", "TODO"));
        assert!(!has_word("TODOS", "TODO"));
    }
}
