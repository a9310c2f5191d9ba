//! `portcullis controller-manager` and `portcullis scheduler`: the control plane's loops, as clients of any API server.

use anyhow::Context;
use portcullis_controllers::Config;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::{ClientArgs, ControllerManagerArgs},
    client,
};

pub async fn controller_manager(args: ControllerManagerArgs) -> anyhow::Result<()> {
    let ca_pem = match &args.root_ca_file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("--root-ca-file {} cannot be read", path.display()))?,
        None => String::new(),
    };
    let client = client::from_environment(args.client.kubeconfig.as_deref()).await?;
    until_told(|stop| portcullis_controllers::run(client, Config { ca_pem }, stop)).await
}

pub async fn scheduler(args: ClientArgs) -> anyhow::Result<()> {
    let client = client::from_environment(args.kubeconfig.as_deref()).await?;
    until_told(|stop| portcullis_controllers::run_scheduler(client, stop)).await
}

async fn until_told<F: Future<Output = ()>>(
    run: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let termination = portcullis_serve::termination()?;
    let stop = CancellationToken::new();
    let work = run(stop.clone());
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => {}
        () = termination => {
            stop.cancel();
            work.await;
        }
    }
    Ok(())
}
