//! Query strings.

/// Decoded `key=value` pairs in order; a key may come more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads what stands behind the `?`. Pairs that are no valid UTF-8 once decoded are left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(key, true)?, decode(value, true)?))
            });
        Self {
            pairs: pairs.collect(),
        }
    }

    /// The first value of a key, empty where it is absent.
    pub fn first<'a>(&'a self, key: &str) -> &'a str {
        let found = self.pairs.iter().find(|(k, _)| k == key);
        found.map_or("", |(_, value)| value)
    }

    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// As Go reads booleans in queries: present and neither `false` nor `0`.
    pub fn is_true(&self, key: &str) -> bool {
        self.flag(key) == Some(true)
    }

    /// `None` where the key is absent.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let (_, value) = self.pairs.iter().find(|(k, _)| k == key)?;
        Some(!matches!(
            value.to_ascii_lowercase().as_str(),
            "false" | "0"
        ))
    }
}

/// Percent-decoding outside of queries, where `+` is itself.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    decode(text, false)
}

/// Percent-decoding (RFC 3986 section 2.1); in queries `+` is a space. `None` for broken escapes or UTF-8.
pub(super) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}
