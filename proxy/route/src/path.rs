//! Path normalisation, once per request, as nginx does it: percent-decode, merge slashes, resolve `.` and `..`.
//!
//! Routes match on the normalised path; the original is what goes upstream unless a step rewrites it.

use std::borrow::Cow;

/// Why a request path cannot be normalised. Each answers 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("path does not begin with a slash")]
    NotAbsolute,
    #[error("path has a percent sign without two hexadecimal digits")]
    BadEscape,
    #[error("path holds a NUL byte")]
    Nul,
    #[error("path climbs above the root")]
    AboveRoot,
}

/// The path of a request target (without its query) in the form that routes match. Borrows when nothing changes, which
/// is nearly always.
pub fn normalise(path: &str) -> Result<Cow<'_, [u8]>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    resolve_dots(&decode(bytes)?).map(Cow::Owned)
}

/// True when no byte could be changed by decoding, merging or resolving.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let after_slash = previous == b'/' && (byte == b'/' || byte == b'.');
        if byte == b'%' || byte == 0 || after_slash {
            return false;
        }
        previous = byte;
    }
    true
}

fn decode(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(&byte) = rest.next() {
        let decoded = if byte == b'%' {
            let high = rest.next().and_then(|&b| hex(b));
            let low = rest.next().and_then(|&b| hex(b));
            match (high, low) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(PathError::BadEscape),
            }
        } else {
            byte
        };
        if decoded == 0 {
            return Err(PathError::Nul);
        }
        out.push(decoded);
    }
    Ok(out)
}

fn resolve_dots(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|&b| b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out
                    .iter()
                    .rposition(|&b| b == b'/')
                    .ok_or(PathError::AboveRoot)?;
                out.truncate(parent);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
        if last && matches!(segment, b"" | b"." | b"..") {
            out.push(b'/');
        }
    }
    Ok(out)
}

pub(crate) fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> String {
        match normalise(path) {
            Ok(path) => String::from_utf8_lossy(&path).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn leaves_an_ordinary_path_borrowed() {
        assert!(matches!(
            normalise("/a/b.c/d"),
            Ok(Cow::Borrowed(b"/a/b.c/d"))
        ));
    }

    #[test]
    fn merges_decodes_and_resolves() {
        let cases = [
            ("/", "/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a/", "/a/"),
            ("/a%2fb", "/a/b"),
            ("/a%2f..%2fb", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...", "/a..."),
            ("/...", "/..."),
            ("/%41", "/A"),
            ("/a%3fb", "/a?b"),
        ];
        for (from, to) in cases {
            assert_eq!(normal(from), to, "{from}");
        }
    }

    #[test]
    fn refuses_what_has_no_normal_form() {
        assert_eq!(normalise("a"), Err(PathError::NotAbsolute));
        assert_eq!(normalise("*"), Err(PathError::NotAbsolute));
        assert_eq!(normalise("/.."), Err(PathError::AboveRoot));
        assert_eq!(normalise("/a/../../b"), Err(PathError::AboveRoot));
        assert_eq!(normalise("/%zz"), Err(PathError::BadEscape));
        assert_eq!(normalise("/%4"), Err(PathError::BadEscape));
        assert_eq!(normalise("/%00"), Err(PathError::Nul));
    }

    proptest::proptest! {
        #[test]
        fn normalising_twice_changes_nothing_more(path in "/[a-c./]{0,12}") {
            if let Ok(once) = normalise(&path) {
                let text = String::from_utf8(once.into_owned()).unwrap();
                proptest::prop_assert_eq!(normal(&text), text);
            }
        }
    }
}
