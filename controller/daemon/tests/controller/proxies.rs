//! Controller and proxy as two ends of the protocol: full sets, deltas, restarts, refusals.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::fake_api::FakeApi;
use crate::objects::{class, ingress, service, slice};
use portcullis_daemon::{Config, Running, start};
use portcullis_gateway::control::{Control, ControlConfig, Link};
use portcullis_pki::{Authority, CertificateRequest, Issued, Usage};
use portcullis_route::spec::Specs;
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, client_config, server_config};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle, time::timeout};

#[tokio::test]
async fn a_proxy_follows_changes() {
    let api = loaded().await;
    let pki = Pki::new();
    let (controller, address) = controller(&api, &pki, 0).await;
    let mut proxy = Proxy::start(address, pki.client(), None);

    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    let whole = controller.specs().borrow().clone();
    assert_eq!(sorted(&proxy.specs.borrow()), sorted(&whole));
    let first = proxy.specs.borrow_and_update().clone();

    api.apply(slice("web", &["10.0.0.1", "10.0.0.2"]));
    until(&mut proxy.specs, |specs| endpoints(specs).len() == 2).await;
    let second = proxy.specs.borrow_and_update().clone();
    // A delta: the host's unit was neither sent nor read again.
    assert!(Arc::ptr_eq(
        host(&first, "a.example.com"),
        host(&second, "a.example.com")
    ));
    let link = proxy.link.borrow_and_update().clone();
    assert!(link.is_connected && link.version >= 2, "{link:?}");
    controller.stop().await;
}

#[tokio::test]
async fn a_proxy_serves_on_through_a_restart_of_the_controller() {
    let api = loaded().await;
    let pki = Pki::new();
    let (first, address) = controller(&api, &pki, 0).await;
    let mut proxy = Proxy::start(address, pki.client(), None);
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    let instance = proxy.link.borrow().instance.clone();

    first.stop().await;
    link(&mut proxy, |link| !link.is_connected).await;
    assert!(has_host(&proxy.specs.borrow(), "a.example.com"));

    // What happens meanwhile comes with the full set of the next controller, which is sent when it has listed.
    api.delete("ingresses", "demo", "a");
    api.apply(ingress("b", "b.example.com", "web"));
    api.store.hold(Some("secrets"));
    let (second, _) = controller(&api, &pki, address.port()).await;
    link(&mut proxy, |link| link.is_connected).await;
    assert!(has_host(&proxy.specs.borrow(), "a.example.com"));
    api.store.hold(None);
    until(&mut proxy.specs, |specs| has_host(specs, "b.example.com")).await;
    assert!(!has_host(&proxy.specs.borrow(), "a.example.com"));
    assert_ne!(proxy.link.borrow().instance, instance);
    second.stop().await;
}

#[tokio::test]
async fn a_proxy_starts_from_its_last_set() {
    let api = loaded().await;
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("last-set");
    let (controller, address) = controller(&api, &pki, 0).await;
    let mut proxy = Proxy::start(address, pki.client(), Some(file.clone()));
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    let served = proxy.specs.borrow().clone();
    eventually("the file", || file.exists()).await;
    let mode = file.metadata().expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(proxy);
    controller.stop().await;

    let mut proxy = Proxy::start(address, pki.client(), Some(file.clone()));
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    assert_eq!(*proxy.specs.borrow().clone(), *served);
    assert!(!proxy.link.borrow().is_connected);
    drop(proxy);

    std::fs::write(&file, b"damaged").expect("written");
    let proxy = Proxy::start(address, pki.client(), Some(file));
    assert!(proxy.specs.borrow().hosts.is_empty());
}

#[tokio::test]
async fn a_refused_unit_is_named_and_the_others_are_served() {
    let pki = Pki::new();
    let mut controller = crate::fake_controller::start(pki.server()).await;
    let mut proxy = Proxy::start(controller.address, pki.client(), None);
    controller
        .send(1, crate::fake_controller::set_with_one_unknown_feature())
        .await;

    let answer = timeout(DEADLINE, controller.answers.recv()).await;
    let answer = answer.expect("in time").expect("an answer");
    assert_eq!(answer.version, 1);
    let refused: Vec<&str> = answer.refused.iter().map(|r| r.unit.as_str()).collect();
    assert_eq!(refused, ["HostRoutes ingress/new.example.com"]);
    until(&mut proxy.specs, |specs| has_host(specs, "old.example.com")).await;
    let specs = proxy.specs.borrow().clone();
    let denied = format!("{:?}", host(&specs, "new.example.com").routes[0].action);
    assert!(denied.contains("feature 9"), "{denied}");
}

