//! The data plane of doorward, in journey order: a connection, its requests, the way to the upstream.
//!
//! Arrows never turn back: app ► conn ► request ► {schemes, upstream} ► plan ► limits.

pub mod process;
pub mod cli;
pub(crate) mod app;
pub(crate) mod listen;
pub(crate) mod peer;
pub(crate) mod worker;
pub(crate) mod conn;
pub mod request;
pub mod schemes;
pub(crate) mod upstream;
pub(crate) mod plan;
pub(crate) mod sought;
pub(crate) mod follow;
pub(crate) mod asker;
pub(crate) mod loader;
pub(crate) mod watch;
pub(crate) mod publish;
pub(crate) mod published;
pub(crate) mod java;
pub(crate) mod admin;
pub(crate) mod metrics;
pub(crate) mod limits;
