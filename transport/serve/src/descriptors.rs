//! The process's limit of open files.

use std::{io, sync::OnceLock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Soft limits before and after raising; none is without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimit {
    pub was: Option<u64>,
    pub is: Option<u64>,
}

/// Raises the soft limit of open files to the hard one: the soft limit of most systems, 1024, is for programs that use
/// `select`, and a server that does not has to raise it itself.
///
/// Programs that this process starts inherit the raised limit. Those that run other people's code should be started with
/// [`inherited_soft_limit`].
///
/// # Errors
/// The system refuses, for instance because the hard limit is above what the kernel allows; the limit stays as it was.
pub fn raise_descriptor_limit() -> io::Result<DescriptorLimit> {
    let limit = getrlimit(Resource::Nofile);
    let raised = DescriptorLimit {
        was: limit.current,
        is: limit.maximum,
    };
    if raised.was == raised.is {
        return Ok(raised);
    }
    let wanted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted)?;
    // The first call saw what the process was started with.
    let _ = INHERITED.set(limit.current);
    Ok(raised)
}

/// The soft limit that this process was started with, if [`raise_descriptor_limit`] has changed it.
pub fn inherited_soft_limit() -> Option<u64> {
    INHERITED.get().copied().flatten()
}

/// Like the limit itself it belongs to the process.
static INHERITED: OnceLock<Option<u64>> = OnceLock::new();
