use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::{MutualRequest, MutualTls, PemFiles};
use crate::{CertificateInfo, certificates_from_pem};

/// Files need up to a day to reach a peer, as long as the overlap lasts; renewals are looked for twice a day.
#[test]
fn nobody_is_refused_in_two_years_of_renewals() {
    let mut held = vec![begin()];
    let mut issuers = vec![issuer(&held[0])];
    let mut changes = 0;
    for half_day in 1..2 * 2 * 365 {
        let now = start() + DAY / 2 * half_day;
        let last = held.last().unwrap();
        let next = renew(last, now);
        let is_changed = next.server != last.server || next.client != last.client;
        changes += u32::from(is_changed);
        if issuers.last() != Some(&issuer(&next)) {
            issuers.push(issuer(&next));
        }
        held.push(next);
        held.drain(..held.len().saturating_sub(3));
        let of_two_times = held.iter().flat_map(|one| {
            let others = held.iter();
            others
                .filter(move |other| one.server != other.server || is_changed)
                .map(move |other| (one, other))
        });
        for (one, other) in of_two_times {
            assert_eq!(refused(one, other, now), None, "after {half_day} half days");
        }
    }
    // Each authority is succeeded after two thirds of a year, each certificate after sixty days.
    assert_eq!(issuers.len(), 3);
    assert!(changes > 12, "{changes}");
}

#[test]
fn nothing_changes_while_nothing_is_due() {
    let first = begin();
    let later = renew(&first, start() + 20 * DAY);
    assert!(first.server == later.server && first.client == later.client);
}

#[test]
fn a_certificate_is_renewed_with_a_third_of_it_left_by_the_same_authority() {
    let first = begin();
    let later = renew(&first, start() + 61 * DAY);
    let pair = |files: &PemFiles| (text(files, "tls.crt"), text(files, "tls.key"));
    assert_ne!(pair(&first.server), pair(&later.server));
    assert_ne!(pair(&first.client), pair(&later.client));
    assert_eq!(text(&first.server, "ca.crt"), text(&later.server, "ca.crt"));
    assert_eq!(text(&first.server, "ca.key"), text(&later.server, "ca.key"));
}

#[test]
fn a_client_gets_no_key_of_an_authority() {
    let first = begin();
    let during = renew(&first, start() + 250 * DAY);
    assert!(during.server.get("ca-next.key").is_some());
    for held in [&first, &during] {
        let names: Vec<&str> = held.client.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ca.crt", "tls.crt", "tls.key"]);
        let secrets = ["ca.key", "ca-next.key", "tls.key"];
        for secret in secrets.iter().filter_map(|name| held.server.get(name)) {
            assert!(held.client.iter().all(|(_, text)| text != secret));
        }
    }
}

#[test]
fn what_is_missing_damaged_or_foreign_is_made_anew() {
    let first = begin();
    let without = |files: &PemFiles, name: &str| -> PemFiles {
        let rest = files.iter().filter(|(other, _)| *other != name);
        rest.map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect()
    };
    // The clients' alone: the authority stays.
    let stranger = begin();
    for client in [PemFiles::default(), stranger.client.clone()] {
        let held = Held {
            server: first.server.clone(),
            client,
        };
        let mended = renew(&held, start());
        assert!(mended.server == first.server);
        assert_eq!(refused(&first, &mended, start()), None);
    }
    // The server's key is another one's.
    let held = Held {
        server: without(&first.server, "tls.key"),
        client: first.client.clone(),
    };
    let mended = renew(&held, start());
    assert!(mended.client == first.client);
    assert_eq!(refused(&mended, &first, start()), None);
    // Without the authority's key nobody could issue: all begins again.
    let held = Held {
        server: without(&first.server, "ca.key"),
        client: first.client.clone(),
    };
    let mended = renew(&held, start());
    assert_ne!(issuer(&mended), issuer(&first));
    assert_eq!(refused(&mended, &mended, start()), None);
    assert!(refused(&mended, &first, start()).is_some());
}

#[test]
fn another_name_of_the_server_is_written_at_once() {
    let first = begin();
    let mut request = request();
    request.server_names.push("moved.default.svc".to_owned());
    let moved = MutualTls::renew(&first.server, &first.client, &request, start()).unwrap();
    let info = CertificateInfo::from_pem(moved.server_files().get("tls.crt").unwrap()).unwrap();
    assert_eq!(info.dns_names, ["controller.test", "moved.default.svc"]);
    assert!(moved.client_files() == first.client);
}

#[test]
fn after_a_long_sleep_the_successor_or_a_new_authority_takes_over() {
    let first = begin();
    let during = renew(&first, start() + 250 * DAY);
    let woken = renew(&during, start() + 400 * DAY);
    assert_eq!(refused(&woken, &woken, start() + 400 * DAY), None);
    assert_eq!(
        text(&woken.server, "ca.key"),
        text(&during.server, "ca-next.key")
    );
    let woken = renew(&first, start() + 400 * DAY);
    assert_eq!(refused(&woken, &woken, start() + 400 * DAY), None);
}

/// What a server and its clients hold at one moment.
struct Held {
    server: PemFiles,
    client: PemFiles,
}

fn begin() -> Held {
    let nothing = Held {
        server: PemFiles::default(),
        client: PemFiles::default(),
    };
    renew(&nothing, start())
}

fn renew(held: &Held, now: SystemTime) -> Held {
    let renewed = MutualTls::renew(&held.server, &held.client, &request(), now).unwrap();
    Held {
        server: renewed.server_files(),
        client: renewed.client_files(),
    }
}

/// Who refuses whom when the server of `one` meets a client of `other`, by the rules of RFC 5280.
fn refused(one: &Held, other: &Held, now: SystemTime) -> Option<String> {
    let at = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let at = UnixTime::since_unix_epoch(at);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let leaf = |files: &PemFiles| certificates_from_pem(files.get("tls.crt").unwrap()).unwrap();
    let name = ServerName::try_from("controller.test").unwrap();
    let trusted = trusted(&other.client);
    let verifier = WebPkiServerVerifier::builder_with_provider(trusted, provider.clone());
    let verifier = verifier.build().unwrap();
    if let Err(error) = verifier.verify_server_cert(&leaf(&one.server)[0], &[], &name, &[], at) {
        return Some(format!("the client refuses the server: {error}"));
    }
    let trusted = self::trusted(&one.server);
    let verifier = WebPkiClientVerifier::builder_with_provider(trusted, provider);
    let verifier = verifier.build().unwrap();
    let verified = verifier.verify_client_cert(&leaf(&other.client)[0], &[], at);
    let error = verified.err()?;
    Some(format!("the server refuses the client: {error}"))
}

fn trusted(files: &PemFiles) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_from_pem(files.get("ca.crt").unwrap()).unwrap() {
        roots.add(certificate).unwrap();
    }
    Arc::new(roots)
}

fn issuer(held: &Held) -> String {
    text(&held.server, "ca.key").unwrap()
}

fn text(files: &PemFiles, name: &str) -> Option<String> {
    files.get(name).map(str::to_owned)
}

fn request() -> MutualRequest {
    MutualRequest {
        authority_name: "test".to_owned(),
        server_names: vec!["controller.test".to_owned()],
        client_name: "proxy.test".to_owned(),
        authority_lifetime: 365 * DAY,
        certificate_lifetime: 90 * DAY,
        overlap: DAY,
    }
}

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

const DAY: Duration = Duration::from_secs(24 * 3600);
