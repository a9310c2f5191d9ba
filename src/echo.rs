//! `portcullis echo`.

use portcullis_echo::Config;
use tokio::sync::oneshot;

use crate::cli::EchoArgs;

pub async fn run(args: EchoArgs) -> anyhow::Result<()> {
    let config = Config {
        port: args.port,
        pod_name: args.pod_name.or(args.hostname).unwrap_or_default(),
        pod_namespace: args.pod_namespace.unwrap_or_default(),
        ..Config::default()
    };
    // It logs its address itself.
    let (ready, _) = oneshot::channel();
    portcullis_echo::run(config, ready, portcullis_serve::termination()?).await?;
    Ok(())
}
