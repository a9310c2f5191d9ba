//! What a stopped cluster left on the machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Links, network namespaces, nft tables and mounts of the machine at one moment.
#[derive(Clone, Debug)]
pub struct Leftovers {
    before: BTreeSet<String>,
}

impl Leftovers {
    /// Looks before a cluster starts.
    #[must_use]
    pub fn look() -> Self {
        Self { before: machine() }
    }

    /// Everything that is there now and was not before, and every process that still belongs to `data_dir`.
    #[must_use]
    pub fn since(&self, data_dir: &Path) -> Vec<String> {
        let now = machine();
        let mut found: Vec<String> = now.difference(&self.before).cloned().collect();
        found.extend(processes_of(data_dir));
        found
    }
}

fn machine() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(
        lines("ip", &["-oneline", "link"])
            .iter()
            .filter_map(|line| {
                let name = line.split(": ").nth(1)?;
                Some(format!("link {}", name.split('@').next().unwrap_or(name)))
            }),
    );
    let namespaces = lines("ip", &["netns", "list"]);
    all.extend(
        namespaces
            .iter()
            .map(|line| format!("network namespace {line}")),
    );
    all.extend(
        lines("nft", &["list", "tables"])
            .iter()
            .map(|line| format!("nft {line}")),
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    all.extend(points.map(|point| format!("mount {point}")));
    all
}

/// A tool that is missing shows nothing, before and after.
fn lines(program: &str, arguments: &[&str]) -> Vec<String> {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

/// Processes that name the data directory in their command line, or whose root file system lies in it (containers).
fn processes_of(data_dir: &Path) -> Vec<String> {
    let directory = data_dir.display().to_string();
    let own_mounts = fs::read_link("/proc/self/ns/mnt").ok();
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let command = fs::read_to_string(path.join("cmdline"))
                .ok()?
                .replace('\0', " ");
            let elsewhere = fs::read_link(path.join("ns/mnt")).ok() != own_mounts;
            let contained = || {
                let mounts = fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
                elsewhere && mounts.contains(&directory)
            };
            let belongs = command.contains(&directory) || contained();
            (belongs && pid != std::process::id()).then(|| format!("process {pid} {command}"))
        })
        .collect()
}
