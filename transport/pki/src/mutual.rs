//! A server and its clients that trust each other and nobody else, and the renewal of what they show.
//!
//! Nobody is refused while an authority is exchanged: a successor is trusted by both sides for a while before it
//! issues, and the one before stays trusted until its own end.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::{
    Authority, CertificateInfo, CertificateRequest, Issued, PkiError, PrivateKey, Usage,
    check_key_matches,
};

#[cfg(test)]
mod tests;

/// PEM texts by the name of their file. It has no `Debug`: most hold keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PemFiles(BTreeMap<String, String>);

/// Who the parties are, and how long what they are given lasts.
#[derive(Clone, Debug)]
pub struct MutualRequest {
    /// Common name of the authorities.
    pub authority_name: String,
    /// DNS names of the server; the first is its common name too.
    pub server_names: Vec<String>,
    /// Common name and DNS name of the clients.
    pub client_name: String,
    /// Validity of an authority. It is succeeded when a third of it is left.
    pub authority_lifetime: Duration,
    /// Validity of a certificate, never longer than its authority's. It is renewed when a third of it is left.
    pub certificate_lifetime: Duration,
    /// How long a successor is trusted before it issues: longer than files take to reach every party.
    pub overlap: Duration,
}

/// What both parties hold.
pub struct MutualTls {
    trust: Trust,
    server: Issued,
    client: Issued,
}

/// Who issues, and whom everybody trusts.
struct Trust {
    issuer: Authority,
    /// Trusted already, issues later.
    successor: Option<Authority>,
    /// Certificates of authorities that issued before, until they end.
    retired: Vec<String>,
}

impl PemFiles {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(name, text)| (name.as_str(), text.as_str()))
    }
}

impl FromIterator<(String, String)> for PemFiles {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}

impl MutualTls {
    /// What should be held at `now`, given what is: whatever is whole and not due stays as it is, whatever is missing,
    /// damaged, foreign or due is made anew. Nothing at all is a beginning.
    ///
    /// # Errors
    /// [`PkiError`] when the provider fails or a name of the request cannot be written.
    pub fn renew(
        server: &PemFiles,
        client: &PemFiles,
        request: &MutualRequest,
        now: SystemTime,
    ) -> Result<Self, PkiError> {
        let trust = match Trust::read(server) {
            Some(trust) => trust.renewed(request, now)?,
            None => Trust::create(request, now)?,
        };
        let client_names = std::slice::from_ref(&request.client_name);
        let server = trust.pair(server, &request.server_names, Usage::Server, request, now)?;
        let client = trust.pair(client, client_names, Usage::Client, request, now)?;
        Ok(Self {
            trust,
            server,
            client,
        })
    }

    /// The server's: its own pair, whom it trusts, and the keys of the authorities.
    #[must_use]
    pub fn server_files(&self) -> PemFiles {
        let mut files = self.files(&self.server);
        let mut key_of = |name: &str, authority: &Authority| {
            files
                .0
                .insert(name.to_owned(), authority.key().pem().to_owned());
        };
        key_of("ca.key", &self.trust.issuer);
        if let Some(successor) = &self.trust.successor {
            key_of(NEXT_KEY, successor);
        }
        files
    }

    /// A client's: its own pair and whom it trusts.
    #[must_use]
    pub fn client_files(&self) -> PemFiles {
        self.files(&self.client)
    }

    fn files(&self, pair: &Issued) -> PemFiles {
        let all = [
            ("ca.crt", self.trust.bundle()),
            ("tls.crt", pair.certificate_pem.clone()),
            ("tls.key", pair.key.pem().to_owned()),
        ];
        let named = all.map(|(name, text)| (name.to_owned(), text));
        named.into_iter().collect()
    }
}

impl Trust {
    fn create(request: &MutualRequest, now: SystemTime) -> Result<Self, PkiError> {
        Ok(Self {
            issuer: authority(request, now)?,
            successor: None,
            retired: Vec::new(),
        })
    }

