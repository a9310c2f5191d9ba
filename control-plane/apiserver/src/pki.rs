//! The cluster's authority and the files made with it.
//!
//! `DIR/pki/`: `ca.crt`, `ca.key`, `apiserver.crt`, `apiserver.key`, `apiserver-kubelet-client.crt`/`.key`, `sa.key`,
//! `sa.pub`; keys have mode 0600. Existing files are kept while they are valid for what is asked of them: certificates
//! that expire, or lack a name, are made anew by the same authority. The authority itself is never replaced.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portcullis_pki::{
    Authority, CertificateInfo, CertificateRequest, PkiError, PrivateKey, Usage, check_key_matches,
};

/// Everything the server and its clients in the house need to know each other.
#[derive(Clone)]
pub struct Pki {
    authority: Authority,
    serving: Identity,
    kubelet_client: Identity,
    token_key: PrivateKey,
}

/// A certificate with its key, both PEM texts. No Debug: it holds a key.
#[derive(Clone)]
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum PkiFilesError {
    #[error("cannot read {path}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    /// The authority exists but cannot be used. It is not replaced: every client of the cluster trusts it.
    #[error("the cluster's authority {path} cannot be used", path = path.display())]
    Authority { path: PathBuf, source: PkiError },
    #[error("cannot make {what}")]
    Make {
        what: &'static str,
        source: PkiError,
    },
}

