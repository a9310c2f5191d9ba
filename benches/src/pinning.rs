//! Which core runs what: the proxy alone on one, origin and load elsewhere, where the kernel allows.

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

#[derive(Clone, Copy, Debug)]
pub struct Cores {
    pub proxy: usize,
    pub origin: usize,
    pub load: usize,
}

impl Cores {
    /// `None` with fewer than two cores: then the scheduler decides.
    pub fn choose() -> Result<Option<Self>> {
        let allowed = sched_getaffinity(THIS_THREAD)?;
        let cores: Vec<usize> = (0..CpuSet::count())
            .filter(|core| allowed.is_set(*core).unwrap_or(false))
            .collect();
        Ok(match cores[..] {
            [] | [_] => None,
            [proxy, rest] => Some(Self {
                proxy,
                origin: rest,
                load: rest,
            }),
            [proxy, origin, load, ..] => Some(Self {
                proxy,
                origin,
                load,
            }),
        })
    }
}

/// Binds this thread, and what it starts from now on, to one core.
///
/// # Errors
/// The kernel refuses, as inside a tighter cpuset.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(THIS_THREAD, &set)?)
}

/// Runs `start` bound to `core`, so that the process it starts inherits the binding.
pub fn pinned<T>(core: Option<usize>, start: impl FnOnce() -> T) -> Result<T> {
    let Some(core) = core else { return Ok(start()) };
    let before = sched_getaffinity(THIS_THREAD)?;
    pin(core)?;
    let started = start();
    sched_setaffinity(THIS_THREAD, &before)?;
    Ok(started)
}

const THIS_THREAD: Pid = Pid::from_raw(0);
