//! The query of `containerLogs`.

use jiff::{SignedDuration, Timestamp};

/// What of a log is wanted (upstream's PodLogOptions).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<usize>,
    pub limit_bytes: Option<u64>,
    pub since: Option<Timestamp>,
}

/// Unknown keys are ignored, as upstream does; a value that does not parse is an error naming its key.
pub(crate) fn parse(query: &str) -> Result<LogOptions, String> {
    let mut options = LogOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        let bad = || format!("invalid value {value:?} for {key}");
        let number = || value.parse::<u64>().map_err(|_| bad());
        let flag = || match value.as_str() {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad()),
        };
        match key {
            "follow" => options.follow = flag()?,
            "previous" => options.previous = flag()?,
            "timestamps" => options.timestamps = flag()?,
            "tailLines" => {
                options.tail_lines = Some(usize::try_from(number()?).map_err(|_| bad())?)
            }
            "limitBytes" => options.limit_bytes = Some(number()?),
            "sinceTime" => options.since = Some(value.parse().map_err(|_| bad())?),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).map_err(|_| bad())?;
                options.since = Timestamp::now()
                    .checked_sub(SignedDuration::from_secs(seconds))
                    .ok();
            }
            _ => {}
        }
    }
    Ok(options)
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let decoded = match byte {
            b'+' => b' ',
            b'%' => match (hex(rest.next()), hex(rest.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => b'%',
            },
            other => other,
        };
        bytes.push(decoded);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_parse_and_a_bad_value_names_its_key() {
        let options =
            parse("follow=true&tailLines=10&limitBytes=5&x=y&sinceTime=2026-01-02T03%3A04%3A05Z")
                .unwrap();
        assert_eq!(
            (options.follow, options.tail_lines, options.limit_bytes),
            (true, Some(10), Some(5))
        );
        assert_eq!(options.since, Some("2026-01-02T03:04:05Z".parse().unwrap()));
        assert_eq!(
            parse("tailLines=x").unwrap_err(),
            "invalid value \"x\" for tailLines"
        );
    }
}
