//! The ports of `up`, checked before anything starts, so that a busy one leaves nothing half-started.

use std::net::SocketAddr;

use anyhow::Context;
use portcullis_serve::{BindOptions, bind};

use crate::cli::UpArgs;

pub struct Ports {
    pub api: std::net::TcpListener,
    pub http: u16,
    pub https: u16,
}

impl Ports {
    /// The API's socket is kept. The ingress binds its own, one per worker and shared, which would succeed beside
    /// another process that shares the port: so each is tried alone first, and a free one picked for 0.
    pub fn claim(args: &UpArgs) -> anyhow::Result<Self> {
        let api = alone(args, args.api_port, "--api-port")?;
        // Without an ingress nobody listens on them.
        let wanted = |port| if args.no_ingress { 0 } else { port };
        let http = alone(args, wanted(args.http_port), "--http-port")?;
        let https = alone(args, wanted(args.https_port), "--https-port")?;
        Ok(Self {
            api,
            http: http.local_addr()?.port(),
            https: https.local_addr()?.port(),
        })
    }
}

fn alone(args: &UpArgs, port: u16, flag: &str) -> anyhow::Result<std::net::TcpListener> {
    let address = SocketAddr::new(args.bind_address, port);
    bind(
        address,
        BindOptions {
            reuse_port: false,
            ..BindOptions::default()
        },
    )
    .with_context(|| format!("port {port} cannot be used; choose another with {flag}"))
}
