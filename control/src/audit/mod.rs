//! The audit: one record for each request, hash-chained, written by one thread (invariant 9).
//!
//! A [`Place`] in the writer's bounded ring is taken before a secret is opened; closing it never blocks. Where no place is
//! left, or the file cannot be written, [`Sink::reserve`] fails and the request is refused (DW5003).

pub mod fields;
mod line;
mod file;
mod sink;
mod writer;
pub mod verify;

pub use fields::{Entry, Kind, McpUse, ModelUse, RequestId, Verdict};
pub use file::{Destination, StartError};
pub(crate) use line::is_format;
pub use line::{Chain, Hash};
pub use sink::{Durability, Failed, Health, Options, Place, Sink, Unavailable};

#[cfg(test)]
mod tests;
