//! Pure crates: no clock, randomness, files, sockets, environment or async in their product code.

use std::collections::BTreeSet;

use crate::arrows::PURE;
use crate::house::{Fault, House};

/// What must not stand in a pure crate, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "take the time as an argument"),
    ("SystemTime::now", "take the time as an argument"),
    ("Timestamp::now", "take the time as an argument"),
    ("OffsetDateTime::now", "take the time as an argument"),
    ("Zoned::now", "take the time as an argument"),
    ("std::fs", "take the content as an argument"),
    ("std::env", "take the value as an argument"),
    ("std::process", "return what is to be run"),
    ("std::thread", "return what is to be done"),
    ("std::io::std", "return what is to be said"),
    ("TcpStream", "let the shell hold the socket"),
    ("TcpListener", "let the shell hold the socket"),
    ("UdpSocket", "let the shell hold the socket"),
    ("ToSocketAddrs", "resolve names in the shell"),
    ("tokio::", "let the shell wait"),
    ("async fn", "let the shell wait"),
    (".await", "let the shell wait"),
    ("rand::", "take the random value as an argument"),
    ("new_v4(", "take the id as an argument"),
    ("kube::", "let the shell hold the client"),
    ("println!", "return what is to be said"),
    ("static mut", "return the state"),
    ("LazyLock<Mutex", "return the state"),
];

pub(crate) fn check(house: &House) -> Vec<Fault> {
    let members = house.members();
    let tests: BTreeSet<_> = house
        .sources()
        .flat_map(|source| source.test_modules())
        .collect();
    let mut faults = Vec::new();
    for name in PURE {
        let Some(directory) = members.get(&format!("portcullis-{name}")) else {
            continue;
        };
        let sources = format!("{directory}/src/");
        for source in house.sources().filter(|source| {
            source.path.starts_with(&sources) && !source.is_test() && !tests.contains(source.path)
        }) {
            let code = source.product_code();
            let found = IMPURE.iter().filter(|(word, _)| has(&code, word));
            faults.extend(found.map(|(word, fix)| {
                Fault::new(source.path, format!("{word} in a pure crate"), fix)
            }));
        }
        let lints = format!("{directory}/clippy.toml");
        if house.files.get(&lints).map(String::as_str) != Some(CLIPPY) {
            let fix = "copy it from transport/pki";
            faults.push(Fault::new(
                &lints,
                "the pure crates' clippy.toml is missing or differs",
                fix,
            ));
        }
    }
    faults
}

/// `rand::` must not be found in `strand::`.
fn has(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let joins = |one: char| one.is_alphanumeric() || one == '_';
        !(word.starts_with(joins) && code[..at].ends_with(joins))
    })
}

/// One text for all of them.
const CLIPPY: &str = include_str!("../../../transport/pki/clippy.toml");