    /// `ca.crt` names the issuer first, then its successor if there is one, then those that issued before.
    fn read(files: &PemFiles) -> Option<Self> {
        let mut trusted = blocks(files.get("ca.crt")?).into_iter();
        let issuer = Authority::from_pem(&trusted.next()?, files.get("ca.key")?).ok()?;
        let mut rest: Vec<String> = trusted.collect();
        let successor = match (files.get(NEXT_KEY), rest.first()) {
            (Some(key), Some(certificate)) => Authority::from_pem(certificate, key).ok(),
            _ => None,
        };
        if successor.is_some() {
            rest.remove(0);
        }
        Some(Self {
            issuer,
            successor,
            retired: rest,
        })
    }

    fn renewed(mut self, request: &MutualRequest, now: SystemTime) -> Result<Self, PkiError> {
        let issuer = CertificateInfo::from_pem(self.issuer.certificate_pem())?;
        // A clock that is behind must not end anything.
        let has_ended = issuer.not_after < now;
        if let Some(next) = &self.successor {
            let since = CertificateInfo::from_pem(next.certificate_pem())?.not_before;
            let is_known = now
                .duration_since(since)
                .is_ok_and(|age| age >= request.overlap);
            if is_known || has_ended {
                let next = next.clone();
                let old = std::mem::replace(&mut self.issuer, next);
                self.successor = None;
                self.retired.insert(0, old.certificate_pem().to_owned());
            }
        } else if has_ended {
            return Self::create(request, now);
        } else if issuer.renewal_due(now) {
            self.successor = Some(authority(request, now)?);
        }
        let ends_later = |pem: &String| {
            CertificateInfo::from_pem(pem)
                .is_ok_and(|info| info.is_authority && now <= info.not_after)
        };
        self.retired.retain(ends_later);
        Ok(self)
    }

    /// The pair that is there if it still serves, else a new one.
    fn pair(
        &self,
        files: &PemFiles,
        names: &[String],
        usage: Usage,
        request: &MutualRequest,
        now: SystemTime,
    ) -> Result<Issued, PkiError> {
        if let Some(pair) = self.usable(files, names, now) {
            return Ok(pair);
        }
        let issuer = CertificateInfo::from_pem(self.issuer.certificate_pem())?;
        let left = issuer.not_after.duration_since(now).unwrap_or_default();
        let request = CertificateRequest {
            common_name: names.first().cloned().unwrap_or_default(),
            organizations: Vec::new(),
            dns_names: names.to_vec(),
            ip_addresses: Vec::new(),
            usage,
            lifetime: request.certificate_lifetime.min(left),
        };
        self.issuer.issue(&request, now)
    }

    fn usable(&self, files: &PemFiles, names: &[String], now: SystemTime) -> Option<Issued> {
        let certificate_pem = files.get("tls.crt")?.to_owned();
        let key = PrivateKey::from_pem(files.get("tls.key")?).ok()?;
        check_key_matches(&certificate_pem, &key).ok()?;
        let info = CertificateInfo::from_pem(&certificate_pem).ok()?;
        let issued_by = info.authority_key_id.as_deref()?;
        let mut trusted = self.certificates();
        let is_ours = trusted.any(|authority| {
            let authority = CertificateInfo::from_pem(authority);
            authority.is_ok_and(|authority| authority.key_id.as_deref() == Some(issued_by))
        });
        let serves = is_ours && info.dns_names == names && !info.renewal_due(now);
        serves.then_some(Issued {
            certificate_pem,
            key,
        })
    }

    fn certificates(&self) -> impl Iterator<Item = &str> {
        let successor = self.successor.iter().map(Authority::certificate_pem);
        std::iter::once(self.issuer.certificate_pem())
            .chain(successor)
            .chain(self.retired.iter().map(String::as_str))
    }

    fn bundle(&self) -> String {
        self.certificates().collect()
    }
}

fn authority(request: &MutualRequest, now: SystemTime) -> Result<Authority, PkiError> {
    Authority::create(&request.authority_name, now, request.authority_lifetime)
}

/// Each certificate of a bundle as a text of its own.
fn blocks(pem: &str) -> Vec<String> {
    let parts = pem.split_inclusive(END);
    let blocks = parts.filter_map(|part| Some(&part[part.find(BEGIN)?..]));
    blocks.map(|block| format!("{block}\n")).collect()
}

/// The successor's key. Its certificate is the second one of `ca.crt`.
const NEXT_KEY: &str = "ca-next.key";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
