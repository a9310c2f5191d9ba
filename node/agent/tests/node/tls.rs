//! A certificate authority of the test's own, and a client that shows its certificates.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use portcullis_agent::Serving;
use portcullis_pki::{Authority, CertificateRequest, Usage};
use portcullis_serve::tls::{Alpn, client_config};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

pub struct Credentials {
    authority: Authority,
}

impl Credentials {
    pub fn new() -> Self {
        let authority = Authority::create("test", SystemTime::now(), DAY).unwrap();
        Credentials { authority }
    }

    pub fn serving(&self) -> Serving {
        let (certificate_pem, key_pem) = self.issue("stage", Usage::Server);
        Serving {
            certificate_pem,
            key_pem,
            client_authority_pem: self.authority.certificate_pem().to_owned(),
            client_names: vec!["kube-apiserver-kubelet-client".into()],
        }
    }

    fn issue(&self, name: &str, usage: Usage) -> (String, String) {
        let request = CertificateRequest {
            common_name: name.into(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            usage,
            lifetime: DAY,
        };
        let issued = self.authority.issue(&request, SystemTime::now()).unwrap();
        (issued.certificate_pem, issued.key.pem().to_owned())
    }

    /// Status and body, asked under that common name.
    pub async fn get(
        &self,
        address: SocketAddr,
        name: &str,
        path: &str,
    ) -> std::io::Result<(u16, String)> {
        let (certificate, key) = self.issue(name, Usage::Client);
        let config = client_config(
            self.authority.certificate_pem(),
            Some((&certificate, &key)),
            Alpn::Http1,
        )
        .unwrap();
        let stream = tokio::net::TcpStream::connect(address).await?;
        let server = rustls::pki_types::ServerName::IpAddress(address.ip().into());
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(server, stream)
            .await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", "node")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

const DAY: Duration = Duration::from_secs(86400);
