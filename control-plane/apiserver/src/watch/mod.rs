//! The stream of a watch.

mod frame;
mod stream;

pub(crate) use stream::{Start, failed, stream};
