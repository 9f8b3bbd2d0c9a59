//! The harness: real origins, the real binary, real agents.
//!
//! A journey is `Origin` (what the vendor sees) ← `Proxy` (the built `doorward` with files of its own) ← `Agent` (what untrusted code may
//! send). Each proxy plants a canary secret, and when it ends everything that it let out is searched for that canary in every form.

pub mod agent;
pub mod audit;
pub mod balancer;
pub mod binary;
pub mod ca;
pub mod canary;
pub mod cluster;
pub mod home;
pub mod idp;
pub mod origin;
pub mod postgres;
pub mod proxy;
pub mod server;
pub mod relay;
pub mod sweep;
pub mod within;

pub use agent::{Agent, reply::Reply, tunnel::Tls};
pub use home::Home;
pub use origin::{Origin, Seen, answer};
pub use proxy::{Proxy, build::ProxyBuilder};
pub use server::{Server, TlsStream};
pub use within::within;
