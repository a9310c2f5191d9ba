//! The mutual TLS between controller and proxies: one directory of certificates.
//!
//! `DIR/ca.crt`, `ca.key` and the controller's `tls.crt`, `tls.key` stay with the controller; `DIR/proxy/` holds what a
//! proxy is given: `ca.crt`, `tls.crt`, `tls.key`.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use portcullis_pki::{Authority, CertificateInfo, CertificateRequest, Usage};
use portcullis_serve::tls::{Alpn, CertificateSlot, ClientAuth, client_config, server_config};

use crate::files;

/// The name in the controller's certificate, wherever it is reached.
pub const CONTROLLER_NAME: &str = "controller.portcullis.dev";

/// The controller's side. What is missing, or due for renewal, is made; the authority stays, so that proxies keep
/// trusting it.
pub fn controller_tls(dir: &Path) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let proxy = dir.join("proxy");
    fs::create_dir_all(&proxy).with_context(|| format!("{} cannot be made", proxy.display()))?;
    let now = SystemTime::now();
    let authority = authority(dir, now)?;
    issue(&authority, dir, CONTROLLER_NAME, Usage::Server, now)?;
    issue(
        &authority,
        &proxy,
        "proxy.portcullis.dev",
        Usage::Client,
        now,
    )?;
    files::write_private(&proxy.join("ca.crt"), authority.certificate_pem())?;
    let certificate = files::read(&dir.join("tls.crt"))?;
    let slot = CertificateSlot::new(&certificate, &files::read(&dir.join("tls.key"))?)?;
    Ok(server_config(
        slot,
        ClientAuth::Required(authority.certificate_pem()),
        Alpn::Http2,
    )?)
}

/// The proxy's side, read anew for each connection so that renewed certificates are taken up.
pub fn proxy_tls(dir: &Path) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let authority = files::read(&dir.join("ca.crt"))?;
    let certificate = files::read(&dir.join("tls.crt"))?;
    let key = files::read(&dir.join("tls.key"))?;
    Ok(client_config(
        &authority,
        Some((&certificate, &key)),
        Alpn::Http2,
    )?)
}

fn authority(dir: &Path, now: SystemTime) -> anyhow::Result<Authority> {
    let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
    if certificate.exists() {
        let authority = Authority::from_pem(&files::read(&certificate)?, &files::read(&key)?);
        return authority
            .with_context(|| format!("the authority in {} cannot be used", dir.display()));
    }
    let authority =
        Authority::create("portcullis controller and proxies", now, AUTHORITY_LIFETIME)?;
    files::write_private(&key, authority.key().pem())?;
    files::write_private(&certificate, authority.certificate_pem())?;
    Ok(authority)
}

fn issue(
    authority: &Authority,
    dir: &Path,
    name: &str,
    usage: Usage,
    now: SystemTime,
) -> anyhow::Result<()> {
    let (certificate, key) = (dir.join("tls.crt"), dir.join("tls.key"));
    let current = fs::read_to_string(&certificate)
        .ok()
        .and_then(|pem| CertificateInfo::from_pem(&pem).ok());
    if key.exists() && current.is_some_and(|current| !current.renewal_due(now)) {
        return Ok(());
    }
    let request = CertificateRequest {
        common_name: name.to_owned(),
        organizations: Vec::new(),
        dns_names: vec![name.to_owned()],
        ip_addresses: Vec::new(),
        usage,
        lifetime: CERTIFICATE_LIFETIME,
    };
    let issued = authority.issue(&request, now)?;
    files::write_private(&key, issued.key.pem())?;
    files::write_private(&certificate, &issued.certificate_pem)
}

const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Renewed at a start when a third of it is left.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
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
}
