//! `portcullis controller-manager` and `portcullis scheduler`: the control plane's loops, as clients of any API server.

use portcullis_controllers::Config;
use tokio_util::sync::CancellationToken;

use crate::{cli::ClientArgs, client};

pub async fn controller_manager(args: ClientArgs) -> anyhow::Result<()> {
    let client = client::from_environment(args.kubeconfig.as_deref()).await?;
    until_told(|stop| portcullis_controllers::run(client, Config::default(), stop)).await
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