#[tokio::test]
async fn a_newer_controller_may_say_what_a_proxy_does_not_know() {
    let pki = Pki::new();
    let mut controller = crate::fake_controller::start(pki.server()).await;
    let mut proxy = Proxy::start(controller.address, pki.client(), None);
    controller.say_something_unknown().await;
    let set = crate::fake_controller::set_with_one_unknown_feature();
    controller.send(1, set).await;
    controller.say_something_unknown().await;
    let set = crate::fake_controller::set_with_one_unknown_feature();
    controller.send(2, set).await;

    for version in [1, 2] {
        let answer = timeout(DEADLINE, controller.answers.recv()).await;
        assert_eq!(
            answer.expect("in time").expect("an answer").version,
            version
        );
    }
    until(&mut proxy.specs, |specs| has_host(specs, "old.example.com")).await;
    assert!(proxy.link.borrow().is_connected);
}

#[tokio::test]
async fn a_newer_proxy_may_say_what_a_controller_does_not_know() {
    let api = loaded().await;
    let pki = Pki::new();
    let (controller, address) = controller(&api, &pki, 0).await;
    let mut proxy = crate::fake_proxy::start(address, pki.client()).await;
    proxy.say_something_unknown().await;
    let (instance, first) = proxy.publication().await;
    proxy.say_something_unknown().await;
    proxy.acknowledge(&instance, first).await;
    proxy.say_something_unknown().await;
    api.apply(ingress("b", "b.example.com", "web"));
    let (_, second) = proxy.publication().await;
    assert_eq!(second, first + 1);
    controller.stop().await;
}

