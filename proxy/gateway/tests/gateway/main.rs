//! The gateway from outside: real sockets, small origins, port 0.

mod balancing;
mod changing;
mod listening;
mod observing;
mod policies;
mod refusing;
mod serving;
mod stage;
