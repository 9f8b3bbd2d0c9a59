//! Benchmarks: a load generator for CONNECT proxies, the floor that doorward is compared with, and adapters for its peers.
//!
//! Read in this order: `scenario` (what is asked), `floor` (the yardstick), `load` (how it is driven), `peer` (who is driven),
//! `measure` (what the kernel says that it cost), `compare` (rounds and medians), `report` (where the numbers go).

pub mod scenario;
pub mod floor;
pub mod origin;
pub mod load;
pub mod peer;
pub mod rig;
pub mod pki;
pub mod measure;
pub mod stats;
pub mod compare;
pub mod targets;
pub mod report;
pub mod micro;
pub mod counting;
pub mod control;
pub mod error;

pub use error::BenchError;

/// What every fallible function here returns.
pub type Result<T> = std::result::Result<T, BenchError>;
