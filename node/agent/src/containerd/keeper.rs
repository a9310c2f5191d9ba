//! Keeps the runtime alive: one that ends by itself is started again, and its containers are adopted.

use crate::containerd::Containerd;
use crate::error::Result;
use crate::layout::Layout;
use crate::programs::Programs;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What starts the runtime again as it was started first.
pub(crate) struct Recipe {
    pub layout: Layout,
    pub programs: Programs,
    pub pause_image: String,
}

/// Dropped without [`Keeper::stop`] it leaves the runtime as it is.
pub(crate) struct Keeper {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Also tells whenever the runtime has gone or come back.
    pub(crate) fn start(containerd: Containerd, recipe: Recipe) -> (Self, watch::Receiver<u64>) {
        let (changed, changes) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(containerd, recipe, changed, stopped));
        (Keeper { stop, task }, changes)
    }

    /// Ends the runtime. The caller has removed every pod before.
    pub(crate) async fn stop(self) {
        if self.stop.send(()).is_ok() {
            let _ = self.task.await;
        }
    }
}

async fn keep(
    mut containerd: Containerd,
    recipe: Recipe,
    changed: watch::Sender<u64>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        tokio::select! {
            biased;
            stop = &mut stopped => return end(containerd, stop.is_ok()).await,
            ended = containerd.child.wait() => {
                let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                let complaint = containerd.last_complaint();
                tracing::error!("containerd ended by itself ({ended}): {complaint}");
            }
        }
        changed.send_modify(|count| *count += 1);
        tokio::select! {
            biased;
            // Also without a runtime, what it left behind is to be cleared.
            stop = &mut stopped => return end(containerd, stop.is_ok()).await,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
        match restart(&recipe).await {
            Ok(again) => {
                tracing::info!("containerd runs again");
                containerd = again;
            }
            Err(error) => tracing::error!("{error}"),
        }
        changed.send_modify(|count| *count += 1);
    }
}

async fn end(containerd: Containerd, asked: bool) {
    if asked {
        containerd.stop().await;
    }
}

async fn restart(recipe: &Recipe) -> Result<Containerd> {
    let mut again =
        Containerd::start(&recipe.layout, &recipe.programs, &recipe.pause_image).await?;
    again.connect().await?;
    Ok(again)
}

/// Between an end and the next start, so that one that cannot run does not keep a processor busy.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
