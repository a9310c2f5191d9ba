//! The mutual TLS between controller and proxies, and the directories that hold its files.
//!
//! `DIR/ca.crt`, `ca.key` and the controller's `tls.crt`, `tls.key` stay with the controller; `DIR/proxy/` holds what a
//! proxy is given: `ca.crt`, `tls.crt`, `tls.key`. In a cluster a Secret takes the directory's place, and a proxy
//! mounts it.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use portcullis_daemon::ObjectKey;
use portcullis_pki::{Authority, MutualRequest, MutualTls, PemFiles};
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, client_config, server_config};

use crate::files;

/// The name in the controller's certificate, wherever it is reached.
pub const CONTROLLER_NAME: &str = "controller.portcullis.dev";

/// What a Secret is made to hold. The controller's certificate also bears the names of the Service before it.
pub fn secret_request(service: Option<&ObjectKey>) -> MutualRequest {
    let mut request = directory_request();
    if let Some(ObjectKey { namespace, name }) = service {
        let names =
            ["", ".svc", ".svc.cluster.local"].map(|suffix| format!("{name}.{namespace}{suffix}"));
        request.server_names.extend(names);
    }
    request.authority_lifetime = SECRET_AUTHORITY_LIFETIME;
    request.certificate_lifetime = SECRET_CERTIFICATE_LIFETIME;
    request
}

/// The controller's side. What is missing, or due for renewal, is made.
pub fn controller_tls(dir: &Path) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let proxy = dir.join("proxy");
    fs::create_dir_all(&proxy).with_context(|| format!("{} cannot be made", proxy.display()))?;
    let (held, held_by_proxy) = (read_all(dir)?, read_all(&proxy)?);
    if let (Some(certificate), Some(key)) = (held.get("ca.crt"), held.get("ca.key")) {
        // Proxies with copies elsewhere trust it: another one is somebody's decision.
        Authority::from_pem(certificate, key)
            .with_context(|| format!("the authority in {} cannot be used", dir.display()))?;
    }
    let now = SystemTime::now();
    let mutual = MutualTls::renew(&held, &held_by_proxy, &directory_request(), now)?;
    let wanted = mutual.server_files();
    write_all(dir, &held, &wanted)?;
    write_all(&proxy, &held_by_proxy, &mutual.client_files())?;
    let text = |name: &str| wanted.get(name).unwrap_or_default();
    let slot = CertificateSlot::new(text("tls.crt"), text("tls.key"))?;
    let clients = ClientAuth::Required(text("ca.crt"));
    Ok(server_config(slot, clients, Alpn::Http2)?)
}

/// The proxy's side, read anew for each connection so that renewed certificates are taken up.
pub fn proxy_tls(dir: &Path) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    // The kubelet exchanges a mounted Secret by moving one link: behind it all files are of the same time.
    let dir = fs::canonicalize(dir.join("..data")).unwrap_or_else(|_| dir.to_owned());
    let authority = files::read(&dir.join("ca.crt"))?;
    let certificate = files::read(&dir.join("tls.crt"))?;
    let key = files::read(&dir.join("tls.key"))?;
    Ok(client_config(
        &authority,
        Some((&certificate, &key)),
        Alpn::Http2,
    )?)
}

fn directory_request() -> MutualRequest {
    MutualRequest {
        authority_name: "portcullis controller and proxies".to_owned(),
        server_names: vec![CONTROLLER_NAME.to_owned()],
        client_name: "proxy.portcullis.dev".to_owned(),
        authority_lifetime: AUTHORITY_LIFETIME,
        certificate_lifetime: CERTIFICATE_LIFETIME,
        overlap: OVERLAP,
    }
}

fn read_all(dir: &Path) -> anyhow::Result<PemFiles> {
    let there = FILES.iter().filter(|name| dir.join(name).exists());
    let read = there.map(|&name| Ok((name.to_owned(), files::read(&dir.join(name))?)));
    read.collect()
}

/// Keys first: a certificate without its key would be taken for damaged, a key alone is made anew. `ca.crt` last: who finds
/// it finds everything.
fn write_all(dir: &Path, held: &PemFiles, wanted: &PemFiles) -> anyhow::Result<()> {
    let mut changed: Vec<(&str, &str)> = wanted
        .iter()
        .filter(|(name, text)| held.get(name) != Some(text))
        .collect();
    changed.sort_by_key(|(name, _)| (!name.ends_with(".key"), *name == "ca.crt"));
    for (name, text) in changed {
        files::write_private(&dir.join(name), text)?;
    }
    for (name, _) in held.iter().filter(|(name, _)| wanted.get(name).is_none()) {
        let path = dir.join(name);
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))?;
    }
    Ok(())
}

/// Everything that a directory may hold.
const FILES: [&str; 5] = ["ca.key", "ca-next.key", "ca.crt", "tls.key", "tls.crt"];

const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Renewed at a start when a third of it is left.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// A Secret is looked at all the time, so that what it holds may end sooner.
const SECRET_AUTHORITY_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
const SECRET_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// Mounted files follow their Secret within minutes.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn both_sides_find_what_they_need_and_keep_it() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("pki");
        assert!(proxy_tls(&dir.join("proxy")).is_err());
        controller_tls(&dir).unwrap();
        proxy_tls(&dir.join("proxy")).unwrap();
        let before = files::read(&dir.join("proxy/tls.crt")).unwrap();
        controller_tls(&dir).unwrap();
        assert_eq!(before, files::read(&dir.join("proxy/tls.crt")).unwrap());
    }

    #[test]
    fn a_damaged_authority_is_somebodys_decision() {
        let directory = tempfile::tempdir().unwrap();
        controller_tls(directory.path()).unwrap();
        fs::write(directory.path().join("ca.key"), "no key").unwrap();
        let error = controller_tls(directory.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }

    #[test]
    fn a_mounted_secret_is_read_as_of_one_time() {
        let directory = tempfile::tempdir().unwrap();
        let mount = directory.path();
        for version in ["..1", "..2"] {
            let pki = mount.join(format!("made{version}"));
            controller_tls(&pki).unwrap();
            fs::rename(pki.join("proxy"), mount.join(version)).unwrap();
        }
        for name in ["ca.crt", "tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), mount.join(name)).unwrap();
        }
        for version in ["..1", "..2"] {
            // As the kubelet does it: made aside, then renamed over.
            symlink(version, mount.join("..data_tmp")).unwrap();
            fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
            proxy_tls(mount).unwrap();
        }
    }

    #[test]
    fn the_certificate_of_a_secret_bears_the_services_names() {
        let service = ObjectKey::new("edge", "portcullis-controller");
        let request = secret_request(Some(&service));
        assert_eq!(
            request.server_names,
            [
                CONTROLLER_NAME,
                "portcullis-controller.edge",
                "portcullis-controller.edge.svc",
                "portcullis-controller.edge.svc.cluster.local"
            ]
        );
    }
}
