//! TLS, redirects, limits, affinity.

use std::collections::BTreeSet;

use portcullis_conformance::{EchoServer, Stage, eventually, eventually_some};

use crate::{CHANGE, annotate, expect_pod, expect_status, ingress, tls_ingress, tls_secret};

pub(crate) fn certificates_go_by_name(stage: &Stage) {
    let server = EchoServer::start("secure");
    stage
        .kubectl
        .apply(&EchoServer::service("secure", &[&server]))
        .ok();
    stage
        .kubectl
        .apply(&tls_secret("one", &["one.tls.test"]))
        .ok();
    stage
        .kubectl
        .apply(&tls_secret("two", &["*.two.tls.test"]))
        .ok();
    stage
        .kubectl
        .apply(&tls_ingress("one", "one.tls.test", "secure"))
        .ok();
    stage
        .kubectl
        .apply(&tls_ingress("two", "'*.two.tls.test'", "secure"))
        .ok();
    let shown = |url: &str| {
        let answer = stage.cluster.get(url).with(&["--insecure"]).send();
        let line = answer.notes.lines().find(|line| line.contains("subject: "));
        line.map(str::to_owned).ok_or(answer.notes)
    };
    let expect = |url: &str, subject: &str| {
        eventually(CHANGE, || match shown(url)? {
            line if line.ends_with(subject) => Ok(()),
            line => Err(line),
        });
    };
    expect("https://one.tls.test/", "CN=one.tls.test");
    expect("https://a.two.tls.test/", "CN=*.two.tls.test");
    let stranger = shown("https://stranger.tls.test/").expect("the default certificate");
    assert!(!stranger.contains("tls.test"), "{stranger}");
    let answer = stage
        .cluster
        .get("https://one.tls.test/")
        .with(&["--insecure", "--http2"])
        .send();
    assert_eq!(answer.pod().as_deref(), Ok("secure"));
    assert!(answer.head.starts_with("HTTP/2 200"), "{}", answer.head);
    assert_eq!(answer.json()["headers"]["x-forwarded-proto"], "https");
    // A renewed certificate is shown without a pause.
    stage.kubectl.run(&["delete", "secret", "one"]).ok();
    stage
        .kubectl
        .apply(&tls_secret("one", &["renewed.test", "one.tls.test"]))
        .ok();
    expect("https://one.tls.test/", "CN=renewed.test");
}

pub(crate) fn tls_hosts_redirect(stage: &Stage) {
    let server = EchoServer::start("redirected");
    stage
        .kubectl
        .apply(&EchoServer::service("redirected", &[&server]))
        .ok();
    stage
        .kubectl
        .apply(&tls_secret("redirected", &["redirected.test"]))
        .ok();
    stage
        .kubectl
        .apply(&tls_ingress("redirected", "redirected.test", "redirected"))
        .ok();
    expect_status(stage, "http://redirected.test/a?b=c", 308);
    let answer = stage.cluster.get("http://redirected.test/a?b=c").send();
    // A browser finds its way also where HTTPS is not on 443.
    let location = answer.header("location").unwrap_or_default();
    let served = format!(
        "https://redirected.test:{}/a?b=c",
        stage.cluster.ready.https.port()
    );
    assert!(
        location == "https://redirected.test/a?b=c" || location == served,
        "{location}"
    );
    annotate(stage, "redirected", "ssl-redirect=false");
    expect_pod(stage, "http://redirected.test/a?b=c", "redirected");
}

pub(crate) fn rates_are_limited(stage: &Stage) {
    let server = EchoServer::start("limited");
    stage
        .kubectl
        .apply(&EchoServer::service("limited", &[&server]))
        .ok();
    stage
        .kubectl
        .apply(&ingress("limited", "limited.test", "/", "limited"))
        .ok();
    expect_pod(stage, "http://limited.test/", "limited");
    annotate(stage, "limited", "limit-rps=1");
    // One a second with a burst of five: of twenty at once some are served and some are not.
    let twenty = "http://limited.test/?[1-20]";
    let count = || {
        let curl = stage.cluster.get(twenty).with(&[
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}\n",
        ]);
        let answer = curl.send();
        let codes: Vec<_> = [answer.head.as_str(), answer.body.as_str()]
            .concat()
            .lines()
            .map(str::to_owned)
            .collect();
        let of = |code: &str| codes.iter().filter(|line| line.as_str() == code).count();
        (of("200"), of("503"))
    };
    let (served, refused) = eventually_some(CHANGE, || match count() {
        (_, 0) => Err("nothing is refused".to_owned()),
        counts => Ok(counts),
    });
    assert!(
        served >= 1 && served + refused == 20,
        "{served} served, {refused} refused"
    );
    annotate(stage, "limited", "limit-rps-");
    eventually(CHANGE, || match count() {
        (20, 0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

pub(crate) fn a_cookie_keeps_the_endpoint(stage: &Stage) {
    let servers: Vec<_> = ["s1", "s2", "s3"].map(EchoServer::start).into();
    let all: Vec<_> = servers.iter().collect();
    stage
        .kubectl
        .apply(&EchoServer::service("sticky", &all))
        .ok();
    stage
        .kubectl
        .apply(&ingress("sticky", "sticky.test", "/", "sticky"))
        .ok();
    let pods = |cookie: &str| -> BTreeSet<String> {
        let ask = |_| {
            stage
                .cluster
                .get("http://sticky.test/")
                .header(cookie)
                .send()
                .pod()
        };
        (0..12).filter_map(|turn| ask(turn).ok()).collect()
    };
    eventually(CHANGE, || match pods("x-none: 1").len() {
        3 => Ok(()),
        count => Err(format!("{count} of 3 endpoints answer")),
    });
    annotate(stage, "sticky", "affinity=cookie");
    let cookie = eventually_some(CHANGE, || {
        let answer = stage.cluster.get("http://sticky.test/").send();
        let cookie = answer
            .header("set-cookie")
            .and_then(|line| line.split(';').next())
            .map(str::to_owned);
        cookie.zip(answer.pod().ok()).ok_or(answer.head)
    });
    let (cookie, first) = cookie;
    assert!(cookie.starts_with("INGRESSCOOKIE="), "{cookie}");
    assert_eq!(
        pods(&format!("cookie: {cookie}")),
        BTreeSet::from([first.clone()])
    );
    // Another endpoint leaves: whoever sits elsewhere stays.
    let left: Vec<_> = servers
        .iter()
        .zip(["s1", "s2", "s3"])
        .filter(|(_, name)| *name == first)
        .collect();
    let gone = ["s1", "s2", "s3"]
        .iter()
        .position(|name| *name != first)
        .expect("three are more than one");
    stage
        .kubectl
        .run(&["delete", "endpointslice", &format!("sticky-{gone}")])
        .ok();
    assert_eq!(left.len(), 1);
    assert_eq!(pods(&format!("cookie: {cookie}")), BTreeSet::from([first]));
}
