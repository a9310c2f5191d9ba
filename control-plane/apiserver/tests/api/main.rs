//! The server over real TLS sockets, asked by `kube` and by hand.

mod auth;
mod crud;
mod interrupted;
mod kubelet;
mod negotiation;
mod paging;
mod restart;
mod reviews;
mod roles;
mod server;
mod services;
mod tokens;
mod watch;