impl Pki {
    /// Reads the files below `data_dir`, making what is missing.
    ///
    /// `names` and `addresses` are what clients call this server beside the names inside the cluster.
    ///
    /// # Errors
    /// [`PkiFilesError`], naming the file.
    pub fn load_or_create(
        data_dir: &Path,
        names: &[String],
        addresses: &[IpAddr],
        now: SystemTime,
    ) -> Result<Self, PkiFilesError> {
        let dir = data_dir.join("pki");
        fs::create_dir_all(&dir).map_err(|source| PkiFilesError::Write {
            path: dir.clone(),
            source,
        })?;
        let authority = authority(&dir, now)?;
        let serving = CertificateRequest {
            common_name: "kube-apiserver".to_owned(),
            organizations: Vec::new(),
            dns_names: IN_CLUSTER_NAMES
                .iter()
                .map(|n| (*n).to_owned())
                .chain(names.iter().cloned())
                .collect(),
            ip_addresses: [
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ]
            .into_iter()
            .chain(addresses.iter().copied())
            .collect(),
            usage: Usage::Server,
            lifetime: CERTIFICATE_LIFETIME,
        };
        let kubelet_client = client_request("kube-apiserver-kubelet-client", &["system:masters"]);
        Ok(Self {
            serving: identity(&dir, "apiserver", &authority, &serving, now)?,
            kubelet_client: identity(
                &dir,
                "apiserver-kubelet-client",
                &authority,
                &kubelet_client,
                now,
            )?,
            token_key: token_key(&dir)?,
            authority,
        })
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    pub fn serving(&self) -> &Identity {
        &self.serving
    }

    pub(crate) fn kubelet_client(&self) -> &Identity {
        &self.kubelet_client
    }

    pub(crate) fn token_key(&self) -> &PrivateKey {
        &self.token_key
    }

    /// A client identity: `user` as CN, `groups` (at most two) as O. The administrator's is
    /// `issue_client("kubernetes-admin", &["system:masters"], now)`.
    ///
    /// # Errors
    /// [`PkiFilesError::Make`].
    pub fn issue_client(
        &self,
        user: &str,
        groups: &[&str],
        now: SystemTime,
    ) -> Result<Identity, PkiFilesError> {
        issue(
            &self.authority,
            "a client certificate",
            &client_request(user, groups),
            now,
        )
    }

    /// A serving identity, for the kubelet's server: the API server dials it and trusts only this authority.
    ///
    /// # Errors
    /// [`PkiFilesError::Make`].
    pub fn issue_server(
        &self,
        common_name: &str,
        names: &[String],
        addresses: &[IpAddr],
        now: SystemTime,
    ) -> Result<Identity, PkiFilesError> {
        let request = CertificateRequest {
            common_name: common_name.to_owned(),
            organizations: vec!["system:nodes".to_owned()],
            dns_names: names.to_vec(),
            ip_addresses: addresses.to_vec(),
            usage: Usage::Server,
            lifetime: CERTIFICATE_LIFETIME,
        };
        issue(&self.authority, "a serving certificate", &request, now)
    }
}

fn client_request(user: &str, groups: &[&str]) -> CertificateRequest {
    CertificateRequest {
        common_name: user.to_owned(),
        organizations: groups.iter().map(|g| (*g).to_owned()).collect(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usage: Usage::Client,
        lifetime: CERTIFICATE_LIFETIME,
    }
}

fn authority(dir: &Path, now: SystemTime) -> Result<Authority, PkiFilesError> {
    let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
    match (read(&certificate)?, read(&key)?) {
        (Some(certificate_pem), Some(key_pem)) => Authority::from_pem(&certificate_pem, &key_pem)
            .map_err(|source| PkiFilesError::Authority {
                path: certificate,
                source,
            }),
        // Half an authority is not completed: a new one would lock out everybody who trusts the other half.
        (Some(_), None) | (None, Some(_)) => Err(PkiFilesError::Read {
            path: dir.join("ca.crt and ca.key"),
            source: io::Error::new(io::ErrorKind::NotFound, "one of the two is missing"),
        }),
        (None, None) => {
            let made = Authority::create("kubernetes", now, AUTHORITY_LIFETIME)
                .map_err(making("an authority"))?;
            write(&key, made.key().pem(), SECRET)?;
            write(&certificate, made.certificate_pem(), PUBLIC)?;
            Ok(made)
        }
    }
}

fn identity(
    dir: &Path,
    name: &str,
    authority: &Authority,
    request: &CertificateRequest,
    now: SystemTime,
) -> Result<Identity, PkiFilesError> {
    let (certificate, key) = (
        dir.join(format!("{name}.crt")),
        dir.join(format!("{name}.key")),
    );
    if let (Some(certificate_pem), Some(key_pem)) = (read(&certificate)?, read(&key)?) {
        let kept = Identity {
            certificate_pem,
            key_pem,
        };
        if still_good(&kept, request, now) {
            return Ok(kept);
        }
    }
    let made = issue(authority, "a certificate", request, now)?;
    write(&key, &made.key_pem, SECRET)?;
    write(&certificate, &made.certificate_pem, PUBLIC)?;
    Ok(made)
}

fn still_good(kept: &Identity, request: &CertificateRequest, now: SystemTime) -> bool {
    let (Ok(info), Ok(key)) = (
        CertificateInfo::from_pem(&kept.certificate_pem),
        PrivateKey::from_pem(&kept.key_pem),
    ) else {
        return false;
    };
    info.valid_at(now)
        && !info.renewal_due(now)
        && check_key_matches(&kept.certificate_pem, &key).is_ok()
        && request
            .dns_names
            .iter()
            .all(|name| info.dns_names.contains(name))
        && request
            .ip_addresses
            .iter()
            .all(|ip| info.ip_addresses.contains(ip))
}

fn issue(
    authority: &Authority,
    what: &'static str,
    request: &CertificateRequest,
    now: SystemTime,
) -> Result<Identity, PkiFilesError> {
    let issued = authority.issue(request, now).map_err(making(what))?;
    Ok(Identity {
        certificate_pem: issued.certificate_pem,
        key_pem: issued.key.pem().to_owned(),
    })
}

fn token_key(dir: &Path) -> Result<PrivateKey, PkiFilesError> {
    let path = dir.join("sa.key");
    if let Some(pem) = read(&path)? {
        return PrivateKey::from_pem(&pem)
            .map_err(|source| PkiFilesError::Authority { path, source });
    }
    let key = PrivateKey::generate().map_err(making("the key of ServiceAccount tokens"))?;
    write(&path, key.pem(), SECRET)?;
    write(&dir.join("sa.pub"), &key.public_key_pem(), PUBLIC)?;
    Ok(key)
}

fn making(what: &'static str) -> impl Fn(PkiError) -> PkiFilesError {
    move |source| PkiFilesError::Make { what, source }
}

fn read(path: &Path) -> Result<Option<String>, PkiFilesError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiFilesError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// By rename, so that a crash leaves the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), PkiFilesError> {
    let failed = |source| PkiFilesError::Write {
        path: path.to_owned(),
        source,
    };
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.open(&fresh).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)
}

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// What pods call the server.
const IN_CLUSTER_NAMES: &[&str] = &[
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

const DAY: Duration = Duration::from_secs(86_400);
/// kubeadm's: the authority for ten years, what it issues for one.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3_650);
const CERTIFICATE_LIFETIME: Duration = DAY.saturating_mul(365);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_until_a_name_is_missing_and_the_authority_always() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let load =
            |names: &[String]| Pki::load_or_create(folder.path(), names, &[], now).expect("loads");
        let first = load(&[]);
        let again = load(&[]);
        assert_eq!(first.ca_pem(), again.ca_pem());
        assert_eq!(
            first.serving().certificate_pem,
            again.serving().certificate_pem
        );
        let named = load(&["api.example".to_owned()]);
        assert_eq!(first.ca_pem(), named.ca_pem());
        assert_ne!(
            first.serving().certificate_pem,
            named.serving().certificate_pem
        );
        let mode = fs::metadata(folder.path().join("pki/ca.key")).expect("is there");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn half_an_authority_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let load = || Pki::load_or_create(folder.path(), &[], &[], SystemTime::now());
        load().expect("makes one");
        fs::remove_file(folder.path().join("pki/ca.key")).expect("removes");
        assert!(matches!(load(), Err(PkiFilesError::Read { .. })));
    }
}
