//! The audit: one record for each request, hash-chained, written by one thread (invariant 9).
//!
//! A [`Place`] in the writer's bounded ring is taken before a secret is opened; closing it never blocks. Where no place is
//! left, or the file cannot be written, [`Sink::reserve`] fails and the request is refused (DW5003).

pub mod fields;
mod line;
mod file;
mod kept;
mod sink;
mod writer;
pub mod verify;
pub mod checkpoint;
pub mod search;
pub mod ocsf;
pub mod upkeep;

pub use checkpoint::{Checkpoint, CheckpointError, PublicKey, Signer};
pub use fields::{Entry, Kind, McpUse, ModelUse, RequestId, Verdict};
pub use file::{Destination, StartError};
pub use kept::Kept;
pub use line::{Chain, Hash};
pub(crate) use line::{MAX_LINE, is_format, linked_line};
pub use sink::{Durability, Failed, Health, Options, Place, Sink, Unavailable};
pub use verify::read_links;

#[cfg(test)]
mod tests;
