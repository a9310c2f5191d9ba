//! One part is missing for a while.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use portcullis_conformance::Load;

use super::{Apart, CHANGE, Duration, START, Stage, eventually, expect_pod, ingress, serve};

pub(crate) fn the_proxy_serves_on_without_its_controller(stage: &Stage) {
    let _before = serve(&stage.kubectl, "outage.test", "before");
    let mut apart = Apart::start(stage);
    expect_pod(&apart, "http://outage.test/", "before", START);
    let load = Load::start(apart.http(), "outage.test", "/?delay=5ms", 4);
    apart.controller.take().expect("it runs").crash();
    eventually(START, || apart.proxy_logged("not following the controller"));
    let _after = serve(&stage.kubectl, "outage.test", "after");
    expect_pod(&apart, "http://outage.test/", "before", CHANGE);
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
    apart.start_proxy();
    expect_pod(&apart, "http://kept.test/", "kept", START);
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