#[tokio::test]
async fn a_set_says_how_old_it_is() {
    let api = loaded().await;
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("last-set");
    let (controller, address) = controller(&api, &pki, 0).await;
    let mut proxy = Proxy::start(address, pki.client(), Some(file.clone()));
    assert_eq!(proxy.link.borrow().set_age(SystemTime::now()), None);
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    link(&mut proxy, |link| link.is_current).await;
    let later = SystemTime::now() + Duration::from_secs(3600);
    assert_eq!(proxy.link.borrow().set_age(later), Some(Duration::ZERO));
    eventually("the file", || file.exists()).await;

    controller.stop().await;
    link(&mut proxy, |link| !link.is_current).await;
    let since = proxy.link.borrow().was_current_at.expect("it was current");
    let age = proxy.link.borrow().set_age(since + Duration::from_secs(7));
    assert_eq!(age, Some(Duration::from_secs(7)));
    eventually("the file's time", || {
        let modified = file.metadata().and_then(|file| file.modified());
        modified.is_ok_and(|at| at == since)
    })
    .await;
    drop(proxy);

    // A day later, as the file tells it.
    let day = Duration::from_secs(24 * 3600);
    let kept = std::fs::File::options()
        .append(true)
        .open(&file)
        .expect("kept");
    kept.set_modified(SystemTime::now() - day)
        .expect("our own file");
    let mut proxy = Proxy::start(address, pki.client(), Some(file.clone()));
    until(&mut proxy.specs, |specs| has_host(specs, "a.example.com")).await;
    let age = proxy.link.borrow().set_age(SystemTime::now());
    let age = age.expect("a stored set has an age");
    assert!(age >= day && age < day + DEADLINE, "{age:?}");
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_nothing_is_sent() {
    let api = loaded().await;
    let pki = Pki::new();
    let (controller, address) = controller(&api, &pki, 0).await;
    let anonymous = client_config(pki.authority.certificate_pem(), None, Alpn::Http2);
    let foreign = Pki::new();
    let stranger = identity(&foreign.client);
    let stranger = client_config(pki.authority.certificate_pem(), Some(stranger), Alpn::Http2);
    let proxies = [anonymous, stranger].map(|tls| Proxy::start(address, tls.expect("TLS"), None));
    let mut known = Proxy::start(address, pki.client(), None);

    until(&mut known.specs, |specs| has_host(specs, "a.example.com")).await;
    for proxy in &proxies {
        assert!(proxy.specs.borrow().hosts.is_empty());
        assert_eq!(*proxy.link.borrow(), Link::default());
    }
    controller.stop().await;
}

struct Pki {
    authority: Authority,
    server: Issued,
    client: Issued,
}

impl Pki {
    fn new() -> Self {
        let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
        let authority = Authority::create("test", now, day).expect("an authority");
        let issue = |usage| {
            let request = CertificateRequest {
                common_name: "portcullis".to_owned(),
                organizations: Vec::new(),
                dns_names: vec!["controller.test".to_owned()],
                ip_addresses: Vec::new(),
                usage,
                lifetime: day,
            };
            authority.issue(&request, now).expect("issued")
        };
        Self {
            server: issue(Usage::Server),
            client: issue(Usage::Client),
            authority,
        }
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = identity(&self.server);
        let slot = CertificateSlot::new(certificate, key).expect("a certificate");
        let clients = ClientAuth::Required(self.authority.certificate_pem());
        server_config(slot, clients, Alpn::Http2).expect("TLS")
    }

    fn client(&self) -> Arc<rustls::ClientConfig> {
        let authority = self.authority.certificate_pem();
        client_config(authority, Some(identity(&self.client)), Alpn::Http2).expect("TLS")
    }
}

fn identity(issued: &Issued) -> (&str, &str) {
    (&issued.certificate_pem, issued.key.pem())
}

/// A proxy without sockets: what it would serve can be looked at.
pub struct Proxy {
    pub specs: watch::Receiver<Arc<Specs>>,
    link: watch::Receiver<Link>,
    task: AbortHandle,
}

impl Proxy {
    pub fn start(
        controller: SocketAddr,
        tls: Arc<rustls::ClientConfig>,
        state_file: Option<PathBuf>,
    ) -> Self {
        let control = Control::new(ControlConfig {
            controller: controller.to_string(),
            server_name: "controller.test".try_into().expect("a name"),
            proxy: "test".to_owned(),
            state_file,
        });
        let link = control.link();
        let (sender, specs) = watch::channel(Arc::new(Specs::default()));
        let tls = move || Ok::<_, std::convert::Infallible>(tls.clone());
        let apply = move |specs| {
            sender.send_replace(specs);
            Vec::new()
        };
        let task = tokio::spawn(control.run(tls, apply)).abort_handle();
        Self { specs, link, task }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn controller(api: &FakeApi, pki: &Pki, port: u16) -> (Running, SocketAddr) {
    let running = start(Config::default(), api.client())
        .await
        .expect("started");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    running.serve_proxies(listener, Some(pki.server()));
    (running, address)
}

pub async fn loaded() -> FakeApi {
    let api = FakeApi::start().await;
    api.apply(class());
    api.apply(service("web"));
    api.apply(slice("web", &["10.0.0.1"]));
    api.apply(ingress("a", "a.example.com", "web"));
    api
}

pub async fn until(specs: &mut watch::Receiver<Arc<Specs>>, wanted: impl Fn(&Specs) -> bool) {
    let found = timeout(DEADLINE, specs.wait_for(|specs| wanted(specs))).await;
    assert!(found.is_ok_and(|found| found.is_ok()), "not served in time");
}

async fn link(proxy: &mut Proxy, wanted: impl Fn(&Link) -> bool) {
    let found = timeout(DEADLINE, proxy.link.wait_for(|link| wanted(link))).await;
    assert!(found.is_ok_and(|found| found.is_ok()), "link: not in time");
}

pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let polled = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(DEADLINE, polled).await.is_ok(),
        "{what}: not in time"
    );
}

pub fn has_host(specs: &Specs, name: &str) -> bool {
    specs.hosts.iter().any(|host| host.host.to_string() == name)
}

fn host<'s>(specs: &'s Specs, name: &str) -> &'s Arc<portcullis_route::spec::HostRoutes> {
    let found = specs
        .hosts
        .iter()
        .find(|host| host.host.to_string() == name);
    found.expect("the host")
}

fn endpoints(specs: &Specs) -> Vec<String> {
    let endpoints = specs.backends.iter().flat_map(|backend| &backend.endpoints);
    endpoints
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

fn sorted(specs: &Specs) -> Specs {
    let mut specs = specs.clone();
    specs.hosts.sort_by_key(|host| host.host.to_string());
    specs.listeners.sort_by(|a, b| a.name.cmp(&b.name));
    specs
}

const DEADLINE: Duration = Duration::from_secs(20);
