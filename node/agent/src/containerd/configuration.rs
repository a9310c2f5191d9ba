//! containerd's configuration file.

use crate::layout::Layout;
use crate::programs::Programs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::Path;

pub(super) fn render(
    layout: &Layout,
    programs: &Programs,
    pause_image: &str,
    snapshotter: &str,
) -> String {
    let disabled: Vec<_> = UNUSED_PLUGINS.iter().map(|plugin| quote(plugin)).collect();
    let [root, state, socket] = [
        layout.containerd_root(),
        layout.containerd_state(),
        layout.containerd_socket(),
    ]
    .map(quote_path);
    let [plugins, networks] =
        [programs.cni_plugins.clone(), layout.cni_configuration()].map(quote_path);
    let (image, snapshotter, disabled) =
        (quote(pause_image), quote(snapshotter), disabled.join(", "));
    // netns_mounts_under_state_dir: the first `ip netns add` by anybody mounts /run/netns on itself, and a namespace
    // mounted there before can no longer be removed. Under our own state nobody mounts, and a stop clears it.
    // restrict_oom_score_adj: without CAP_SYS_RESOURCE no score below our own can be set, and pods would not start.
    format!(
        r#"version = 2
root = {root}
state = {state}
disabled_plugins = [{disabled}]
[grpc]
  address = {socket}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {image}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {plugins}
    conf_dir = {networks}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = {snapshotter}
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// overlayfs where the data directory can carry it (it cannot on another overlay, or on some network file systems), else copies.
pub(super) fn snapshotter(layout: &Layout) -> &'static str {
    let probe = layout.containerd().join("overlay-probe");
    let works = try_overlay(&probe);
    let _ = std::fs::remove_dir_all(&probe);
    if works {
        return "overlayfs";
    }
    tracing::info!(
        "overlayfs does not work in {}; images are unpacked as copies",
        layout.root().display()
    );
    "native"
}

fn try_overlay(probe: &Path) -> bool {
    let [lower, upper, work, merged] =
        ["lower", "upper", "work", "merged"].map(|name| probe.join(name));
    if [&lower, &upper, &work, &merged]
        .iter()
        .any(|directory| std::fs::create_dir_all(directory).is_err())
    {
        return false;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let mounted = mount(
        Some("overlay"),
        &merged,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    mounted.is_ok() && umount2(&merged, MntFlags::MNT_DETACH).is_ok()
}

fn quote_path(path: std::path::PathBuf) -> String {
    quote(&path.display().to_string())
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted += &format!("\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Snapshotters for other file systems, tracing, and containerd's own restarter: each costs memory or a probe at start.
const UNUSED_PLUGINS: [&str; 8] = [
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
];
