//! Formats of names, with upstream's messages (`apimachinery/pkg/util/validation`). No messages: well-formed.

use std::net::IpAddr;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const MAX_LABEL: usize = 63;
const MAX_SUBDOMAIN: usize = 253;
const MAX_PORT_NAME: usize = 15;

/// A format: messages for text that has not got it.
pub type Rule = fn(&str) -> Vec<String>;

/// RFC 1123 label, at most 63 bytes.
pub fn dns_label(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_LABEL);
    if !is_label(value) {
        messages.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            let what = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                        and must start and end with an alphanumeric character";
            pattern(what, &["my-name", "123-abc"], LABEL)
        });
    }
    messages
}

/// RFC 1123 subdomain, at most 253 bytes.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_SUBDOMAIN);
    if !is_subdomain(value) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                    and must start and end with an alphanumeric character";
        messages.push(pattern(
            what,
            &["example.com"],
            &format!("{LABEL}(\\.{LABEL})*"),
        ));
    }
    messages
}

/// `*.example.com`.
pub fn wildcard_subdomain(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_SUBDOMAIN);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        messages.push(pattern(
            what,
            &["*.example.com"],
            &format!("\\*\\.{LABEL}(\\.{LABEL})*"),
        ));
    }
    messages
}

/// RFC 1035 label: what a Service may be called.
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_LABEL);
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        let what = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                    alphabetic character, and end with an alphanumeric character";
        messages.push(pattern(
            what,
            &["my-name", "abc-123"],
            "[a-z]([-a-z0-9]*[a-z0-9])?",
        ));
    }
    messages
}

/// One segment of a path: what RBAC objects may be called.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    let banned = ["/", "%"]
        .into_iter()
        .filter(|illegal| value.contains(illegal));
    banned
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

/// A label's key, a finalizer, an annotation: `example.com/MyName`.
pub fn label_key(value: &str) -> Vec<String> {
    let what = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character";
    let shape = pattern(what, &["MyName", "my.name", "123-abc"], LABEL_KEY);
    let parts: Vec<&str> = value.split('/').collect();
    let mut messages = Vec::new();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                messages.extend(
                    dns_subdomain(prefix)
                        .into_iter()
                        .map(|message| format!("prefix part {message}")),
                );
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    }
    messages.extend(
        max_length(name, MAX_LABEL)
            .into_iter()
            .map(|message| format!("name part {message}")),
    );
    if !is_label_key_name(name) {
        messages.push(format!("name part {shape}"));
    }
    messages
}

pub fn label_value(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_LABEL);
    if !value.is_empty() && !is_label_key_name(value) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character";
        messages.push(pattern(
            what,
            &["MyValue", "my_value", "12345"],
            &format!("({LABEL_KEY})?"),
        ));
    }
    messages
}

/// IANA service name: a port's name.
pub fn port_name(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_PORT_NAME);
    let mut add = |wrong: bool, message: &str| {
        if wrong {
            messages.push(message.to_owned());
        }
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    add(
        value.is_empty() || !value.chars().all(plain),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    add(
        !value.contains(|c: char| c.is_ascii_lowercase()),
        "must contain at least one letter (a-z)",
    );
    add(value.contains("--"), "must not contain consecutive hyphens");
    add(
        value.starts_with('-') || value.ends_with('-'),
        "must not begin or end with a hyphen",
    );
    messages
}

pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65_535).contains(&port) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// Environment variables as the relaxed rule has them.
pub fn env_name(value: &str) -> Vec<String> {
    if value.chars().all(|c| matches!(c, ' '..='~') && c != '=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

/// A key of a ConfigMap or Secret, which becomes a file's name.
pub fn config_key(value: &str) -> Vec<String> {
    let mut messages = max_length(value, MAX_SUBDOMAIN);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if value.is_empty() || !value.chars().all(plain) {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        messages.push(pattern(
            what,
            &["key.name", "KEY_NAME", "key-name"],
            "[-._a-zA-Z0-9]+",
        ));
    }
    if value == "." || value == ".." {
        messages.push(format!("must not be '{value}'"));
    } else if value.starts_with("..") {
        messages.push("must not start with '..'".to_owned());
    }
    messages
}

pub fn ip_address(value: &str) -> Vec<String> {
    match value.parse::<IpAddr>() {
        Ok(_) => Vec::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

/// `10.9.8.0/24`.
pub fn cidr(value: &str) -> Vec<String> {
    let parsed = value.split_once('/').and_then(|(ip, length)| {
        let most = match ip.parse::<IpAddr>().ok()? {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        length.parse::<u8>().ok().filter(|length| *length <= most)
    });
    match parsed {
        Some(_) => Vec::new(),
        None => vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()],
    }
}

fn is_label(value: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = value.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|c| inner(*c) || *c == b'-')
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_label_key_name(value: &str) -> bool {
    let ends = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && value
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn max_length(value: &str, max: usize) -> Vec<String> {
    if value.len() > max {
        vec![format!("must be no more than {max} bytes")]
    } else {
        Vec::new()
    }
}

/// Upstream's way to show a pattern, stray commas included.
fn pattern(what: &str, examples: &[&str], regex: &str) -> String {
    let examples: Vec<String> = examples
        .iter()
        .map(|example| format!("'{example}', "))
        .collect();
    format!(
        "{what} (e.g. {}regex used for validation is '{regex}')",
        examples.join(" or ")
    )
}
