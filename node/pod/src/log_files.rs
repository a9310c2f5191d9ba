//! Which log files of a container stay: the kubelet's `containerLogMaxSize` and `containerLogMaxFiles`, as decisions.
//!
//! Each run of a container writes to `ATTEMPT.log`; what was rotated away from it is `ATTEMPT.log.TIME`, and times sort as
//! text.

/// One file of a container's log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub name: String,
    pub bytes: u64,
}

/// What is to be done to a container's log directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// The newest run, if its file has grown too large or is gone: older ones are written no more.
    pub rotate: Option<u32>,
    /// Names of files that are kept no longer.
    pub remove: Vec<String>,
}

/// Keeps the newest run's files and those of the run before it, for `kubectl logs --previous`.
pub fn upkeep(files: &[LogFile]) -> Upkeep {
    let mut runs: Vec<u32> = files
        .iter()
        .filter_map(|file| split(&file.name))
        .map(|(run, _)| run)
        .collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    runs.dedup();
    let newest = runs.first().copied();
    let rotate = newest.filter(|run| {
        let name = format!("{run}.log");
        let current = files.iter().find(|file| file.name == name);
        current.is_none_or(|file| file.bytes > MAX_BYTES)
    });
    let kept = |run: u32| runs.iter().take(KEPT_RUNS).any(|kept| *kept == run);
    let mut remove: Vec<_> = files
        .iter()
        .filter(|file| split(&file.name).is_some_and(|(run, _)| !kept(run)))
        .map(|file| file.name.clone())
        .collect();
    for run in runs.iter().take(KEPT_RUNS) {
        let mut rotated: Vec<_> = files
            .iter()
            .filter(|file| matches!(split(&file.name), Some((of, Some(_))) if of == *run))
            .map(|file| file.name.clone())
            .collect();
        rotated.sort_unstable();
        // The file being written counts, and so does the one that is about to be rotated away from it.
        let room = MAX_FILES - 1 - usize::from(rotate == Some(*run));
        rotated.truncate(rotated.len().saturating_sub(room));
        remove.extend(rotated);
    }
    Upkeep { rotate, remove }
}

/// `3.log` is run 3's file, `3.log.TIME` one that was rotated away from it.
fn split(name: &str) -> Option<(u32, Option<&str>)> {
    let (run, rest) = name.split_once(".log")?;
    let run = run.parse().ok()?;
    match rest.strip_prefix('.') {
        Some(time) => Some((run, Some(time))),
        None => rest.is_empty().then_some((run, None)),
    }
}

/// Upstream's default: 10 MiB.
const MAX_BYTES: u64 = 10 << 20;
/// Upstream's default: with the one that is written to.
const MAX_FILES: usize = 5;
const KEPT_RUNS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(files: &[(&str, u64)]) -> Upkeep {
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| LogFile {
                name: (*name).to_owned(),
                bytes: *bytes,
            })
            .collect();
        upkeep(&files)
    }

    #[test]
    fn only_the_newest_run_is_rotated_and_only_when_too_large() {
        assert_eq!(judge(&[("0.log", MAX_BYTES)]), Upkeep::default());
        assert_eq!(judge(&[("0.log", MAX_BYTES + 1)]).rotate, Some(0));
        let two = judge(&[("9.log", MAX_BYTES + 1), ("10.log", 7)]);
        assert_eq!(two, Upkeep::default());
        assert_eq!(judge(&[("notes", 1 << 40)]), Upkeep::default());
        // A rotation that was cut short: what was rotated is the run's log still.
        let cut = judge(&[("4.log.20260101-000000", 1), ("3.log", 1)]);
        assert_eq!((cut.rotate, cut.remove.len()), (Some(4), 0));
    }

    #[test]
    fn runs_before_the_previous_one_are_removed_with_all_their_files() {
        let left = judge(&[
            ("9.log", 1),
            ("9.log.20260101-000000", 1),
            ("10.log", 1),
            ("11.log", 1),
        ]);
        assert_eq!(left.remove, ["9.log", "9.log.20260101-000000"]);
    }

    #[test]
    fn of_one_run_five_files_stay() {
        let mut files = vec![("0.log", MAX_BYTES + 1)];
        let rotated = ["0.log.1", "0.log.2", "0.log.3", "0.log.4"];
        files.extend(rotated.map(|name| (name, 1)));
        assert_eq!(judge(&files).remove, ["0.log.1"]);
        files[0].1 = 1;
        assert_eq!(judge(&files), Upkeep::default());
    }
}
