//! Requests by curl.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, SystemTime};

use portcullis_pki::{CertificateRequest, Issued, Usage, self_signed};
use serde_json::Value;

use crate::command::run_with_deadline;

/// One request to be made by curl.
#[derive(Clone, Debug)]
pub struct Curl {
    arguments: Vec<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status, 0 when there was no answer.
    pub status: u16,
    /// Status line and header lines.
    pub head: String,
    /// The body, lossily as UTF-8.
    pub body: String,
    /// What curl says about TLS and failures.
    pub notes: String,
}

impl Curl {
    /// `GET url`, where the URL's host is a name that the machine need not know: `at` is where it is.
    ///
    /// # Panics
    /// When the URL has no host.
    #[must_use]
    pub fn get(url: &str, at: SocketAddr) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL with a scheme");
        let host = rest.split('/').next().expect("a URL with a host");
        let port = if scheme == "https" { 443 } else { 80 };
        let curl = Self {
            arguments: Vec::new(),
        };
        curl.with(&[
            "--silent",
            "--show-error",
            "--verbose",
            "--include",
            "--noproxy",
            "*",
        ])
        .with(&[
            "--max-time",
            "20",
            "--connect-to",
            &format!("{host}:{port}:{at}"),
            url,
        ])
    }

    /// More of curl's own options.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&one| one.to_owned()));
        self
    }

    /// One more request header, such as `cookie: a=b`.
    #[must_use]
    pub fn header(self, line: &str) -> Self {
        self.with(&["--header", line])
    }

    /// Makes the request.
    #[must_use]
    #[track_caller]
    pub fn send(&self) -> Answer {
        let output = run_with_deadline(Command::new("curl").args(&self.arguments), "", DEADLINE);
        let text = output.stdout.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((text.as_str(), ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.trim().parse().ok());
        Answer {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
            notes: output.stderr,
        }
    }
}

/// A self-signed certificate for `names`, valid for an hour.
///
/// # Panics
/// When a name is no DNS name.
#[must_use]
pub fn certificate(names: &[&str]) -> Issued {
    let request = CertificateRequest {
        common_name: names
            .first()
            .map(|&name| name.to_owned())
            .unwrap_or_default(),
        organizations: Vec::new(),
        dns_names: names.iter().map(|&name| name.to_owned()).collect(),
        ip_addresses: Vec::new(),
        usage: Usage::Server,
        lifetime: Duration::from_secs(3600),
    };
    self_signed(&request, SystemTime::now()).expect("the names are DNS names")
}

impl Answer {
    /// The value of a response header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON, `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The echo server that answered, or a description of what else came.
    ///
    /// # Errors
    /// A sentence for [`crate::eventually`] when it was no echo server's 200.
    pub fn pod(&self) -> Result<String, String> {
        match (self.status, self.json()["pod"].as_str()) {
            (200, Some(pod)) => Ok(pod.to_owned()),
            _ => Err(format!(
                "no echo: {} {}\n{}",
                self.status, self.body, self.notes
            )),
        }
    }

    /// `Ok` when the status is the wanted one.
    ///
    /// # Errors
    /// A sentence for [`crate::eventually`] otherwise.
    pub fn expect_status(&self, status: u16) -> Result<(), String> {
        if self.status == status {
            return Ok(());
        }
        Err(format!(
            "{} instead of {status}: {}\n{}",
            self.status, self.body, self.notes
        ))
    }
}

/// Above curl's own limit.
const DEADLINE: Duration = Duration::from_secs(30);
