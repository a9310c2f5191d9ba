//! An image archive of the user's into the containerd of a running node.

use super::{configuration, import};
use crate::cri::Cri;
use crate::error::{Error, Result};
use crate::image::Contents;
use crate::layout::Layout;
use crate::programs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::UnixStream;

/// Imports an OCI or Docker archive into the node whose data directory this is; the names of its images, which pods can
/// use when this returns.
///
/// # Errors
/// [`Error::NoNode`] when none runs there, [`Error::Archive`] when the file is none or names no image, and what the
/// runtime has to say.
pub async fn load(data_dir: &Path, archive: &Path) -> Result<Vec<String>> {
    let contents = Contents::read(archive)?;
    let (layout, cri) = connect(data_dir).await?;
    let ctr = programs::find("ctr", "containerd")?;
    let snapshotter = configuration::snapshotter(&layout);
    let file = archive.to_owned();
    import::run(&ctr, &layout, snapshotter, move |mut out| {
        io::copy(&mut Contents::open(&file)?, &mut out).map(drop)
    })
    .await?;
    for name in &contents.names {
        seen(&cri, name).await?;
    }
    Ok(contents.names)
}

async fn connect(data_dir: &Path) -> Result<(Layout, Cri)> {
    let no_node = || Error::NoNode {
        data_dir: data_dir.to_owned(),
    };
    let directory = data_dir.join("node");
    let root = match std::fs::canonicalize(&directory) {
        Ok(root) => root,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_node()),
        Err(error) => return Err(Error::file(&directory)(error)),
    };
    let layout = Layout::new(&root);
    let socket = layout.containerd_socket();
    match UnixStream::connect(&socket).await {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Error::file(&socket)(error));
        }
        // Absent, or left by one that was killed.
        Err(_) => return Err(no_node()),
    }
    let cri = Cri::connect(&format!("unix://{}", socket.display())).await?;
    Ok((layout, cri))
}

/// The CRI's service hears of an image a moment after the import has ended.
async fn seen(cri: &Cri, name: &str) -> Result<()> {
    let deadline = Instant::now() + SEEN_DEADLINE;
    while cri.image_id(name).await?.is_none() {
        if Instant::now() > deadline {
            return Err(Error::Image {
                name: name.to_owned(),
                reason: "the runtime does not show it after the import".to_owned(),
            });
        }
        tokio::time::sleep(SEEN_POLL).await;
    }
    Ok(())
}

/// Milliseconds on an idle machine.
const SEEN_DEADLINE: Duration = Duration::from_secs(10);
const SEEN_POLL: Duration = Duration::from_millis(10);
