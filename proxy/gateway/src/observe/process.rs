//! What the kernel says about this process, under ingress-nginx's names, for its dashboards.

use std::{fs, io};

use rustix::{param::clock_ticks_per_second, param::page_size};

/// One reading of `/proc/self`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    pub cpu_s: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
}

impl ProcessFacts {
    /// # Errors
    /// `/proc` is not mounted.
    pub fn read() -> io::Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat")?;
        let traffic = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Ok(Self::parse(&stat, &traffic))
    }

    /// proc(5): the fields after the command, which may itself hold spaces and brackets.
    fn parse(stat: &str, traffic: &str) -> Self {
        let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let fields: Vec<u64> = after
            .split_ascii_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        let counter = |name: &str| {
            let line = traffic.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        let ticks = field(STAT_UTIME) + field(STAT_STIME);
        Self {
            cpu_s: ticks as f64 / clock_ticks_per_second() as f64,
            resident_bytes: field(STAT_RSS) * page_size() as u64,
            virtual_bytes: field(STAT_VSIZE),
            read_bytes: counter("rchar:"),
            write_bytes: counter("wchar:"),
        }
    }
}

/// Field numbers of proc_pid_stat(5).
const STAT_UTIME: usize = 14;
const STAT_STIME: usize = 15;
const STAT_VSIZE: usize = 23;
const STAT_RSS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stat_past_an_odd_command() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 200 13 14 15 16 17 18 19 4096 3 22";
        let facts = ProcessFacts::parse(stat, "rchar: 5\nwchar: 6\n");
        assert_eq!(facts.cpu_s, 300.0 / clock_ticks_per_second() as f64);
        assert_eq!(facts.virtual_bytes, 4096);
        assert_eq!(facts.resident_bytes, 3 * page_size() as u64);
        assert_eq!((facts.read_bytes, facts.write_bytes), (5, 6));
    }
}
