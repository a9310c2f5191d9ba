//! One part is missing for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use portcullis_conformance::Load;

use super::{Apart, CHANGE, Duration, START, Stage, eventually, expect_pod, ingress, serve};

pub(crate) fn the_proxy_serves_on_without_its_controller(stage: &Stage) {
    let _before = serve(&stage.kubectl, "outage.test", "before");
    let mut apart = Apart::start(stage);
    expect_pod(&apart, "http://outage.test/", "before", START);
    expect_verbose(&apart, "[+]controller followed");
    assert!(metric(&apart, "portcullis_set_age_seconds") == 0.0);
    let load = Load::start(apart.http(), "outage.test", "/?delay=5ms", 4);
    apart.controller.take().expect("it runs").crash();
    eventually(START, || apart.proxy_logged("not following the controller"));
    let _after = serve(&stage.kubectl, "outage.test", "after");
    expect_pod(&apart, "http://outage.test/", "before", CHANGE);
    expect_verbose(&apart, "[+]controller away, serving a set ");
    assert!(metric(&apart, "portcullis_controller_connected") == 0.0);
    let before = metric(&apart, "portcullis_set_age_seconds");
    eventually(START, || {
        match metric(&apart, "portcullis_set_age_seconds") {
            later if later > before => Ok(()),
            later => Err(format!("{later} s after {before} s")),
        }
    });
    apart.start_controller(&["--update-status=false"]);
    // What changed meanwhile arrives, and so does what changes later.
    expect_pod(&apart, "http://outage.test/", "after", START);
    stage
        .kubectl
        .apply(&ingress("site", "outage.test", "before"))
        .ok();
    expect_pod(&apart, "http://outage.test/", "before", CHANGE);
    let report = load.stop();
    assert!(
        report.lost.is_empty(),
        "{} lost of {}: {:?}\n{}",
        report.lost.len(),
        report.answered,
        report.lost.first(),
        apart.logs()
    );
}

/// A check of `/readyz?verbose`, of a proxy that is ready.
#[track_caller]
fn expect_verbose(apart: &Apart, wanted: &str) {
    eventually(START, || {
        let answer = apart.ask_proxy("/readyz?verbose");
        let found = answer.body.lines().any(|line| line.starts_with(wanted));
        match found && answer.status == 200 && answer.body.ends_with("readyz check passed\n") {
            true => Ok(()),
            false => Err(format!(
                "{wanted:?} is not in {} {}",
                answer.status, answer.body
            )),
        }
    });
}

#[track_caller]
fn metric(apart: &Apart, name: &str) -> f64 {
    let page = apart.ask_proxy("/metrics").body;
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {page}"))
}

pub(crate) fn the_proxy_starts_from_its_last_set(stage: &Stage) {
    let _server = serve(&stage.kubectl, "kept.test", "kept");
    let mut apart = Apart::start(stage);
    expect_pod(&apart, "http://kept.test/", "kept", START);
    let kept = apart.state_dir().join("published");
    eventually(START, || match fs::read(&kept) {
        Ok(bytes) if bytes.windows(9).any(|part| part == b"kept.test") => Ok(()),
        Ok(bytes) => Err(format!("{} bytes without the host", bytes.len())),
        Err(error) => Err(error.to_string()),
    });
    let mode = fs::metadata(&kept).expect("it is there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600, "it holds private keys");

    apart.controller.take().expect("it runs").crash();
    apart.proxy.take().expect("it runs").crash();
    // As if it had happened an hour ago.
    let hour = Duration::from_secs(3600);
    let file = fs::File::options().append(true).open(&kept);
    let ago = SystemTime::now() - hour;
    file.and_then(|file| file.set_modified(ago))
        .expect("our own file");
    apart.start_proxy();
    expect_pod(&apart, "http://kept.test/", "kept", START);
    expect_verbose(&apart, "[+]controller away, serving a set 36");
    let age = metric(&apart, "portcullis_set_age_seconds");
    assert!((3600.0..3600.0 + 99.0).contains(&age), "{age}");
    stage
        .kubectl
        .apply(&ingress("later", "later.test", "kept"))
        .ok();
    apart.start_controller(&["--update-status=false"]);
    expect_pod(&apart, "http://later.test/", "kept", START);
    expect_pod(&apart, "http://kept.test/", "kept", CHANGE);

    let mut proxy = apart.proxy.take().expect("it runs");
    let stopped = proxy.stop();
    assert_eq!(stopped.code, Some(0), "{}", proxy.log_tail());
    assert!(stopped.took < Duration::from_secs(15), "{stopped:?}");

    // A spoilt file is no reason not to start: the controller has everything.
    fs::write(&kept, "this is no set").expect("our own file");
    apart.start_proxy();
    expect_pod(&apart, "http://later.test/", "kept", START);
}
